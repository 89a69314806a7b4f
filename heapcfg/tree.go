// SPDX-License-Identifier: MIT

package heapcfg

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// AssumedKernel is how much memory from the start of the first bank is taken
// for the kernel where neither heaps.yaml nor the tree says where it lies:
// arm64 and riscv boot loaders load it near the start of RAM
// (Documentation/arch/arm64/booting.rst), and images stay below 64 MiB.
const AssumedKernel = 64 * MiB

// Limits on what is read of a tree. No board comes near them; they keep what a
// hostile one costs in proportion to its size.
const (
	maxBanks   = 1024 // ranges of RAM
	maxRegions = 2048 // children of /reserved-memory
	maxEntries = 64   // of one property: reg, alloc-ranges, dma-ranges, memory-region
	maxDefects = 100  // of one rule outside of regions
)

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
	if l.Target.Arch == "" {
		l.Target.Arch = archOf(root)
	}
	l.DMALimit = dmaLimit(root)
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
			if len(l.Banks)+len(regs) > maxBanks {
				return fail("/"+n.Name, "tree-memory", "correct the reg property", "the memory nodes have more than %d ranges", maxBanks)
			}
			for _, r := range regs {
				if r.Size > 0 {
					l.addBank("/"+n.Name, Range{Addr(r.Base), r.Size})
				}
			}
		}
	}
	if slices.Contains(l.Board.Compatible, "ti,keystone") {
		l.Banks = keystoneBanks(l.Banks)
	}
	for i, m := range t.Reserve {
		if m.Size > 0 && !(Range{Addr(m.Base), m.Size}).Wraps() {
			l.Occupied = append(l.Occupied, Occupant{What: MemReserve, Range: Range{Addr(m.Base), m.Size},
				Source: Source{Place: Place{File: name, Path: fmt.Sprintf("/memreserve/[%d]", i)}}})
		}
	}
	if chosen := root.Child("chosen"); chosen != nil {
		if args := chosen.Strings("bootargs"); len(args) > 0 {
			l.Bootargs = args[0]
		}
		start, ok1 := numProp(chosen, "linux,initrd-start")
		end, ok2 := numProp(chosen, "linux,initrd-end")
		if ok1 && ok2 && end > start {
			l.Occupied = append(l.Occupied, Occupant{What: Initrd, Range: Range{Addr(start), end - start},
				Source: Source{Place: Place{File: name, Path: "/chosen"}}})
		}
	}
	regions := l.readReserved(name, root)
	if len(l.Regions) > maxRegions {
		return fail("/reserved-memory", "region-count", "remove the regions that are none", "more than %d regions; no more are read", maxRegions)
	}
	l.readUsers(t, regions)
	return l, nil
}

// keystoneBanks moves the RAM of TI Keystone II boards to where the kernel
// uses it. Their trees give the 32-bit alias below 4 GiB; with LPAE the kernel
// goes over to the real address early (arch/arm/mach-keystone/keystone.c).
func keystoneBanks(banks []Range) []Range {
	const low, high = 0x8000_0000, 0x8_0000_0000
	out := slices.Clone(banks)
	for i, b := range out {
		if b.Base >= low && uint64(b.Last()) < 4*GiB {
			out[i].Base += high - low
		}
	}
	return out
}

// addBank adds RAM and notes where two nodes describe the same.
func (l *Layout) addBank(path string, r Range) {
	for _, b := range l.Banks {
		if hit, ok := intersect(b, r); ok {
			l.Defects = append(l.Defects, Defect{Rule: "ram-overlap", Path: path, Fact: fmt.Sprintf("%v is described twice", hit)})
		}
	}
	l.Banks = append(l.Banks, r)
}

// readUsers finds the devices that name regions in memory-region, and the
// references that lead nowhere. Regions are given by their phandles.
func (l *Layout) readUsers(t *fdt.Tree, regions map[uint32]int) {
	u := userReader{Layout: l, regions: regions, tree: t}
	u.walk(t.Root, nil, []window{everywhere}, false, nil)
	for _, rule := range []string{"user-names", "user-dangling"} {
		if more := u.count[rule] - maxDefects; more > 0 {
			l.Defects = append(l.Defects, Defect{Rule: rule, Path: "/", Fact: fmt.Sprintf("%d more like this", more)})
		}
	}
}

// userReader walks a tree for the users of regions.
type userReader struct {
	*Layout
	tree     *fdt.Tree
	regions  map[uint32]int  // indexes by phandle
	phandles map[uint32]bool // of all nodes, once they are needed
	count    map[string]int  // of defects, by rule
}

// walk visits a node with what its bus reaches. Names are those of the nodes
// from the root to its parent: most nodes need no path.
func (u *userReader) walk(n, parent *fdt.Node, win []window, off bool, names []string) {
	if parent != nil {
		if strings.HasPrefix(n.Name, "__") && len(names) == 0 {
			return
		}
		off = off || !enabled(n)
		names = append(names, n.Name)
		if n.Has("memory-region") {
			u.device(n, win, off, "/"+strings.Join(names, "/"))
		}
		win = through(win, n, parent)
	}
	for _, c := range n.Children {
		u.walk(c, n, win, off, names)
	}
}

func (u *userReader) defect(rule, path, format string, args ...any) {
	if u.count == nil {
		u.count = map[string]int{}
	}
	if u.count[rule]++; u.count[rule] <= maxDefects {
		u.Defects = append(u.Defects, Defect{Rule: rule, Path: path, Fact: fmt.Sprintf(format, args...)})
	}
}

func (u *userReader) device(n *fdt.Node, win []window, off bool, path string) {
	v, _ := n.Prop("memory-region")
	if len(v) == 0 || len(v)%4 != 0 {
		return
	}
	names := n.Strings("memory-region-names")
	if len(names) > 0 && len(names) != len(v)/4 && !off {
		u.defect("user-names", path, "%d memory-region-names for %d regions", len(names), len(v)/4)
	}
	user := User{Node: path, Disabled: off}
	for i := 0; i < min(len(v), 4*maxEntries); i += 4 {
		ph := binary.BigEndian.Uint32(v[i:])
		region, ok := u.regions[ph]
		switch {
		case ok:
			if user.Reach == nil {
				user.Reach = reachOf(n, win)
			}
			user.Name = ""
			if len(names) == len(v)/4 {
				user.Name = names[i/4]
			}
			r := &u.Regions[region]
			r.Users = append(r.Users, user)
		case !off && !u.known(ph):
			u.defect("user-dangling", path, "memory-region names the phandle %#x, which no node has", ph)
		}
	}
}

// known reports whether any node has the phandle.
func (u *userReader) known(ph uint32) bool {
	if u.phandles == nil {
		u.phandles = map[uint32]bool{}
		var visit func(*fdt.Node)
		visit = func(n *fdt.Node) {
			if ph := n.Phandle(); ph != 0 {
				u.phandles[ph] = true
			}
			for _, c := range n.Children {
				visit(c)
			}
		}
		visit(u.tree.Root)
	}
	return u.phandles[ph]
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

// enabled tells whether the kernel takes a node for one that is in use. Whatever
// its status is but these two words, empty or noise, switches it off
// (drivers/of/fdt.c, of_fdt_device_is_available).
func enabled(n *fdt.Node) bool {
	s, given := status(n)
	return !given || s == "okay" || s == "ok"
}

// status returns a node's status, up to the zero byte that ends it.
func status(n *fdt.Node) (s string, given bool) {
	v, given := n.Prop("status")
	s, _, _ = strings.Cut(string(v), "\x00")
	return s, given
}

// knownStatus tells whether a node that is off is so by a word that says it
// (Devicetree Specification 2.3.4).
func knownStatus(s string) bool {
	return s == "okay" || s == "ok" || s == "disabled" || s == "reserved" || strings.HasPrefix(s, "fail")
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

// readReserved reads /reserved-memory into the Layout and returns the indexes of
// the regions by phandle. It stops when there are too many.
func (l *Layout) readReserved(name string, root *fdt.Node) map[uint32]int {
	rm := root.Child("reserved-memory")
	if rm == nil {
		for _, n := range root.Children {
			if near := strings.ReplaceAll(n.Name, "_", "-"); near != n.Name && near == "reserved-memory" {
				l.Defects = append(l.Defects, Defect{Rule: "reserved-name", Path: "/" + n.Name, Fact: fmt.Sprintf("the node is called %q", n.Name)})
			}
		}
		return nil
	}
	l.HasReserved = true
	if cells := cellsOf(rm); cells != l.Cells || !rm.Has("#address-cells") || !rm.Has("#size-cells") {
		l.Defects = append(l.Defects, Defect{Rule: "reserved-format", Fact: fmt.Sprintf("#address-cells/#size-cells are %s/%s, the root node has %d/%d",
			statedCells(rm, "#address-cells"), statedCells(rm, "#size-cells"), l.Cells.Address, l.Cells.Size)})
	}
	if !rm.Has("ranges") {
		l.Defects = append(l.Defects, Defect{Rule: "reserved-format", Fact: "the property \"ranges;\" is missing"})
	}
	regions := map[uint32]int{}
	var read func(path string, nodes []*fdt.Node)
	read = func(path string, nodes []*fdt.Node) {
		for _, n := range nodes {
			if len(l.Regions) > maxRegions {
				return
			}
			at := path + "/" + n.Name
			if top := path == "/reserved-memory"; top || n.Has("reg") || n.Has("size") {
				if ph := n.Phandle(); ph != 0 {
					regions[ph] = len(l.Regions)
				}
				l.Regions = append(l.Regions, l.region(Place{File: name, Path: at}, n))
			}
			// Before 5.17 every node below is a region to the kernel, however
			// deep it lies (drivers/of/fdt.c, __fdt_scan_reserved_mem).
			if l.Target.Kernel.Before(v5_17) {
				read(at, n.Children)
			}
		}
	}
	read("/reserved-memory", rm.Children)
	return regions
}

func statedCells(n *fdt.Node, prop string) string {
	if v, ok := n.U32(prop); ok {
		return fmt.Sprint(v)
	}
	return "missing"
}

// region reads one node of /reserved-memory as the kernel does.
func (l *Layout) region(at Place, n *fdt.Node) Region {
	r := Region{
		Node: n.Name, Kind: Reserved,
		NoMap: n.Has("no-map"), Reusable: n.Has("reusable"), Default: n.Has("linux,cma-default"),
		Disabled: !enabled(n), Compatible: n.Strings("compatible"),
		Source: Source{Place: at},
	}
	defect := func(rule, format string, args ...any) {
		r.Defects = append(r.Defects, Defect{Rule: rule, Fact: fmt.Sprintf(format, args...)})
	}
	if s, given := status(n); given && !knownStatus(s) {
		defect("region-status", "its status is %q", s)
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
		case err != nil && len(reg)%(4*(l.Cells.Address+l.Cells.Size)) == 0:
			defect("outside-ram", "%v", err)
		case err != nil:
			defect("region-reg", "reg has %d bytes, which is no number of <address size> entries of %d bytes", len(reg), 4*(l.Cells.Address+l.Cells.Size))
		case len(ranges) == 0:
			defect("region-reg", "reg is empty")
		default:
			for i, e := range ranges[:min(len(ranges), maxEntries)] {
				rng := Range{Addr(e.Base), e.Size}
				switch {
				case i == 0:
					r.Range = rng
				case rng.Size > 0:
					r.Extra = append(r.Extra, rng)
				}
			}
			if ranges[0].Size == 0 {
				defect("region-empty", "its size is zero")
			}
			if at, ok := unitAddress(n.Name); ok && len(r.Defects) == 0 && at != uint64(r.Range.Base) {
				defect("unit-address", "its name says %#x and its reg %v", at, r.Range.Base)
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
	l.flags(n, &r, defect)
	if r.Kind == CMA || r.Kind == Carveout || r.Kind == Chunk {
		r.Heap = &Heap{Access: Cached, Default: r.Default && r.Kind == CMA}
		if r.Kind != CMA && has(CompatPool) && !r.Reusable {
			defect("carveout-pool", "its compatible has %q as well", CompatPool)
		}
		combine := r.Kind != CMA && n.Has(PropWriteCombine)
		switch {
		case combine && !r.NoMap:
			defect("write-combine-mapped", "it is write-combining, and not no-map")
		case combine:
			r.Heap.Access = WriteCombine
		case r.NoMap:
			r.Heap.Access = DeviceOnly
		}
		if r.Kind == Chunk {
			if size, ok := n.U32("chunk-size"); ok {
				r.Heap.ChunkSize = uint64(size)
			} else {
				defect("chunk-size", "chunk-size is missing or is not one cell")
			}
		}
	}
	return r
}

// unitAddress reads the address in a node name.
func unitAddress(name string) (uint64, bool) {
	_, unit, ok := strings.Cut(name, "@")
	if hi, lo, split := strings.Cut(unit, ","); split && len(lo) <= 8 {
		unit = hi + strings.Repeat("0", 8-len(lo)) + lo // "1,0" of older trees
	}
	n, err := strconv.ParseUint(unit, 16, 64)
	return n, ok && err == nil
}

// flags notes properties that do not go together, or do nothing.
func (l *Layout) flags(n *fdt.Node, r *Region, defect func(rule, format string, args ...any)) {
	pool := slices.Contains(r.Compatible, CompatPool)
	switch {
	case r.Kind == Swiotlb && (r.Reusable || r.NoMap || r.Default || n.Has("linux,dma-default")):
		defect("swiotlb-flags", "a restricted-dma-pool has no-map, reusable or a default")
	case r.Default && r.Kind != CMA:
		defect("cma-default-ignored", "linux,cma-default on a region that is no CMA area")
	}
	if n.Has("linux,dma-default") && pool {
		for i := range l.Regions {
			if o := &l.Regions[i]; o.dmaDefault && o.Active() {
				defect("dma-default-twice", "it is a second linux,dma-default; the first is %s", o.Node)
			}
		}
		r.dmaDefault = true
	}
	for _, c := range r.Compatible[:min(len(r.Compatible), maxEntries)] {
		known := []string{CompatPool, CompatSwiotlb, CompatCarveout, CompatCarveoutTI, CompatChunk}
		if near := fdt.Nearest(strings.ToLower(strings.ReplaceAll(c, "_", "-")), known); near != "" && !slices.Contains(known, c) {
			defect("compatible-typo", "compatible %q is one letter or two from %q, which the kernel knows", c, near)
		}
	}
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
			if r.Align != 0 && !isPow2(r.Align) {
				defect("region-alignment", "its alignment %#x is no power of two", r.Align)
			}
		}
	}
	if v, ok := n.Prop("alloc-ranges"); ok {
		ranges, err := fdt.DecodeReg(v, l.Cells.Address, l.Cells.Size)
		if err != nil || len(ranges) == 0 {
			defect("region-alloc-ranges", "alloc-ranges has %d bytes, which is no number of <address size> entries of %d bytes", len(v), 4*(l.Cells.Address+l.Cells.Size))
		}
		for _, e := range ranges[:min(len(ranges), maxEntries)] {
			r.Within = append(r.Within, Range{Addr(e.Base), e.Size})
		}
	}
}
