// SPDX-License-Identifier: MIT

package truth

import (
	"path/filepath"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

// narrow returns the tree with root cells of one, as most boards with a 32-bit
// processor have them, and only the devices that a boot needs.
func narrow(t *testing.T, tree *fdt.Tree) *fdt.Tree {
	t.Helper()
	root := &fdt.Node{}
	for _, p := range tree.Root.Props {
		root.Set(p.Name, p.Value)
	}
	root.Set("#address-cells", fdt.U32s(1))
	root.Set("#size-cells", fdt.U32s(1))
	for _, name := range []string{"psci", "memory@40000000", "pl011@9000000", "intc@8000000", "cpus", "timer", "apb-pclk", "chosen"} {
		n := tree.Root.Child(name)
		if n == nil {
			t.Fatalf("the machine has no %s", name)
		}
		n = n.Clone()
		if reg, ok := n.Prop("reg"); ok {
			ranges, err := fdt.DecodeReg(reg, 2, 2)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var short []byte
			for _, r := range ranges {
				short = append(short, fdt.U32s(uint32(r.Base), uint32(r.Size))...)
			}
			n.Set("reg", short)
		}
		if name == "intc@8000000" {
			n.Children = nil // message interrupts, whose addresses have two cells
		}
		root.AddChild(n)
	}
	return &fdt.Tree{Root: root}
}

// A board whose addresses have one cell, from heaps.yaml to heapctl check.
func TestOneCell(t *testing.T) {
	b, ctx, base := setup(t)
	on := *b
	on.Base = bench.WriteTree(t, narrow(t, base))
	board := on.Compile(ctx, t, filepath.Join(b.Root, "test", "bench", "testdata", "all.yaml"))
	tree := bench.ReadTree(t, board.Merged)
	for _, prop := range []string{"#address-cells", "#size-cells"} {
		if n, ok := tree.Root.Child("reserved-memory").U32(prop); !ok || n != 1 {
			t.Errorf("/reserved-memory has %s %d, want 1", prop, n)
		}
	}
	vm := on.VM(ctx, t, initramfs.Plan{Rules: rig.RulesPath, Run: [][]string{{"/bin/heapctl", "check", rig.LockPath}}}, on.Files(t, board)...)
	vm.DTB = board.Merged
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	if res.Exit != 0 {
		t.Errorf("heapctl check: exit %d\n%s", res.Exit, res.Console)
	}
}
