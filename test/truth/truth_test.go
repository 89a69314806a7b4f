// SPDX-License-Identifier: MIT

// Package truth holds the rules against kernels. Each layout is judged by the
// rules and booted, and both verdicts are compared with what is written down
// here: a rule that the kernel contradicts is wrong.
package truth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// setup returns the bench and QEMU's tree.
func setup(t *testing.T) (*bench.Bench, context.Context, *fdt.Tree) {
	t.Helper()
	b, ctx := bench.Setup(t)
	return b, ctx, bench.ReadTree(t, b.Base)
}

// What the boot code of QEMU puts into memory.
var occupied = []heapcfg.Occupant{
	{What: heapcfg.Kernel, Range: heapcfg.Range{Base: 0x4020_0000, Size: 16 << 20}},
	{What: heapcfg.Initrd, Range: heapcfg.Range{Base: 0x4800_0000, Size: 32 << 20}},
}

// A layout is a /reserved-memory, what the rules say of it, and what a kernel
// does with it.
type layout struct {
	name  string
	nodes []*fdt.Node
	// change, where set, edits the whole tree afterwards.
	change func(t *fdt.Tree)
	// config, where set, is a heaps.yaml that is compiled onto that tree. It is
	// merged even where compile would refuse it, to see what that saves from.
	config string
	mem    int      // MiB of RAM, where it is not the machine's default
	append string   // kernel arguments
	probe  []string // "HEAP SIZE": buffers to allocate and write to

	rules []string // "LEVEL ID"

	heaps   []string // that the kernel must have, beside the ones it always has
	missing []string // that it must not have
	refused []string // of probe: the heap is there, and has no such buffer
	says    []string // regular expressions, one line each
	silent  []string // what the log must not hold
	dies    bool     // panics, or never comes to an end

	// on holds rules and behaviour of other kernels than 6.12, where they
	// differ: all of them, not only what differs.
	on map[string]layout
}

// as returns the layout with what is expected of a kernel.
func (l layout) as(kernel string) layout {
	if o, ok := l.on[kernel]; ok {
		l.rules, l.heaps, l.missing, l.refused, l.says, l.silent, l.dies = o.rules, o.heaps, o.missing, o.refused, o.says, o.silent, o.dies
		// Nothing can be had of a heap that is not there.
		l.probe = slices.DeleteFunc(slices.Clone(l.probe), func(p string) bool {
			name, _, _ := strings.Cut(p, " ")
			return slices.Contains(o.missing, name)
		})
	}
	return l
}

func node(name string, props ...any) *fdt.Node {
	n := &fdt.Node{Name: name}
	for i := 0; i < len(props); i += 2 {
		switch v := props[i+1].(type) {
		case string:
			n.Set(props[i].(string), fdt.StringList(v))
		case []byte:
			n.Set(props[i].(string), v)
		default:
			n.Set(props[i].(string), nil)
		}
	}
	return n
}

func reg(base, size uint64) []byte {
	return append(fdt.Cells(base, 2), fdt.Cells(size, 2)...)
}

// pool is a CMA region, carve a carveout heap, firm a no-map region.
func pool(name string, props ...any) *fdt.Node {
	return node(name, append([]any{"compatible", heapcfg.CompatPool, "reusable", nil}, props...)...)
}

func carve(name string, props ...any) *fdt.Node {
	return node(name, append([]any{"compatible", heapcfg.CompatCarveout}, props...)...)
}

func firm(name string, props ...any) *fdt.Node {
	return node(name, append([]any{"no-map", nil}, props...)...)
}

const mib = 1 << 20

// reserved returns /reserved-memory of a tree.
func reserved(t *fdt.Tree) *fdt.Node { return t.Root.Child("reserved-memory") }

// layouts are what Linux does with kernel-patches: 6.12 first, then 5.10, 6.1 and
// 7.3 where they differ, each as seen in a boot. Every message is one
// that "heapctl explain" shows.
var layouts = []layout{
	{name: "good",
		nodes: []*fdt.Node{pool("main@50000000", "reg", reg(0x50000000, 64*mib), "linux,cma-default", nil), pool("video@54000000", "reg", reg(0x54000000, 32*mib)),
			carve("npu@56000000", "reg", reg(0x56000000, 16*mib)), firm("fw@57000000", "reg", reg(0x57000000, 4*mib))},
		probe: []string{"main@50000000 32MiB", "video@54000000 32MiB", "npu@56000000 16MiB"},
		heaps: []string{"main@50000000", "video@54000000", "npu@56000000"},
		says:  []string{`Reserved memory: created CMA memory pool at 0x0*50000000, size 64 MiB`}},
	{name: "reserved-name", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 32*mib))},
		change: func(t *fdt.Tree) { reserved(t).Name = "reserved_memory" },
		rules:  []string{"error reserved-name"}, missing: []string{"a@50000000"},
		says: []string{`OF: reserved mem: Reserved memory: No reserved-memory node in the DT`},
		on: map[string]layout{
			"5.10": {rules: []string{"error reserved-name"}, missing: []string{"a@50000000"}, silent: []string{`[Rr]eserved memory: `}},
			"6.1":  {rules: []string{"error reserved-name"}, missing: []string{"a@50000000"}, silent: []string{`[Rr]eserved memory: `}},
		}},
	{name: "no ranges", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 32*mib))},
		change: func(t *fdt.Tree) { reserved(t).Remove("ranges") },
		rules:  []string{"error reserved-format"}, missing: []string{"a@50000000"},
		says: []string{`OF: reserved mem: Reserved memory: unsupported node format, ignoring`},
		on: map[string]layout{
			"5.10": {rules: []string{"error reserved-format"}, missing: []string{"a@50000000"}, says: []string{`OF: fdt: Reserved memory: unsupported node format, ignoring`}},
			"6.1":  {rules: []string{"error reserved-format"}, missing: []string{"a@50000000"}, says: []string{`OF: fdt: Reserved memory: unsupported node format, ignoring`}},
		}},
	{name: "other cells", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 32*mib))},
		change: func(t *fdt.Tree) { reserved(t).Set("#address-cells", fdt.U32s(1)) },
		rules:  []string{"error reserved-format"}, missing: []string{"a@50000000"},
		says: []string{`OF: reserved mem: Reserved memory: unsupported node format, ignoring`},
		on: map[string]layout{
			"5.10": {rules: []string{"error reserved-format"}, missing: []string{"a@50000000"}, says: []string{`OF: fdt: Reserved memory: unsupported node format, ignoring`}},
			"6.1":  {rules: []string{"error reserved-format"}, missing: []string{"a@50000000"}, says: []string{`OF: fdt: Reserved memory: unsupported node format, ignoring`}},
		}},
	{name: "reg of three cells", nodes: []*fdt.Node{pool("a@50000000", "reg", fdt.U32s(0, 0x50000000, 0x2000000))},
		rules: []string{"error region-reg"}, missing: []string{"a@50000000"},
		says: []string{`invalid reg property in 'a@50000000', skipping node`},
		on: map[string]layout{
			"7.3": {rules: []string{"error region-reg"}, missing: []string{"a@50000000"}, silent: []string{`a@50000000`}},
		}},
	{name: "empty", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 0))},
		rules: []string{"error region-empty"}, missing: []string{"a@50000000"},
		says: []string{`failed to reserve memory for node 'a@50000000': base 0x0*50000000, size 0 MiB`}},
	{name: "neither reg nor size", nodes: []*fdt.Node{pool("a")},
		rules: []string{"warning region-no-reg"}, missing: []string{"a"}, silent: []string{`node '?a'?`}},
	{name: "reg and size", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 32*mib), "size", fdt.Cells(64*mib, 2))},
		rules: []string{"warning region-reg-and-size"}, heaps: []string{"a@50000000"},
		says: []string{`created CMA memory pool at 0x0*50000000, size 32 MiB`}},
	{name: "size of one cell", nodes: []*fdt.Node{pool("a", "size", fdt.U32s(32*mib))},
		rules: []string{"error region-size-cells"}, missing: []string{"a"},
		says: []string{`OF: reserved mem: invalid size property in 'a' node\.`}},
	{name: "alignment of one cell", nodes: []*fdt.Node{pool("a", "size", fdt.Cells(32*mib, 2), "alignment", fdt.U32s(4*mib))},
		rules: []string{"error region-size-cells"}, missing: []string{"a"},
		says: []string{`OF: reserved mem: invalid alignment property in 'a' node\.`}},
	{name: "alloc-ranges of two cells", nodes: []*fdt.Node{pool("a", "size", fdt.Cells(32*mib, 2), "alloc-ranges", fdt.U32s(0, 0x50000000))},
		rules: []string{"error region-alloc-ranges"}, missing: []string{"a"},
		says: []string{`OF: reserved mem: invalid alloc-ranges property in 'a', skipping node\.`},
		on: map[string]layout{
			"7.3": {rules: []string{"error region-alloc-ranges"}, heaps: []string{"a"}, silent: []string{`alloc-ranges`}},
		}},
	{name: "dynamic", nodes: []*fdt.Node{pool("a", "size", fdt.Cells(32*mib, 2), "alloc-ranges", reg(0x50000000, 64*mib))},
		probe: []string{"a 32MiB"}, heaps: []string{"a"}},
	{name: "dynamic, too big", nodes: []*fdt.Node{pool("a", "size", fdt.Cells(768*mib, 2))},
		rules: []string{"warning region-no-room"}, missing: []string{"a"},
		says: []string{`OF: reserved mem: failed to allocate memory for node 'a': size 768 MiB`},
		on: map[string]layout{
			"5.10": {rules: []string{"warning region-no-room"}, missing: []string{"a"}, says: []string{`OF: reserved mem: failed to allocate memory for node 'a'`}},
		}},
	{name: "dynamic, range taken", nodes: []*fdt.Node{firm("fw@50000000", "reg", reg(0x50000000, 64*mib)), pool("a", "size", fdt.Cells(32*mib, 2), "alloc-ranges", reg(0x50000000, 64*mib))},
		rules: []string{"warning region-no-room"}, missing: []string{"a"},
		says: []string{`OF: reserved mem: failed to allocate memory for node 'a': size 32 MiB`},
		on: map[string]layout{
			"5.10": {rules: []string{"warning region-no-room"}, missing: []string{"a"}, says: []string{`OF: reserved mem: failed to allocate memory for node 'a'`}},
		}},
	{name: "two reg entries", nodes: []*fdt.Node{pool("a@50000000", "reg", append(reg(0x50000000, 32*mib), reg(0x54000000, 32*mib)...))},
		rules: []string{"warning multi-reg"}, heaps: []string{"a@50000000"},
		says: []string{`OF: reserved mem: fdt_scan_reserved_mem_reg_nodes\(\) ignores 1 regions in node 'a@50000000'`},
		on: map[string]layout{
			"5.10": {rules: []string{"warning multi-reg"}, heaps: []string{"a@50000000"}, silent: []string{`ignores`}},
			"6.1":  {rules: []string{"warning multi-reg"}, heaps: []string{"a@50000000"}, silent: []string{`ignores`}},
			"7.3":  {rules: []string{"warning multi-reg"}, heaps: []string{"a@50000000"}, says: []string{`OF: reserved mem: Reserved memory: node 'a@50000000' has 2 <base size> entries, only the first is used`}},
		}},
	{name: "name of another address", nodes: []*fdt.Node{pool("a@51000000", "reg", reg(0x50000000, 32*mib))},
		rules: []string{"warning unit-address"}, heaps: []string{"a@51000000"}},
	{name: "compatible", nodes: []*fdt.Node{node("a@50000000", "compatible", "shared-dma-poll", "reusable", nil, "reg", reg(0x50000000, 32*mib))},
		rules: []string{"error compatible-typo"}, missing: []string{"a@50000000"},
		says: []string{`OF: reserved mem: 0x0*50000000\.\.0x0*51ffffff \(32768 KiB\) map reusable a@50000000`},
		on: map[string]layout{
			"5.10": {rules: []string{"error compatible-typo"}, missing: []string{"a@50000000"}, silent: []string{`a@50000000`}},
			"6.1":  {rules: []string{"error compatible-typo"}, missing: []string{"a@50000000"}, silent: []string{`a@50000000`}},
		}},
	{name: "reusable and no-map", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 32*mib), "no-map", nil)},
		rules: []string{"error reusable-no-map"}, missing: []string{"a@50000000"},
		says: []string{`OF: reserved mem: node a@50000000 compatible matching fail`},
		on: map[string]layout{
			"7.3": {rules: []string{"error reusable-no-map"}, missing: []string{"a@50000000"}, says: []string{`OF: reserved mem: 0x0*50000000\.\.0x0*51ffffff \(32768 KiB\) nomap reusable a@50000000`}},
		}},
	{name: "default that is none", nodes: []*fdt.Node{node("a@50000000", "compatible", heapcfg.CompatPool, "no-map", nil, "linux,cma-default", nil, "reg", reg(0x50000000, 4*mib))},
		rules: []string{"warning cma-default-ignored"}, missing: []string{"a@50000000"},
		says: []string{`Reserved memory: created DMA memory pool at 0x0*50000000`, `cma: Reserved 16 MiB at`}},
	{name: "alignment no power of two", nodes: []*fdt.Node{carve("a", "size", fdt.Cells(4*mib, 2), "alloc-ranges", reg(0x4c0b0000, 4*mib), "alignment", fdt.Cells(0xc000000, 2))},
		rules: []string{"error region-alignment"}, missing: []string{"a"}, says: []string{`OF: reserved mem: failed to allocate memory for node 'a'`}},
	{name: "region in a region", nodes: []*fdt.Node{nested()}, heaps: []string{"a@50000000"}, silent: []string{`OVERLAP`},
		on: map[string]layout{
			"5.10": {rules: []string{"error region-overlap"}, heaps: []string{"a@50000000"}, says: []string{`OF: reserved mem: OVERLAP DETECTED!`}},
		}},
	// 7.3 reserves b, whose status is no string, and makes no heap of it.
	{name: "status misspelt", nodes: []*fdt.Node{
		pool("a@50000000", "reg", reg(0x50000000, 32*mib), "status", "enabled"),
		carve("b@54000000", "reg", reg(0x54000000, 16*mib), "status", []byte{0x55, 0x97, 0xa6, 0x78, 0x30})},
		rules: []string{"warning region-status"}, missing: []string{"a@50000000", "b@54000000"}, silent: []string{`a@50000000`}},
	{name: "disabled", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 32*mib), "status", "disabled")},
		missing: []string{"a@50000000"}, silent: []string{`a@50000000`}},
	{name: "no-map holes", nodes: holes(70), rules: []string{"error no-map-holes"}, dies: true,
		says: []string{`Kernel panic - not syncing: memblock: cannot resize memory array`},
		on: map[string]layout{
			"5.10": {rules: []string{"error region-count", "error no-map-holes"}, dies: true, says: []string{`Kernel BUG at __create_pgd_mapping`}},
			"6.1":  {rules: []string{"error region-count", "error no-map-holes"}, dies: true, says: []string{`Kernel BUG at __create_pgd_mapping`}},
		}},
	{name: "no-map holes that fit", nodes: holes(60)},
	{name: "overlap", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 64*mib)), pool("b@53000000", "reg", reg(0x53000000, 32*mib))},
		rules: []string{"error region-overlap"}, heaps: []string{"a@50000000", "b@53000000"},
		says: []string{`OF: reserved mem: OVERLAP DETECTED!`}},
	{name: "no-map inside CMA", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 64*mib)), firm("fw@51000000", "reg", reg(0x51000000, 4*mib))},
		rules: []string{"error region-overlap"}, heaps: []string{"a@50000000"},
		says: []string{`failed to reserve memory for node 'fw@51000000': base 0x0*51000000, size 4 MiB`, `OVERLAP DETECTED!`}},
	{name: "CMA over no-map", nodes: []*fdt.Node{firm("fw@51000000", "reg", reg(0x51000000, 4*mib)), pool("a@50000000", "reg", reg(0x50000000, 64*mib))},
		rules: []string{"error region-overlap"}, probe: []string{"a@50000000 48MiB"}, dies: true,
		says: []string{`Unable to handle kernel paging request`},
		on: map[string]layout{
			// The area is never activated, and the heap is there all the same.
			"5.10": {rules: []string{"error region-overlap"}, heaps: []string{"a@50000000"}, refused: []string{"a@50000000 48MiB"},
				says: []string{`OVERLAP DETECTED!`, `WARNING: CPU: 0 PID: 1 at cma_init_reserved_areas`}},
		}},
	{name: "over the kernel", nodes: []*fdt.Node{pool("a@40000000", "reg", reg(0x40000000, 64*mib))},
		rules: []string{"error over-kernel"}, probe: []string{"a@40000000 48MiB"}, dies: true,
		says: []string{`created CMA memory pool at 0x0*40000000, size 64 MiB`, `Unable to handle kernel write to read-only memory`},
		on: map[string]layout{
			"5.10": {rules: []string{"error over-kernel"}, heaps: []string{"a@40000000"}, says: []string{`BUG: Bad page state in process swapper/0  pfn:40`}},
			"6.1":  {rules: []string{"error over-kernel"}, heaps: []string{"a@40000000"}, says: []string{`BUG: Bad page state in process swapper/0  pfn:40`}},
		}},
	{name: "no-map over the kernel", nodes: []*fdt.Node{firm("fw@40200000", "reg", reg(0x40200000, 2*mib))},
		rules: []string{"error over-kernel"},
		says:  []string{`failed to reserve memory for node 'fw@40200000': base 0x0*40200000, size 2 MiB`}},
	{name: "over the initrd", nodes: []*fdt.Node{pool("a@48000000", "reg", reg(0x48000000, 32*mib))},
		rules: []string{"error over-initrd"}, probe: []string{"a@48000000 24MiB"}, dies: true,
		says: []string{`created CMA memory pool at 0x0*48000000, size 32 MiB`},
		on: map[string]layout{
			"5.10": {rules: []string{"error over-initrd"}, heaps: []string{"a@48000000"}, says: []string{`BUG: Bad page state in process .*  pfn:48`}},
			"6.1":  {rules: []string{"error over-initrd"}, heaps: []string{"a@48000000"}, says: []string{`BUG: Bad page state in process .*  pfn:48`}},
			"7.3":  {rules: []string{"error over-initrd"}, heaps: []string{"a@48000000"}},
		}},
	{name: "outside RAM", nodes: []*fdt.Node{pool("a@80000000", "reg", reg(0x80000000, 64*mib))},
		rules: []string{"error outside-ram"}, dies: true,
		says: []string{`created CMA memory pool at 0x0*80000000, size 64 MiB`, `WARNING: CPU: 0 PID: 1 at .*cma_init_reserved_areas`},
		on: map[string]layout{
			"7.3": {rules: []string{"error outside-ram"}, dies: true, says: []string{`created CMA memory pool at 0x0*80000000, size 64 MiB`, `WARNING: at cma_init_reserved_areas`, `Kernel panic - not syncing`}},
		}},
	{name: "past the end of RAM", nodes: []*fdt.Node{pool("a@5f000000", "reg", reg(0x5f000000, 32*mib))},
		rules: []string{"error outside-ram"}, dies: true, says: []string{`Unable to handle kernel`}},
	{name: "carveout outside RAM", nodes: []*fdt.Node{carve("a@80000000", "reg", reg(0x80000000, 4*mib))},
		rules: []string{"error outside-ram"}, missing: []string{"a@80000000"}, says: []string{`dma_heap: a@80000000: no heap: .* is not all RAM; correct 'reg', or add 'no-map' if it is device memory`}},
	{name: "no-map carveout outside RAM", nodes: []*fdt.Node{carve("a@80000000", "reg", reg(0x80000000, 4*mib), "no-map", nil)},
		rules: []string{"warning outside-ram"}, heaps: []string{"a@80000000"}},
	{name: "swapped cells", nodes: []*fdt.Node{pool("a@50000000", "reg", fdt.U32s(0x50000000, 0, 0x4000000, 0))},
		rules: []string{"warning unit-address", "error outside-ram"}, dies: true,
		says: []string{`created CMA memory pool at 0x5000000000000000, size 274877906944 MiB`}},
	{name: "reserved outside RAM", nodes: []*fdt.Node{firm("fw@80000000", "reg", reg(0x80000000, 4*mib))}, rules: []string{"note region-outside"},
		says: []string{`OF: reserved mem: 0x0*80000000\.\.0x0*803fffff \(4096 KiB\) nomap non-reusable fw@80000000`},
		on: map[string]layout{
			"5.10": {rules: []string{"note region-outside"}, silent: []string{`fw@80000000`}},
			"6.1":  {rules: []string{"note region-outside"}, silent: []string{`fw@80000000`}},
		}},
	{name: "half pages", nodes: []*fdt.Node{firm("fw@54000800", "reg", reg(0x54000800, 0x1000))}, rules: []string{"note region-pages"},
		says: []string{`0x0*54000800\.\.0x0*540017ff`},
		on: map[string]layout{
			"5.10": {rules: []string{"note region-pages"}, silent: []string{`fw@54000800`}},
			"6.1":  {rules: []string{"note region-pages"}, silent: []string{`fw@54000800`}},
		}},
	{name: "CMA size misaligned", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 65*mib))},
		rules: []string{"error cma-alignment"}, missing: []string{"a@50000000"},
		says: []string{`Reserved memory: incorrect alignment of CMA region`, `OF: reserved mem: node a@50000000 compatible matching fail`}},
	{name: "CMA base misaligned", nodes: []*fdt.Node{pool("a@50100000", "reg", reg(0x50100000, 64*mib))},
		rules: []string{"error cma-alignment"}, missing: []string{"a@50100000"},
		says: []string{`Reserved memory: incorrect alignment of CMA region`}},
	{name: "CMA aligned for huge pages", nodes: []*fdt.Node{pool("a@50200000", "reg", reg(0x50200000, 64*mib))},
		// The test kernel has no huge pages. A tree says nothing of that,
		// and most kernels have them.
		rules: []string{"warning cma-alignment"}, missing: []string{"a@50200000"},
		says: []string{`Reserved memory: incorrect alignment of CMA region`},
		on: map[string]layout{
			"5.10": {rules: []string{"error cma-alignment"}, missing: []string{"a@50200000"}, says: []string{`Reserved memory: incorrect alignment of CMA region`}},
		}},
	{name: "carveout misaligned", nodes: []*fdt.Node{carve("a@54000800", "reg", reg(0x54000800, 1*mib))},
		rules: []string{"error page-alignment"}, missing: []string{"a@54000800"},
		says: []string{`dma_heap: a@54000800: no heap: .* is not a multiple of the page size`}},
	{name: "reusable carveout", nodes: []*fdt.Node{carve("a@54000000", "reg", reg(0x54000000, 16*mib), "reusable", nil)},
		rules: []string{"error carveout-reusable"}, missing: []string{"a@54000000"}, says: []string{`dma_heap: a@54000000: no heap: `}},
	{name: "carveout of two reg entries", nodes: []*fdt.Node{carve("a@54000000", "reg", append(reg(0x54000000, 4*mib), reg(0x56000000, 4*mib)...))},
		rules: []string{"error carveout-multi-reg"}, missing: []string{"a@54000000"}, says: []string{`dma_heap: a@54000000: no heap: 'reg' has more than one entry; give each its own node`}},
	{name: "chunk heap of two reg entries", nodes: []*fdt.Node{node("c@54000000", "compatible", heapcfg.CompatChunk, "chunk-size", fdt.U32s(0x10000), "reg", append(reg(0x54000000, 4*mib), reg(0x56000000, 4*mib)...))},
		rules: []string{"error carveout-multi-reg"}, missing: []string{"c@54000000"}, says: []string{`dma_heap: c@54000000: no heap: 'reg' has more than one entry`}},
	{name: "carveout that is a pool", nodes: []*fdt.Node{
		node("a@54000000", "compatible", []byte(heapcfg.CompatCarveout+"\x00"+heapcfg.CompatPool+"\x00"), "reg", reg(0x54000000, 4*mib)),
		firm("b@55000000", "compatible", []byte(heapcfg.CompatPool+"\x00"+heapcfg.CompatCarveout+"\x00"), "reg", reg(0x55000000, 4*mib))},
		rules: []string{"error carveout-pool"}, missing: []string{"a@54000000", "b@55000000"},
		says: []string{`created DMA memory pool at 0x0*54000000`, `dma_heap: a@54000000: no heap: another driver owns it; `, `dma_heap: b@55000000: no heap: another driver owns it; `}},
	{name: "write-combining carveout that is mapped", nodes: []*fdt.Node{carve("a@54000000", "reg", reg(0x54000000, 16*mib), heapcfg.PropWriteCombine, nil)},
		rules: []string{"error write-combine-mapped"}, missing: []string{"a@54000000"}, says: []string{`dma_heap: a@54000000: no heap: 'write-combining' needs 'no-map', `}},
	{name: "carveout the CPU cannot map", nodes: []*fdt.Node{carve("a@54000000", "reg", reg(0x54000000, 16*mib), "no-map", nil)},
		heaps: []string{"a@54000000"}},
	{name: "the kernel's name", nodes: []*fdt.Node{pool("system", "reg", reg(0x50000000, 32*mib))},
		rules: []string{"error name-clash"}, says: []string{`dma_heap: Already registered heap named system`}},
	{name: "two defaults", nodes: []*fdt.Node{pool("a@54000000", "reg", reg(0x54000000, 32*mib), "linux,cma-default", nil), pool("b@50000000", "reg", reg(0x50000000, 64*mib), "linux,cma-default", nil)},
		rules: []string{"error cma-default-twice"},
		// The last node is the default, wherever it lies; up to 6.1 the one that lies
		// highest.
		probe: []string{"default_cma_region 48MiB"}, heaps: []string{"a@54000000", "b@50000000"},
		on: map[string]layout{
			"5.10": {rules: []string{"error cma-default-twice"}, heaps: []string{"a@54000000", "b@50000000"}, refused: []string{"default_cma_region 48MiB"}},
			"6.1":  {rules: []string{"error cma-default-twice"}, heaps: []string{"a@54000000", "b@50000000"}, refused: []string{"default_cma_region 48MiB"}},
		}},
	{name: "cma= beside a default", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 64*mib), "linux,cma-default", nil)},
		change: func(t *fdt.Tree) { t.Root.Child("chosen").Set("bootargs", fdt.StringList("cma=32M")) }, append: "cma=32M",
		rules: []string{"warning cma-cmdline"}, missing: []string{"a@50000000"},
		says: []string{`Reserved memory: bypass a@50000000 node, using cmdline CMA params instead`},
		on: map[string]layout{
			"7.3": {rules: []string{"warning cma-cmdline"}, says: []string{`Skipping dt linux,cma-default node in favor for "cma=" kernel param\.`}},
		}},
	{name: "too many CMA areas", nodes: areas(10), rules: []string{"error cma-areas"}, missing: []string{"v9@54800000"}, heaps: []string{"v7@53800000"},
		says: []string{`cma: Not enough slots for CMA reserved regions!`, `Reserved memory: unable to setup CMA region`},
		on: map[string]layout{
			"5.10": {rules: []string{"error cma-areas"}, missing: []string{"v9@54800000"}, heaps: []string{"v7@53800000", "v8@54000000"}, says: []string{`cma: Not enough slots for CMA reserved regions!`}},
			"6.1":  {rules: []string{"error cma-areas"}, missing: []string{"v9@54800000"}, heaps: []string{"v7@53800000", "v8@54000000"}, says: []string{`cma: Not enough slots for CMA reserved regions!`}},
		}},
	{name: "no CMA area left for the kernel", nodes: areas(8), change: func(t *fdt.Tree) { reserved(t).Children[0].Remove("linux,cma-default") },
		rules: []string{"warning cma-areas"}, heaps: []string{"v7@53800000"}, missing: []string{"default_cma_region"}, says: []string{`cma: Not enough slots for CMA reserved regions!`},
		on: map[string]layout{
			"5.10": {heaps: []string{"v7@53800000"}, silent: []string{`Not enough slots`}},
			"6.1":  {heaps: []string{"v7@53800000"}, silent: []string{`Not enough slots`}},
		}},
	{name: "as many CMA areas as there are", nodes: areas(8), heaps: []string{"v7@53800000"}},
	{name: "too many regions", nodes: dynamic(66), rules: []string{"error region-count"},
		says: []string{`OF: reserved mem: too many defined dynamic regions, skip`},
		on: map[string]layout{
			"5.10": {rules: []string{"error region-count"}, says: []string{`OF: reserved mem: not enough space for all defined regions\.`}},
			"6.1":  {rules: []string{"error region-count"}, says: []string{`OF: reserved mem: not enough space for all defined regions\.`}},
		}},
	{name: "too many heaps", nodes: small(130), rules: []string{"error heap-count"}, heaps: []string{"h0@50000000"}, missing: []string{"h129@50081000"},
		says: []string{`dma_heap: Unable to get minor number for heap`},
		on: map[string]layout{
			"5.10": {rules: []string{"error region-count", "error heap-count"}, says: []string{`OF: reserved mem: not enough space for all defined regions\.`}},
			"6.1":  {rules: []string{"error region-count", "error heap-count"}, says: []string{`OF: reserved mem: not enough space for all defined regions\.`}},
		}},
	{name: "long name", nodes: []*fdt.Node{pool(longName, "reg", reg(0x50000000, 32*mib))},
		rules: []string{"warning name-long"}, heaps: []string{longName},
		// Only the kernel's own heap goes by the area's name, which is cut.
		on: map[string]layout{
			"7.3": {rules: []string{"warning name-long"}, missing: []string{longName}, heaps: []string{longName[:63]}},
		}},
	{name: "allocator in the name", config: withHeap("{name: cma-video, kind: cma, size: 32MiB, base: 0x5000_0000}"),
		rules: []string{"warning name-allocator"}, heaps: []string{"cma-video@50000000"}},
	{name: "chunk size", nodes: []*fdt.Node{node("c@54000000", "compatible", heapcfg.CompatChunk, "reg", reg(0x54000000, 16*mib), "chunk-size", fdt.U32s(0x3000))},
		rules: []string{"error chunk-size"}, missing: []string{"c@54000000"}, says: []string{`chunk_heap: c@54000000: no heap: 'chunk-size' 0x3000 does not divide the region, 0x1000000`}},
	{name: "across two zones", mem: 4096, nodes: []*fdt.Node{pool("a@fe000000", "reg", reg(0xfe000000, 64*mib))},
		rules: []string{"error cma-zone"}, says: []string{`cma: CMA area a@fe000000 could not be activated`}},
	{name: "across the end of a bus", nodes: []*fdt.Node{pool("a@4e000000", "reg", reg(0x4e000000, 64*mib))},
		change: func(t *fdt.Tree) { narrowBus(t) },
		rules:  []string{"error cma-zone"}, says: []string{`cma: CMA area a@4e000000 could not be activated`},
		on: map[string]layout{
			"5.10": {heaps: []string{"a@4e000000"}}, "6.1": {heaps: []string{"a@4e000000"}},
		}},
	{name: "two DMA defaults", nodes: []*fdt.Node{firm("a@50000000", "compatible", heapcfg.CompatPool, "reg", reg(0x50000000, 4*mib), "linux,dma-default", nil),
		firm("b@51000000", "compatible", heapcfg.CompatPool, "reg", reg(0x51000000, 4*mib), "linux,dma-default", nil)},
		rules: []string{"warning dma-default-twice"}, silent: []string{`default DMA coherent area`}},
	{name: "restricted pool", nodes: []*fdt.Node{firm("a@50000000", "compatible", "restricted-dma-pool", "reg", reg(0x50000000, 4*mib))},
		rules: []string{"warning swiotlb-flags"}, says: []string{`OF: reserved mem: node a@50000000 compatible matching fail`},
		on: map[string]layout{
			"5.10": {rules: []string{"warning swiotlb-flags"}, silent: []string{`a@50000000`}},
		}},
	{name: "over a memreserve entry", nodes: []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 64*mib))},
		change: func(t *fdt.Tree) { t.Reserve = append(t.Reserve, fdt.Reserve{Base: 0x52000000, Size: mib}) },
		rules:  []string{"error over-boot"}, probe: []string{"a@50000000 48MiB"}, heaps: []string{"a@50000000"}},
	{name: "little RAM left", nodes: []*fdt.Node{carve("a@4a000000", "reg", reg(0x4a000000, 352*mib)), carve("b@42000000", "reg", reg(0x42000000, 94*mib))},
		rules: []string{"warning ram-left"}, heaps: []string{"a@4a000000", "b@42000000"}, says: []string{`Memory: [1-6]\d{4}K/524288K available`}},

	// Devices that use regions.
	{name: "device with a region", nodes: []*fdt.Node{pool("a@50000000", "phandle", fdt.U32s(regionPhandle), "reg", reg(0x50000000, 32*mib))},
		change: func(t *fdt.Tree) { addDisplay(t, t.Root) },
		says:   []string{`using device-specific reserved memory`, `assigned reserved memory node a@50000000`}},
	{name: "device with a region that is off", nodes: []*fdt.Node{pool("a@50000000", "phandle", fdt.U32s(regionPhandle), "reg", reg(0x50000000, 32*mib), "status", "disabled")},
		change: func(t *fdt.Tree) { addDisplay(t, t.Root) },
		rules:  []string{"note user-disabled-region"},
		// The driver is told that all is well, and gets nothing.
		says: []string{`using device-specific reserved memory`}, silent: []string{`assigned reserved memory node`}},
	{name: "device with a region that is none",
		change: func(t *fdt.Tree) { addDisplay(t, t.Root) },
		rules:  []string{"warning user-dangling"}, says: []string{`no max memory bandwidth specified`}, silent: []string{`reserved memory node`, `device-specific`}},
	{name: "device with more names than regions", nodes: []*fdt.Node{pool("a@50000000", "phandle", fdt.U32s(regionPhandle), "reg", reg(0x50000000, 32*mib))},
		change: func(t *fdt.Tree) { addDisplay(t, t.Root).Set("memory-region-names", fdt.StringList("frames", "lines")) },
		rules:  []string{"warning user-names"}, says: []string{`assigned reserved memory node a@50000000`}, silent: []string{`memory-region-names`}},
	{name: "device out of reach", nodes: []*fdt.Node{firm("a@58000000", "phandle", fdt.U32s(regionPhandle), "compatible", heapcfg.CompatPool, "reg", reg(0x58000000, 4*mib))},
		change: func(t *fdt.Tree) { addDisplay(t, narrowBus(t)) },
		rules:  []string{"warning user-reach"},
		says:   []string{`assigned reserved memory node a@58000000`, `reserved memory is beyond device's set DMA address range`},
		on: map[string]layout{
			"5.10": {rules: []string{"warning user-reach"}, says: []string{`assigned reserved memory node a@58000000`}, silent: []string{`beyond device`}},
		}},

	// Configs that compile warns of, or notes something about.
	{name: "device that had a region", nodes: []*fdt.Node{pool("a@50000000", "phandle", fdt.U32s(regionPhandle), "reg", reg(0x50000000, 32*mib))},
		change: func(t *fdt.Tree) { addDisplay(t, t.Root) },
		config: withHeap("{name: b, kind: cma, size: 32MiB, base: 0x5400_0000, devices: [/clcd@4000000]}"),
		rules:  []string{"warning device-has-region"}, says: []string{`assigned reserved memory node b@54000000`}, silent: []string{`assigned reserved memory node a@50000000`}},
	{name: "device that is off", change: func(t *fdt.Tree) {
		d := addDisplay(t, t.Root)
		d.Remove("memory-region")
		d.Set("status", fdt.StringList("disabled"))
	}, config: withHeap("{name: b, kind: cma, size: 32MiB, base: 0x5400_0000, devices: [/clcd@4000000]}"),
		rules: []string{"warning device-disabled"}, heaps: []string{"b@54000000"}, silent: []string{`assigned reserved memory node`, `clcd`}},
	{name: "RAM that is not there", config: "board: {ram: {base: 0x4000_0000, size: 1GiB}}\n" + withHeap("{name: a, kind: cma, size: 64MiB}"),
		rules: []string{"warning ram-differs"}, dies: true, says: []string{`created CMA memory pool at 0x0*7c000000, size 64 MiB`}},
	{name: "kernel that nobody placed", config: "version: 1\nheaps:\n- {name: a, kind: cma, size: 32MiB}\n",
		rules: []string{"note kernel-assumed"}, probe: []string{"a@5e000000 28MiB"}, heaps: []string{"a@5e000000"}},
}

// longName is a node name that a CMA area has no room for.
var longName = strings.Repeat("long", 15) + "@50000000"

// withHeap is a config with one heap, clear of what QEMU's boot code writes.
func withHeap(heap string) string {
	return "version: 1\nkeep-clear:\n- {what: kernel, base: 0x4020_0000, size: 16MiB}\n- {what: initrd, base: 0x4800_0000, size: 32MiB}\nheaps:\n- " + heap + "\n"
}

// dynamic are regions that the kernel has to find a page for.
func dynamic(n int) []*fdt.Node {
	var out []*fdt.Node
	for i := range n {
		out = append(out, node(fmt.Sprintf("d%d", i), "size", fdt.Cells(0x1000, 2)))
	}
	return out
}

// small are carveouts of one page.
func small(n int) []*fdt.Node {
	var out []*fdt.Node
	for i := range uint64(n) {
		base := 0x5000_0000 + i*0x1000
		out = append(out, carve(fmt.Sprintf("h%d@%x", i, base), "reg", reg(base, 0x1000)))
	}
	return out
}

// regionPhandle is what addDisplay's device calls its region.
const regionPhandle = 0x9001

// addDisplay adds a PrimeCell PL111. Its driver is the one in these kernels that
// asks for reserved memory, says what it got, and needs no hardware to come that
// far: its registers are in the machine's flash here, which takes any write.
func addDisplay(t *fdt.Tree, bus *fdt.Node) *fdt.Node {
	clock, _ := t.Root.Child("apb-pclk").U32("phandle")
	return bus.AddChild(node("clcd@4000000", "compatible", []byte("arm,pl111\x00arm,primecell\x00"), "arm,primecell-periphid", fdt.U32s(0x00041111),
		"reg", reg(0x4000000, 0x1000), "interrupts", fdt.U32s(0, 100, 4), "clocks", fdt.U32s(clock, clock), "clock-names", []byte("clcdclk\x00apb_pclk\x00"),
		"memory-region", fdt.U32s(regionPhandle)))
}

// narrowBus adds a bus that reaches the first 256 MiB of RAM only.
func narrowBus(t *fdt.Tree) *fdt.Node {
	return t.Root.AddChild(node("bus", "compatible", "simple-bus", "#address-cells", fdt.U32s(2), "#size-cells", fdt.U32s(2), "ranges", nil,
		"dma-ranges", append(fdt.Cells(0x40000000, 2), reg(0x40000000, 0x10000000)...)))
}

// nested is a region with one more in it.
func nested() *fdt.Node {
	n := pool("a@50000000", "reg", reg(0x50000000, 32*mib))
	n.AddChild(node("child@50000000", "reg", reg(0x50000000, 4*mib)))
	return n
}

// holes are no-map pages with a page between them.
func holes(n int) []*fdt.Node {
	var out []*fdt.Node
	for i := range uint64(n) {
		base := 0x5000_0000 + i*mib
		out = append(out, firm("r@"+heapcfg.Addr(base).String()[2:], "reg", reg(base, 0x1000)))
	}
	return out
}

// areas are CMA regions of 4 MiB; the first is the default, so that the kernel
// does not need one more for that.
func areas(n int) []*fdt.Node {
	var out []*fdt.Node
	for i := range uint64(n) {
		base := 0x5000_0000 + i*8*mib
		p := pool("v"+string(rune('0'+i))+"@"+heapcfg.Addr(base).String()[2:], "reg", reg(base, 4*mib))
		if i == 0 {
			p.Set("linux,cma-default", nil)
		}
		out = append(out, p)
	}
	return out
}

// TestBuild builds what the tests boot.
func TestBuild(t *testing.T) {
	b, ctx, _ := setup(t)
	mainline(ctx, t, b)
	b.Kernel(ctx, t, b.Second())
	if _, is := bench.DefaultLine(t); is {
		for _, p := range pageSizes {
			p.kernel(ctx, t, b)
		}
	}
}

// mainline returns a kernel without our patches.
func mainline(ctx context.Context, t *testing.T, b *bench.Bench) string {
	k := bench.Cached()
	k.Env = []string{"DMAHEAP_PATCHES=none"}
	return b.Kernel(ctx, t, k)
}

// kernels are those that layouts speak of.
var kernels = []string{"5.10", "6.1", "6.12", "7.3"}

// A config that breaks one of these yields no device tree, or none that a
// kernel would see: the compiler stops before, and that is what is tested
// elsewhere.
const (
	noTree   = "the config is refused before there is a tree"
	userland = "it is about the device node, which udev makes; internal/check/vmfault has it"
	bootcode = "the boot code writes the memory node itself, as QEMU's does here"
)

// notBooted says of each rule that no layout breaks why a boot cannot show it.
var notBooted = map[string]string{
	"yaml-syntax": noTree, "yaml-version": noTree, "yaml-key": noTree, "yaml-missing": noTree, "yaml-type": noTree, "yaml-value": noTree,
	"board-mismatch": noTree, "disable-unknown": noTree, "device-unknown": noTree, "device-names": noTree, "variant-unknown": noTree,
	"place-after": noTree, "no-room": noTree, "keep-clear-outside": noTree,
	"mode-world": userland, "mode-odd": userland,
	"tree-cells": bootcode, "tree-memory": bootcode, "ram-unknown": bootcode, "ram-overlap": bootcode,
	"address-cells":    "a tree with one cell cannot hold such an address, so there is none to boot",
	"name-firmware":    "it is the boot loader that deletes the node",
	"coherent-map-arm": "only 32-bit ARM refuses such a pool",
	"cma-no-heap":      "TestRulesAgainstMainline boots it, on a kernel without the patches",
	"carveout-no-heap": "TestRulesAgainstMainline boots it, on a kernel without the patches",
	"kconfig-missing":  "TestRulesAgainstMainline boots it, on a kernel without the option",
}

// Every rule is broken by a layout on every kernel, or it is said why not.
func TestEveryRuleIsShown(t *testing.T) {
	for _, kernel := range kernels {
		shown := map[string]bool{}
		for _, l := range layouts {
			for _, r := range l.as(kernel).rules {
				_, id, _ := strings.Cut(r, " ")
				if _, ok := heapcfg.RuleByID(id); !ok {
					t.Errorf("layout %s: there is no rule %s", l.name, id)
				}
				shown[id] = true
			}
		}
		for _, r := range heapcfg.Rules() {
			why, excused := notBooted[r.ID]
			switch {
			case !shown[r.ID] && !excused:
				t.Errorf("%s: no layout breaks it on %s, and nothing says why", r.ID, kernel)
			case shown[r.ID] && excused:
				t.Errorf("%s: a layout breaks it on %s, so strike out %q", r.ID, kernel, why)
			}
		}
	}
	for id := range notBooted {
		if _, ok := heapcfg.RuleByID(id); !ok {
			t.Errorf("there is no rule %s", id)
		}
	}
	for _, l := range layouts {
		for kernel := range l.on {
			if !slices.Contains(kernels, kernel) {
				t.Errorf("layout %s speaks of kernel %s, which is none of %v", l.name, kernel, kernels)
			}
		}
	}
}

// What the rules say needs no kernel, so it is asked for all of them.
func TestRules(t *testing.T) {
	if _, err := exec.LookPath(vmtest.ARM64.QEMU); err != nil {
		t.Skip(err)
	}
	base := map[int]*fdt.Tree{}
	for _, kernel := range kernels {
		line, err := heapcfg.ParseVersion(kernel)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layouts {
			l = l.as(kernel)
			t.Run(kernel+"/"+strings.ReplaceAll(l.name, " ", "-"), func(t *testing.T) {
				if base[l.mem] == nil {
					base[l.mem] = dump(context.Background(), t, vmtest.ARM64, l.mem)
				}
				l.judge(t, testTarget(line), l.tree(base[l.mem]))
			})
		}
	}
}

func TestRulesAgainstTheKernel(t *testing.T) {
	b, ctx, base := setup(t)
	for _, l := range layouts {
		l = l.as(b.Line.String())
		t.Run(strings.ReplaceAll(l.name, " ", "-"), func(t *testing.T) {
			board := base
			if l.mem > 0 {
				board = dump(ctx, t, b.Machine, l.mem)
			}
			l.boot(ctx, t, b, b.Image, l.judge(t, testTarget(b.Line), l.tree(board)))
		})
	}
}

// dump returns the tree of QEMU's machine with so much RAM, 0 for the usual.
func dump(ctx context.Context, t *testing.T, machine vmtest.Machine, mem int) *fdt.Tree {
	t.Helper()
	if mem > 0 {
		machine.MemMiB = mem
	}
	blob, err := vmtest.DumpDTB(ctx, machine)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestRulesAgainstMainline compiles a config for a kernel without our patches:
// the rules say that only the default CMA area becomes a heap there, and so it
// must be.
func TestRulesAgainstMainline(t *testing.T) {
	b, ctx, base := setup(t)
	image := mainline(ctx, t, b)
	cfg, findings := heapcfg.Parse("heaps.yaml", []byte(`version: 1
target: {kernel: "`+b.Line.String()+`", patched: false}
keep-clear:
- {what: kernel, base: 0x4020_0000, size: 16MiB}
- {what: initrd, base: 0x4800_0000, size: 32MiB}
heaps:
- {name: main, kind: cma, size: 64MiB, base: 0x5000_0000, default: true}
- {name: video, kind: cma, size: 32MiB, base: 0x5400_0000}
- {name: npu, kind: carveout, size: 16MiB, base: 0x5600_0000}
`))
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	board, _ := heapcfg.FromTree("virt.dtb", base, cfg.Target)
	plan, _ := cfg.Plan(board, base)
	refused := map[string]bool{} // heaps that the rules say will be missing
	for _, f := range heapcfg.Lint(plan) {
		if f.Level == heapcfg.Error {
			refused[f.ID] = true
		}
	}
	before619 := b.Line.Before(heapcfg.Version{Major: 6, Minor: 19})
	want := map[string]bool{"carveout-no-heap": true}
	if before619 {
		want["cma-no-heap"] = true
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("the rules say (-want +got):\n%s", diff)
	}
	config := readConfig(t, image)
	lacking := map[string]bool{}
	for _, f := range config.Check("config", "heaps.config", emit.Symbols(plan)) {
		lacking[f.ID+" "+f.Place.Path] = true
	}
	if diff := cmp.Diff(map[string]bool{"kconfig-missing CONFIG_DMABUF_HEAPS_CARVEOUT": true}, lacking); diff != "" {
		t.Errorf("of the kernel's configuration the rules say (-want +got):\n%s", diff)
	}
	merged, err := emit.Merged("heaps", plan, base)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(merged.Data)
	if err != nil {
		t.Fatal(err)
	}
	l := layout{heaps: []string{"main@50000000"}, missing: []string{"npu@56000000"}}
	if before619 {
		l.missing = append(l.missing, "video@54000000")
	}
	l.boot(ctx, t, b, image, tree)
}

// testTarget is what the kernels of the tests are configured as.
func testTarget(line heapcfg.Version) heapcfg.Target {
	target := heapcfg.DefaultTarget()
	target.Kernel, target.CMAAreas = line, 8
	return target
}

// hugeLayouts are what the second kernel does: it has huge pages, which make CMA
// areas of 2 MiB possible where the kernel looks at them.
var hugeLayouts = []layout{
	{name: "CMA aligned for huge pages", nodes: []*fdt.Node{pool("a@50200000", "reg", reg(0x50200000, 62*mib), "linux,cma-default", nil)},
		probe: []string{"a@50200000 32MiB"}, heaps: []string{"a@50200000"}, says: []string{`created CMA memory pool at 0x0*50200000, size 62 MiB`},
		on: map[string]layout{
			"5.10": {rules: []string{"error cma-alignment"}, missing: []string{"a@50200000"}, says: []string{`Reserved memory: incorrect alignment of CMA region`}},
		}},
	{name: "CMA aligned for less", nodes: []*fdt.Node{pool("a@50100000", "reg", reg(0x50100000, 64*mib), "linux,cma-default", nil)},
		rules: []string{"error cma-alignment"}, missing: []string{"a@50100000"}, says: []string{`Reserved memory: incorrect alignment of CMA region`}},
}

// TestRulesAgainstHugePages has the rules read how the kernel is configured, as
// --kconfig does.
func TestRulesAgainstHugePages(t *testing.T) {
	b, ctx, base := setup(t)
	image := b.Kernel(ctx, t, b.Second())
	target := testTarget(b.Line)
	readConfig(t, image).Apply(&target, true)
	for _, l := range hugeLayouts {
		l = l.as(b.Line.String())
		t.Run(strings.ReplaceAll(l.name, " ", "-"), func(t *testing.T) {
			l.boot(ctx, t, b, image, l.judge(t, target, l.tree(base)))
		})
	}
}

// readConfig returns the configuration that a kernel was built with.
func readConfig(t *testing.T, image string) *heapcfg.KernelConfig {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(image), "config"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := heapcfg.ParseKernelConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func (l *layout) tree(base *fdt.Tree) *fdt.Tree {
	tree := base.Clone()
	rm := tree.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
	rm.Set("#address-cells", fdt.U32s(2))
	rm.Set("#size-cells", fdt.U32s(2))
	rm.Set("ranges", nil)
	for _, n := range l.nodes {
		rm.AddChild(n.Clone())
	}
	if l.change != nil {
		l.change(tree)
	}
	return tree
}

// judge compares what the rules say with what is written down, and returns the
// tree to boot.
func (l *layout) judge(t *testing.T, target heapcfg.Target, tree *fdt.Tree) *fdt.Tree {
	t.Helper()
	var findings []heapcfg.Finding
	var read *heapcfg.Layout
	if l.config != "" {
		cfg, found := heapcfg.Parse("heaps.yaml", []byte(l.config))
		if cfg == nil {
			t.Fatal(found)
		}
		target.Arch = cfg.Target.Arch
		cfg.Target = target
		board, more := heapcfg.FromTree("board.dtb", tree, target)
		plan, planned := cfg.Plan(board, tree)
		findings, read = slices.Concat(found, more, planned), plan
		merged, err := emit.Merged("heaps", plan, tree)
		if err != nil {
			t.Fatal(err)
		}
		if tree, err = fdt.Parse(merged.Data); err != nil {
			t.Fatal(err)
		}
	} else if read, findings = heapcfg.FromTree("board.dtb", tree, target); read != nil {
		read.Occupied = append(read.Occupied, occupied...)
	}
	if read != nil {
		findings = append(findings, heapcfg.Lint(read)...)
	}
	var got []string
	for _, f := range findings {
		if s := f.Level.String() + " " + f.ID; !slices.Contains(got, s) {
			got = append(got, s)
		}
	}
	if diff := cmp.Diff(l.rules, got); diff != "" {
		t.Errorf("the rules say (-want +got):\n%s", diff)
	}
	return tree
}

// boot compares what the kernel does with what is written down.
func (l *layout) boot(ctx context.Context, t *testing.T, b *bench.Bench, image string, tree *fdt.Tree) {
	t.Helper()
	dtb := bench.WriteTree(t, tree)
	plan := initramfs.Plan{KeepGoing: true, Run: [][]string{{"/bin/heapctl", "list", "-o", "json"}}}
	for _, p := range l.probe {
		heap, size, _ := strings.Cut(p, " ")
		plan.Run = append(plan.Run, []string{"/bin/heapctl", "bench", "--heap", heap, "--size", size, "--count", "1"})
	}
	vm := b.VM(ctx, t, plan, bench.File(t, "/bin/heapctl", b.Heapctl, 0o755))
	vm.Kernel, vm.DTB, vm.Append, vm.Timeout = image, dtb, l.append, 2*time.Minute
	if l.mem > 0 {
		vm.Machine.MemMiB = l.mem
	}
	if l.dies {
		vm.Timeout = 30 * time.Second // what hangs would take all of it
	}
	var console strings.Builder
	vm.Console = &console
	result, err := vmtest.Run(ctx, vm)
	text := console.String()
	defer func() {
		if t.Failed() {
			t.Logf("console:\n%s", text)
		}
	}()
	for _, s := range l.says {
		if !regexp.MustCompile(s).MatchString(text) {
			t.Errorf("the kernel does not say %q", s)
		}
	}
	for _, s := range l.silent {
		if log, _, _ := strings.Cut(text, initramfs.RunMark); regexp.MustCompile(s).MatchString(log) {
			t.Errorf("the kernel says %q", s)
		}
	}
	if l.dies {
		if !errors.Is(err, vmtest.ErrNoResult) {
			t.Errorf("the machine lives: %v", err)
		}
		return
	}
	if err != nil {
		t.Errorf("the machine dies: %v", err)
		return
	}
	heaps := listed(t, result)
	for _, h := range l.heaps {
		if !slices.Contains(heaps, h) {
			t.Errorf("no heap %s, only %v", h, heaps)
		}
	}
	for _, h := range l.missing {
		if slices.Contains(heaps, h) {
			t.Errorf("the heap %s is there", h)
		}
	}
	for i, p := range l.probe {
		want := 0
		if slices.Contains(l.refused, p) {
			want = 3
		}
		if c := result.Commands[i+1]; c.Exit != want {
			t.Errorf("probe %s: exit %d, want %d\n%s", p, c.Exit, want, c.Output)
		}
	}
}

// listed returns the heaps that the guest has.
func listed(t *testing.T, r *vmtest.Result) []string {
	t.Helper()
	if len(r.Commands) == 0 {
		t.Fatal("the guest ran nothing")
	}
	var out struct {
		Heaps []struct {
			Name string `json:"name"`
		} `json:"heaps"`
	}
	text := r.Commands[0].Output
	if i := strings.IndexByte(text, '{'); i >= 0 {
		text = text[i:]
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&out); err != nil {
		t.Fatalf("heapctl list: %v\n%s", err, text)
	}
	var names []string
	for _, h := range out.Heaps {
		names = append(names, h.Name)
	}
	return names
}
