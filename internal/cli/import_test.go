// SPDX-License-Identifier: MIT

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// Most boards of mainline have a default area that the kernel places. What is
// imported of it compiles against the very same tree.
func TestImportedDefaultCompiles(t *testing.T) {
	base := virtWith(t, "board.dtb", func(root *fdt.Node) {
		cma := reserved(root, "linux,cma")
		cma.Set("compatible", fdt.StringList("shared-dma-pool"))
		cma.Set("reusable", nil)
		cma.Set("linux,cma-default", nil)
		cma.Set("size", fdt.U32s(0, 0x4000000))
	})
	// The board of a config is no news, and nobody wants it under its name.
	if code, yaml, stderr := heapctl(t, "import", "heaps.yaml"); code != ExitUsage || yaml != "" || stderr != "heapctl: heaps.yaml: only a device tree can be imported\n" {
		t.Errorf("a config: exit %d, %q, %q", code, yaml, stderr)
	}
	code, yaml, stderr := heapctl(t, "import", base)
	if code != ExitOK {
		t.Fatalf("import: exit %d\n%s", code, stderr)
	}
	if !strings.Contains(yaml, "\ndisable: [\"linux,cma\"]\n") {
		t.Fatalf("the region of the tree stays on:\n%s", yaml)
	}
	if code, _, stderr = heapctl(t, "compile", writeTestFile(t, "heaps.yaml", []byte(yaml)), "--base", base, "-o", filepath.Join(t.TempDir(), "out")); code != ExitOK {
		t.Errorf("compile: exit %d\n%s\n%s", code, stderr, yaml)
	}
}

// An import is there to be edited, and the next one does not take that away.
func TestImportReplacesNothing(t *testing.T) {
	base, edited := virtDTB(t), writeTestFile(t, "heaps.yaml", []byte("edited"))
	code, stdout, stderr := heapctl(t, "import", base, "-o", edited)
	if code != ExitUsage || stdout != "" || !strings.Contains(stderr, "there is such a file already") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if data, err := os.ReadFile(edited); err != nil || string(data) != "edited" {
		t.Errorf("the file has %q, %v", data, err)
	}
	if code, _, stderr := heapctl(t, "import", base, "-o", filepath.Join(t.TempDir(), "heaps.yaml")); code != ExitOK {
		t.Errorf("a new file: exit %d, %s", code, stderr)
	}
}

// Where an import suggests that the kernel lies is what the compiler guesses, so
// that taking the "#" away changes nothing but the note. The end of RAM, where
// U-Boot runs, is suggested as well, and left free by the heaps then.
func TestImportSuggestsTheGuess(t *testing.T) {
	base := virtDTB(t)
	code, yaml, stderr := heapctl(t, "import", base)
	if code != ExitOK {
		t.Fatalf("import: exit %d\n%s", code, stderr)
	}
	code, before, stderr := heapctl(t, "compile", writeTestFile(t, "as-is.yaml", []byte(yaml)), "--base", base, "--check", "--explain-placement")
	if code != ExitOK || !strings.Contains(stderr, "kernel-assumed") {
		t.Fatalf("as it is: exit %d, want the note kernel-assumed\n%s", code, stderr)
	}
	stated := strings.NewReplacer("# keep-clear:", "keep-clear:", "#   - {what: kernel", "  - {what: kernel").Replace(yaml)
	code, after, stderr := heapctl(t, "compile", writeTestFile(t, "stated.yaml", []byte(stated)), "--base", base, "--check", "--explain-placement")
	if code != ExitOK || stderr != "" {
		t.Fatalf("stated: exit %d\n%s\n%s", code, stderr, stated)
	}
	if want := strings.Replace(before, "kernel (assumed)", "kernel", 1); after != want {
		t.Errorf("stated:\n%s\nguessed:\n%s", after, before)
	}
	const end = "  - {what: boot-loader, base: 0x5c000000, size: 64MiB}"
	both := strings.Replace(stated, "# "+end, end, 1)
	code, after, stderr = heapctl(t, "compile", writeTestFile(t, "both.yaml", []byte(both)), "--base", base, "--check", "--explain-placement")
	if code != ExitOK || stderr != "" || !strings.Contains(after, "0x58000000..0x5bffffff: highest free 64MiB") {
		t.Errorf("with the end of RAM kept clear: exit %d\n%s%s\n%s", code, stderr, after, both)
	}
}
