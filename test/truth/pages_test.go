// SPDX-License-Identifier: MIT

package truth

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

// A pageSize is one that arm64 kernels are built with.
type pageSize struct {
	flavour string // of test/kernel.sh
	bytes   uint64
	cma     uint64 // alignment of a CMA region
	mem     int    // MiB of RAM, enough for one
	cpu     string // that has such pages
}

var pageSizes = []pageSize{
	{"16k", 16 << 10, 32 * mib, 1024, "cortex-a76"},
	{"64k", 64 << 10, 512 * mib, 2048, "cortex-a57"},
}

// kernel returns a kernel with such pages, and with every heap.
func (p pageSize) kernel(ctx context.Context, t *testing.T, b *bench.Bench) string {
	return b.Kernel(ctx, t, rig.Kernel{With: []string{p.flavour}, Fragments: []string{b.All.Config}})
}

// layouts returns what is right for pages of this size, and what would be right
// for smaller ones. The default area of the test kernels, 16 MiB, would be
// rounded up to an alignment as large as this, so a region is the default.
func (p pageSize) layouts() []layout {
	const area = "a@60000000"
	carveout := func(base, size uint64) (*fdt.Node, string) {
		name := fmt.Sprintf("b@%x", base)
		return carve(name, "reg", reg(base, size)), name
	}
	chunk := func(size uint64) (*fdt.Node, string) {
		const name = "c@58000000"
		return node(name, "compatible", heapcfg.CompatChunk, "reg", reg(0x5800_0000, 64*p.bytes), "chunk-size", fdt.U32s(uint32(size))), name
	}
	cma := func(size uint64) *fdt.Node {
		return pool(area, "reg", reg(0x6000_0000, size), "linux,cma-default", nil)
	}
	right, b := carveout(0x5400_0000+p.bytes, 3*p.bytes)
	whole, c := chunk(p.bytes)
	odd, oddName := carveout(0x5400_0000+p.bytes/2, 4*p.bytes)
	half, _ := chunk(p.bytes / 2)
	all := []layout{
		{name: "right", nodes: []*fdt.Node{cma(p.cma), right, whole},
			heaps: []string{area, b, c}, probe: []string{area + " 4MiB", b + " 48KiB", c + " 256KiB"}},
		{name: "CMA misaligned", nodes: []*fdt.Node{cma(p.cma / 2)},
			rules: []string{"error cma-alignment"}, missing: []string{area},
			says: []string{`Reserved memory: incorrect alignment of CMA region`}},
		{name: "carveout misaligned", nodes: []*fdt.Node{odd},
			rules: []string{"error page-alignment"}, missing: []string{oddName},
			says: []string{`dma_heap: ` + oddName + `: no heap: .* is not a multiple of the page size`}},
		{name: "chunk of half a page", nodes: []*fdt.Node{half},
			rules: []string{"error chunk-size"}, missing: []string{c}, says: []string{`chunk_heap: ` + c + `: no heap: `}},
	}
	for i := range all {
		all[i].mem = p.mem
	}
	return all
}

// The rules about alignment depend on the size of a page, and kernels with larger
// ones than 4 KiB are rarely at hand to try.
func TestPageSizes(t *testing.T) {
	bench.OnlyDefaultLine(t)
	b, ctx, _ := setup(t)
	for _, p := range pageSizes {
		t.Run(p.flavour, func(t *testing.T) {
			image := p.kernel(ctx, t, b)
			m := b.Machine
			m.MemMiB, m.CPU = p.mem, p.cpu
			on := b.On(ctx, t, m)
			base := bench.ReadTree(t, on.Base)
			target := testTarget(b.Line)
			target.PageSize = p.bytes
			for _, l := range p.layouts() {
				t.Run(strings.ReplaceAll(l.name, " ", "-"), func(t *testing.T) {
					l.boot(ctx, t, on, image, l.judge(t, target, l.tree(base)))
				})
			}
		})
	}
}
