// SPDX-License-Identifier: MIT

package heapcfg

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// linter runs the rules over one Layout.
type linter struct {
	*Layout
	rule     Rule
	findings []Finding
}

func (l *linter) report(at Place, fix, format string, args ...any) {
	l.reportAs(l.rule.Level, at, fix, format, args...)
}

// reportAs reports at a milder level than the rule's own: what is odd in the
// tree of a board that boots is no error.
func (l *linter) reportAs(level Level, at Place, fix, format string, args ...any) {
	if fix == "" {
		fix = l.rule.wayOut()
	}
	l.findings = append(l.findings, Finding{ID: l.rule.ID, Level: min(level, l.rule.Level), Place: at, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// each calls f on every region the kernel will try to reserve.
func (l *linter) each(f func(i int, r *Region)) {
	for i := range l.Regions {
		if l.Regions[i].Active() {
			f(i, &l.Regions[i])
		}
	}
}

// regionStatus is about regions that are off, which no other rule looks at.
func (l *linter) regionStatus() {
	for i := range l.Regions {
		r := &l.Regions[i]
		for _, d := range r.Defects {
			if d.Rule == l.rule.ID {
				l.report(r.Source.Place, "", "%s: %s", r.label(), d.Fact)
			}
		}
	}
}

// label is what the region is called in a message.
func (r *Region) label() string {
	if r.FromConfig {
		return "heap " + r.Name()
	}
	return "region " + r.Node
}

func (r *Region) spot() string {
	return fmt.Sprintf("%s (%v, %s)", r.label(), r.Range, FormatSize(r.Range.Size))
}

// defects reports what reading found under the id of the running rule.
func (l *linter) defects() {
	for _, d := range l.Defects {
		if d.Rule == l.rule.ID {
			at := Place{File: l.treeFile(), Path: "/reserved-memory"}
			if d.Path != "" {
				at.Path = d.Path
			}
			l.report(at, d.Fix, "%s: %s", at.Path, d.Fact)
		}
	}
	l.regionDefects(func(*Region) Level { return l.rule.Level })
}

// regionDefects reports what reading found at single regions, at the level
// that suits the region.
func (l *linter) regionDefects(level func(*Region) Level) {
	l.each(func(_ int, r *Region) {
		for _, d := range r.Defects {
			if d.Rule == l.rule.ID {
				l.reportAs(level(r), r.Source.Place, d.Fix, "%s: %s", r.label(), d.Fact)
			}
		}
	})
}

// treeFile names the device tree: the config is the source of a planned
// Layout, and what the tree brought must not be looked for there.
func (l *linter) treeFile() string {
	if l.BaseFile != "" {
		return l.BaseFile
	}
	return l.Source.File
}

// emptyRegions: that a region without a heap is empty is customary where boot
// loaders fill in the size.
func (l *linter) emptyRegions() {
	l.regionDefects(func(r *Region) Level {
		if r.Heap == nil {
			return Warning
		}
		return Error
	})
}

// unitAddresses: the name of a region without a heap reaches nobody.
func (l *linter) unitAddresses() {
	l.regionDefects(func(r *Region) Level {
		if r.Heap == nil {
			return Note
		}
		return Warning
	})
}

// ramUnknown: planning reports it where heaps have to be placed.
func (l *linter) ramUnknown() {
	if len(l.Banks) == 0 && l.BaseFile == "" {
		l.reportAs(Note, Place{File: l.treeFile(), Path: "/"}, "", "no memory node with a size: nothing can be said about places in RAM")
	}
}

func (l *linter) chunkSize() {
	l.defects()
	l.each(func(_ int, r *Region) {
		if r.Kind != Chunk || r.Heap == nil || r.Heap.ChunkSize == 0 || r.Range.Size == 0 {
			return
		}
		at, cs := r.Source.At("chunk-size"), r.Heap.ChunkSize
		switch {
		case cs%l.Target.PageSize != 0:
			l.report(at, "", "%s: a chunk of %s is no multiple of the page size %s", r.label(), FormatSize(cs), FormatSize(l.Target.PageSize))
		case r.Range.Size%cs != 0:
			l.report(at, fmt.Sprintf("make the heap %s, or choose another chunk size", FormatSize(r.Range.Size/cs*cs+cs)),
				"%s: chunks of %s do not divide %s", r.label(), FormatSize(cs), FormatSize(r.Range.Size))
		}
	})
}

// restates reports whether one region is of a config and the other is the same in
// its base tree, from which the config was imported: one mistake, and told once.
func restates(a, b *Region) bool {
	return a.FromConfig != b.FromConfig && a.Node == b.Node && a.Range == b.Range
}

// overlap reports each pair once, at the later of the two; a pair of which
// heaps.yaml made one is reported there.
func (l *linter) overlap() {
	all := func(r *Region) []Range { return append([]Range{r.Range}, r.Extra...) }
	for _, pair := range l.overlapping() {
		a, b := &l.Regions[pair[0]], &l.Regions[pair[1]]
		if restates(a, b) {
			continue
		}
		if b.FromConfig != a.FromConfig && a.FromConfig {
			a, b = b, a
		}
		level := Warning
		if a.Heap != nil || b.Heap != nil || a.FromConfig || b.FromConfig {
			level = Error
		}
		hit := sharedBytes(all(a), all(b))
		l.reportAs(level, b.Source.At("base"), "", "%s shares %s with %s", b.spot(), FormatSize(hit.Size), a.spot())
	}
}

// overlapping returns the pairs of regions that share memory, each as indexes
// in their order. Of a tree where everything overlaps it returns the first
// ones that it comes across in address order.
func (l *Layout) overlapping() [][2]int {
	type piece struct {
		Range
		region int
	}
	var pieces []piece
	for i := range l.Regions {
		if r := &l.Regions[i]; r.Active() && !r.Dynamic {
			for _, p := range append([]Range{r.Range}, r.Extra...) {
				if p.Size > 0 && !p.Wraps() {
					pieces = append(pieces, piece{p, i})
				}
			}
		}
	}
	sort.SliceStable(pieces, func(i, j int) bool { return pieces[i].Base < pieces[j].Base })
	const most = 1000
	found := map[[2]int]bool{}
	var open []piece // those that reach to where the next one starts
	for _, p := range pieces {
		open = slices.DeleteFunc(open, func(o piece) bool { return o.Last() < p.Base })
		for _, o := range open {
			if o.region != p.region && len(found) < most {
				found[[2]int{min(o.region, p.region), max(o.region, p.region)}] = true
			}
		}
		if len(found) == most {
			break
		}
		open = append(open, p)
	}
	pairs := make([][2]int, 0, len(found))
	for pair := range found {
		pairs = append(pairs, pair)
	}
	sort.Slice(pairs, func(i, j int) bool {
		a, b := pairs[i], pairs[j]
		return cmp.Or(cmp.Compare(a[1], b[1]), cmp.Compare(a[0], b[0])) < 0
	})
	return pairs
}

// sharedBytes returns the first range that both lists hold.
func sharedBytes(a, b []Range) Range {
	for _, x := range a {
		for _, y := range b {
			if hit, ok := intersect(x, y); ok {
				return hit
			}
		}
	}
	return Range{}
}

// occupied reports regions over memory that something else uses. A /memreserve/
// entry over a region of the base is the customary way to protect it twice.
func (l *linter) occupied(what ...What) {
	l.each(func(_ int, r *Region) {
		if !r.Placed() {
			return
		}
		for _, o := range l.Occupied {
			for _, w := range what {
				if o.What != w || !o.Range.Overlaps(r.Range) || o.Assumed && !r.FromConfig || w == MemReserve && !r.FromConfig && r.Kind != CMA {
					continue
				}
				l.report(r.Source.At("base"), "", "%s lies over the %s (%v, %s)", r.spot(), o.Title(), o.Range, FormatSize(o.Range.Size))
			}
		}
	})
}

func (l *linter) outside() {
	l.defects()
	l.each(func(_ int, r *Region) {
		if r.Heap == nil || !r.Placed() || len(l.Banks) == 0 {
			return
		}
		if _, ok := l.Bank(r.Range); ok {
			return
		}
		var banks []string
		for _, b := range MergeRanges(l.Banks) {
			banks = append(banks, fmt.Sprintf("%v (%s)", b, FormatSize(b.Size)))
		}
		word := "lies outside RAM"
		for _, b := range l.Banks {
			if b.Overlaps(r.Range) {
				word = "goes past the end of RAM"
			}
		}
		fix := "RAM is " + strings.Join(banks, ", ")
		if r.FromConfig {
			fix += "; leave out base to have the heap placed"
		}
		swapped := Range{r.Range.Base>>32 | r.Range.Base<<32, r.Range.Size>>32 | r.Range.Size<<32}
		if _, ok := l.Bank(swapped); ok && !r.FromConfig && !swapped.Wraps() {
			fix = fmt.Sprintf("the two cells of a number are swapped, the high one comes first: write reg for %v", swapped)
		}
		level := Error
		if r.NoMap && r.Kind != CMA {
			level, fix = Warning, "nothing, if it is on-chip memory or the like; "+fix
		}
		l.reportAs(level, r.Source.At("base"), fix, "%s %s", r.spot(), word)
	})
}

func (l *linter) regionOutside() {
	l.each(func(_ int, r *Region) {
		if r.Heap != nil || !r.Placed() || len(l.Banks) == 0 {
			return
		}
		if _, ok := l.Bank(r.Range); !ok {
			l.report(r.Source.Place, "", "%s is not, or not all, RAM", r.spot())
		}
	})
}

func (l *linter) regionPages() {
	p := l.Target.PageSize
	l.each(func(_ int, r *Region) {
		if r.Heap == nil && r.Placed() && (uint64(r.Range.Base)%p != 0 || r.Range.Size%p != 0) {
			l.report(r.Source.Place, "", "%s does not start and end on a page of %s", r.spot(), FormatSize(p))
		}
	})
}

func (l *linter) cmaZone() {
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA || !r.Placed() {
			return
		}
		if _, ok := l.Bank(r.Range); !ok {
			return
		}
		for _, limit := range l.zoneLimits() {
			if r.Range.Base < limit && r.Range.Last() >= limit {
				level := Error
				if l.Target.Arch == Arm {
					level = Warning // the place of the limit depends on the kernel's configuration
				}
				l.reportAs(level, r.Source.At("base"), "", "%s lies across %v, where a memory zone of the kernel ends", r.spot(), limit)
			}
		}
	})
}

// ramLeft adds up what heaps and regions leave to the kernel.
func (l *linter) ramLeft() {
	const least = 32 * MiB
	if l.RAM() < 2*least {
		return
	}
	var gone []Range
	last := (*Region)(nil)
	l.each(func(_ int, r *Region) {
		if r.Placed() {
			gone = append(append(gone, r.Range), r.Extra...)
			if r.FromConfig || r.Heap != nil {
				last = r
			}
		}
	})
	for _, o := range l.Occupied {
		gone = append(gone, o.Range)
	}
	var left uint64
	for _, f := range Subtract(l.Banks, gone) {
		left += f.Size
	}
	if last != nil && left < least {
		l.report(last.Source.At("size"), "", "heaps and regions leave %s of %s to the kernel", FormatSize(left), FormatSize(l.RAM()))
	}
}

// dynamicRoom places the regions without an address as the kernel does: in
// tree order, around all that is fixed, in the first range of alloc-ranges
// that has room. It is an error where the config's heaps took the room; a
// board whose own tree asks for too much boots all the same.
func (l *linter) dynamicRoom() {
	if len(l.Banks) == 0 {
		return
	}
	without := l.crowded(func(r *Region) bool { return !r.FromConfig })
	with := l.crowded(func(*Region) bool { return true })
	l.each(func(i int, r *Region) {
		largest, bad := with[i]
		if !bad {
			return
		}
		level, fix := Error, ""
		if _, alone := without[i]; alone {
			level = Warning
			if !l.RAMStated && len(r.Within) > 0 && !slices.ContainsFunc(r.Within, func(w Range) bool { return slices.ContainsFunc(l.Banks, w.Overlaps) }) {
				// The tree of a board with more RAM than it says.
				level, fix = Note, "nothing, if the boot loader fills in more RAM; state it with --ram to be sure"
			}
		}
		l.reportAs(level, r.Source.Place, fix, "%s: no free %s%s; the largest free piece there has %s", r.label(), FormatSize(r.Range.Size), withinWords(r.Within), FormatSize(largest))
	})
}

// crowded returns the dynamic regions that find no place among the regions to
// be counted, each with the largest piece that is free for it.
func (l *linter) crowded(counted func(*Region) bool) map[int]uint64 {
	var taken []Range
	for _, o := range l.Occupied {
		if !o.Assumed {
			taken = append(taken, o.Range)
		}
	}
	l.each(func(_ int, r *Region) {
		if r.Placed() && counted(r) {
			taken = append(append(taken, r.Range), r.Extra...)
		}
	})
	_, failed := l.placeDynamic(Subtract(l.Banks, taken))
	return failed
}

// placeDynamic gives the regions without an address a place in free memory. It
// returns what is left, and the regions that find no place with the largest
// piece that is free for each.
func (l *Layout) placeDynamic(free []Range) (left []Range, failed map[int]uint64) {
	failed = map[int]uint64{}
	for i := range l.Regions {
		r := &l.Regions[i]
		if !r.Active() || !r.Dynamic || r.Range.Size == 0 {
			continue
		}
		align := max(r.Align, l.Target.PageSize)
		if r.Kind == CMA {
			align = max(align, l.Target.leastCMAAlign())
		}
		if !isPow2(align) {
			continue
		}
		windows := r.Within
		if len(windows) == 0 {
			windows = []Range{{0, ^uint64(0)}}
		}
		at, largest, ok := highest(free, windows, r.Range.Size, align)
		if !ok {
			failed[i] = largest
			continue
		}
		free = Subtract(free, []Range{at})
	}
	return free, failed
}

// highest returns the highest place in the first window that has room, or
// the largest piece that any has.
func highest(free, windows []Range, size, align uint64) (at Range, largest uint64, ok bool) {
	for _, w := range windows {
		for k := len(free) - 1; k >= 0; k-- {
			g, meet := intersect(free[k], w)
			if !meet {
				continue
			}
			largest = max(largest, usable(g, align))
			if at, ok = topDown(g, size, align); ok {
				return at, largest, true
			}
		}
	}
	return Range{}, largest, false
}

func withinWords(ranges []Range) string {
	var parts []string
	for _, w := range ranges {
		parts = append(parts, w.String())
	}
	if len(parts) == 0 {
		return ""
	}
	return " in " + strings.Join(parts, " or ")
}

// noMapHoles counts the pieces into which no-map regions cut RAM.
func (l *linter) noMapHoles() {
	var holes []Range
	last := (*Region)(nil)
	l.each(func(_ int, r *Region) {
		if r.NoMap && r.Placed() && slices.ContainsFunc(l.Banks, r.Range.Overlaps) {
			holes, last = append(holes, r.Range), r
		}
	})
	if n, limit := len(MergeRanges(holes)), l.Target.maxNoMapHoles(); n > limit {
		l.report(last.Source.Place, "", "no-map regions cut %d holes into RAM; the kernel has room for about %d", n, limit)
	}
}

func (l *linter) coherentArm() {
	if l.Target.Arch != Arm {
		return
	}
	l.each(func(_ int, r *Region) {
		if r.Kind == Coherent && !r.NoMap && !r.Reusable {
			l.report(r.Source.Place, "", "%s is a coherent pool without no-map", r.label())
		}
	})
}

func (l *linter) firmwareNames() {
	l.each(func(_ int, r *Region) {
		if r.FromConfig && (strings.HasPrefix(r.Node, "tfa") || strings.HasPrefix(r.Node, "optee")) {
			l.report(r.Source.At("name"), "", "%s has a name that a boot loader may take for firmware's", r.label())
		}
	})
}

func (l *linter) longNames() {
	l.each(func(_ int, r *Region) {
		if r.Kind == CMA && len(r.Node) > 63 {
			l.report(r.Source.At("name"), "", "the node name of %s has %d characters", r.label(), len(r.Node))
		}
	})
}

func (l *linter) cmaCmdline() {
	if l.Target.Kernel.Before(v5_10) {
		return
	}
	arg := ""
	for _, word := range strings.Fields(l.Bootargs) {
		if strings.HasPrefix(word, "cma=") {
			arg = word
		}
	}
	if arg == "" {
		return
	}
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA || !r.Default {
			return
		}
		level := Warning
		if r.FromConfig {
			level = Error
		}
		l.reportAs(level, r.Source.At("default"), "", "%s: /chosen has %s, and the kernel takes that instead", r.label(), arg)
	})
}

func (l *linter) heapCount() {
	const limit = 128
	if n := len(l.Expect()); n > limit {
		l.report(l.Source.At("heaps"), "", "%d heaps; the kernel has room for %d", n, limit)
	}
}

// disabledUsed reports devices whose region will not be there.
func (l *linter) disabledUsed() {
	// The overlay replaces what a device of the config's heaps had.
	moved := map[string]bool{}
	for i := range l.Regions {
		if r := &l.Regions[i]; r.FromConfig {
			for _, u := range r.users() {
				moved[u.Node] = true
			}
		}
	}
	for i := range l.Regions {
		r := &l.Regions[i]
		if r.Active() {
			continue
		}
		for _, u := range r.Users {
			if u.Disabled || moved[u.Node] {
				continue
			}
			// Some boot loaders switch on what the tree leaves off.
			level, at, fix := Note, Place{File: l.treeFile(), Path: u.Node}, "nothing, if the boot loader switches the region on; otherwise enable it, or remove memory-region from the device"
			if p, ok := r.Source.Fields["disable"]; ok {
				level, at, fix = Warning, p, "remove the line, or give the device another heap with devices:"
			}
			l.reportAs(level, at, fix, "device %s uses the region %s, which is switched off", u.Node, r.Node)
		}
	}
}

// userReach reports devices that cannot address their region.
func (l *linter) userReach() {
	l.each(func(_ int, r *Region) {
		if !r.Placed() {
			return
		}
		for _, u := range r.users() {
			if u.Disabled || len(u.Reach) == 0 || slices.ContainsFunc(u.Reach, func(w Range) bool { return w.Contains(r.Range) }) {
				continue
			}
			level := Error
			if !r.FromConfig {
				level = Warning
			}
			l.reportAs(level, r.Source.At("base"), "", "%s: device %s addresses %s only", r.spot(), u.Node, strings.TrimPrefix(withinWords(u.Reach), " in "))
		}
	})
}

func (l *linter) cmaAlign() {
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA || r.Range.Size == 0 {
			return
		}
		a, level := l.Target.CMAAlign(), Error
		why := fmt.Sprintf("kernel %v with %s pages", l.Target.Kernel, FormatSize(l.Target.PageSize))
		least := l.Target.leastCMAAlign()
		if !r.FromConfig && least < a && r.Range.Size%least == 0 && (!r.Placed() || uint64(r.Range.Base)%least == 0) {
			// Good for a kernel with huge pages, as most have.
			level = Warning
			why += " without huge pages"
		}
		if n := l.Target.ForceMaxOrder; n > 0 {
			why += fmt.Sprintf(" and ARCH_FORCE_MAX_ORDER=%d", n)
		}
		if r.Range.Size%a != 0 {
			up, _ := alignUp(r.Range.Size, a)
			l.reportAs(level, r.Source.At("size"), "write "+FormatSize(up), "%s: size %s is no multiple of %s, the CMA alignment of %s", r.label(), FormatSize(r.Range.Size), FormatSize(a), why)
		}
		if base := uint64(r.Range.Base); r.Placed() && base%a != 0 {
			fix := fmt.Sprintf("write %v", Addr(alignDown(base, a)))
			if r.FromConfig {
				fix += ", or leave out base to have the heap placed"
			}
			l.reportAs(level, r.Source.At("base"), fix, "%s: base %v is no multiple of %s, the CMA alignment of %s", r.label(), r.Range.Base, FormatSize(a), why)
		}
		sure, fix := l.Target.surestCMAAlign(), "state target.kconfig.ARCH_FORCE_MAX_ORDER, or give the kernel's .config with --kconfig"
		if at := uint64(r.Range.Base) | r.Range.Size; r.FromConfig && at%a == 0 && at%sure != 0 {
			field := "size"
			if r.Range.Size%sure == 0 {
				field, fix = "base", fmt.Sprintf("write %v, or %s", Addr(alignDown(uint64(r.Range.Base), sure)), fix)
			}
			l.reportAs(Note, r.Source.At(field), fix, "%s: some 32-bit ARM kernels want multiples of more than %s, multi_v7_defconfig 8MiB and imx_v6_v7_defconfig 32MiB", r.label(), FormatSize(a))
		}
	})
}

func (l *linter) pageAlign() {
	p := l.Target.PageSize
	l.each(func(_ int, r *Region) {
		if r.Kind != Carveout && r.Kind != Chunk {
			return
		}
		if r.Range.Size%p != 0 {
			up, _ := alignUp(r.Range.Size, p)
			l.report(r.Source.At("size"), "write "+FormatSize(up), "%s: size %s is no multiple of the page size %s", r.label(), FormatSize(r.Range.Size), FormatSize(p))
		}
		if base := uint64(r.Range.Base); r.Placed() && base%p != 0 {
			l.report(r.Source.At("base"), fmt.Sprintf("write %v", Addr(alignDown(base, p))), "%s: base %v is no multiple of the page size %s", r.label(), r.Range.Base, FormatSize(p))
		}
	})
}

// names reports heaps that would share a device node, a node of the tree or a
// symlink with another.
func (l *linter) names() {
	kernelOwn := map[string]string{"system": "the kernel's system heap", "system-contig": "the contiguous system heap of kernel-patches", "system_cc_shared": "the kernel's heap of shared pages", DefaultCMAName: "the kernel's name for the default CMA area", "reserved": "the kernel's name for a CMA area that no device tree describes"}
	seen := map[string]*Region{}
	for i := range l.Regions {
		r := &l.Regions[i]
		if r.Heap == nil && !r.FromConfig || !r.Active() {
			continue
		}
		for _, name := range []string{r.Name(), r.Node} {
			if own, ok := kernelOwn[name]; ok {
				l.report(r.Source.At("name"), "", "%s: %q is %s", r.label(), name, own)
				break
			}
			if first := seen[name]; first != nil && first != r {
				if restates(first, r) {
					break
				}
				fix := ""
				if !first.FromConfig {
					fix = "rename it, or switch off the other with " + switchOff(first)
				}
				l.report(r.Source.At("name"), fix, "%s has the name of another heap, %s", r.label(), place(first))
				break
			}
		}
		seen[r.Name()], seen[r.Node] = r, r
	}
	for i := range l.Regions {
		a := &l.Regions[i]
		for j := range l.Regions {
			b := &l.Regions[j]
			if !a.FromConfig || b.FromConfig || a.Node != b.Node {
				continue
			}
			fix := "give the heap another name"
			if restates(a, b) {
				fix = fmt.Sprintf("take that node out, since the overlay brings it: fdtput -r %s %s", l.treeFile(), b.Source.Path)
			}
			l.report(a.Source.At("name"), fix, "%s becomes the node %s, which the base tree has already: the two would merge", a.label(), b.Node)
		}
	}
}

// place says where a region was defined.
func place(r *Region) string {
	if r.Source.Line > 0 {
		return fmt.Sprintf("defined in line %d", r.Source.Line)
	}
	return r.Source.Path
}

func (l *linter) allocatorNames() {
	l.each(func(_ int, r *Region) {
		if !r.FromConfig || r.Name() == "linux,cma" {
			return // the name that user space has hard-coded for years
		}
		for _, word := range []string{"cma", "carveout", "chunk", "gen_pool"} {
			for _, part := range strings.FieldsFunc(strings.ToLower(r.Name()), func(c rune) bool { return strings.ContainsRune(",._+-", c) }) {
				if part == word {
					l.report(r.Source.At("name"), "", "heap %s carries its allocator, %q, in its name", r.Name(), word)
				}
			}
		}
	})
}

// switchOff is what a config says to be rid of a region of the base tree.
func switchOff(r *Region) string { return fmt.Sprintf("disable: [%q]", r.Node) }

func (l *linter) twoDefaults() {
	var first *Region
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA || !r.Default {
			return
		}
		if first != nil {
			fix := ""
			if !first.FromConfig {
				fix = "drop default, or switch off the other with " + switchOff(first)
			}
			l.report(r.Source.At("default"), fix, "%s is a second default CMA area; the first is %s", r.label(), first.label())
			return
		}
		first = r
	})
}

func (l *linter) cmaWithoutHeap() {
	if l.Target.PerRegionCMA() {
		return
	}
	l.each(func(_ int, r *Region) {
		if r.Kind == CMA && !r.Default && r.FromConfig {
			l.report(r.Source.At("kind"), "", "%s: kernel %v makes no heap of a CMA region that is not the default", r.label(), l.Target.Kernel)
		}
	})
}

func (l *linter) carveoutWithoutHeap() {
	l.each(func(_ int, r *Region) {
		if (r.Kind != Carveout && r.Kind != Chunk) || l.Target.Patched {
			return
		}
		level := Error
		if !r.FromConfig {
			level = Warning // a vendor's kernel may know it
		}
		l.reportAs(level, r.Source.At("kind"), "", "%s: an unpatched kernel %v has no %s heap", r.label(), l.Target.Kernel, r.Kind)
	})
}

func (l *linter) cmaAreas() {
	limit, n := l.Target.MaxCMAAreas(), 0
	own := l.DefaultCMA() == nil || l.Target.DefaultFirst()
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA {
			return
		}
		switch n++; {
		case n == limit+1:
			l.report(r.Source.Place, "", "%s is CMA area number %d; kernel %v has room for %d", r.label(), n, l.Target.Kernel, limit)
		case n == limit && own:
			l.reportAs(Warning, r.Source.Place, "raise CONFIG_CMA_AREAS and state it under target.kconfig, or build with CONFIG_CMA_SIZE_MBYTES=0",
				"%s takes the last of %d CMA areas, and kernel %v wants one for a default area of its own", r.label(), limit, l.Target.Kernel)
		}
	})
}

func (l *linter) reusableNoMap() {
	l.each(func(_ int, r *Region) {
		if r.Reusable && r.NoMap {
			l.report(r.Source.Place, "", "%s is both reusable and no-map", r.label())
		}
	})
}

func (l *linter) carveoutReusable() {
	l.each(func(_ int, r *Region) {
		if (r.Kind == Carveout || r.Kind == Chunk) && r.Reusable {
			l.report(r.Source.Place, "", "%s is a %s heap and reusable", r.label(), r.Kind)
		}
	})
}

func (l *linter) addressCells() {
	l.each(func(_ int, r *Region) {
		if !r.FromConfig || !r.Placed() {
			return
		}
		if l.Cells.Address == 1 && uint64(r.Range.Last()) >= 4*GiB {
			l.report(r.Source.At("base"), "", "%s: the base tree has one address cell, which ends at 4 GiB", r.spot())
		}
		if l.Cells.Size == 1 && r.Range.Size >= 4*GiB {
			l.report(r.Source.At("size"), "", "%s: the base tree has one size cell, which holds less than 4 GiB", r.spot())
		}
	})
}

func (l *linter) count() {
	limit := 64
	if l.Target.Kernel.Before(v5_10) {
		limit = 32
	}
	all := l.Target.Kernel.Before(v6_12)
	n := 0
	l.each(func(_ int, r *Region) {
		if !all && !r.Dynamic {
			return
		}
		if n++; n == limit+1 {
			word := "region"
			if !all {
				word = "region without an address"
			}
			l.report(r.Source.Place, "", "%s is %s number %d; kernel %v holds %d", r.label(), word, n, l.Target.Kernel, limit)
		}
	})
}

// severalReg is about carveout and chunk heaps, or about all other regions.
func (l *linter) severalReg(heaps bool) {
	l.each(func(_ int, r *Region) {
		if len(r.Extra) > 0 && heaps == (r.Kind == Carveout || r.Kind == Chunk) {
			l.report(r.Source.Place, "", "%s has %d reg entries", r.label(), 1+len(r.Extra))
		}
	})
}
