// SPDX-License-Identifier: MIT

package heapcfg

import (
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// FuzzTree gives foreign trees to everything that reads them: none may make it
// panic, and what an import writes must be read again. The bytes of a blob are
// the business of package fdt; here edits of properties make the trees.
func FuzzTree(f *testing.F) {
	f.Add(byte(0), []byte{})
	f.Add(byte(1), []byte{3, 0, 0, 0xff, 4, 1, 1, 0})
	f.Add(byte(2), []byte{8, 2, 7, 0x80, 9, 0, 4, 0, 2, 1, 9, 3})
	f.Fuzz(func(t *testing.T, which byte, edits []byte) {
		tree := []*fdt.Tree{testTree(), vendorTree(), busTree()}[which%3]
		edit(tree, edits)
		if tree.Check() != nil {
			return
		}
		target := DefaultTarget()
		target.Kernel = []Version{v6_12, {5, 4}, v5_10, {7, 3}}[which>>2%4]
		target.Arch = []Arch{"", Arm, Arm64, Riscv}[which>>4%4]
		l, findings := FromTree("b", tree, target)
		if (l == nil) != HasErrors(findings) {
			t.Fatalf("layout %v and findings %v", l != nil, findings)
		}
		if l == nil {
			return
		}
		Lint(l)
		if changes := Diff(l, l); len(changes) > 0 {
			t.Errorf("a layout differs from itself: %v", changes)
		}
		imp, _ := ImportTree("b", tree, target)
		cfg, findings := Parse("heaps.yaml", imp.YAML)
		for _, f := range findings {
			// A region of a foreign tree may be larger than a heap can be.
			if f.Level == Error && f.ID != "yaml-value" {
				t.Errorf("the import cannot be read: %v\n%s", f, imp.YAML)
			}
		}
		if cfg == nil {
			t.Fatalf("the import cannot be read:\n%s", imp.YAML)
		}
		plan, _ := cfg.Plan(l, tree)
		for i := range plan.Regions {
			r := &plan.Regions[i]
			if r.FromConfig && r.Placed() && r.Range.Wraps() {
				t.Errorf("%s wraps: %v", r.Name(), r.Range)
			}
		}
		Lint(plan)
	})
}

// edit changes properties of a tree: four bytes choose a node, a property, the
// kind of change and a value.
func edit(tree *fdt.Tree, edits []byte) {
	var nodes []*fdt.Node
	_ = tree.Walk(func(_ string, n *fdt.Node) error {
		nodes = append(nodes, n)
		return nil
	})
	for ; len(edits) >= 4; edits = edits[4:] {
		n := nodes[int(edits[0])%len(nodes)]
		if len(n.Props) == 0 {
			continue
		}
		p, v := &n.Props[int(edits[1])%len(n.Props)], edits[3]
		value := append([]byte(nil), p.Value...)
		switch at := int(edits[2]); {
		case at < 32 && at < len(value):
			value[at] = v
		case at < 64:
			value = append(value, v, v, v, v)
		case at < 96:
			value = value[:min(int(v), len(value))]
		case at < 128:
			for i := range value {
				value[i] = v
			}
		case at < 160:
			other := nodes[int(v)%len(nodes)]
			if len(other.Props) > 0 {
				n.Set(other.Props[at%len(other.Props)].Name, other.Props[at%len(other.Props)].Value)
			}
			continue
		case at < 192:
			n.Set([]string{"status", "size", "alignment", "alloc-ranges", "reusable", "no-map", "dma-ranges", "chunk-size", "linux,cma-default"}[int(v)%9], value)
			continue
		default:
			n.Remove(p.Name)
			continue
		}
		p.Value = value
	}
}

// busTree has what the rules about buses and devices read.
func busTree() *fdt.Tree {
	t := testTree(pool("a@47000000", "reg", reg(0x47000000, 0x2000000), "phandle", fdt.U32s(1)))
	limitedBus(t).Set("memory-region", fdt.U32s(1))
	t.Root.AddChild(&fdt.Node{Name: "chosen"}).Set("bootargs", fdt.StringList("cma=4M"))
	return t
}
