// SPDX-License-Identifier: MIT

package emit_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// A config compiled against a board that runs with its overlay promises the
// same heaps as when it was compiled the first time.
func TestUnmerge(t *testing.T) {
	for name, in := range cases(t) {
		t.Run(name, func(t *testing.T) {
			base, _ := compileBase(t, in[0])
			data, err := os.ReadFile(in[1])
			if err != nil {
				t.Fatal(err)
			}
			cfg, _ := heapcfg.Parse("heaps.yaml", data)
			plan := func(cfg *heapcfg.Config, tree *fdt.Tree) *heapcfg.Layout {
				t.Helper()
				board, findings := heapcfg.FromTree("base.dtb", tree, cfg.Target)
				if board == nil {
					t.Fatalf("findings: %v", findings)
				}
				l, findings := cfg.Plan(board, tree)
				if findings = append(findings, heapcfg.Lint(l)...); heapcfg.HasErrors(findings) {
					t.Fatalf("findings: %v", findings)
				}
				return l
			}
			want := plan(cfg, base)
			merged, err := emit.Merged("heaps", want, base)
			if err != nil {
				t.Fatal(err)
			}
			live, err := fdt.Parse(merged.Data)
			if err != nil {
				t.Fatal(err)
			}
			cfg2, again := cfg.Unmerge(live)
			if diff := cmp.Diff(want.Expect(), plan(cfg2, again).Expect()); diff != "" {
				t.Errorf("heaps (-first time +on the board):\n%s", diff)
			}
			if _, same := cfg.Unmerge(base); !cmp.Equal(base, same) {
				t.Errorf("a tree without the overlay is changed:\n%s", cmp.Diff(base, same))
			}
		})
	}
}

// Where the boot loader put a heap of the config's own choice is not a fault.
func TestUnmergeElsewhere(t *testing.T) {
	live := &fdt.Tree{Root: &fdt.Node{}}
	live.Root.Set("#address-cells", fdt.U32s(2))
	live.Root.Set("#size-cells", fdt.U32s(2))
	mem := live.Root.AddChild(&fdt.Node{Name: "memory@40000000"})
	mem.Set("device_type", fdt.StringList("memory"))
	mem.Set("reg", fdt.U32s(0, 0x40000000, 0, 0x20000000))
	reserved := live.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
	reserved.Set("#address-cells", fdt.U32s(2))
	reserved.Set("#size-cells", fdt.U32s(2))
	reserved.Set("ranges", nil)
	for node, compatible := range map[string]string{"video@50000000": "shared-dma-pool", "npu@58000000": "vendor,npu", "video": "shared-dma-pool"} {
		n := reserved.AddChild(&fdt.Node{Name: node})
		n.Set("compatible", fdt.StringList(compatible))
		n.Set("phandle", fdt.U32s(7))
	}
	camera := live.Root.AddChild(&fdt.Node{Name: "camera"})
	camera.Set("memory-region", fdt.U32s(7))
	cfg, findings := heapcfg.Parse("heaps.yaml", []byte("version: 1\nheaps:\n  - {name: video, kind: cma, size: 8MiB}\n  - {name: npu, kind: carveout, size: 8MiB}\n"))
	if cfg == nil {
		t.Fatal(findings)
	}
	got, base := cfg.Unmerge(live)
	if h := got.Heaps[0]; !h.HasBase || h.Base != 0x50000000 {
		t.Errorf("video has base %v, %v; want where it is", h.Base, h.HasBase)
	}
	if got.Heaps[1].HasBase || cfg.Heaps[0].HasBase {
		t.Error("a region of another kind counts, or the config itself was changed")
	}
	left := base.Root.Child("reserved-memory")
	if left.Child("video@50000000") != nil || left.Child("npu@58000000") == nil || left.Child("video") == nil {
		t.Errorf("left of the regions: %+v", left.Children)
	}
	if base.Root.Child("camera").Has("memory-region") || !live.Root.Child("camera").Has("memory-region") {
		t.Error("the device keeps its pointer to nothing, or the live tree was changed")
	}
}
