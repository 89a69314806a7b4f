// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"strings"
)

// linter runs the rules over one Layout.
type linter struct {
	*Layout
	rule     Rule
	findings []Finding
}

func (l *linter) report(at Place, fix, format string, args ...any) {
	if fix == "" {
		fix = l.rule.Fix
	}
	l.findings = append(l.findings, Finding{ID: l.rule.ID, Level: l.rule.Level, Place: at, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// each calls f on every region the kernel will try to reserve.
func (l *linter) each(f func(i int, r *Region)) {
	for i := range l.Regions {
		if l.Regions[i].Active() {
			f(i, &l.Regions[i])
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
			at := l.Source.Place
			at.Path = "/reserved-memory"
			l.report(at, "", "/reserved-memory: %s", d.Fact)
		}
	}
	l.each(func(_ int, r *Region) {
		for _, d := range r.Defects {
			if d.Rule == l.rule.ID {
				l.report(r.Source.Place, "", "%s: %s", r.label(), d.Fact)
			}
		}
	})
}

const allKernels = "all"

func treeRules() []Rule {
	return []Rule{
		{ID: "tree-cells", Level: Error, Kernels: allKernels, Title: "The root node states one or two address and size cells.",
			Why: "Memory cannot be described otherwise.", Fix: "Use the board's own device tree.", Source: "Devicetree Specification 2.3.5"},
		{ID: "tree-memory", Level: Error, Kernels: allKernels, Title: "The device tree says how much RAM the board has.",
			Why: "Without it no rule about addresses can be checked.", Fix: "Use the tree the kernel sees: /sys/firmware/fdt on the board.", Source: "Devicetree Specification 3.4"},
		{ID: "reserved-name", Level: Error, Kernels: allKernels, Title: "The node is called reserved-memory, with a hyphen.",
			Why: "The kernel looks for exactly that name; 5.10 and 6.1 say nothing, 6.12 and later \"No reserved-memory node in the DT\".", Fix: "Rename the node.", Source: "drivers/of/of_reserved_mem.c, fdt_scan_reserved_mem", check: (*linter).defects},
		{ID: "reserved-format", Level: Error, Kernels: allKernels, Title: "/reserved-memory repeats the root's cell counts and has an empty ranges property.",
			Why: "The kernel prints \"Reserved memory: unsupported node format, ignoring\" and reserves no region at all, firmware's included.", Fix: "Write the root's #address-cells and #size-cells, and \"ranges;\".", Source: "drivers/of/of_reserved_mem.c, __reserved_mem_check_root", check: (*linter).defects},
		{ID: "region-reg", Level: Error, Kernels: allKernels, Title: "reg is one <address size> entry of the root's cell counts.",
			Why: "The kernel skips the node: \"invalid reg property in '...', skipping node\"; 7.3 says nothing.", Fix: "Write address and size with the root's number of cells.", Source: "drivers/of/of_reserved_mem.c, __reserved_mem_reserve_reg", check: (*linter).defects},
		{ID: "region-empty", Level: Error, Kernels: allKernels, Title: "A region is not empty.",
			Why: "\"failed to reserve memory for node '...': base ..., size 0 MiB\".", Fix: "Give it a size.", Source: "drivers/of/of_reserved_mem.c", check: (*linter).defects},
		{ID: "region-no-reg", Level: Warning, Kernels: allKernels, Title: "A region has reg or size.",
			Why: "The kernel skips the node in silence.", Fix: "Add reg or size.", Source: "drivers/of/of_reserved_mem.c", check: (*linter).defects},
		{ID: "region-reg-and-size", Level: Warning, Kernels: allKernels, Title: "A region has reg or size, not both.",
			Why: "The kernel takes reg; the binding forbids it. An overlay that adds reg to a node of the base that has size makes such a node.", Fix: "Remove size, or give the overlay's node another name.", Source: "dt-schema reserved-memory.yaml", check: (*linter).defects},
		{ID: "region-size-cells", Level: Error, Kernels: allKernels, Title: "size has the root's size cells and alignment the root's address cells.",
			Why: "\"invalid size property in '...' node.\" or \"invalid alignment property\": the region is skipped.", Fix: "Write the number of cells the message names.", Source: "drivers/of/of_reserved_mem.c, __reserved_mem_alloc_size", check: (*linter).defects},
		{ID: "region-alloc-ranges", Level: Error, Kernels: allKernels, Title: "alloc-ranges is a list of <address size> entries.",
			Why: "Up to 6.12 the region is skipped; 7.3 ignores alloc-ranges in silence and places the region anywhere.", Fix: "Write address and size, not first and last address.", Source: "drivers/of/of_reserved_mem.c, __reserved_mem_alloc_size", check: (*linter).defects},
		{ID: "chunk-size", Level: Error, Kernels: allKernels, Title: "The chunk size is a multiple of the page size and divides the region.",
			Why: "The chunk heap refuses the region with one line in the kernel log.", Fix: "Choose a chunk size that divides the size of the heap, such as 64KiB.", Source: "kernel-patches: chunk heap", check: (*linter).chunkSize},
	}
}

func regionRules() []Rule {
	return []Rule{
		{ID: "region-overlap", Level: Error, Kernels: allKernels, Title: "No two regions share memory.",
			Why: "\"OF: reserved mem: OVERLAP DETECTED!\" is printed and both stay: two heaps, or a heap and firmware, write over each other.", Fix: "Move one of them, or leave out base and let the compiler place it.", Source: "drivers/of/of_reserved_mem.c, __rmem_check_for_overlap", check: (*linter).overlap},
		{ID: "over-kernel", Level: Error, Kernels: allKernels, Title: "No region lies over the kernel image.",
			Why: "A CMA region there is accepted in silence on 6.12 and later; small allocations work, a large one oopses in memset. A no-map region fails: \"failed to reserve memory for node '...'\".", Fix: "Move the region, or leave out base and let the compiler place it.", Source: "mm/cma.c, cma_init_reserved_mem", check: func(l *linter) { l.occupied(Kernel) }},
		{ID: "over-initrd", Level: Error, Kernels: allKernels, Title: "No region lies over the initrd.",
			Why: "6.1 oopses at the first allocation, 6.12 spins for ever, without a message at boot.", Fix: "Move the region, or leave out base and let the compiler place it.", Source: "mm/cma.c, cma_init_reserved_mem", check: func(l *linter) { l.occupied(Initrd) }},
		{ID: "over-boot", Level: Error, Kernels: allKernels, Title: "No region lies over firmware, the device tree, the boot loader or a /memreserve/ entry.",
			Why: "Firmware memory handed out as buffers corrupts firmware, or aborts the bus where it is protected; a boot loader that puts the device tree there stops with \"ERROR: reserving fdt memory region failed\".", Fix: "Move the region, or leave out base and let the compiler place it.", Source: "U-Boot boot/image-fdt.c, boot_fdt_reserve_region", check: func(l *linter) { l.occupied(FDT, Firmware, BootLoader, MemReserve) }},
		{ID: "outside-ram", Level: Error, Kernels: allKernels, Title: "A heap lies wholly inside one bank of RAM.",
			Why: "The kernel prints \"created CMA memory pool\" and then panics in cma_init_reserved_areas, before the console is up.", Fix: "Move the region into RAM; the map shows the banks.", Source: "mm/cma.c, cma_activate_area", check: (*linter).outside},
		{ID: "cma-alignment", Level: Error, Kernels: allKernels, Title: "Base and size of a CMA region are multiples of the kernel's CMA alignment.",
			Why: "\"Reserved memory: incorrect alignment of CMA region\", without address or alignment; the memory is given back and the heap is missing.", Fix: "Round to the alignment the message names.", Source: "kernel/dma/contiguous.c, rmem_cma_setup", check: (*linter).cmaAlign},
		{ID: "page-alignment", Level: Error, Kernels: allKernels, Title: "Base and size of a carveout or chunk heap are multiples of the page size.",
			Why: "The heap driver refuses the region with one line in the kernel log: pages at its ends would be shared with others.", Fix: "Round to the page size the message names.", Source: "kernel-patches: carveout heap", check: (*linter).pageAlign},
		{ID: "name-clash", Level: Error, Kernels: allKernels, Title: "Every heap has a name of its own.",
			Why: "\"dma_heap: Already registered heap named ...\": the second heap is missing. Two nodes of one name merge into one when the overlay is applied.", Fix: "Rename one of them.", Source: "drivers/dma-buf/dma-heap.c, dma_heap_add", check: (*linter).names},
		{ID: "name-allocator", Level: Warning, Kernels: allKernels, Title: "A heap is named after its memory or its use, not its allocator.",
			Why: "The kernel's naming rule for heaps: the name must stay true when the allocator changes.", Fix: "Name it after what it is for, such as \"video\".", Source: "Documentation/userspace-api/dma-buf-heaps.rst", check: (*linter).allocatorNames},
		{ID: "cma-default-twice", Level: Error, Kernels: allKernels, Title: "At most one region is the default CMA area.",
			Why: "The kernel keeps one without a word: the highest address up to 6.1, the last node since 6.12.", Fix: "Keep default: true on one heap; switch off the base tree's with \"disable: [node]\".", Source: "kernel/dma/contiguous.c, rmem_cma_setup", check: (*linter).twoDefaults},
		{ID: "cma-no-heap", Level: Error, Kernels: "before 6.19 without the project's patches", Title: "The target kernel makes a heap of each CMA region.",
			Why: "Only the default CMA area becomes a heap; any other region is valid and yields nothing.", Fix: "Apply kernel-patches and set target.patched: true, make it the default, or use kernel 6.19.", Source: "drivers/dma-buf/heaps/cma_heap.c", check: (*linter).cmaWithoutHeap},
		{ID: "carveout-no-heap", Level: Error, Kernels: "all without the project's patches", Title: "The target kernel has carveout and chunk heaps.",
			Why: "No released kernel has them up to 7.3: the memory is reserved and no heap appears.", Fix: "Apply kernel-patches and set target.patched: true.", Source: "drivers/dma-buf/heaps", check: (*linter).carveoutWithoutHeap},
		{ID: "cma-areas", Level: Error, Kernels: allKernels, Title: "The kernel has room for every CMA area.",
			Why: "\"cma: Not enough slots for CMA reserved regions!\": the last regions get no heap, and the default area may be among them.", Fix: "Raise CONFIG_CMA_AREAS and state it under target.kconfig.", Source: "mm/cma.c, cma_new_area", check: (*linter).cmaAreas},
		{ID: "reusable-no-map", Level: Error, Kernels: allKernels, Title: "A region is reusable or no-map, not both.",
			Why: "Up to 6.12 the memory goes back to the system, on 7.3 it is lost; no pool is made.", Fix: "Remove one of the two properties.", Source: "kernel/dma/contiguous.c, rmem_cma_setup", check: (*linter).reusableNoMap},
		{ID: "carveout-reusable", Level: Error, Kernels: allKernels, Title: "A carveout or chunk heap is not reusable.",
			Why: "The memory of a carveout is never lent to the system; the driver refuses such a node.", Fix: "Remove reusable, or make it a CMA heap.", Source: "kernel-patches: carveout heap", check: (*linter).carveoutReusable},
		{ID: "address-cells", Level: Error, Kernels: allKernels, Title: "Addresses and sizes fit into the tree's cells.",
			Why: "With one cell an address at or above 4 GiB cannot be written; it would be cut to its low 32 bits.", Fix: "Place the heap below 4 GiB.", Source: "Devicetree Specification 2.3.5", check: (*linter).addressCells},
		{ID: "region-count", Level: Error, Kernels: "before 6.12", Title: "There are at most 64 regions.",
			Why: "\"OF: reserved mem: not enough space for all defined regions.\"", Fix: "Join regions, or use kernel 6.12 or later.", Source: "drivers/of/of_reserved_mem.c, MAX_RESERVED_REGIONS", check: (*linter).count},
		{ID: "multi-reg", Level: Warning, Kernels: allKernels, Title: "A region has one reg entry.",
			Why: "Only the first becomes the region. 7.3 does not even reserve the others.", Fix: "Give each range a node of its own.", Source: "drivers/of/of_reserved_mem.c", check: (*linter).multiReg},
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

// overlap reports each pair once, at the later of the two; a pair of which
// heaps.yaml made one is reported there.
func (l *linter) overlap() {
	all := func(r *Region) []Range { return append([]Range{r.Range}, r.Extra...) }
	for i := range l.Regions {
		for j := range l.Regions[:i] {
			a, b := &l.Regions[j], &l.Regions[i]
			if !a.Active() || !b.Active() || a.Dynamic || b.Dynamic {
				continue
			}
			if b.FromConfig != a.FromConfig && a.FromConfig {
				a, b = b, a
			}
			if hit := sharedBytes(all(a), all(b)); hit.Size > 0 {
				l.report(b.Source.At("base"), "", "%s shares %s with %s", b.spot(), FormatSize(hit.Size), a.spot())
			}
		}
	}
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
				if o.What != w || !o.Range.Overlaps(r.Range) || w == MemReserve && !r.FromConfig && r.Kind != CMA {
					continue
				}
				l.report(r.Source.At("base"), "", "%s lies over the %s (%v, %s)", r.spot(), o.Title(), o.Range, FormatSize(o.Range.Size))
			}
		}
	})
}

func (l *linter) outside() {
	l.each(func(_ int, r *Region) {
		if r.Heap == nil || !r.Placed() {
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
		l.report(r.Source.At("base"), "RAM is "+strings.Join(banks, ", ")+"; leave out base to have the heap placed", "%s %s", r.spot(), word)
	})
}

func (l *linter) cmaAlign() {
	a := l.Target.CMAAlign()
	why := fmt.Sprintf("kernel %v with %s pages", l.Target.Kernel, FormatSize(l.Target.PageSize))
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA || r.Range.Size == 0 {
			return
		}
		if r.Range.Size%a != 0 {
			up, _ := alignUp(r.Range.Size, a)
			l.report(r.Source.At("size"), "write "+FormatSize(up), "%s: size %s is no multiple of %s, the CMA alignment of %s", r.label(), FormatSize(r.Range.Size), FormatSize(a), why)
		}
		if base := uint64(r.Range.Base); r.Placed() && base%a != 0 {
			l.report(r.Source.At("base"), fmt.Sprintf("write %v, or leave out base to have the heap placed", Addr(alignDown(base, a))),
				"%s: base %v is no multiple of %s, the CMA alignment of %s", r.label(), r.Range.Base, FormatSize(a), why)
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
	kernelOwn := map[string]string{"system": "the kernel's system heap", DefaultCMAName: "the kernel's name for the default CMA area", "reserved": "the kernel's name for a CMA area that no device tree describes"}
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
				l.report(r.Source.At("name"), "", "%s has the name of another heap, %s", r.label(), place(first))
				break
			}
		}
		seen[r.Name()], seen[r.Node] = r, r
	}
	for i := range l.Regions {
		a := &l.Regions[i]
		for j := range l.Regions {
			if b := &l.Regions[j]; a.FromConfig && !b.FromConfig && a.Node == b.Node {
				l.report(a.Source.At("name"), "give the heap another name", "%s becomes the node %s, which the base tree has already: the two would merge", a.label(), b.Node)
			}
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

func (l *linter) twoDefaults() {
	var first *Region
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA || !r.Default {
			return
		}
		if first != nil {
			fix := ""
			if !first.FromConfig {
				fix = fmt.Sprintf("drop default, or switch off the other with \"disable: [%s]\"", first.Node)
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
		if (r.Kind == Carveout || r.Kind == Chunk) && r.FromConfig && !l.Target.Patched {
			l.report(r.Source.At("kind"), "", "%s: an unpatched kernel %v has no %s heap", r.label(), l.Target.Kernel, r.Kind)
		}
	})
}

func (l *linter) cmaAreas() {
	limit, n := l.Target.MaxCMAAreas(), 0
	l.each(func(_ int, r *Region) {
		if r.Kind != CMA {
			return
		}
		if n++; n == limit+1 {
			l.report(r.Source.Place, "", "%s is CMA area number %d; kernel %v has room for %d", r.label(), n, l.Target.Kernel, limit)
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
	const limit = 64
	if !l.Target.Kernel.Before(v6_12) {
		return
	}
	n := 0
	l.each(func(_ int, r *Region) {
		if n++; n == limit+1 {
			l.report(r.Source.Place, "", "%s is region number %d; kernel %v holds %d", r.label(), n, l.Target.Kernel, limit)
		}
	})
}

func (l *linter) multiReg() {
	l.each(func(_ int, r *Region) {
		if len(r.Extra) > 0 {
			l.report(r.Source.Place, "", "%s has %d reg entries", r.label(), 1+len(r.Extra))
		}
	})
}
