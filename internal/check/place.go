// SPDX-License-Identifier: MIT

package check

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// size holds what the kernel says the heap has against what was promised.
func (t *target) size() *outcome {
	u := t.usage
	if t.exp.Range.Size == 0 {
		return skip("nothing says how large it was meant to be")
	}
	if !u.Size.Known() {
		if why, evidence := t.shouldTell(); why != "" {
			return fail("%s, and does not", why).because("the size of the heap", "nothing", evidence).
				advise("%s", shouldTellAdvice)
		}
		return skip("this kernel does not tell the size of the heap; --full measures it")
	}
	if why := t.replaced(); why != "" {
		return skip("%s", why)
	}
	want, got := t.exp.Range.Size, u.Size.Value
	o := pass("%s", heapcfg.FormatSize(got))
	if got != want {
		o = fail("the heap has %s, not %s", heapcfg.FormatSize(got), heapcfg.FormatSize(want)).
			because(heapcfg.FormatSize(want), heapcfg.FormatSize(got), u.Size.From)
		if cma, ok := t.cmaParam(); ok {
			o.message += ": cma=" + cma + " on the kernel command line takes the place of the region in the device tree"
			return o.advise("remove cma=%s from the kernel command line", cma)
		}
		o = o.advise("install the overlay and the lock of one and the same compile run; a size that the kernel rounds must be a multiple of %s",
			heapcfg.FormatSize(t.board.Target().CMAAlign()))
	}
	return o.measure("size", float64(got), "bytes")
}

const shouldTellAdvice = "mount sysfs on /sys and debugfs on /sys/kernel/debug, and run as root; if they are, the heap's driver did not come up as it should: see dmesg"

// shouldTell says that this kernel has what tells the numbers of the heap, so
// that their absence is a fault and no reason to skip. It is "" where the kernel
// may well lack it.
func (t *target) shouldTell() (why, evidence string) {
	const own, cma = "sys/kernel/dma_heap", "sys/kernel/mm/cma"
	if t.exp.Kind == heapcfg.Carveout || t.exp.Kind == heapcfg.Chunk {
		if _, err := t.board.FS.Lstat(own); err == nil {
			return "the driver of this kernel shows the numbers of its heaps in /" + own, "/" + own + "/" + t.exp.Name
		}
		return "", ""
	}
	// The number of all pages of an area came after 6.12 (mm/cma_sysfs.c).
	if t.exp.Kind != heapcfg.CMA || t.board.Kernel.Before(heapcfg.Version{Major: 7, Minor: 3}) {
		return "", ""
	}
	if cfg, err := t.board.Config(); err == nil && cfg.Value("CMA_SYSFS") == "y" {
		return "this kernel shows the numbers of CMA areas in /" + cma + " (CONFIG_CMA_SYSFS=y)", "/" + cma
	}
	return "", ""
}

// cmaParam returns the cma= parameter if it is about this heap.
func (t *target) cmaParam() (string, bool) {
	if t.exp.Kind != heapcfg.CMA {
		return "", false
	}
	node := t.exp.Name
	if t.exp.SharedWith != "" {
		node = t.exp.SharedWith
	}
	if reg := t.liveRegion(node); reg == nil || !reg.Default {
		return "", false
	}
	return t.board.Param("cma")
}

// replaced tells why this heap has other memory than was meant: the region it
// shares has no heap, so the kernel made a default area of its own.
func (t *target) replaced() string {
	if t.exp.SharedWith == "" || t.entry(t.exp.SharedWith) != nil {
		return ""
	}
	return "the kernel made another default area, because " + t.exp.SharedWith + " is missing"
}

// place looks for the heap's memory where it was meant to be.
func (t *target) place() *outcome {
	if t.exp.Range.Size == 0 {
		return skip("nothing says where it was meant to lie")
	}
	if t.exp.Dynamic {
		return skip("the kernel chooses the place of this heap")
	}
	if cma, ok := t.cmaParam(); ok {
		return skip("cma=%s on the kernel command line chooses the place of this heap", cma)
	}
	if why := t.replaced(); why != "" {
		return skip("%s", why)
	}
	if b := t.usage.Base; b.Known() && b.Value != uint64(t.exp.Range.Base) {
		return fail("the heap lies at %v, not at %v", heapcfg.Addr(b.Value), t.exp.Range.Base).
			because(t.exp.Range.Base.String(), heapcfg.Addr(b.Value).String(), b.From).
			advise("install the overlay and the lock of one and the same compile run")
	}
	place, err := t.board.Placed(t.exp.Range)
	if err != nil {
		if t.usage.Base.Known() {
			return pass("at %v", t.exp.Range.Base)
		}
		return blocked("/proc/iomem: %s", sysinfo.Reason(err))
	}
	const evidence = "/proc/iomem"
	switch place {
	case sysinfo.PlaceReserved:
		return pass("%v is reserved", t.exp.Range)
	case sysinfo.PlaceUntold:
		if t.usage.Base.Known() {
			return pass("at %v", t.exp.Range.Base)
		}
		return skip("neither /proc/iomem nor debugfs shows what is reserved")
	case sysinfo.PlaceOutside:
		if !t.usage.Base.Known() && t.exp.Kind != heapcfg.CMA {
			// A no-map region at the edge of RAM leaves no trace on
			// kernels before 6.12, which drop it from the list.
			return warn("the kernel's memory map has nothing at %v", t.exp.Range).because("a reserved range", string(place), evidence).
				advise("see in dmesg whether the region is inside of RAM; heapctl lint on the live tree tells")
		}
		return fail("there is no RAM at %v", t.exp.Range).because("a reserved range within RAM", string(place), evidence).
			advise("move the region into RAM: leave its address out of heaps.yaml and let the compiler place it")
	}
	return fail("the kernel did not keep %v from other use: it is %s", t.exp.Range, place).because("reserved", string(place), evidence).
		advise("see dmesg for the region: dmesg | grep -e 'reserved mem' -e cma")
}

// placePages looks at the page frames of a buffer, where the kernel shows them.
func (t *target) placePages() *outcome {
	region := t.exp.Range
	if b := t.usage.Base; b.Known() {
		region = heapcfg.Range{Base: heapcfg.Addr(b.Value), Size: t.whole()}
	}
	if t.exp.Dynamic && !t.usage.Base.Known() || region.Size == 0 || t.replaced() != "" {
		return skip("nothing says where the region lies")
	}
	return t.withBuffer(t.share(), func(b Buffer) *outcome {
		m, err := b.MapRange(0, min(b.Size(), window), dmaheap.ReadWrite)
		if err != nil {
			return mapFailed(b, err)
		}
		defer m.Close()
		for i := uint64(0); i < uint64(len(m.Bytes())); i += t.board.PageSize {
			m.Bytes()[i] = 1 // some drivers map a page when it is touched
		}
		frames, err := t.dev.Physical(m, t.board.PageSize)
		if errors.Is(err, errHidden) {
			return skip("%v", err)
		}
		if err != nil {
			return fail("the pages cannot be looked up: %v", err).because("page frames", errText(err), "/proc/self/pagemap").advise("see dmesg")
		}
		const evidence = "/proc/self/pagemap"
		for i, at := range frames {
			page := heapcfg.Range{Base: heapcfg.Addr(at), Size: t.board.PageSize}
			if !region.Contains(page) {
				return fail("page %d of a buffer lies at %v, outside of the region", i, page.Base).
					because("a page within "+region.String(), page.Base.String(), evidence).
					advise("the heap does not take its memory from the region: look in dmesg for what became of the region")
			}
			if t.exp.Kind != heapcfg.Chunk && i > 0 && at != frames[i-1]+t.board.PageSize {
				return fail("the pages of a buffer are not contiguous, from page %d on", i).
					because(heapcfg.Addr(frames[i-1]+t.board.PageSize).String(), page.Base.String(), evidence).
					advise("devices without an IOMMU cannot use this heap; its driver must hand out contiguous memory")
			}
		}
		return pass("%d pages from %v on, inside the region", len(frames), heapcfg.Addr(frames[0]))
	})
}

// alignSlack is what the largest block may fall short of a CMA area because
// the kernel aligns large buffers: CONFIG_CMA_ALIGNMENT is 8 unless changed,
// and so 256 pages (mm/Kconfig).
func (t *target) alignSlack() uint64 {
	if t.exp.Kind != heapcfg.CMA {
		return 0
	}
	return 256 * t.board.PageSize
}

// free tells who else holds the heap, and whether it is fragmented. In a quick
// run a busy heap is worth a warning only: cameras may be running.
func (t *target) free() *outcome {
	u := t.usage
	if !u.Used.Known() && !u.Largest.Known() {
		if why, evidence := t.shouldTell(); why != "" {
			return fail("%s, and does not", why).because("what is used of the heap", "nothing", evidence).
				advise("%s", shouldTellAdvice)
		}
		return skip("this kernel does not tell how much of the heap is used")
	}
	size := t.exp.Range.Size
	if u.Size.Known() {
		size = u.Size.Value
	}
	bad := warn
	if t.o.Full {
		bad = fail
	}
	var o *outcome
	free := size - min(u.Used.Value, size)
	switch {
	case u.Largest.Known() && u.Used.Known() && free >= size/2 && u.Largest.Value < free/2:
		o = bad("fragmented: %s are free, but the largest block has only %s", heapcfg.FormatSize(free), heapcfg.FormatSize(u.Largest.Value)).
			because("one free block of about "+heapcfg.FormatSize(free), heapcfg.FormatSize(u.Largest.Value)+t.heldBy(), u.Largest.From).
			advise("allocate large buffers first and keep them, or give them a heap of their own; a carveout does not fragment through other users of the memory")
	case u.Used.Known() && free < size/2:
		o = bad("%s of %s are in use%s", heapcfg.FormatSize(u.Used.Value), heapcfg.FormatSize(size), t.heldBy()).
			because("at least half of the heap free", heapcfg.FormatSize(free)+" free", u.Used.From).
			advise("end the programs that hold it, or make the heap larger in heaps.yaml")
	case u.Used.Known():
		o = pass("%s of %s are in use", heapcfg.FormatSize(u.Used.Value), heapcfg.FormatSize(size))
	default:
		o = pass("the largest free block has %s", heapcfg.FormatSize(u.Largest.Value))
	}
	if u.Used.Known() {
		o = o.measure("used", float64(u.Used.Value), "bytes")
	}
	if u.Largest.Known() {
		o = o.measure("largest_free", float64(u.Largest.Value), "bytes")
	}
	return o
}

// heldBy names the processes that hold buffers of the heap.
func (t *target) heldBy() string {
	holders, hidden, err := t.board.Holders()
	if err != nil {
		return ""
	}
	var out []string
	var known uint64
	for _, h := range holders {
		if t.board.Live && h.PID == os.Getpid() {
			continue
		}
		if h.Heap == t.exp.Name || h.Heap == t.exp.SharedWith {
			out = append(out, fmt.Sprintf("%s[%d] %s in %d buffers", h.Comm, h.PID, heapcfg.FormatSize(h.Bytes), h.Buffers))
			known += h.Bytes
		}
	}
	if s := t.heldByDevices(known); s != "" {
		out = append(out, s)
	}
	switch {
	case len(out) > 0:
		return "; held by " + strings.Join(out, ", ")
	case hidden > 0:
		return "; by processes of other users, which only root can see"
	}
	return "; by the kernel's own drivers"
}

// heldByDevices names the devices that keep buffers which no process holds.
func (t *target) heldByDevices(known uint64) string {
	bufs, err := t.board.DMABufs()
	if err != nil {
		return ""
	}
	var bytes uint64
	var devices []string
	for _, d := range bufs {
		if d.Exporter != t.exp.Name && d.Exporter != t.exp.SharedWith {
			continue
		}
		bytes += d.Size
		for _, dev := range d.Devices {
			if !slices.Contains(devices, dev) {
				devices = append(devices, dev)
			}
		}
	}
	if bytes <= known || len(devices) == 0 {
		return ""
	}
	return "the devices " + strings.Join(devices, ", ")
}
