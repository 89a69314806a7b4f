// SPDX-License-Identifier: MIT

package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// poolDTB writes a board with a CMA region that is aligned to 2 MiB only.
func poolDTB(t *testing.T) string {
	t.Helper()
	return virtWith(t, "board.dtb", func(root *fdt.Node) {
		n := reserved(root, "video@50200000")
		n.Set("compatible", fdt.StringList("shared-dma-pool"))
		n.Set("reusable", nil)
		n.Set("reg", fdt.U32s(0, 0x50200000, 0, 0x400000))
	})
}

// raw runs lint and returns "level id" of each finding.
func raw(t *testing.T, args ...string) (code int, found []string) {
	t.Helper()
	code, _, stderr := heapctl(t, append([]string{"lint", "--raw"}, args...)...)
	for _, line := range strings.Split(strings.TrimSpace(stderr), "\n") {
		id := line[strings.LastIndexByte(line, '[')+1:]
		for _, level := range []string{"error", "warning", "note"} {
			if strings.Contains(line, ": "+level+": ") {
				found = append(found, level+" "+strings.TrimSuffix(id, "]"))
			}
		}
	}
	return code, found
}

func TestLintKernelFacts(t *testing.T) {
	board := poolDTB(t)
	full := "# Linux/arm64 6.12.117 Kernel Configuration\nCONFIG_ARM64=y\nCONFIG_ARM64_4K_PAGES=y\nCONFIG_SYNC_FILE=y\nCONFIG_DMABUF_HEAPS=y\nCONFIG_CMA=y\nCONFIG_DMA_CMA=y\nCONFIG_DMABUF_HEAPS_CMA=y\nCONFIG_DMABUF_HEAPS_CMA_REGIONS=y\n"
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"nothing known", nil, ExitOK, []string{"warning cma-alignment"}},
		{"strict", []string{"--strict"}, ExitFailed, []string{"warning cma-alignment"}},
		{"huge pages", []string{"--kconfig", writeTestFile(t, ".config", []byte(full+"CONFIG_TRANSPARENT_HUGEPAGE=y\n"))}, ExitOK, nil},
		{"64 KiB pages", []string{"--page-size", "64KiB"}, ExitFailed, []string{"error cma-alignment", "error cma-alignment"}},
		{"5.10", []string{"--kernel", "5.10"}, ExitFailed, []string{"error cma-alignment"}},
		{"a heap option is off", []string{"--kconfig", writeTestFile(t, ".config", []byte(strings.Replace(full, "CONFIG_DMA_CMA=y", "# CONFIG_DMA_CMA is not set", 1)+"CONFIG_HUGETLB_PAGE=y\n"))}, ExitFailed, []string{"error kconfig-missing"}},
		{"a heap is a module", []string{"--kconfig", writeTestFile(t, ".config", []byte(strings.Replace(full, "HEAPS_CMA=y", "HEAPS_CMA=m", 1)+"CONFIG_HUGETLB_PAGE=y\n"))}, ExitOK, []string{"warning kconfig-missing"}},
		{"over the kernel", []string{"--keep-clear", "kernel=0x5000_0000+16MiB"}, ExitFailed, []string{"error over-kernel", "warning cma-alignment"}},
		{"other RAM", []string{"--ram", "0x4000_0000+128MiB"}, ExitFailed, []string{"error outside-ram", "warning cma-alignment"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, got := raw(t, append(tc.args, board)...)
			if diff := cmp.Diff(tc.want, got); diff != "" || code != tc.code {
				t.Errorf("exit %d, want %d (-want +got):\n%s", code, tc.code, diff)
			}
		})
	}
}

func TestLintUsage(t *testing.T) {
	board := poolDTB(t)
	for _, args := range [][]string{
		{"--keep-clear", "kernel"}, {"--keep-clear", "moon=0x0+1MiB"}, {"--keep-clear", "kernel=0x0"}, {"--ram", "1GiB"}, {"--ram", "0x0+0"},
		{"--kconfig", board}, {"--kconfig", "nowhere"}, {"--kernel", "new"}, {"--page-size", "4K"}, {"-o", "xml"}, {"--overlay", board},
	} {
		code, stdout, stderr := heapctl(t, append([]string{"lint", board}, args...)...)
		if code != ExitUsage || stdout != "" || !strings.HasPrefix(stderr, "heapctl: ") {
			t.Errorf("lint %v: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

// A directory that is no tree has no mistakes either, and a tree without RAM
// has no 0 of it.
func TestLintSaysWhatItSaw(t *testing.T) {
	dir := t.TempDir()
	if code, stdout, stderr := heapctl(t, "lint", dir); code != ExitUsage || stdout != "" || !strings.Contains(stderr, "no device tree") {
		t.Errorf("an empty directory: exit %d, %q, %q", code, stdout, stderr)
	}
	tree := &fdt.Tree{Root: &fdt.Node{}}
	tree.Root.Set("#address-cells", fdt.U32s(2))
	tree.Root.Set("#size-cells", fdt.U32s(2))
	blob, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := heapctl(t, "lint", writeTestFile(t, "board.dtb", blob)); code != ExitOK || !strings.Contains(stdout, "no errors in 0 regions, RAM unknown, for") {
		t.Errorf("no RAM: exit %d, %q", code, stdout)
	}
	if code, stdout, _ := heapctl(t, "lint", virtDTB(t)); code != ExitOK || !strings.Contains(stdout, ", 512MiB of RAM, for") {
		t.Errorf("QEMU's tree: exit %d, %q", code, stdout)
	}
	out := filepath.Join(t.TempDir(), "out")
	if code, _, stderr := heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "-o", out, "-q"); code != ExitOK {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	overlay := filepath.Join(out, "heaps.dtbo")
	for _, args := range [][]string{{"lint", overlay}, {"map", overlay}, {"import", overlay}, {"diff", virtDTB(t), overlay}, {"compile", exampleConfig, "--base", overlay}} {
		if code, stdout, stderr := heapctl(t, args...); code != ExitUsage || stdout != "" || !strings.Contains(stderr, "heaps.dtbo: an overlay; give") {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}
