// SPDX-License-Identifier: MIT

package heapcfg

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// A window is memory that the devices on a bus can address.
type window struct {
	bus  uint64 // the first address as the bus has it
	cpu  uint64 // the same as the CPU has it
	size uint64 // 0 stands for 2^64
}

// everywhere is the window of a bus that nothing limits.
var everywhere = window{}

// through returns the windows below a node: its dma-ranges, cut to what the
// buses above let through. A node without dma-ranges, or with an empty one,
// changes nothing (drivers/of/address.c, of_dma_get_range).
func through(above []window, n, parent *fdt.Node) []window {
	v, ok := n.Prop("dma-ranges")
	if !ok || len(v) == 0 {
		return above
	}
	child, up, size := cellsOf(n).Address, cellsOf(parent).Address, cellsOf(n).Size
	entry := 4 * (child + up + size)
	if child < 1 || child > 3 || up < 1 || up > 3 || size < 1 || size > 2 || len(v)%entry != 0 {
		return above // the kernel warns of it and goes on without
	}
	if len(v)/entry > maxEntries || len(above) > maxEntries {
		return above // nothing that a board has
	}
	var out []window
	for ; len(v) > 0; v = v[entry:] {
		w := window{bus: cellNum(v[:4*child]), cpu: cellNum(v[4*child : 4*(child+up)]), size: cellNum(v[4*(child+up) : entry])}
		if w.size == 0 {
			continue
		}
		for _, a := range above {
			if a == everywhere {
				out = append(out, w)
				continue
			}
			hit, ok := intersect(Range{Addr(w.cpu), clip(w.cpu, w.size)}, Range{Addr(a.bus), clip(a.bus, a.size)})
			if ok {
				out = append(out, window{bus: w.bus + uint64(hit.Base) - w.cpu, cpu: a.cpu + uint64(hit.Base) - a.bus, size: hit.Size})
			}
		}
	}
	return out
}

// clip shortens a size so that base plus size stays within 64 bits.
func clip(base, size uint64) uint64 {
	if size == 0 || base+(size-1) < base {
		return -base
	}
	return size
}

// cellNum reads a number of any count of cells by its last two: PCI has a
// third in front, with flags.
func cellNum(v []byte) uint64 {
	var n uint64
	for _, b := range v[max(0, len(v)-8):] {
		n = n<<8 | uint64(b)
	}
	return n
}

// reachOf returns what a device on a bus can address, or nil where nothing
// limits it. Behind an IOMMU addresses are not physical ones.
func reachOf(n *fdt.Node, win []window) []Range {
	if n.Has("iommus") || slices.Contains(n.Strings("interconnect-names"), "dma-mem") {
		return nil
	}
	var out []Range
	for _, w := range win {
		if w == everywhere {
			return nil
		}
		out = append(out, Range{Addr(w.cpu), clip(w.cpu, w.size)})
	}
	return MergeRanges(out)
}

// reach is reachOf for the device at a path.
func reach(t *fdt.Tree, path string) []Range {
	win := []window{everywhere}
	n, parent := t.Root, (*fdt.Node)(nil)
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		next := n.Child(part)
		if next == nil {
			return nil
		}
		if parent != nil {
			win = through(win, n, parent)
		}
		n, parent = next, n
	}
	return reachOf(n, win)
}

// dmaLimit returns the first address beyond what the most limited bus of the
// tree can address, or 0 (drivers/of/address.c, of_dma_get_max_cpu_address).
func dmaLimit(root *fdt.Node) Addr {
	limit := ^uint64(0)
	var walk func(n, parent *fdt.Node, win []window)
	walk = func(n, parent *fdt.Node, win []window) {
		if parent != nil {
			if win = through(win, n, parent); len(win) > 0 && n.Has("dma-ranges") && win[0] != everywhere {
				var last uint64
				for _, w := range win {
					last = max(last, w.cpu+(clip(w.cpu, w.size)-1))
				}
				limit = min(limit, last)
			}
		}
		for _, c := range n.Children {
			if enabled(c) {
				walk(c, n, win)
			}
		}
	}
	walk(root, nil, []window{everywhere})
	if limit == ^uint64(0) {
		return 0
	}
	return Addr(limit + 1)
}

// lowmemEnd is where the memory ends that a 32-bit ARM kernel has mapped at all
// times, with VMSPLIT_3G and no vmalloc= of anybody's: what is left between
// PAGE_OFFSET and VMALLOC_END, 0xff80_0000, beside 240 MiB and VMALLOC_OFFSET
// (arch/arm/mm/mmu.c, adjust_lowmem_bounds, 4.19 to 7.3).
func (l *Layout) lowmemEnd() Addr {
	const vmallocEnd, pageOffset, vmallocOffset = 0xff80_0000, 0xc000_0000, 8 * MiB
	return MergeRanges(l.Banks)[0].Base + Addr(vmallocEnd-pageOffset-240*MiB-vmallocOffset)
}

// NeedsHighmem reports whether one of the config's heaps lies in memory that the
// kernel has only with CONFIG_HIGHMEM; without, it takes that out of RAM and
// still finds the region there (arch/arm/mm/mmu.c, adjust_lowmem_bounds).
func (l *Layout) NeedsHighmem() bool {
	if l.Target.Arch != Arm || len(l.Banks) == 0 {
		return false
	}
	end := l.lowmemEnd()
	return slices.ContainsFunc(l.Regions, func(r Region) bool {
		return r.FromConfig && r.Placed() && r.Range.Last() >= end
	})
}

// zoneLimits returns the addresses at which one zone of the kernel's page
// allocator ends and the next begins. A CMA region across one of them is
// refused. On 32-bit ARM lowmem ends about 768 MiB into RAM.
func (l *Layout) zoneLimits() []Addr {
	banks := MergeRanges(l.Banks)
	if len(banks) == 0 {
		return nil
	}
	if l.Target.Arch == Arm {
		return []Addr{l.lowmemEnd()}
	}
	limits := []Addr{Addr(4 * GiB)}
	if dma := uint64(l.DMALimit); l.Target.Arch == Arm64 && !l.Target.Kernel.Before(v5_10) && dma > 0 && dma < 4*GiB {
		if l.Target.Kernel.Before(v6_12) {
			// Up to 6.11 the limit counted in address bits.
			dma = 1 << bits.Len64(dma-1)
		}
		if dma < 4*GiB {
			limits = append([]Addr{Addr(dma)}, limits...)
		}
	}
	return limits
}

// archOf guesses the architecture from the CPUs of a tree.
func archOf(root *fdt.Node) Arch {
	cpus := root.Child("cpus")
	if cpus == nil {
		return ""
	}
	for _, n := range cpus.Children {
		for _, c := range n.Strings("compatible") {
			switch {
			case strings.HasPrefix(c, "riscv") || n.Has("riscv,isa") || n.Has("riscv,isa-base"):
				return Riscv
			case slices.ContainsFunc(arm32CPUs, func(p string) bool {
				stem, open := strings.CutSuffix(p, "*")
				return c == p || open && strings.HasPrefix(c, stem)
			}):
				return Arm
			case strings.HasPrefix(c, "arm,cortex-"), strings.HasPrefix(c, "arm,neoverse"), c == "arm,armv8", c == "arm,foundation-aarch64",
				strings.HasPrefix(c, "qcom,kryo"), strings.HasPrefix(c, "qcom,oryon"), strings.HasPrefix(c, "apple,"), strings.HasPrefix(c, "nvidia,"),
				strings.HasPrefix(c, "cavium,"), strings.HasPrefix(c, "brcm,vulcan"), strings.HasPrefix(c, "apm,"):
				return Arm64
			}
		}
	}
	return ""
}

// arm32CPUs are the CPUs that only 32-bit kernels run on
// (Documentation/devicetree/bindings/arm/cpus.yaml); a star stands for the
// rest of a name.
var arm32CPUs = []string{
	"arm,arm7*", "arm,arm9*", "arm,arm10*", "arm,arm11*", "arm,sa1*",
	"arm,cortex-a5", "arm,cortex-a7", "arm,cortex-a8", "arm,cortex-a9", "arm,cortex-a12", "arm,cortex-a15", "arm,cortex-a17", "arm,cortex-a32",
	"brcm,brahma-b15", "faraday,*", "intel,sa1100", "intel,xscale", "marvell,feroceon", "marvell,mohawk", "marvell,pj4*", "marvell,sheeva*",
	"marvell,xsc3", "marvell,xscale", "qcom,krait*", "qcom,scorpion*",
}
