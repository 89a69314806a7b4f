// SPDX-License-Identifier: MIT

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

func TestDiff(t *testing.T) {
	base := virtDTB(t)
	const head = "version: 1\nkeep-clear: [{what: kernel, base: 0x4020_0000, size: 32MiB}]\nheaps:\n"
	before := writeTestFile(t, "old.yaml", []byte(head+
		"- {name: a, kind: cma, size: 64MiB, base: 0x5000_0000}\n"+
		"- {name: b, kind: carveout, size: 16MiB, base: 0x5400_0000, mode: \"0600\"}\n"+
		"- {name: c, kind: carveout, size: 16MiB, base: 0x5500_0000}\n"+
		"- {name: d, kind: carveout, size: 16MiB, base: 0x5600_0000}\n"+
		"- {name: e, kind: carveout, size: 16MiB, base: 0x5700_0000}\n"))
	after := writeTestFile(t, "new.yaml", []byte(head+
		"- {name: a, kind: cma, size: 32MiB, base: 0x5800_0000, default: true}\n"+
		"- {name: b, kind: carveout, size: 20MiB, base: 0x5400_0000, mode: \"0660\", group: video}\n"+
		"- {name: f, kind: carveout, size: 2MiB, base: 0x5c00_0000, access: device-only}\n"+
		"- {name: d2, kind: carveout, size: 16MiB, base: 0x5600_0000}\n"+
		"- {name: e, kind: chunk, chunk-size: 64KiB, access: write-combine, size: 16MiB, base: 0x5700_0000}\n"))
	want := `moved     a  0x50000000 -> 0x58000000
shrank    a  64MiB -> 32MiB
changed   a  default: no -> yes
grew      b  16MiB -> 20MiB
changed   b  mode: 0600 -> 0660
changed   b  group: not stated -> video
vanished  c  carveout, 16MiB, 0x55000000..0x55ffffff
renamed   d  d -> d2
changed   e  kind: carveout -> chunk
changed   e  no-map: no -> yes
changed   e  access: cached -> write-combine
changed   e  chunk size: none -> 64KiB
new       f  device-only carveout, 2MiB, 0x5c000000..0x5c1fffff
`
	code, stdout, stderr := heapctl(t, "diff", before, after, "--base", base)
	if diff := cmp.Diff(want, stdout); diff != "" || code != ExitFailed || stderr != "" {
		t.Errorf("exit %d, stderr %q (-want +got):\n%s", code, stderr, diff)
	}
	if code, stdout, _ := heapctl(t, "diff", before, before, "--base", base); code != ExitOK || stdout != "" {
		t.Errorf("a file and itself: exit %d\n%s", code, stdout)
	}
	code, stdout, _ = heapctl(t, "diff", after, before, "--base", base, "-o", "json")
	var got struct {
		Version int
		Same    bool
		Changes []heapcfg.Change
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != ExitFailed || got.Version != 1 || got.Same || len(got.Changes) != 13 {
		t.Errorf("exit %d, %v, %+v", code, err, got)
	}
	if code, _, _ := heapctl(t, "diff", before, "nowhere", "--base", base); code != ExitUsage {
		t.Errorf("a missing file: exit %d, want %d", code, ExitUsage)
	}
}

// unpacked writes a tree as the kernel shows it below /proc/device-tree.
func unpacked(t *testing.T, dtb string) string {
	t.Helper()
	data, err := os.ReadFile(dtb)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var write func(dir string, n *fdt.Node)
	write = func(dir string, n *fdt.Node) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range n.Props {
			if err := os.WriteFile(filepath.Join(dir, p.Name), p.Value, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range n.Children {
			write(filepath.Join(dir, c.Name), c)
		}
	}
	dir := filepath.Join(t.TempDir(), "device-tree")
	write(dir, tree.Root)
	return dir
}

// TestDiffSources compares the config with all that was made of it, and those
// with each other: nothing may have changed on the way.
func TestDiffSources(t *testing.T) {
	base, dir := virtDTB(t), t.TempDir()
	if code, _, stderr := heapctl(t, "compile", exampleConfig, "--base", base, "-o", dir, "--merge"); code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	lock, merged := filepath.Join(dir, "heaps.lock.json"), filepath.Join(dir, "heaps.merged.dtb")
	sources := []string{exampleConfig, lock, merged, unpacked(t, merged)}
	for _, a := range sources {
		for _, b := range sources {
			if code, stdout, stderr := heapctl(t, "diff", a, b, "--base", base); code != ExitOK || stdout != "" {
				t.Errorf("diff %s %s: exit %d\n%s%s", a, b, code, stdout, stderr)
			}
		}
		// And each of them tells that the board has none of it.
		code, stdout, stderr := heapctl(t, "diff", base, a, "--base", base)
		if code != ExitFailed || !strings.Contains(stdout, "new       ") || strings.Contains(stdout, "moved") {
			t.Errorf("diff of the base and %s: exit %d\n%s%s", a, code, stdout, stderr)
		}
	}
}

// Two boards differ before their regions do.
func TestDiffBoards(t *testing.T) {
	base := virtDTB(t)
	data, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	tree.Root.Set("compatible", fdt.StringList("test,other"))
	blob, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const want = "changed   board  linux,dummy-virt -> test,other\n"
	if code, stdout, _ := heapctl(t, "diff", base, writeTestFile(t, "other.dtb", blob)); code != ExitFailed || stdout != want {
		t.Errorf("exit %d\n%swant\n%s", code, stdout, want)
	}
}
