// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// Plan lays the heaps of the config onto a board: it resolves shares of RAM
// and devices, and gives every heap without a base an address. The base Layout
// is not changed. The same input gives the same addresses every time: fixed
// heaps are obstacles, then the others follow in file order, each as high as
// it fits below 4 GiB, since boot loaders and kernels live low and most DMA
// masks end there.
//
// A heap that cannot be placed is left out of the Layout and reported.
func (c *Config) Plan(base *Layout, tree *fdt.Tree) (*Layout, []Finding) {
	p := planner{cfg: c, tree: tree, out: *base, resolved: map[Place]User{}}
	l := &p.out
	l.Target = c.Target
	if l.Target.Arch == "" {
		l.Target.Arch = base.Target.Arch
	}
	l.Source, l.BaseFile = c.Source, base.Source.File
	l.Source.File, l.Variant = c.File, c.Variant
	l.Regions = slices.Clone(base.Regions)
	l.Occupied = append(slices.Clone(base.Occupied), c.KeepClear...)
	p.board(base)
	p.ram()
	p.keepClear()
	p.disable()
	p.assumeKernel()

	first := len(l.Regions)
	for i := range c.Heaps {
		h := &c.Heaps[i]
		if h.Kind == System {
			if l.System != nil {
				p.report("name-clash", h.Source.At("name"), "keep one of them", "heap system stands here a second time")
				continue
			}
			l.System = &Heap{Short: "system", Access: Cached, Mode: h.Mode, Owner: h.Owner, Group: h.Group}
			continue
		}
		l.Regions = append(l.Regions, p.region(h))
		p.heaps = append(p.heaps, h)
	}
	p.place(first)
	p.deviceNames()
	l.Regions = slices.DeleteFunc(l.Regions, func(r Region) bool { return r.FromConfig && r.Node == "" })
	SortFindings(p.findings)
	return l, p.findings
}

type planner struct {
	cfg      *Config
	tree     *fdt.Tree
	out      Layout
	heaps    []*HeapConfig  // one for each region from the config, in order
	resolved map[Place]User // devices found, by the place that names them
	findings []Finding
}

func (p *planner) report(id string, at Place, fix, format string, args ...any) {
	p.reportAs(ruleLevel(id), id, at, fix, format, args...)
}

func (p *planner) reportAs(level Level, id string, at Place, fix, format string, args ...any) {
	if fix == "" {
		r, _ := RuleByID(id)
		fix = r.wayOut()
	}
	p.findings = append(p.findings, Finding{ID: id, Level: level, Place: at, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// board compares the compatible strings that the config names with the tree's:
// an overlay compiled for the wrong board is the costliest typing mistake.
func (p *planner) board(base *Layout) {
	if len(p.cfg.Board) == 0 {
		return
	}
	for _, want := range p.cfg.Board {
		if slices.Contains(base.Board.Compatible, want) {
			return
		}
	}
	p.report("board-mismatch", p.cfg.Source.At("board"), "give the device tree of the right board, or correct board.compatible",
		"the config is for %s, the device tree is of %s", strings.Join(p.cfg.Board, " or "), quoteList(base.Board.Compatible))
}

// ram takes the RAM that the config states in the place of the tree's.
func (p *planner) ram() {
	l := &p.out
	at := p.cfg.Source.At("board")
	if len(p.cfg.RAM) > 0 {
		stated := MergeRanges(p.cfg.RAM)
		// Less than the tree has is what one file for many boards states: the
		// least that any of them has.
		tree := MergeRanges(l.Banks)
		beyond := func(r Range) bool {
			return !slices.ContainsFunc(tree, func(bank Range) bool { return bank.Contains(r) })
		}
		if len(tree) > 0 && slices.ContainsFunc(stated, beyond) {
			p.report("ram-differs", at, "remove board.ram, or correct it", "the config states RAM%s, the device tree has%s", strings.TrimPrefix(withinWords(stated), " in"), strings.TrimPrefix(withinWords(tree), " in"))
		}
		l.Banks, l.RAMStated = stated, true
	}
	if len(l.Banks) == 0 {
		p.report("ram-unknown", at, "", "the device tree says nothing about RAM; the boot loader fills it in")
	}
}

// keepClear looks for what was kept clear in the wrong place: it is the only word
// that the compiler has of where the kernel will be.
func (p *planner) keepClear() {
	l := &p.out
	for _, c := range p.cfg.KeepClear {
		if _, inside := l.Bank(c.Range); inside || len(l.Banks) == 0 || c.What == Firmware {
			continue
		}
		level, word := Error, "lies outside RAM"
		if slices.ContainsFunc(l.Banks, c.Range.Overlaps) {
			level, word = Warning, "goes past the end of RAM"
		}
		p.reportAs(level, "keep-clear-outside", c.Source.At("base"),
			fmt.Sprintf("RAM is%s; correct the address, or board.ram", strings.TrimPrefix(withinWords(MergeRanges(l.Banks)), " in")),
			"the %s (%v) %s", c.Title(), c.Range, word)
	}
}

// deviceNames holds the names in memory-region-names together: the property
// is only written where every heap of the device has one.
func (p *planner) deviceNames() {
	named, unnamed := map[string]bool{}, map[string]bool{}
	for _, h := range p.heaps {
		for _, d := range h.Devices {
			u, ok := p.resolved[d.Source.Place]
			if !ok {
				continue
			}
			set, other := named, unnamed
			if u.Name == "" {
				set, other = unnamed, named
			}
			set[u.Node] = true
			if other[u.Node] {
				p.report("device-names", d.Source.Place, "", "device %s has a name for some of its heaps and not for others", u.Node)
			}
		}
	}
}

func quoteList(s []string) string {
	if len(s) == 0 {
		return "a board without compatible"
	}
	return strings.Join(s, ", ")
}

// disable switches off the nodes of the base that the config names. An overlay
// cannot delete a node, but the kernel skips one whose status is "disabled".
func (p *planner) disable() {
	for _, d := range p.cfg.Disable {
		i := slices.IndexFunc(p.out.Regions, func(r Region) bool { return r.Node == d.Node })
		if i < 0 {
			var have []string
			for _, r := range p.out.Regions {
				have = append(have, r.Node)
			}
			fix := "the base tree has no regions: remove the line"
			if len(have) > 0 {
				fix = "the base tree has " + strings.Join(have, ", ")
			}
			p.report("disable-unknown", d.Source.Place, fix, "the base tree has no region %q", d.Node)
			continue
		}
		if r := &p.out.Regions[i]; !r.Disabled {
			r.Disabled = true
			r.Source.Fields = map[string]Place{"disable": d.Source.Place}
		}
	}
}

// assumeKernel puts a kernel where boot loaders customarily do, if nobody said
// where it lies: placing a heap over it is fatal and silent.
func (p *planner) assumeKernel() {
	l := &p.out
	for _, o := range l.Occupied {
		if o.What == Kernel {
			return
		}
	}
	at, ok := kernelGap(p.gaps())
	if !ok {
		return
	}
	l.Occupied = append(l.Occupied, Occupant{What: Kernel, Assumed: true, Range: at, Source: l.Source})
	p.report("kernel-assumed", Place{File: p.cfg.File, Line: 1, Col: 1, Path: "$.keep-clear"},
		"add under keep-clear: \"- {what: kernel, base: ..., size: ...}\" with the load address of your boot loader; U-Boot also moves initrd and device tree to the end of RAM: keep that clear as boot-loader",
		"nothing says where the kernel is loaded; %s is kept clear for it", at)
}

// kernelGap returns the lowest free memory in which a kernel fits: boot
// loaders put it near the start of RAM, behind firmware that lives there.
func kernelGap(gaps []Range) (Range, bool) {
	var best Range
	for _, g := range gaps {
		if g.Size >= AssumedKernel {
			return Range{g.Base, AssumedKernel}, true
		}
		if g.Size > best.Size {
			best = g
		}
	}
	return Range{best.Base, best.Size / 2}, best.Size > 1
}

// region makes the region of a heap, without an address yet where the config
// gives none.
func (p *planner) region(h *HeapConfig) Region {
	r := Region{
		Kind: h.Kind, FromConfig: true, Source: h.Source, Reusable: h.Kind == CMA,
		Default: h.Default, NoMap: h.Access != Cached,
		Heap: &Heap{Short: h.Name, Access: h.Access, Default: h.Default, ChunkSize: h.ChunkSize,
			Mode: h.Mode, Owner: h.Owner, Group: h.Group},
	}
	switch h.Kind {
	case CMA:
		r.Compatible = []string{CompatPool}
	case Carveout:
		r.Compatible = []string{CompatCarveout}
	case Chunk:
		r.Compatible = []string{CompatChunk}
	}
	r.Range.Size = h.Size
	if h.Share > 0 {
		ram, share := p.out.RAM(), uint64(h.Share)
		r.Range.Size = alignDown(ram/100*share+ram%100*share/100, p.align(h))
		if r.Range.Size == 0 {
			r.Range.Size = p.align(h)
		}
	}
	for _, d := range h.Devices {
		if u, ok := p.device(d); ok {
			r.Heap.Devices = append(r.Heap.Devices, u)
			p.resolved[d.Source.Place] = u
		}
	}
	if h.HasBase {
		r.Range.Base = h.Base
		r.Why = "base stated in the config"
		if r.Range.Size > 0 && r.Range.Wraps() {
			p.report("outside-ram", h.Source.At("base"), "check base and size", "heap %s goes past the end of the address space", h.Name)
			r.Range.Size = 0
		}
		r.Node = unitName(h.Name, r.Range.Base)
	}
	return r
}

func unitName(name string, base Addr) string { return fmt.Sprintf("%s@%x", name, uint64(base)) }

// device finds the node that a config names by label, path or alias.
func (p *planner) device(d DeviceConfig) (User, bool) {
	u := User{Name: d.Name}
	var ok bool
	switch {
	case strings.HasPrefix(d.Node, "&"):
		u.Label = d.Node[1:]
		u.Node, ok = p.tree.Label(u.Label)
		if !ok {
			fix := "check the label; the base tree's labels are under /__symbols__"
			if p.tree.Lookup("/__symbols__") == nil {
				fix = "name the node by its path, or build the base tree with labels (dtc -@)"
			} else if near := fdt.Nearest(u.Label, p.tree.Root.Child("__symbols__").PropNames()); near != "" {
				fix = fmt.Sprintf("did you mean \"&%s\"?", near)
			}
			p.report("device-unknown", d.Source.Place, fix, "the base tree has no label %q", u.Label)
			return u, false
		}
	case strings.HasPrefix(d.Node, "/"):
		u.Node = d.Node
	default:
		u.Node, ok = p.tree.Alias(d.Node)
		if !ok {
			fix := "write \"&label\", a path that starts with \"/\", or an alias of the base tree"
			if _, label := p.tree.Label(d.Node); label {
				fix = fmt.Sprintf("write \"&%s\", which is a label", d.Node)
			} else if near := fdt.Nearest(d.Node, p.tree.Root.Child("aliases").PropNames()); near != "" {
				fix = fmt.Sprintf("did you mean %q?", near)
			}
			p.report("device-unknown", d.Source.Place, fix, "the base tree has no alias %q", d.Node)
			return u, false
		}
	}
	n := p.tree.Lookup(u.Node)
	if n == nil {
		p.report("device-unknown", d.Source.Place, "check the path; node names carry their unit address", "the base tree has no node %s", u.Node)
		return u, false
	}
	u.Node = p.tree.Path(n)
	u.Reach = reach(p.tree, u.Node)
	if !enabled(n) {
		u.Disabled = true
		p.report("device-disabled", d.Source.Place, "enable the device in the board's tree, or remove it here", "device %s is disabled in the base tree", u.Node)
	}
	if p.losesRegion(u.Node, n) {
		p.report("device-has-region", d.Source.Place, "list every heap the device needs here, since the overlay's list replaces the base's", "device %s already has a memory-region in the base tree, which the overlay replaces", u.Node)
	}
	return u, true
}

// losesRegion reports whether a device has a region of the base tree that the
// config does not switch off.
func (p *planner) losesRegion(path string, n *fdt.Node) bool {
	v, _ := n.Prop("memory-region")
	left := len(v) / 4
	for i := range p.out.Regions {
		r := &p.out.Regions[i]
		if r.SwitchedOff() && slices.ContainsFunc(r.Users, func(u User) bool { return u.Node == path }) {
			left--
		}
	}
	return left > 0
}

// align returns the alignment that base, and for CMA size, need.
func (p *planner) align(h *HeapConfig) uint64 {
	t := p.out.Target
	a := t.PageSize
	switch h.Kind {
	case CMA:
		a = t.CMAAlign()
	case Chunk:
		// Chunks aligned to their own size are what importers with
		// big-page MMUs hope for.
		if isPow2(h.ChunkSize) {
			a = max(a, min(h.ChunkSize, 2*MiB))
		}
	case Carveout:
		// Block mappings of the linear map and of user space are 2 MiB on
		// arm64; a small carveout does not need to start on one.
		if h.Size >= 2*MiB || h.Share > 0 {
			a = max(a, 2*MiB)
		}
	}
	return max(a, h.Align)
}

// place gives every region of the config from index first on an address.
// Heaps that must come after another wait until that one has its place.
func (p *planner) place(first int) {
	l := &p.out
	placed := make([]bool, len(p.heaps))
	for i, h := range p.heaps {
		placed[i] = h.HasBase || l.Regions[first+i].Range.Size == 0
	}
	ready := func(name string) bool {
		return slices.ContainsFunc(p.heaps, func(h *HeapConfig) bool { return h.Name == name }) &&
			!slices.ContainsFunc(p.heaps, func(h *HeapConfig) bool { return h.Name == name && !placed[slices.Index(p.heaps, h)] })
	}
	for progress := true; progress; {
		progress = false
		for i, h := range p.heaps {
			if !placed[i] && (h.After == "" || ready(h.After)) {
				placed[i], progress = true, true
				p.placeOne(h, &l.Regions[first+i], first)
			}
		}
	}
	for i, h := range p.heaps {
		if placed[i] {
			continue
		}
		fix := "name another heap of this file"
		if h.After != h.Name && slices.Contains(p.names(), h.After) {
			fix = "break the circle: give one of them a base"
		} else if near := fdt.Nearest(h.After, p.names()); near != "" && near != h.Name {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		p.report("place-after", h.Source.At("place.after"), fix, "heap %s waits for heap %q, which never gets a place", h.Name, h.After)
	}
}

func (p *planner) names() []string {
	var out []string
	for _, h := range p.heaps {
		out = append(out, h.Name)
	}
	return out
}

// placeOne finds the place of one heap.
func (p *planner) placeOne(h *HeapConfig, r *Region, first int) {
	l := &p.out
	align, size := p.align(h), r.Range.Size
	aligns := []uint64{align}
	if sure := min(size&-size, l.Target.surestCMAAlign()); h.Kind == CMA && sure > align {
		aligns = []uint64{sure, align} // a base that most kernels take, where there is one
	}
	floor, after := Addr(0), ""
	if h.After != "" {
		for i, o := range p.heaps {
			if o.Name == h.After && l.Regions[first+i].Range.Size > 0 {
				prev := l.Regions[first+i].Range
				floor, after = prev.Last()+1, o.Name
			}
		}
	}
	windows := p.windows(h)
	gaps := p.gaps()
	if h.Kind == CMA {
		gaps = splitAt(gaps, l.zoneLimits())
	}
	for _, u := range r.Heap.Devices {
		if len(u.Reach) > 0 {
			gaps = intersectAll(gaps, u.Reach)
		}
	}
	best, found := Range{}, false
	var largest uint64
search:
	for _, w := range windows {
		for _, align = range aligns {
			for _, g := range gaps {
				g, ok := intersect(g, w)
				if !ok {
					continue
				}
				if after != "" {
					if g, ok = intersect(g, Range{floor, -uint64(floor)}); floor == 0 || !ok {
						continue
					}
				}
				fit := topDown
				if after != "" {
					fit = bottomUp
				}
				largest = max(largest, usable(g, align))
				cand, ok := fit(g, size, align)
				if ok && (!found || after == "" && cand.Base > best.Base || after != "" && cand.Base < best.Base) {
					best, found = cand, true
				}
			}
			if found {
				break search
			}
		}
	}
	if !found {
		if len(l.Banks) == 0 {
			r.Range.Size = 0
			return // reported once, as ram-unknown
		}
		fix := "loosen place and keep-clear, or make room there"
		if largest > 0 {
			fix = fmt.Sprintf("make it %s or smaller, or loosen place and keep-clear", FormatSize(largest))
		}
		windows = intersectAll(windows, MergeRanges(l.Banks))
		for _, u := range r.Heap.Devices {
			if len(u.Reach) > 0 {
				windows = intersectAll(windows, u.Reach)
			}
		}
		p.report("no-room", h.Source.At("size"), fix, "no free %s aligned to %s for heap %s%s%s%s",
			FormatSize(size), FormatSize(align), h.Name, p.whereWords(h), reachWords(r), p.inTheWay(windows))
		r.Range.Size = 0
		return
	}
	r.Range = best
	r.Node = unitName(h.Name, best.Base)
	r.Why = fmt.Sprintf("highest free %s aligned to %s%s%s", FormatSize(size), FormatSize(align), p.whereWords(h)+p.limitWords(h, r, best), p.above(best))
	if after != "" {
		r.Why = fmt.Sprintf("first free %s aligned to %s after %s", FormatSize(size), FormatSize(align), after)
	}
}

// lies reports whether a region occupies memory by now: a heap that still waits
// for its place has a size, and no name before it has an address.
func lies(r *Region) bool { return r.Active() && r.Placed() && r.Node != "" }

// obstacle is what a heap cannot lie over.
type obstacle struct {
	name string
	Range
}

// obstacles returns everything that occupies memory, in address order.
func (p *planner) obstacles() []obstacle {
	var out []obstacle
	for _, o := range p.out.Occupied {
		out = append(out, obstacle{o.Title(), o.Range})
	}
	for i := range p.out.Regions {
		if r := &p.out.Regions[i]; lies(r) {
			out = append(out, obstacle{r.Name(), r.Range})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Base < out[j].Base })
	return out
}

// above says what kept a heap from lying higher.
func (p *planner) above(r Range) string {
	bank, _ := p.out.Bank(r)
	for _, o := range p.obstacles() {
		if o.Base > r.Last() && o.Base <= bank.Last() {
			return ", under " + o.name
		}
	}
	return ""
}

// inTheWay names what occupies the windows of a heap that found no room.
func (p *planner) inTheWay(windows []Range) string {
	const most = 4
	var names []string
	n := 0
	for _, o := range p.obstacles() {
		if slices.ContainsFunc(windows, o.Overlaps) {
			if n++; n <= most {
				names = append(names, o.name)
			}
		}
	}
	switch {
	case n == 0:
		return ""
	case n > most:
		names = append(names, fmt.Sprintf("%d more", n-most))
	}
	return "; in the way: " + strings.Join(names, ", ")
}

// whereWords names the constraints of a heap.
func (p *planner) whereWords(h *HeapConfig) string {
	var s string
	for i, w := range h.Within {
		s += fmt.Sprintf("%s %v", []string{" within", " or"}[min(i, 1)], w)
	}
	if h.Below > 0 {
		s += fmt.Sprintf(" below %v", h.Below)
	}
	if h.After != "" {
		s += " after " + h.After
	}
	return s
}

// limitWords tells of the limits of a place that the config does not state
// itself: what its devices reach, and that memory below 4GiB comes first.
func (p *planner) limitWords(h *HeapConfig, r *Region, best Range) string {
	s := reachWords(r)
	if h.Below > 0 {
		return s
	}
	var low, high bool
	for _, w := range p.windows(h) {
		for _, b := range p.out.Banks {
			if b, ok := intersect(b, w); ok {
				low, high = low || b.Base < Addr(4*GiB), high || b.Base >= Addr(4*GiB)
			}
		}
	}
	switch {
	case low && high && best.Base < Addr(4*GiB):
		s += " below 4GiB, in reach of 32-bit devices"
	case low && high:
		s += ", since none is left below 4GiB"
	}
	return s
}

// reachWords names the devices of a heap whose buses limit its place.
func reachWords(r *Region) string {
	var s string
	for _, u := range r.Heap.Devices {
		if len(u.Reach) > 0 {
			s += " in reach of " + u.Node
		}
	}
	return s
}

// windows returns the address ranges a heap may lie in, the better first.
func (p *planner) windows(h *HeapConfig) []Range {
	within := h.Within
	if len(within) == 0 {
		within = []Range{{0, ^uint64(0)}}
	}
	var low, high []Range
	for _, w := range within {
		if h.Below > 0 {
			if w, ok := intersect(w, Range{0, uint64(h.Below)}); ok {
				low = append(low, w)
			}
			continue
		}
		if w, ok := intersect(w, Range{0, 4 * GiB}); ok {
			low = append(low, w)
		}
		if w, ok := intersect(w, Range{Addr(4 * GiB), ^uint64(0) - 4*GiB + 1}); ok && p.out.Cells.Address == 2 {
			high = append(high, w)
		}
	}
	// Within one class the order of the config decides.
	return append(low, high...)
}

// gaps returns the RAM that nothing occupies, in address order. Regions that
// the kernel places at boot keep room for themselves, where it would put them.
func (p *planner) gaps() []Range {
	var taken []Range
	for _, o := range p.out.Occupied {
		taken = append(taken, o.Range)
	}
	for i := range p.out.Regions {
		if r := &p.out.Regions[i]; lies(r) {
			taken = append(append(taken, r.Range), r.Extra...)
		}
	}
	free, _ := p.out.placeDynamic(Subtract(MergeRanges(p.out.Banks), taken))
	return free
}

// splitAt cuts ranges at addresses.
func splitAt(rs []Range, limits []Addr) []Range {
	for _, at := range limits {
		var out []Range
		for _, r := range rs {
			if r.Base < at && r.Last() >= at {
				out = append(out, Range{r.Base, uint64(at - r.Base)}, Range{at, uint64(r.Last()-at) + 1})
				continue
			}
			out = append(out, r)
		}
		rs = out
	}
	return rs
}

// intersectAll returns what both lists hold, in the order of the first.
func intersectAll(a, b []Range) []Range {
	var out []Range
	for _, x := range a {
		for _, y := range b {
			if hit, ok := intersect(x, y); ok {
				out = append(out, hit)
			}
		}
	}
	return out
}

// Subtract returns what is left of the ranges when taken is cut out of them,
// in address order.
func Subtract(from, taken []Range) []Range {
	var out []Range
	holes := MergeRanges(taken)
	for _, r := range MergeRanges(from) {
		// Both are in address order: a hole before this range is before the next.
		for len(holes) > 0 && holes[0].Last() < r.Base {
			holes = holes[1:]
		}
		left := true // whether something of r is left behind the holes so far
		for _, h := range holes {
			if h.Base > r.Last() {
				break
			}
			if r.Base < h.Base {
				out = append(out, Range{r.Base, uint64(h.Base - r.Base)})
			}
			if left = h.Last() < r.Last(); !left {
				break
			}
			r = Range{h.Last() + 1, uint64(r.Last() - h.Last())}
		}
		if left {
			out = append(out, r)
		}
	}
	return out
}

func intersect(a, b Range) (Range, bool) {
	if !a.Overlaps(b) {
		return Range{}, false
	}
	base, last := max(a.Base, b.Base), min(a.Last(), b.Last())
	return Range{base, uint64(last-base) + 1}, true
}

// usable returns how much of g can be used at the alignment.
func usable(g Range, align uint64) uint64 {
	base, ok := alignUp(uint64(g.Base), align)
	if !ok || base > uint64(g.Last()) {
		return 0
	}
	return alignDown(uint64(g.Last())-base+1, align)
}

func topDown(g Range, size, align uint64) (Range, bool) {
	if g.Size < size {
		return Range{}, false
	}
	base := Addr(alignDown(uint64(g.Last())-size+1, align))
	return Range{base, size}, base >= g.Base
}

func bottomUp(g Range, size, align uint64) (Range, bool) {
	base, ok := alignUp(uint64(g.Base), align)
	r := Range{Addr(base), size}
	return r, ok && size > 0 && !r.Wraps() && g.Contains(r)
}
