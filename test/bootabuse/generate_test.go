// SPDX-License-Identifier: MIT

package bootabuse

import (
	"fmt"
	"math/rand"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// A generator makes a /reserved-memory from a seed: a good one first, and then,
// for most seeds, a few things that people and tools get wrong.
type generator struct {
	*rand.Rand
	free []heapcfg.Range
	rm   *fdt.Node
	done []string // what was broken, in words
}

// occupied is what the boot code of QEMU's virt machine puts into memory.
var occupied = []heapcfg.Occupant{
	{What: heapcfg.Kernel, Range: heapcfg.Range{Base: 0x4020_0000, Size: 32 * mib}},
	{What: heapcfg.Initrd, Range: heapcfg.Range{Base: 0x4800_0000, Size: 32 * mib}},
}

const (
	ramBase = 0x4000_0000
	ramEnd  = 0x6000_0000
)

// generate returns the base tree with the seed's /reserved-memory, and what was
// done to it.
func generate(base *fdt.Tree, seed int64) (*fdt.Tree, []string) {
	g := &generator{Rand: rand.New(rand.NewSource(seed))}
	g.free = []heapcfg.Range{{Base: 0x4a00_0000, Size: 0x5fc0_0000 - 0x4a00_0000}}
	tree := base.Clone()
	g.rm = tree.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
	g.rm.Set("#address-cells", fdt.U32s(2))
	g.rm.Set("#size-cells", fdt.U32s(2))
	g.rm.Set("ranges", nil)
	for i := range 1 + g.Intn(12) {
		g.region(i)
	}
	g.Shuffle(len(g.rm.Children), func(i, j int) { g.rm.Children[i], g.rm.Children[j] = g.rm.Children[j], g.rm.Children[i] })
	if g.Intn(3) > 0 {
		for range 1 + g.Intn(3) {
			g.spoil(tree)
		}
	}
	return tree, g.done
}

func (g *generator) pick(list ...string) string { return list[g.Intn(len(list))] }

// place finds room for a region.
func (g *generator) place(size, align uint64) (uint64, bool) {
	for range 20 {
		r := g.free[g.Intn(len(g.free))]
		first := (uint64(r.Base) + align - 1) / align * align
		end := uint64(r.Base) + r.Size
		if first+size > end {
			continue
		}
		base := first + uint64(g.Int63n(int64((end-first-size)/align)+1))*align
		g.free = heapcfg.Subtract(g.free, []heapcfg.Range{{Base: heapcfg.Addr(base), Size: size}})
		return base, len(g.free) > 0
	}
	return 0, false
}

func reg(base, size uint64) []byte { return append(fdt.Cells(base, 2), fdt.Cells(size, 2)...) }

var sizes = []uint64{4 * kib, 8 * kib, 64 * kib, 100 * kib, mib, 3 * mib, 4 * mib, 8 * mib, 12 * mib, 16 * mib, 20 * mib}

func (g *generator) region(i int) {
	name := g.pick("video", "npu", "camera", "fw", "linux,cma", "display", "dsp", "vpu", "isp", "modem") + fmt.Sprint(i)
	size, align := sizes[g.Intn(len(sizes))], uint64(4*kib)
	n := &fdt.Node{}
	switch kind := g.Intn(10); {
	case kind < 4:
		n.Set("compatible", fdt.StringList(heapcfg.CompatPool))
		n.Set("reusable", nil)
		align = 4 * mib
		size = (size + align - 1) / align * align
		if !g.hasDefault() && g.Intn(3) == 0 {
			n.Set("linux,cma-default", nil)
		}
	case kind < 7:
		n.Set("compatible", fdt.StringList(g.pick(heapcfg.CompatCarveout, heapcfg.CompatCarveout, "dma-heap-carveout")))
		switch g.Intn(4) {
		case 0:
			n.Set("no-map", nil)
		case 1:
			n.Set("no-map", nil)
			n.Set(heapcfg.PropWriteCombine, nil)
		}
	case kind < 8:
		n.Set("compatible", fdt.StringList(heapcfg.CompatChunk))
		chunk := uint64(4*kib) << g.Intn(6)
		n.Set("chunk-size", fdt.U32s(uint32(chunk)))
		size = (size + chunk - 1) / chunk * chunk
	case kind < 9:
		n.Set("no-map", nil)
	}
	if g.Intn(8) == 0 {
		n.Set("status", fdt.StringList(g.pick("disabled", "okay", "ok")))
	}
	base, ok := g.place(size, align)
	if !ok {
		return
	}
	if g.Intn(6) == 0 {
		// Only a size: the kernel finds a place in the range given.
		n.Name = name
		n.Set("size", fdt.Cells(size, 2))
		n.Set("alloc-ranges", reg(base, size))
		if g.Intn(2) == 0 {
			n.Set("alignment", fdt.Cells(align, 2))
		}
	} else {
		n.Name = fmt.Sprintf("%s@%x", name, base)
		n.Set("reg", reg(base, size))
	}
	g.rm.AddChild(n)
}

func (g *generator) hasDefault() bool {
	for _, n := range g.rm.Children {
		if n.Has("linux,cma-default") {
			return true
		}
	}
	return false
}

// spoil breaks one thing.
func (g *generator) spoil(tree *fdt.Tree) {
	if len(g.rm.Children) == 0 {
		return
	}
	n := g.rm.Children[g.Intn(len(g.rm.Children))]
	was := n.Name
	base, size, placed := uint64(0), uint64(0), false
	if v, ok := n.Prop("reg"); ok && len(v) == 16 {
		base, _ = fdt.DecodeCells(v[:8], 2)
		size, _ = fdt.DecodeCells(v[8:], 2)
		placed = true
	}
	tell := func(format string, args ...any) { g.done = append(g.done, was+": "+fmt.Sprintf(format, args...)) }
	move := func(to, bytes uint64, what string) {
		if placed {
			n.Set("reg", reg(to, bytes))
			tell("%s, %#x+%#x", what, to, bytes)
		}
	}
	switch g.Intn(24) {
	case 0:
		move(base+uint64(g.Intn(4096)), size, "a base inside of a page")
	case 1:
		move(base, size+uint64(g.Intn(4096)), "a size of no whole pages")
	case 2:
		move(base+4096*uint64(g.Intn(1024)), size, "moved by some pages")
	case 3:
		move(ramBase+uint64(g.Intn(64))*mib, size, "moved to the begin of RAM")
	case 4:
		move(0x4700_0000+uint64(g.Intn(64))*mib, size, "moved to the initrd")
	case 5:
		move(ramEnd-uint64(g.Intn(16))*mib, size, "moved to the end of RAM")
	case 6:
		move(g.Uint64()>>g.Intn(40)&^0xfff, size, "moved anywhere")
	case 7:
		move(base, uint64(g.Int63())>>g.Intn(50)&^0xfff, "any size")
	case 8:
		other := g.rm.Children[g.Intn(len(g.rm.Children))]
		if v, ok := other.Prop("reg"); ok && len(v) == 16 && other != n {
			to, _ := fdt.DecodeCells(v[:8], 2)
			move(to+uint64(g.Intn(3))*mib, size, "moved onto "+other.Name)
		}
	case 9:
		if v, ok := n.Prop("reg"); ok && len(v) > 0 {
			n.Set("reg", v[:g.Intn(len(v))])
			tell("a reg cut off")
		}
	case 10:
		if v, ok := n.Prop("reg"); ok {
			n.Set("reg", append(append([]byte(nil), v...), reg(0x5000_0000, mib)...))
			tell("a second reg entry")
		}
	case 11:
		p := g.pick("reusable", "no-map", "linux,cma-default", heapcfg.PropWriteCombine)
		n.Set(p, nil)
		tell("%s as well", p)
	case 12:
		p := g.pick("reusable", "no-map", "reg", "size", "alloc-ranges", "compatible", "chunk-size", "alignment")
		if n.Remove(p) {
			tell("no %s", p)
		}
	case 13:
		n.Set("compatible", fdt.StringList(g.pick("shared-dma-poll", "linux,carveout", heapcfg.CompatCarveout, heapcfg.CompatChunk, heapcfg.CompatPool, "restricted-dma-pool", "")))
		tell("another compatible")
	case 14:
		chunk := g.Uint32() >> g.Intn(32)
		n.Set("chunk-size", fdt.U32s(chunk))
		tell("chunk-size %#x", chunk)
	case 15:
		v := make([]byte, g.Intn(24))
		g.Read(v)
		p := g.pick("reg", "size", "alignment", "alloc-ranges", "chunk-size", "compatible", "status", "reusable")
		n.Set(p, v)
		tell("noise in %s: %x", p, v)
	case 16:
		n.Name = g.pick("system", "reserved", "default_cma_region", "linux,cma", "a", strings.Repeat("long", 20), "video@", "x@zz", was+"0")
		tell("named %s", n.Name)
	case 17:
		g.rm.AddChild(n.Clone())
		tell("twice")
	case 18:
		p := g.pick("#address-cells", "#size-cells")
		v := uint32(g.Intn(4))
		g.rm.Set(p, fdt.U32s(v))
		tell("%s = %d for all", p, v)
	case 19:
		g.rm.Remove(g.pick("ranges", "#address-cells", "#size-cells"))
		tell("a property of /reserved-memory is missing")
	case 20:
		a := uint64(g.Intn(5)) << g.Intn(40)
		n.Set("alignment", fdt.Cells(a, 2))
		tell("alignment %#x", a)
	case 21:
		from, bytes := g.Uint64()>>g.Intn(40), g.Uint64()>>g.Intn(40)
		n.Set("alloc-ranges", reg(from, bytes))
		tell("alloc-ranges %#x+%#x", from, bytes)
	case 22:
		n.AddChild(&fdt.Node{Name: "child"}).Set("reg", reg(base, size))
		tell("a child")
	default:
		for range 30 {
			g.region(100 + g.Intn(900))
		}
		tell("thirty more regions")
	}
	_ = tree
}
