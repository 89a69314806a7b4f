// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// TestPlacementIsTheBest holds the planner against one that tries every
// address, on boards whose banks, holes, buses and limits meet at the edges
// that matter.
func TestPlacementIsTheBest(t *testing.T) {
	placed, full := 0, 0
	for seed := range int64(400) {
		g := placing{rand.New(rand.NewSource(seed))}
		yaml, tree := g.config(), g.board()
		cfg, findings := Parse("heaps.yaml", []byte(yaml))
		if HasErrors(findings) {
			t.Fatalf("seed %d: %v\n%s", seed, findings, yaml)
		}
		base, _ := FromTree("board.dtb", tree, cfg.Target)
		plan, findings := cfg.Plan(base, tree)
		before := *plan
		before.Regions = slices.Clone(base.Regions)
		for i := range cfg.Heaps {
			h := &cfg.Heaps[i]
			at := slices.IndexFunc(plan.Regions, func(r Region) bool { return r.FromConfig && r.Name() == h.Name })
			want, ok := best(&before, h, reach(tree, "/soc/camera@7e800000"))
			switch {
			case ok != (at >= 0):
				t.Errorf("seed %d: heap %s is placed: %t, want %t at %v", seed, h.Name, at >= 0, ok, want)
			case ok && plan.Regions[at].Range != want:
				t.Errorf("seed %d: heap %s lies at %v, want %v", seed, h.Name, plan.Regions[at].Range, want)
			case ok:
				placed++
				before.Regions = append(before.Regions, plan.Regions[at])
			default:
				full++
			}
		}
		for _, f := range Lint(plan) {
			if f.Level == Error && f.Place.Line > 0 {
				t.Errorf("seed %d: what was placed breaks a rule: %s: %s", seed, f.ID, f.Message)
			}
		}
		if t.Failed() {
			t.Fatalf("RAM %v, bus %v\n%s%v", base.Banks, reach(tree, "/soc/camera@7e800000"), yaml, findings)
		}
	}
	// A test of which all heaps fit, or none, proves little.
	if placed < 500 || full < 100 {
		t.Errorf("%d heaps found a place and %d none", placed, full)
	}
}

// best returns where a heap is to lie on a board as the heaps before it left it.
func best(l *Layout, h *HeapConfig, bus []Range) (Range, bool) {
	align := uint64(2 * MiB)
	if h.Kind == CMA {
		align = l.Target.CMAAlign()
	}
	align = max(align, h.Align)
	sure := align // what other kernels want, where there is such a place
	for h.Kind == CMA && l.Target.Arch == Arm && sure < 32*MiB && h.Size%(2*sure) == 0 {
		sure *= 2
	}
	fits := func(r, window Range) bool {
		if _, ok := l.Bank(r); !ok || !window.Contains(r) || h.Below > 0 && r.Last() >= h.Below {
			return false
		}
		for _, o := range l.Occupied {
			if o.Range.Overlaps(r) {
				return false
			}
		}
		for _, o := range l.Regions {
			if slices.ContainsFunc(append(o.Extra, o.Range), r.Overlaps) {
				return false
			}
		}
		for _, limit := range l.zoneLimits() {
			if h.Kind == CMA && r.Base < limit && r.Last() >= limit {
				return false
			}
		}
		return len(h.Devices) == 0 || slices.ContainsFunc(bus, func(b Range) bool { return b.Contains(r) })
	}
	after, known := Addr(0), true
	if h.After != "" {
		i := slices.IndexFunc(l.Regions, func(r Region) bool { return r.Name() == h.After })
		if known = i >= 0; known {
			after = l.Regions[i].Range.Last() + 1
		}
	}
	upward := h.After != "" && known // a heap after one that has no place is placed as any other
	within := h.Within
	if len(within) == 0 {
		within = []Range{{0, 1 << 63}}
	}
	for _, half := range []Range{{0, 4 * GiB}, {Addr(4 * GiB), 4 * GiB}} {
		for _, window := range within {
			clipped, _ := intersect(window, half)
			if h.Below > 0 {
				clipped = window // one limit takes the place of the other
			}
			for _, align := range []uint64{sure, align} {
				found := Range{}
				for at := uint64(after); at < 8*GiB; at += 2 * MiB {
					r := Range{Addr(at), h.Size}
					if at%align == 0 && fits(r, clipped) && (found.Size == 0 || !upward) {
						found = r
					}
				}
				if found.Size > 0 {
					return found, true
				}
			}
		}
	}
	return Range{}, false
}

// placing makes boards and configs.
type placing struct{ *rand.Rand }

// near returns an address at or near one of the limits.
func (g placing) near() uint64 {
	limits := []uint64{0, 1 * GiB, 1*GiB + 768*MiB, 2 * GiB, 4 * GiB, 5 * GiB}
	at := int64(limits[g.Intn(len(limits))]) + int64(g.Intn(17)-8)*int64(4*MiB)
	return uint64(max(at, 0))
}

func (g placing) size() uint64 { return uint64(1+g.Intn(12)) * 4 * MiB }

func (g placing) board() *fdt.Tree {
	var reserved []*fdt.Node
	for i := range g.Intn(4) {
		base := g.near()
		n := node(fmt.Sprintf("r%d@%x", i, base), "reg", reg(base, g.size()))
		if g.Intn(4) == 0 {
			n.Set("reg", append(reg(base, g.size()), reg(g.near(), g.size())...))
		}
		reserved = append(reserved, n)
	}
	ranges := func(lead []byte) (out []byte) {
		for range 1 + g.Intn(4) {
			base, size := g.near(), g.size()*uint64(1+g.Intn(20))
			out = append(append(out, lead...), reg(base, size)...)
		}
		return out
	}
	tree := testTree(reserved...)
	tree.Root.Child("memory@40000000").Set("reg", ranges(nil))
	limitedBus(tree)
	bus := tree.Root.Child("soc")
	bus.Set("#address-cells", fdt.U32s(2))
	bus.Set("#size-cells", fdt.U32s(2))
	bus.Set("dma-ranges", ranges(fdt.Cells(0, 2)))
	return tree
}

func (g placing) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ntarget: {arch: %s, kernel: %q}\nkeep-clear:\n", []Arch{Arm, Arm64, Riscv}[g.Intn(3)], []string{"5.10", "6.12", "7.3"}[g.Intn(3)])
	for _, what := range []What{Kernel, Initrd} {
		fmt.Fprintf(&b, "- {what: %s, base: %v, size: %d}\n", what, Addr(g.near()+uint64(g.Intn(2))), g.size())
	}
	b.WriteString("heaps:\n")
	for i := range 1 + g.Intn(5) {
		fmt.Fprintf(&b, "- {name: h%d, kind: %s, size: %d", i, []Kind{CMA, Carveout}[g.Intn(2)], g.size())
		if g.Intn(4) == 0 {
			b.WriteString(", devices: [/soc/camera@7e800000]")
		}
		var place []string
		if g.Intn(4) == 0 {
			place = append(place, fmt.Sprintf("below: %v", Addr(g.near()+4*MiB)))
		}
		if g.Intn(4) == 0 {
			place = append(place, fmt.Sprintf("within: [{base: %v, size: %d}, {base: %v, size: %d}]", Addr(g.near()), 8*g.size(), Addr(g.near()), 8*g.size()))
		}
		if g.Intn(4) == 0 {
			place = append(place, fmt.Sprintf("align: %d", 4*MiB<<g.Intn(4)))
		}
		if i > 0 && g.Intn(4) == 0 {
			place = append(place, fmt.Sprintf("after: h%d", g.Intn(i)))
		}
		if len(place) > 0 {
			fmt.Fprintf(&b, ", place: {%s}", strings.Join(place, ", "))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// TestPlacementLeavesRoom has regions in the tree that the kernel places at boot:
// heaps must not take the room that there was for them.
func TestPlacementLeavesRoom(t *testing.T) {
	had := 0
	for seed := range int64(400) {
		g := placing{rand.New(rand.NewSource(seed))}
		yaml, tree := g.config(), g.board()
		rm := tree.Root.Child("reserved-memory")
		if rm == nil {
			continue
		}
		for i := range 1 + g.Intn(3) {
			n := rm.AddChild(node(fmt.Sprintf("d%d", i), "size", fdt.Cells(g.size(), 2)))
			if g.Intn(2) == 0 {
				n.Set("alloc-ranges", append(reg(g.near(), 8*g.size()), reg(g.near(), 8*g.size())...))
			}
			if g.Intn(2) == 0 {
				n.Set("compatible", fdt.StringList(CompatPool))
				n.Set("reusable", nil)
			}
		}
		cfg, _ := Parse("heaps.yaml", []byte(yaml))
		base, _ := FromTree("board.dtb", tree, cfg.Target)
		plan, findings := cfg.Plan(base, tree)
		for _, f := range Lint(plan) {
			if f.Level == Error && (f.Place.Line > 0 || f.ID == "region-no-room") {
				t.Fatalf("seed %d: %v: %s [%s]\nRAM %v\n%s%v", seed, f.Place, f.Message, f.ID, base.Banks, yaml, findings)
			}
		}
		if _, failed := base.placeDynamic(Subtract(base.Banks, nil)); len(failed) == 0 {
			had++
		}
	}
	if had < 100 {
		t.Errorf("%d boards had room for such regions", had)
	}
}
