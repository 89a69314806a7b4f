// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

const head = "version: 1\nkeep-clear:\n- {what: kernel, base: 0x4020_0000, size: 32MiB}\n- {what: initrd, base: 0x4800_0000, size: 32MiB}\nheaps:\n"

// violations has a config or a tree for each rule that breaks it, and the
// findings of level Warning and above that must come of it.
var violations = []struct {
	name     string
	yaml     string
	reserved []*fdt.Node
	want     []string
}{
	{"clean", head + "- {name: \"linux,cma\", kind: cma, size: 64MiB, default: true}\n- {name: npu, kind: carveout, size: 48MiB}\n", nil, nil},
	{"over kernel", head + "- {name: v, kind: cma, size: 64MiB, base: 0x4000_0000}\n", nil, []string{"6:43 over-kernel"}},
	{"over initrd", head + "- {name: v, kind: carveout, size: 4MiB, base: 0x4900_0000}\n", nil, []string{"6:47 over-initrd"}},
	{"over firmware", strings.Replace(head, "heaps:", "- {what: firmware, name: optee, base: 0x5000_0000, size: 2MiB}\nheaps:", 1) + "- {name: v, kind: cma, size: 4MiB, base: 0x5000_0000}\n", nil, []string{"7:42 over-boot"}},
	{"outside", head + "- {name: v, kind: cma, size: 64MiB, base: 0x8000_0000}\n", nil, []string{"6:43 outside-ram"}},
	{"outside, unmapped", head + "- {name: v, kind: carveout, size: 64MiB, base: 0x8000_0000, access: write-combine}\n", nil, []string{"6:48 outside-ram"}},
	{"past the end", head + "- {name: v, kind: carveout, size: 32MiB, base: 0x5f00_0000}\n", nil, []string{"6:48 outside-ram"}},
	{"wraps", head + "- {name: v, kind: carveout, size: 2MiB, base: 0xffff_ffff_fff0_0000}\n", nil, []string{"6:47 outside-ram"}},
	{"overlap", head + "- {name: a, kind: cma, size: 64MiB, base: 0x5000_0000}\n- {name: b, kind: carveout, size: 4MiB, base: 0x53ff_f000}\n", nil, []string{"7:47 region-overlap"}},
	{"overlap with base", head + "- {name: a, kind: carveout, size: 64MiB, base: 0x5000_0000}\n", []*fdt.Node{node("fw@52000000", "no-map", nil, "reg", reg(0x52000000, 0x1000))}, []string{"6:48 region-overlap"}},
	{"size misaligned", head + "- {name: v, kind: cma, size: 6MiB}\n", nil, []string{"6:30 cma-alignment"}},
	{"base misaligned", head + "- {name: v, kind: cma, size: 8MiB, base: 0x5020_0000}\n", nil, []string{"6:42 cma-alignment"}},
	{"carveout misaligned", head + "- {name: v, kind: carveout, size: 4097, base: 0x5000_0800}\n", nil, []string{"6:35 page-alignment", "6:47 page-alignment"}},
	{"two names", head + "- {name: v, kind: cma, size: 4MiB}\n- {name: v, kind: carveout, size: 4MiB}\n", nil, []string{"7:10 name-clash"}},
	{"two system heaps", head + "- {name: system, kind: system}\n- {name: system, kind: system, mode: \"0660\"}\n", nil, []string{"7:10 name-clash"}},
	{"name of the patches", head + "- {name: system-contig, kind: cma, size: 4MiB}\n", nil, []string{"6:10 name-clash"}},
	{"kernel's name", head + "- {name: system, kind: cma, size: 4MiB}\n", nil, []string{"6:10 name-clash"}},
	{"node of the base", head + "- {name: v, kind: carveout, size: 4MiB, base: 0x5000_0000}\n", []*fdt.Node{node("v@50000000", "compatible", CompatCarveout, "reg", reg(0x50000000, 0x400000))},
		[]string{"6:10 name-clash"}},
	{"node of the base, of another size", head + "- {name: v, kind: carveout, size: 2MiB, base: 0x5000_0000}\n", []*fdt.Node{node("v@50000000", "compatible", CompatCarveout, "reg", reg(0x50000000, 0x400000))},
		[]string{"6:10 name-clash", "6:10 name-clash", "6:47 region-overlap"}},
	{"allocator in the name", head + "- {name: cma-video, kind: cma, size: 4MiB}\n", nil, []string{"6:10 name-allocator"}},
	{"two defaults", head + "- {name: a, kind: cma, size: 4MiB, default: true}\n- {name: b, kind: cma, size: 4MiB, default: true}\n", nil, []string{"7:45 cma-default-twice"}},
	{"default of the base", head + "- {name: a, kind: cma, size: 4MiB, default: true}\n", []*fdt.Node{node("linux,cma", "compatible", CompatPool, "reusable", nil, "linux,cma-default", nil, "size", fdt.Cells(0x1000000, 2))}, []string{"6:45 cma-default-twice"}},
	{"default of the base, disabled", strings.Replace(head, "heaps:", "disable: [\"linux,cma\"]\nheaps:", 1) + "- {name: a, kind: cma, size: 4MiB, default: true}\n", []*fdt.Node{node("linux,cma", "compatible", CompatPool, "reusable", nil, "linux,cma-default", nil, "size", fdt.Cells(0x1000000, 2))}, nil},
	{"disable unknown", strings.Replace(head, "heaps:", "disable: [nothing]\nheaps:", 1) + "- {name: a, kind: cma, size: 4MiB}\n", nil, []string{"5:11 disable-unknown"}},
	{"no heap for a pool", "version: 1\ntarget: {kernel: 6.12, patched: false}\nheaps:\n- {name: a, kind: cma, size: 4MiB}\n- {name: b, kind: carveout, size: 4MiB}\n", nil, []string{"4:19 cma-no-heap", "5:19 carveout-no-heap"}},
	{"too many areas", head + areas(9), nil, []string{"13:3 cma-areas", "14:3 cma-areas"}},
	{"no area left for the kernel", head + areas(8), nil, []string{"13:3 cma-areas"}},
	{"as many areas as there are", head + strings.Replace(areas(8), "4MiB", "4MiB, default: true", 1), nil, nil},
	{"as many areas as there are, on ARM", strings.Replace(head, "keep-clear:", "target: {arch: arm, kconfig: {ARCH_FORCE_MAX_ORDER: 10}}\nkeep-clear:", 1) + strings.Replace(areas(8), "4MiB", "4MiB, default: true", 1), nil, []string{"14:3 cma-areas"}},
	{"chunk", head + "- {name: a, kind: chunk, size: 4MiB, chunk-size: 2KiB}\n- {name: b, kind: chunk, size: 4MiB, chunk-size: 3MiB}\n", nil, []string{"6:50 chunk-size", "7:50 chunk-size"}},
	{"kernel kept clear outside RAM", strings.Replace(head, "0x4020_0000", "0x8020_0000", 1) + ok, nil, []string{"3:24 keep-clear-outside"}},
	{"initrd past the end of RAM", strings.Replace(head, "0x4800_0000", "0x5f00_0000", 1) + ok, nil, []string{"4:24 keep-clear-outside"}},
	{"firmware outside RAM", strings.Replace(head, "heaps:", "- {what: firmware, base: 0x1000_0000, size: 2MiB}\nheaps:", 1) + ok, nil, nil},
	{"no room", head + "- {name: a, kind: cma, size: 1GiB}\n", nil, []string{"6:30 no-room"}},
	{"after nobody", head + "- {name: a, kind: cma, size: 4MiB, place: {after: b}}\n", nil, []string{"6:51 place-after"}},
	{"after in a circle", head + "- {name: a, kind: cma, size: 4MiB, place: {after: b}}\n- {name: b, kind: cma, size: 4MiB, place: {after: a}}\n", nil, []string{"6:51 place-after", "7:51 place-after"}},
	{"board", "version: 1\nboard: {compatible: \"acme,x\"}\nheaps:\n- {name: a, kind: cma, size: 4MiB}\n", nil, []string{"2:8 board-mismatch"}},
	{"devices", head + "- name: a\n  kind: cma\n  size: 4MiB\n  devices: [\"&codec\", codec0, /codec@9000000, \"&kodec\", nope, /nope]\n", nil, []string{"9:47 device-unknown", "9:57 device-unknown", "9:63 device-unknown"}},
	{"world mode", head + "- {name: a, kind: cma, size: 4MiB, mode: \"0666\"}\n", nil, []string{"6:42 mode-world"}},
	{"odd mode", head + "- {name: a, kind: cma, size: 4MiB, mode: \"0770\"}\n", nil, []string{"6:42 mode-odd"}},

	{"reg length", head + ok, []*fdt.Node{node("a@50000000", "reg", fdt.U32s(0, 0x50000000, 0x1000))}, []string{"/reserved-memory/a@50000000 region-reg"}},
	{"empty", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0))}, []string{"/reserved-memory/a@50000000 region-empty"}},
	{"neither", head + ok, []*fdt.Node{node("a")}, []string{"/reserved-memory/a region-no-reg"}},
	{"both", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x1000), "size", fdt.Cells(0x1000, 2))}, []string{"/reserved-memory/a@50000000 region-reg-and-size"}},
	{"size cells", head + ok, []*fdt.Node{node("a", "size", fdt.U32s(0x1000))}, []string{"/reserved-memory/a region-size-cells"}},
	{"alignment cells", head + ok, []*fdt.Node{node("a", "size", fdt.Cells(0x1000, 2), "alignment", fdt.U32s(0x1000))}, []string{"/reserved-memory/a region-size-cells"}},
	{"alignment", head + ok, []*fdt.Node{node("a", "size", fdt.Cells(0x1000, 2), "alignment", fdt.Cells(0x3000, 2))}, []string{"/reserved-memory/a region-alignment"}},
	{"alignment of zero", head + ok, []*fdt.Node{node("a", "size", fdt.Cells(0x1000, 2), "alignment", fdt.Cells(0, 2))}, nil},
	{"alloc-ranges", head + ok, []*fdt.Node{node("a", "size", fdt.Cells(0x1000, 2), "alloc-ranges", fdt.U32s(0, 0x50000000))}, []string{"/reserved-memory/a region-alloc-ranges"}},
	{"several reg", head + ok, []*fdt.Node{node("a@50000000", "reg", append(reg(0x50000000, 0x1000), reg(0x51000000, 0x1000)...))}, []string{"/reserved-memory/a@50000000 multi-reg"}},
	{"reusable and no-map", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", CompatPool, "reusable", nil, "no-map", nil)}, []string{"/reserved-memory/a@50000000 reusable-no-map"}},
	{"reusable carveout", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", CompatCarveout, "reusable", nil)}, []string{"/reserved-memory/a@50000000 carveout-reusable"}},
	{"carveout of several reg", head + ok, []*fdt.Node{node("a@50000000", "reg", append(reg(0x50000000, 0x1000), reg(0x51000000, 0x1000)...), "compatible", CompatCarveout)}, []string{"/reserved-memory/a@50000000 carveout-multi-reg"}},
	{"chunk heap of several reg", head + ok, []*fdt.Node{node("a@50000000", "reg", append(reg(0x50000000, 0x1000), reg(0x51000000, 0x1000)...), "compatible", CompatChunk, "chunk-size", fdt.U32s(0x1000))}, []string{"/reserved-memory/a@50000000 carveout-multi-reg"}},
	{"CMA of several reg", head + ok, []*fdt.Node{pool("a@50000000", "reg", append(reg(0x50000000, 0x400000), reg(0x51000000, 0x400000)...))}, []string{"/reserved-memory/a@50000000 multi-reg"}},
	{"carveout that is a pool", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", []byte(CompatCarveout+"\x00"+CompatPool+"\x00"))}, []string{"/reserved-memory/a@50000000 carveout-pool"}},
	{"carveout under both names", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", []byte(CompatCarveout+"\x00"+CompatCarveoutTI+"\x00"))}, nil},
	{"write-combining carveout that is mapped", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", CompatCarveout, PropWriteCombine, nil)}, []string{"/reserved-memory/a@50000000 write-combine-mapped"}},
	{"write-combining carveout", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", CompatCarveout, "no-map", nil, PropWriteCombine, nil)}, nil},
	{"write-combining CMA", head + ok, []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 0x400000), PropWriteCombine, nil)}, nil},
	{"empty CMA", head + ok, []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 0))}, []string{"/reserved-memory/a@50000000 region-empty"}},
	{"dynamic, too big", head + ok, []*fdt.Node{pool("a", "size", fdt.Cells(768<<20, 2))}, []string{"/reserved-memory/a region-no-room"}},
	{"dynamic, range taken", head + ok, []*fdt.Node{pool("a", "size", fdt.Cells(16<<20, 2), "alloc-ranges", reg(0x48000000, 32<<20))}, []string{"/reserved-memory/a region-no-room"}},
	{"dynamic, in RAM that the tree has not", head + ok, []*fdt.Node{pool("a", "size", fdt.Cells(16<<20, 2), "alloc-ranges", reg(0x880000000, 32<<20))}, nil},
	{"dynamic, in RAM that nobody has", "version: 1\nboard: {ram: {base: 0x4000_0000, size: 256MiB}}\nheaps:\n" + ok, []*fdt.Node{pool("a", "size", fdt.Cells(16<<20, 2), "alloc-ranges", reg(0x880000000, 32<<20))}, []string{"/reserved-memory/a region-no-room"}},
	{"dynamic, second range", head + ok, []*fdt.Node{pool("a", "size", fdt.Cells(16<<20, 2), "alloc-ranges", append(reg(0x48000000, 32<<20), reg(0x50000000, 32<<20)...))}, nil},
	{"two dynamic, room for one", head + ok, []*fdt.Node{
		pool("a", "size", fdt.Cells(16<<20, 2), "alloc-ranges", reg(0x50000000, 24<<20)), pool("b", "size", fdt.Cells(16<<20, 2), "alloc-ranges", reg(0x50000000, 24<<20))},
		[]string{"/reserved-memory/b region-no-room"}},
	{"heap takes the room", head + "- {name: v, kind: carveout, size: 32MiB, base: 0x5000_0000}\n", []*fdt.Node{pool("a", "size", fdt.Cells(16<<20, 2), "alloc-ranges", reg(0x50000000, 32<<20))}, []string{"/reserved-memory/a region-no-room"}},
	{"name of another address", head + ok, []*fdt.Node{pool("a@51000000", "reg", reg(0x50000000, 0x400000))}, []string{"/reserved-memory/a@51000000 unit-address"}},
	{"compatible", head + ok, []*fdt.Node{node("a@50000000", "compatible", "shared-dma-poll", "reusable", nil, "reg", reg(0x50000000, 0x400000))}, []string{"/reserved-memory/a@50000000 compatible-typo"}},
	{"restricted pool", head + ok, []*fdt.Node{node("a@50000000", "compatible", CompatSwiotlb, "no-map", nil, "reg", reg(0x50000000, 0x400000))}, []string{"/reserved-memory/a@50000000 swiotlb-flags"}},
	{"default that is none", head + ok, []*fdt.Node{node("a@50000000", "compatible", CompatPool, "no-map", nil, "linux,cma-default", nil, "reg", reg(0x50000000, 0x400000))}, []string{"/reserved-memory/a@50000000 cma-default-ignored"}},
	{"two coherent defaults", head + ok, []*fdt.Node{
		node("a@50000000", "compatible", CompatPool, "no-map", nil, "linux,dma-default", nil, "reg", reg(0x50000000, 0x400000)),
		node("b@51000000", "compatible", CompatPool, "no-map", nil, "linux,dma-default", nil, "reg", reg(0x51000000, 0x400000))}, []string{"/reserved-memory/b@51000000 dma-default-twice"}},
	{"swapped cells", head + ok, []*fdt.Node{pool("a@50000000", "reg", fdt.U32s(0x50000000, 0, 0x4000000, 0))}, []string{"/reserved-memory/a@50000000 unit-address", "/reserved-memory/a@50000000 outside-ram"}},
	{"wraps in the tree", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, ^uint64(0)))}, []string{"/reserved-memory/a@50000000 outside-ram"}},
	{"no RAM left", head + "- {name: v, kind: carveout, size: 94MiB, base: 0x4220_0000}\n- {name: w, kind: cma, size: 336MiB, base: 0x4a00_0000}\n", nil, []string{"7:30 ram-left"}},
	{"firmware's name", head + "- {name: optee-shm, kind: carveout, size: 2MiB}\n", nil, []string{"6:10 name-firmware"}},
	{"long name", head + ok, []*fdt.Node{pool(strings.Repeat("a", 60)+"@50000000", "reg", reg(0x50000000, 0x400000))}, []string{"/reserved-memory/" + strings.Repeat("a", 60) + "@50000000 name-long"}},
	{"aligned for huge pages", head + ok, []*fdt.Node{pool("a@50200000", "reg", reg(0x50200000, 0x200000))}, []string{"/reserved-memory/a@50200000 cma-alignment", "/reserved-memory/a@50200000 cma-alignment"}},
	{"device names", head + "- {name: a, kind: cma, size: 4MiB, devices: [{node: codec0, name: mem}]}\n- {name: b, kind: cma, size: 4MiB, devices: [\"&codec\"]}\n", nil, []string{"7:46 device-names"}},
	{"least RAM of many boards", "version: 1\nboard: {ram: {base: 0x4000_0000, size: 256MiB}}\nheaps:\n- {name: a, kind: carveout, size: 4MiB}\n", nil, nil},
	{"more RAM", "version: 1\nboard: {ram: {base: 0x4000_0000, size: 2GiB}}\nheaps:\n- {name: a, kind: carveout, size: 4MiB}\n", nil, []string{"2:8 ram-differs"}},
	{"region in a region", strings.Replace(head, "keep-clear:", "target: {kernel: \"5.10\"}\nkeep-clear:", 1) + ok, []*fdt.Node{nested()}, []string{"/reserved-memory/a@50000000/b@50000000 region-overlap"}},
	{"region in a region, which 6.12 does not see", head + ok, []*fdt.Node{nested()}, nil},
	{"unknown status", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0), "status", "enabled")}, []string{"/reserved-memory/a@50000000 region-status"}},
	{"noise for a status", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0), "status", []byte{0x55, 0x97})}, []string{"/reserved-memory/a@50000000 region-status"}},
	{"empty status", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0), "status", nil)}, []string{"/reserved-memory/a@50000000 region-status"}},
	{"failed", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0), "status", "fail-sss")}, nil},
	{"disabled is skipped", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0), "status", "disabled")}, nil},
}

// nested makes a region with another one inside of it.
func nested() *fdt.Node {
	n := node("a@50000000", "reg", reg(0x50000000, 0x400000))
	n.AddChild(node("b@50000000", "reg", reg(0x50000000, 0x1000)))
	return n
}

// pool makes a CMA region.
func pool(name string, props ...any) *fdt.Node {
	return node(name, append([]any{"compatible", CompatPool, "reusable", nil}, props...)...)
}

const ok = "- {name: ok, kind: carveout, size: 2MiB}\n"

func areas(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- {name: v%d, kind: cma, size: 4MiB}\n", i)
	}
	return b.String()
}

func TestRules(t *testing.T) {
	for _, tc := range violations {
		t.Run(tc.name, func(t *testing.T) {
			_, findings := planned(t, tc.yaml, testTree(tc.reserved...))
			if diff := cmp.Diff(tc.want, ids(findings, Warning)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
				for _, f := range findings {
					t.Logf("%v %s: %s; %s", f.Place, f.ID, f.Message, f.Fix)
				}
			}
			for _, f := range findings {
				if f.Fix == "" {
					t.Errorf("finding without a way out: %+v", f)
				}
			}
		})
	}
}

// TestRulesOnTrees breaks the rules about the tree itself.
func TestRulesOnTrees(t *testing.T) {
	for _, tc := range []struct {
		name   string
		target Target
		change func(*fdt.Tree)
		want   []string
	}{
		{"misspelt", DefaultTarget(), func(t *fdt.Tree) { t.Root.AddChild(&fdt.Node{Name: "reserved_memory"}) }, []string{"/reserved_memory reserved-name"}},
		{"no ranges", DefaultTarget(), func(t *fdt.Tree) {
			rm := t.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
			rm.Set("#address-cells", fdt.U32s(2))
			rm.Set("#size-cells", fdt.U32s(2))
		}, []string{"/reserved-memory reserved-format"}},
		{"wrong cells", DefaultTarget(), func(t *fdt.Tree) {
			rm := t.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
			rm.Set("#address-cells", fdt.U32s(1))
			rm.Set("ranges", nil)
		}, []string{"/reserved-memory reserved-format"}},
		{"no memory", DefaultTarget(), func(t *fdt.Tree) { t.Root.RemoveChild("memory@40000000") }, []string{"/ ram-unknown"}},
		{"bad memory", DefaultTarget(), func(t *fdt.Tree) { t.Root.Child("memory@40000000").Set("reg", fdt.U32s(1)) }, []string{"/memory@40000000 tree-memory"}},
		{"root cells", DefaultTarget(), func(t *fdt.Tree) { t.Root.Set("#size-cells", fdt.U32s(0)) }, []string{"/ tree-cells"}},
		{"65 regions on 6.1", Target{Kernel: Version{6, 1}, PageSize: 4 * KiB, Patched: true}, manyRegions, []string{"/reserved-memory/r64@50040000 region-count"}},
		{"65 regions on 5.4", Target{Kernel: Version{5, 4}, PageSize: 4 * KiB, Patched: true}, manyRegions, []string{"/reserved-memory/r32@50020000 region-count"}},
		{"65 regions on 6.12", DefaultTarget(), manyRegions, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := testTree()
			tc.change(tree)
			l, findings := FromTree("board.dtb", tree, tc.target)
			if l != nil {
				findings = append(findings, Lint(l)...)
			}
			if diff := cmp.Diff(tc.want, ids(findings, Note)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRulesOnBoards breaks the rules about devices, buses and zones.
func TestRulesOnBoards(t *testing.T) {
	arm := DefaultTarget()
	arm.Arch = Arm
	arm64 := DefaultTarget()
	arm64.Arch = Arm64
	for _, tc := range []struct {
		name     string
		target   Target
		reserved []*fdt.Node
		change   func(*fdt.Tree)
		want     []string
	}{
		{"dangling", arm64, nil, func(t *fdt.Tree) { codec(t).Set("memory-region", fdt.U32s(9)) }, []string{"/codec@9000000 user-dangling"}},
		{"names", arm64, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x1000), "phandle", fdt.U32s(1))},
			func(t *fdt.Tree) {
				codec(t).Set("memory-region", fdt.U32s(1))
				codec(t).Set("memory-region-names", fdt.StringList("x", "y"))
			}, []string{"/codec@9000000 user-names"}},
		{"disabled region", arm64, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x1000), "phandle", fdt.U32s(1), "status", "disabled")},
			func(t *fdt.Tree) { codec(t).Set("memory-region", fdt.U32s(1)) }, []string{"/codec@9000000 user-disabled-region"}},
		{"out of reach", arm64, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x1000), "phandle", fdt.U32s(1))},
			func(t *fdt.Tree) { limitedBus(t).Set("memory-region", fdt.U32s(1)) }, []string{"/reserved-memory/a@50000000 user-reach"}},
		{"across the limit of a bus", arm64, []*fdt.Node{pool("a@47000000", "reg", reg(0x47000000, 0x2000000))}, func(t *fdt.Tree) { limitedBus(t) }, []string{"/reserved-memory/a@47000000 cma-zone"}},
		{"across the limit of a bus, on a kernel before 5.10", Target{Kernel: Version{5, 4}, PageSize: 4 * KiB, Arch: Arm64}, []*fdt.Node{pool("a@47000000", "reg", reg(0x47000000, 0x2000000))}, func(t *fdt.Tree) { limitedBus(t) }, nil},
		{"across 4 GiB", arm64, []*fdt.Node{pool("a@f0000000", "reg", reg(0xf0000000, 0x20000000))}, func(t *fdt.Tree) { t.Root.Child("memory@40000000").Set("reg", reg(0x40000000, 0x200000000)) }, []string{"/reserved-memory/a@f0000000 cma-zone"}},
		{"across lowmem", arm, []*fdt.Node{pool("a@6f000000", "reg", reg(0x6f000000, 0x2000000))}, func(t *fdt.Tree) { t.Root.Child("memory@40000000").Set("reg", reg(0x40000000, 0x40000000)) }, []string{"/reserved-memory/a@6f000000 cma-zone"}},
		{"up to the end of lowmem", arm, []*fdt.Node{pool("a@6f000000", "reg", reg(0x6f000000, 0x1000000))}, func(t *fdt.Tree) { t.Root.Child("memory@40000000").Set("reg", reg(0x40000000, 0x40000000)) }, nil},
		{"coherent on 32 bits", arm, []*fdt.Node{node("a@50000000", "compatible", CompatPool, "reg", reg(0x50000000, 0x100000))}, func(*fdt.Tree) {}, []string{"/reserved-memory/a@50000000 coherent-map-arm"}},
		{"coherent on 64 bits", arm64, []*fdt.Node{node("a@50000000", "compatible", CompatPool, "reg", reg(0x50000000, 0x100000))}, func(*fdt.Tree) {}, nil},
		{"cma= beside a default", arm64, []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 0x400000), "linux,cma-default", nil)},
			func(t *fdt.Tree) {
				t.Root.AddChild(&fdt.Node{Name: "chosen"}).Set("bootargs", fdt.StringList("quiet cma=32M"))
			}, []string{"/reserved-memory/a@50000000 cma-cmdline"}},
		{"cma= beside a default, on a kernel before 5.10", Target{Kernel: Version{5, 4}, PageSize: 4 * KiB, Arch: Arm64}, []*fdt.Node{pool("a@50000000", "reg", reg(0x50000000, 0x400000), "linux,cma-default", nil)},
			func(t *fdt.Tree) {
				t.Root.AddChild(&fdt.Node{Name: "chosen"}).Set("bootargs", fdt.StringList("quiet cma=32M"))
			}, nil},
		{"RAM twice", arm64, nil, func(t *fdt.Tree) {
			m := t.Root.AddChild(&fdt.Node{Name: "memory@50000000"})
			m.Set("device_type", fdt.StringList("memory"))
			m.Set("reg", reg(0x50000000, 0x20000000))
		}, []string{"/memory@50000000 ram-overlap"}},
		{"outside, no heap", arm64, []*fdt.Node{node("a@10000000", "reg", reg(0x10000000, 0x1000))}, func(*fdt.Tree) {}, []string{"/reserved-memory/a@10000000 region-outside"}},
		{"half pages", arm64, []*fdt.Node{node("a@50000800", "no-map", nil, "reg", reg(0x50000800, 0x1000))}, func(*fdt.Tree) {}, []string{"/reserved-memory/a@50000800 region-pages"}},
		{"holes", arm64, nil, func(t *fdt.Tree) { holes(t, 64) }, []string{"/reserved-memory/r63@5007e000 no-map-holes"}},
		{"holes that fit", arm64, nil, func(t *fdt.Tree) { holes(t, 63) }, nil},
		{"holes with EFI", Target{Kernel: v6_12, PageSize: 4 * KiB, Arch: Arm64, EFI: true}, nil, func(t *fdt.Tree) { holes(t, 64) }, nil},
		{"heaps", DefaultTarget(), nil, func(t *fdt.Tree) {
			holes(t, 129)
			for _, n := range t.Root.Child("reserved-memory").Children {
				n.Remove("no-map")
				n.Set("compatible", fdt.StringList(CompatCarveout))
			}
		}, []string{"board.dtb heap-count"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := testTree(tc.reserved...)
			tc.change(tree)
			l, findings := FromTree("board.dtb", tree, tc.target)
			if l != nil {
				findings = append(findings, Lint(l)...)
			}
			var got []string
			for _, f := range findings {
				at := f.Place.Path
				if f.ID == "heap-count" {
					at = f.Place.File
				}
				got = append(got, at+" "+f.ID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func codec(t *fdt.Tree) *fdt.Node { return t.Root.Child("codec@9000000") }

// limitedBus adds a bus that reaches the first 128 MiB of RAM and returns a
// device on it, as /soc of a Raspberry Pi 4 reaches the first GiB.
func limitedBus(t *fdt.Tree) *fdt.Node {
	bus := t.Root.AddChild(&fdt.Node{Name: "soc"})
	bus.Set("#address-cells", fdt.U32s(1))
	bus.Set("#size-cells", fdt.U32s(1))
	bus.Set("dma-ranges", fdt.U32s(0xc0000000, 0, 0x40000000, 0x8000000))
	return bus.AddChild(&fdt.Node{Name: "camera@7e800000"})
}

// holes adds regions of a page with a page between them.
func holes(t *fdt.Tree, n int) {
	rm := t.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
	rm.Set("#address-cells", fdt.U32s(2))
	rm.Set("#size-cells", fdt.U32s(2))
	rm.Set("ranges", nil)
	for i := range uint64(n) {
		base := 0x50000000 + i<<13
		rm.AddChild(node(fmt.Sprintf("r%d@%x", i, base), "no-map", nil, "reg", reg(base, 0x1000)))
	}
}

// TestDisableUsed switches off a region that a device of the base tree uses.
func TestDisableUsed(t *testing.T) {
	tree := testTree(node("a@50000000", "reg", reg(0x50000000, 0x400000), "phandle", fdt.U32s(1)))
	codec(tree).Set("memory-region", fdt.U32s(1))
	_, findings := planned(t, strings.Replace(head, "heaps:", "disable: [a@50000000]\nheaps:", 1)+ok, tree)
	if diff := cmp.Diff([]string{"5:11 user-disabled-region"}, ids(findings, Warning)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	// The device gets a heap in its place, and loses nothing that stays on.
	config := strings.Replace(head, "heaps:", "disable: [a@50000000]\nheaps:", 1) + "- {name: b, kind: carveout, size: 4MiB, devices: [\"&codec\"]}\n"
	if _, findings = planned(t, config, tree); len(ids(findings, Warning)) > 0 {
		t.Errorf("findings: %v", findings)
	}
	// Of two regions one stays on.
	tree.Root.Child("reserved-memory").AddChild(node("c@51000000", "reg", reg(0x51000000, 0x400000), "phandle", fdt.U32s(2)))
	codec(tree).Set("memory-region", fdt.U32s(1, 2))
	_, findings = planned(t, config, tree)
	if diff := cmp.Diff([]string{"7:51 device-has-region"}, ids(findings, Warning)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestNestedRegions reads a tree whose regions have regions in them, which are
// regions to kernels before 5.17, and finds whose device is whose.
func TestNestedRegions(t *testing.T) {
	nest := node("a@50000000", "reg", reg(0x50000000, 0x400000))
	deep := nest.AddChild(node("group")).AddChild(node("c@58000000", "size", fdt.Cells(0x1000, 2)))
	deep.Set("phandle", fdt.U32s(2))
	tree := testTree(nest, node("b@51000000", "reg", reg(0x51000000, 0x1000), "phandle", fdt.U32s(1)))
	codec(tree).Set("memory-region", fdt.U32s(1, 2))
	for kernel, want := range map[Version][]string{
		{5, 10}: {"/reserved-memory/a@50000000 []", "/reserved-memory/a@50000000/group/c@58000000 [/codec@9000000]", "/reserved-memory/b@51000000 [/codec@9000000]"},
		{6, 1}:  {"/reserved-memory/a@50000000 []", "/reserved-memory/b@51000000 [/codec@9000000]"},
	} {
		l, _ := FromTree("board.dtb", tree, Target{Kernel: kernel, PageSize: 4 * KiB})
		var got []string
		for _, r := range l.Regions {
			nodes := []string{}
			for _, u := range r.Users {
				nodes = append(nodes, u.Node)
			}
			got = append(got, fmt.Sprint(r.Source.Path, " ", nodes))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("regions and their devices on %v (-want +got):\n%s", kernel, diff)
		}
	}
}

// TestVariants overrides values, and has findings lead to the line that does.
func TestVariants(t *testing.T) {
	const file = `version: 1
target: {kernel: "6.12", kconfig: {TRANSPARENT_HUGEPAGE: y}}
heaps:
- {name: video, kind: cma, size: 64MiB, base: 0x5000_0000}
- {name: npu, kind: carveout, size: 16MiB}
variants:
  small:
    target: {kernel: "6.1"}
    omit: [npu]
    heaps:
      video: {size: 32MiB, place: {below: 0x5000_0000}}
  wrong:
    heaps:
      video:
        size: 6M
      vdeo: {size: 8MiB}
    omit: [gpu]
    heap: {}
`
	cfg, findings := ParseVariant("heaps.yaml", []byte(file), "small")
	if diff := cmp.Diff([]string{"15:15 yaml-value", "16:7 variant-unknown", "17:12 variant-unknown", "18:5 yaml-key"}, ids(findings, Note)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if len(cfg.Heaps) != 1 || cfg.Heaps[0].Size != 32*MiB || cfg.Heaps[0].HasBase || cfg.Heaps[0].Below != 0x50000000 || cfg.Target.Kernel != (Version{6, 1}) || !cfg.Target.THP {
		t.Errorf("variant small is %+v", cfg)
	}
	if got := cfg.Heaps[0].Source.At("size").Line; got != 11 {
		t.Errorf("the size stands in line %d, want 11", got)
	}
	cfg, _ = Parse("heaps.yaml", []byte(file))
	if len(cfg.Heaps) != 2 || cfg.Heaps[0].Size != 64*MiB || !cfg.Heaps[0].HasBase || cfg.Target.Kernel != v6_12 {
		t.Errorf("without a variant it is %+v", cfg)
	}
	_, findings = ParseVariant("heaps.yaml", []byte(file), "smal")
	if !HasErrors(findings) || findings[0].ID != "variant-unknown" {
		t.Errorf("unknown variant gives %v", findings)
	}
}

// TestPlacementReach has heaps placed where their devices reach and in one
// zone.
func TestPlacementReach(t *testing.T) {
	tree := testTree()
	limitedBus(tree)
	yaml := "version: 1\ntarget: {arch: arm64}\nheaps:\n- {name: a, kind: cma, size: 16MiB, devices: [/soc/camera@7e800000]}\n- {name: b, kind: cma, size: 384MiB}\n"
	l, findings := planned(t, yaml, tree)
	if got := ids(findings, Warning); got != nil {
		t.Fatalf("findings: %v", got)
	}
	if got := []string{l.Regions[0].Node, l.Regions[1].Node}; !cmp.Equal(got, []string{"a@47000000", "b@48000000"}) {
		t.Errorf("nodes %v, want a below 0x48000000 and b above", got)
	}
}

// TestDeviceWaysOut names devices a little wrong.
func TestDeviceWaysOut(t *testing.T) {
	for device, fix := range map[string]string{
		"\"&codce\"":  `did you mean "&codec"?`,
		"\"&gpu\"":    "check the label; the base tree's labels are under /__symbols__",
		"codec":       `write "&codec", which is a label`,
		"codce0":      `did you mean "codec0"?`,
		"gpu":         `write "&label", a path that starts with "/", or an alias of the base tree`,
		"/codec@9000": "check the path; node names carry their unit address",
	} {
		_, findings := planned(t, head+"- {name: a, kind: cma, size: 4MiB, devices: ["+device+"]}\n", testTree())
		if len(findings) != 1 || findings[0].Fix != fix {
			t.Errorf("device %s gives %v, want the way out %q", device, findings, fix)
		}
	}
}

// TestNoRoom says what keeps a heap out, and offers no size where there is none.
func TestNoRoom(t *testing.T) {
	tree := testTree(node("sram@10000000", "reg", reg(0x10000000, 0x1000)))
	limitedBus(tree)
	const camera = "devices: [/soc/camera@7e800000]"
	for _, tc := range []struct{ heaps, says, fix string }{
		{"- {name: a, kind: cma, size: 512MiB}\n",
			"no free 512MiB aligned to 4MiB for heap a; in the way: kernel, initrd", "make it 352MiB or smaller, or loosen place and keep-clear"},
		{"- {name: a, kind: cma, size: 100MiB, " + camera + "}\n",
			"no free 100MiB aligned to 4MiB for heap a in reach of /soc/camera@7e800000; in the way: kernel", "make it 92MiB or smaller, or loosen place and keep-clear"},
		{"- {name: a, kind: cma, size: 4MiB, place: {below: 0x4000_0000}}\n",
			"no free 4MiB aligned to 4MiB for heap a below 0x40000000", "loosen place and keep-clear, or make room there"},
	} {
		_, findings := planned(t, head+tc.heaps, tree)
		findings = slices.DeleteFunc(findings, func(f Finding) bool { return f.Level == Note })
		if len(findings) != 1 || findings[0].Message != tc.says || findings[0].Fix != tc.fix {
			t.Errorf("%s gives %v, want %q and %q", tc.heaps, findings, tc.says, tc.fix)
		}
	}
}

func manyRegions(t *fdt.Tree) {
	rm := t.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
	rm.Set("#address-cells", fdt.U32s(2))
	rm.Set("#size-cells", fdt.U32s(2))
	rm.Set("ranges", nil)
	for i := range uint64(65) {
		base := 0x50000000 + i<<12
		rm.AddChild(node(fmt.Sprintf("r%d@%x", i, base), "reg", reg(base, 0x1000)))
	}
}

// TestAddressCells plans onto a board with one cell each, as many 32-bit
// boards have.
func TestAddressCells(t *testing.T) {
	tree := testTree()
	tree.Root.Set("#address-cells", fdt.U32s(1))
	tree.Root.Set("#size-cells", fdt.U32s(1))
	tree.Root.Child("memory@40000000").Set("reg", fdt.U32s(0x40000000, 0x20000000))
	_, findings := planned(t, head+"- {name: a, kind: carveout, size: 2MiB, base: 0x1_0000_0000}\n", tree)
	if diff := cmp.Diff([]string{"6:47 address-cells", "6:47 outside-ram"}, sorted(ids(findings, Warning))); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func sorted(s []string) []string {
	for i := range s {
		for j := range s[:i] {
			if s[i] < s[j] {
				s[i], s[j] = s[j], s[i]
			}
		}
	}
	return s
}

// TestEveryRuleIsBroken proves that each rule of the table can fire and that
// no code speaks of a rule the table does not have.
func TestEveryRuleIsBroken(t *testing.T) {
	covered := map[string]bool{}
	quoted := regexp.MustCompile(`"([a-z]+(?:-[a-z]+)+)"|[ ]([a-z]+(?:-[a-z]+)+)"`)
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllStringSubmatch(string(data), -1) {
			covered[m[1]+m[2]] = true
		}
	}
	seen := map[string]bool{}
	for _, r := range Rules() {
		if seen[r.ID] {
			t.Errorf("rule %s is in the table twice", r.ID)
		}
		seen[r.ID] = true
		if r.Title == "" || r.Why == "" || r.Fix == "" {
			t.Errorf("rule %s lacks title, why or fix", r.ID)
		}
		if (r.Kernels != "") != (len(r.Says) > 0) {
			t.Errorf("rule %s: kernels %q and what they say, %v, do not go together", r.ID, r.Kernels, r.Says)
		}
		if !covered[r.ID] && r.ID != "kernel-assumed" && !strings.HasPrefix(r.ID, "device-") {
			t.Errorf("no test breaks rule %s", r.ID)
		}
	}
}

func TestKernelFacts(t *testing.T) {
	for _, tc := range []struct {
		target Target
		align  uint64
	}{
		{Target{Kernel: Version{5, 10}, PageSize: 4 * KiB, HugeTLB: true, THP: true}, 4 * MiB},
		{Target{Kernel: Version{6, 1}, PageSize: 4 * KiB, THP: true}, 4 * MiB},
		{Target{Kernel: Version{6, 1}, PageSize: 4 * KiB, HugeTLB: true}, 2 * MiB},
		{Target{Kernel: Version{6, 12}, PageSize: 4 * KiB}, 4 * MiB},
		{Target{Kernel: Version{6, 12}, PageSize: 4 * KiB, THP: true}, 2 * MiB},
		{Target{Kernel: Version{6, 12}, PageSize: 16 * KiB, THP: true}, 32 * MiB},
		{Target{Kernel: Version{7, 3}, PageSize: 64 * KiB}, 512 * MiB},
		{Target{Kernel: Version{5, 10}, PageSize: 64 * KiB, ForceMaxOrder: 11, HugeTLB: true}, 512 * MiB},
		// The kernels of imx_v6_v7_defconfig, by the way of counting that each has.
		{Target{Kernel: Version{6, 1}, PageSize: 4 * KiB, Arch: Arm, ForceMaxOrder: 14}, 32 * MiB},
		{Target{Kernel: Version{6, 6}, PageSize: 4 * KiB, Arch: Arm, ForceMaxOrder: 13}, 32 * MiB},
		{Target{Kernel: Version{6, 6}, PageSize: 4 * KiB, Arch: Arm, ForceMaxOrder: 13, HugeTLB: true}, 2 * MiB},
		{Target{Kernel: Version{6, 12}, PageSize: 4 * KiB, Arch: Arm, ForceMaxOrder: 8}, 1 * MiB},
	} {
		if got := tc.target.CMAAlign(); got != tc.align {
			t.Errorf("%+v.CMAAlign() = %s, want %s", tc.target, FormatSize(got), FormatSize(tc.align))
		}
	}
}

// TestArmAlign has heaps for 32-bit ARM, whose kernels differ in what they take.
func TestArmAlign(t *testing.T) {
	for _, tc := range []struct {
		target, heap, node string
		want               []string
	}{
		{"arch: arm", "size: 64MiB", "a@5c000000", nil},
		{"arch: arm", "size: 8MiB", "a@5f800000", []string{"4:30 cma-alignment"}},
		{"arch: arm", "size: 64MiB, base: 0x5040_0000", "a@50400000", []string{"4:43 cma-alignment"}},
		{"arch: arm, kconfig: {ARCH_FORCE_MAX_ORDER: 10}", "size: 8MiB", "a@5f800000", nil},
		{"arch: arm, kconfig: {ARCH_FORCE_MAX_ORDER: 13}", "size: 64MiB", "a@5c000000", nil},
		{"arch: arm, kconfig: {ARCH_FORCE_MAX_ORDER: 13}", "size: 8MiB", "a@5e000000", []string{"4:30 cma-alignment"}},
		{"arch: arm, kconfig: {HUGETLB_PAGE: y}", "size: 2MiB", "a@5fe00000", nil},
		{"arch: arm64", "size: 8MiB", "a@5f800000", nil},
	} {
		yaml := "version: 1\ntarget: {" + tc.target + "}\nheaps:\n- {name: a, kind: cma, " + tc.heap + "}\nkeep-clear: [{what: kernel, base: 0x4020_0000, size: 32MiB}]\n"
		l, findings := planned(t, yaml, testTree())
		if diff := cmp.Diff(tc.want, ids(findings, Note)); diff != "" || l.Regions[0].Node != tc.node {
			t.Errorf("%s, %s: node %s, want %s; findings (-want +got):\n%s", tc.target, tc.heap, l.Regions[0].Node, tc.node, diff)
		}
	}
}

func TestExpect(t *testing.T) {
	yaml := "version: 1\ntarget: {kernel: %s, patched: %v}\nheaps:\n" +
		"- {name: system, kind: system}\n" +
		"- {name: \"linux,cma\", kind: cma, size: 64MiB, default: true, base: 0x5000_0000}\n" +
		"- {name: video, kind: cma, size: 32MiB, base: 0x5800_0000}\n" +
		"- {name: npu, kind: carveout, size: 16MiB, base: 0x5c00_0000}\n"
	for _, tc := range []struct {
		kernel  string
		patched bool
		want    []string
	}{
		{"6.12", true, []string{"system", "linux,cma@50000000", "default_cma_region", "video@58000000", "npu@5c000000"}},
		{"6.12", false, []string{"system", "linux,cma@50000000"}},
		{"7.3", false, []string{"system", "linux,cma@50000000", "default_cma_region", "video@58000000"}},
		{"7.3", true, []string{"system", "linux,cma@50000000", "default_cma_region", "video@58000000", "npu@5c000000"}},
	} {
		l, _ := planned(t, fmt.Sprintf(yaml, tc.kernel, tc.patched), testTree())
		var got []string
		for _, e := range l.Expect() {
			got = append(got, e.Name)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("Expect() on %s, patched %v (-want +got):\n%s", tc.kernel, tc.patched, diff)
		}
	}
}

func TestPlacement(t *testing.T) {
	for _, tc := range []struct {
		name, heaps string
		want        []string
	}{
		{"top down in file order", "- {name: a, kind: cma, size: 64MiB}\n- {name: b, kind: carveout, size: 2MiB}\n", []string{"a@5c000000", "b@5be00000"}},
		{"fixed first", "- {name: a, kind: cma, size: 64MiB}\n- {name: b, kind: cma, size: 64MiB, base: 0x5c00_0000}\n", []string{"a@58000000", "b@5c000000"}},
		{"below", "- {name: a, kind: cma, size: 16MiB, place: {below: 0x5000_0000}}\n", []string{"a@4f000000"}},
		{"within", "- {name: a, kind: cma, size: 16MiB, place: {within: {base: 0x5000_0000, size: 64MiB}}}\n", []string{"a@53000000"}},
		{"align", "- {name: a, kind: cma, size: 16MiB, place: {align: 64MiB}}\n", []string{"a@5c000000"}},
		{"after", "- {name: a, kind: cma, size: 16MiB, place: {after: b}}\n- {name: b, kind: cma, size: 16MiB, base: 0x5000_0000}\n", []string{"a@51000000", "b@50000000"}},
		{"share of RAM", "- {name: a, kind: cma, size: 25%}\n", []string{"a@58000000"}},
		{"small carveout", "- {name: a, kind: carveout, size: 64KiB}\n", []string{"a@5fff0000"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 3 { // the same every time
				l, findings := planned(t, head+tc.heaps, testTree())
				if HasErrors(findings) {
					t.Fatalf("findings: %v", findings)
				}
				var got []string
				for _, r := range l.Regions {
					got = append(got, r.Node)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("nodes (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestShareOfRAM has a tree that describes RAM twice: a share is of what is there.
func TestShareOfRAM(t *testing.T) {
	tree := testTree()
	again := tree.Root.AddChild(&fdt.Node{Name: "memory@50000000"})
	again.Set("device_type", fdt.StringList("memory"))
	again.Set("reg", reg(0x50000000, 0x10000000))
	l, findings := planned(t, head+"- {name: a, kind: cma, size: 25%}\n", tree)
	if HasErrors(findings) || l.RAM() != 512*MiB || l.Regions[0].Range.Size != 128*MiB {
		t.Errorf("RAM %s, heap %v, findings %v; want 512MiB and a heap of 128MiB", FormatSize(l.RAM()), l.Regions, findings)
	}
}

func TestLockRoundTrip(t *testing.T) {
	l, _ := planned(t, head+"- {name: a, kind: cma, size: 64MiB, default: true, mode: \"0660\", group: video}\n- {name: b, kind: chunk, size: 4MiB, chunk-size: 64KiB, access: write-combine}\n", testTree())
	want := NewLock("heaps.yaml", l)
	data, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseLock(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(data), string(again)); diff != "" {
		t.Errorf("lock changes when it is read and written (-first +second):\n%s", diff)
	}
	if !IsLock(data) {
		t.Error("IsLock = false for a lock")
	}
	for _, bad := range []string{"", "{", "[]", `{"format":"x"}`, `{"format":"dmaheap-lock","version":9}`, string(data) + "{}",
		strings.Replace(string(data), `"name": "a@`, `"name": "../a@`, 1), strings.Replace(string(data), `"0660"`, `"rw"`, 1)} {
		if k, err := ParseLock([]byte(bad)); err == nil {
			t.Errorf("ParseLock(%.40q) = %+v, want an error", bad, k)
		}
	}
}
