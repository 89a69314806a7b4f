// SPDX-License-Identifier: MIT

package heapcfg

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// AssumedKernel is how much memory from the start of the first bank is taken
// for the kernel where neither heaps.yaml nor the tree says where it lies:
// arm64 and riscv boot loaders load it near the start of RAM
// (Documentation/arch/arm64/booting.rst), and images stay below 64 MiB.
const AssumedKernel = 64 * MiB

// FromTree makes the Layout of a device tree as it is. The name is used in
// findings only. Flaws of single nodes become Defects of the Layout, for the
// rules to report; the findings returned are those that leave no Layout.
func FromTree(name string, t *fdt.Tree, target Target) (*Layout, []Finding) {
	l := &Layout{Target: target, Source: Source{Place: Place{File: name, Path: "/"}}}
	fail := func(path, id, fix, format string, args ...any) (*Layout, []Finding) {
		return nil, []Finding{{ID: id, Level: Error, Place: Place{File: name, Path: path}, Message: fmt.Sprintf(format, args...), Fix: fix}}
	}
	root := t.Root
	l.Board.Compatible = root.Strings("compatible")
	if m := root.Strings("model"); len(m) > 0 {
		l.Board.Model = m[0]
	}
	l.Cells = cellsOf(root)
	if bad := l.Cells.problem(); bad != "" {
		return fail("/", "tree-cells", "use the board's own device tree, not an overlay or a fragment", "the root node has %s", bad)
	}
	for _, n := range root.Children {
		if isMemory(n) {
			regs, err := fdt.DecodeReg(first(n.Prop("reg")), l.Cells.Address, l.Cells.Size)
			if err != nil {
				return fail("/"+n.Name, "tree-memory", "correct the reg property", "the memory node cannot be read: %v", err)
			}
			for _, r := range regs {
				if r.Size > 0 {
					l.Banks = append(l.Banks, Range{Addr(r.Base), r.Size})
				}
			}
		}
	}
	if len(l.Banks) == 0 {
		return fail("/", "tree-memory", "take the tree that the kernel sees (on the board: /sys/firmware/fdt), since some boot loaders fill in the memory node", "no memory node with a size: the RAM of this board is not known")
	}
	for i, m := range t.Reserve {
		if m.Size > 0 && !(Range{Addr(m.Base), m.Size}).Wraps() {
			l.Occupied = append(l.Occupied, Occupant{What: MemReserve, Range: Range{Addr(m.Base), m.Size},
				Source: Source{Place: Place{File: name, Path: fmt.Sprintf("/memreserve/[%d]", i)}}})
		}
	}
	if chosen := root.Child("chosen"); chosen != nil {
		start, ok1 := numProp(chosen, "linux,initrd-start")
		end, ok2 := numProp(chosen, "linux,initrd-end")
		if ok1 && ok2 && end > start {
			l.Occupied = append(l.Occupied, Occupant{What: Initrd, Range: Range{Addr(start), end - start},
				Source: Source{Place: Place{File: name, Path: "/chosen"}}})
		}
	}
	l.readReserved(name, root)
	return l, nil
}

func first[T, U any](v T, _ U) T { return v }

// cellsOf returns the cell counts a node states, or the defaults of the
// Devicetree Specification, 2 and 1.
func cellsOf(n *fdt.Node) Cells {
	c := Cells{2, 1}
	if v, ok := n.U32("#address-cells"); ok {
		c.Address = int(v)
	}
	if v, ok := n.U32("#size-cells"); ok {
		c.Size = int(v)
	}
	return c
}

func (c Cells) problem() string {
	if c.Address < 1 || c.Address > 2 || c.Size < 1 || c.Size > 2 {
		return fmt.Sprintf("#address-cells %d and #size-cells %d; the kernel needs 1 or 2 of each for memory", c.Address, c.Size)
	}
	return ""
}

func isMemory(n *fdt.Node) bool {
	dt := n.Strings("device_type")
	return len(dt) > 0 && dt[0] == "memory" && enabled(n)
}

func enabled(n *fdt.Node) bool {
	s := n.Strings("status")
	return len(s) == 0 || s[0] == "okay" || s[0] == "ok"
}

// numProp reads a property of one or two cells, as chosen has them.
func numProp(n *fdt.Node, name string) (uint64, bool) {
	v, ok := n.Prop(name)
	switch {
	case ok && len(v) == 4:
		return uint64(binary.BigEndian.Uint32(v)), true
	case ok && len(v) == 8:
		return binary.BigEndian.Uint64(v), true
	}
	return 0, false
}

// readReserved reads /reserved-memory into the Layout.
func (l *Layout) readReserved(name string, root *fdt.Node) {
	rm := root.Child("reserved-memory")
	if rm == nil {
		for _, n := range root.Children {
			if near := strings.ReplaceAll(n.Name, "_", "-"); near != n.Name && near == "reserved-memory" {
				l.Defects = append(l.Defects, Defect{"reserved-name", fmt.Sprintf("the node is called %q", n.Name)})
			}
		}
		return
	}
	l.HasReserved = true
	if cells := cellsOf(rm); cells != l.Cells || !rm.Has("#address-cells") || !rm.Has("#size-cells") {
		l.Defects = append(l.Defects, Defect{"reserved-format", fmt.Sprintf("#address-cells/#size-cells are %s/%s, the root node has %d/%d",
			statedCells(rm, "#address-cells"), statedCells(rm, "#size-cells"), l.Cells.Address, l.Cells.Size)})
	}
	if !rm.Has("ranges") {
		l.Defects = append(l.Defects, Defect{"reserved-format", "the property \"ranges;\" is missing"})
	}
	for _, n := range rm.Children {
		l.Regions = append(l.Regions, l.region(name, n))
	}
}

func statedCells(n *fdt.Node, prop string) string {
	if v, ok := n.U32(prop); ok {
		return fmt.Sprint(v)
	}
	return "missing"
}

// region reads one child of /reserved-memory as the kernel does.
func (l *Layout) region(name string, n *fdt.Node) Region {
	r := Region{
		Node: n.Name, Kind: Reserved,
		NoMap: n.Has("no-map"), Reusable: n.Has("reusable"), Default: n.Has("linux,cma-default"),
		Disabled: !enabled(n), Compatible: n.Strings("compatible"),
		Source: Source{Place: Place{File: name, Path: "/reserved-memory/" + n.Name}},
	}
	defect := func(rule, format string, args ...any) {
		r.Defects = append(r.Defects, Defect{rule, fmt.Sprintf(format, args...)})
	}
	has := func(compat string) bool { return slices.Contains(r.Compatible, compat) }
	switch {
	case has(CompatCarveout), has(CompatCarveoutTI):
		r.Kind = Carveout
	case has(CompatChunk):
		r.Kind = Chunk
	case has(CompatPool) && r.Reusable && !r.NoMap:
		r.Kind = CMA
	case has(CompatPool):
		r.Kind = Coherent
	case has(CompatSwiotlb):
		r.Kind = Swiotlb
	}
	if reg, ok := n.Prop("reg"); ok {
		ranges, err := fdt.DecodeReg(reg, l.Cells.Address, l.Cells.Size)
		switch {
		case err != nil:
			defect("region-reg", "reg has %d bytes, which is no number of <address size> entries of %d bytes", len(reg), 4*(l.Cells.Address+l.Cells.Size))
		case len(ranges) == 0:
			defect("region-reg", "reg is empty")
		default:
			for i, e := range ranges {
				rng := Range{Addr(e.Base), e.Size}
				if i == 0 {
					r.Range = rng
				} else {
					r.Extra = append(r.Extra, rng)
				}
			}
			if r.Range.Size == 0 {
				defect("region-empty", "its size is zero")
			}
		}
		if n.Has("size") {
			defect("region-reg-and-size", "the kernel takes reg")
		}
	} else if v, ok := n.Prop("size"); ok {
		r.Dynamic = true
		l.dynamic(n, v, &r, defect)
	} else if !n.Has("iommu-addresses") {
		defect("region-no-reg", "it has neither reg nor size")
	}
	if r.Kind == CMA || r.Kind == Carveout || r.Kind == Chunk {
		r.Heap = &Heap{Access: Cached, Default: r.Default && r.Kind == CMA}
		if r.NoMap {
			r.Heap.Access = DeviceOnly
			if n.Has(PropWriteCombine) {
				r.Heap.Access = WriteCombine
			}
		}
		if r.Kind == Chunk {
			if size, ok := numProp(n, "chunk-size"); ok {
				r.Heap.ChunkSize = size
			} else {
				defect("chunk-size", "chunk-size is missing or has neither one cell nor two")
			}
		}
	}
	return r
}

// PropWriteCombine lets the CPU map a no-map carveout write-combined.
const PropWriteCombine = "write-combining"

// dynamic reads a region that the kernel places itself. The lengths follow
// drivers/of/of_reserved_mem.c, __reserved_mem_alloc_size: size has the root's
// size cells, alignment the root's address cells.
func (l *Layout) dynamic(n *fdt.Node, size []byte, r *Region, defect func(rule, format string, args ...any)) {
	if len(size) != 4*l.Cells.Size {
		defect("region-size-cells", "size has %d bytes, the kernel wants %d (#size-cells %d)", len(size), 4*l.Cells.Size, l.Cells.Size)
		return
	}
	r.Range.Size, _ = numProp(n, "size")
	if r.Range.Size == 0 {
		defect("region-empty", "its size is zero")
	}
	if v, ok := n.Prop("alignment"); ok {
		if len(v) != 4*l.Cells.Address {
			defect("region-size-cells", "alignment has %d bytes, the kernel wants %d (#address-cells %d)", len(v), 4*l.Cells.Address, l.Cells.Address)
		} else {
			r.Align, _ = numProp(n, "alignment")
		}
	}
	if v, ok := n.Prop("alloc-ranges"); ok {
		ranges, err := fdt.DecodeReg(v, l.Cells.Address, l.Cells.Size)
		if err != nil || len(ranges) == 0 {
			defect("region-alloc-ranges", "alloc-ranges has %d bytes, which is no number of <address size> entries of %d bytes", len(v), 4*(l.Cells.Address+l.Cells.Size))
		}
		for _, e := range ranges {
			r.Within = append(r.Within, Range{Addr(e.Base), e.Size})
		}
	}
}
