// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	{"past the end", head + "- {name: v, kind: carveout, size: 32MiB, base: 0x5f00_0000}\n", nil, []string{"6:48 outside-ram"}},
	{"wraps", head + "- {name: v, kind: carveout, size: 2MiB, base: 0xffff_ffff_fff0_0000}\n", nil, []string{"6:47 outside-ram"}},
	{"overlap", head + "- {name: a, kind: cma, size: 64MiB, base: 0x5000_0000}\n- {name: b, kind: carveout, size: 4MiB, base: 0x53ff_f000}\n", nil, []string{"7:47 region-overlap"}},
	{"overlap with base", head + "- {name: a, kind: carveout, size: 64MiB, base: 0x5000_0000}\n", []*fdt.Node{node("fw@52000000", "no-map", nil, "reg", reg(0x52000000, 0x1000))}, []string{"6:48 region-overlap"}},
	{"size misaligned", head + "- {name: v, kind: cma, size: 6MiB}\n", nil, []string{"6:30 cma-alignment"}},
	{"base misaligned", head + "- {name: v, kind: cma, size: 8MiB, base: 0x5020_0000}\n", nil, []string{"6:42 cma-alignment"}},
	{"carveout misaligned", head + "- {name: v, kind: carveout, size: 4097, base: 0x5000_0800}\n", nil, []string{"6:35 page-alignment", "6:47 page-alignment"}},
	{"two names", head + "- {name: v, kind: cma, size: 4MiB}\n- {name: v, kind: carveout, size: 4MiB}\n", nil, []string{"7:10 name-clash"}},
	{"kernel's name", head + "- {name: system, kind: cma, size: 4MiB}\n", nil, []string{"6:10 name-clash"}},
	{"node of the base", head + "- {name: v, kind: carveout, size: 4MiB, base: 0x5000_0000}\n", []*fdt.Node{node("v@50000000", "compatible", CompatCarveout, "reg", reg(0x50000000, 0x400000))},
		[]string{"6:10 name-clash", "6:10 name-clash", "6:47 region-overlap"}},
	{"allocator in the name", head + "- {name: cma-video, kind: cma, size: 4MiB}\n", nil, []string{"6:10 name-allocator"}},
	{"two defaults", head + "- {name: a, kind: cma, size: 4MiB, default: true}\n- {name: b, kind: cma, size: 4MiB, default: true}\n", nil, []string{"7:45 cma-default-twice"}},
	{"default of the base", head + "- {name: a, kind: cma, size: 4MiB, default: true}\n", []*fdt.Node{node("linux,cma", "compatible", CompatPool, "reusable", nil, "linux,cma-default", nil, "size", fdt.Cells(0x1000000, 2))}, []string{"6:45 cma-default-twice"}},
	{"default of the base, disabled", strings.Replace(head, "heaps:", "disable: [\"linux,cma\"]\nheaps:", 1) + "- {name: a, kind: cma, size: 4MiB, default: true}\n", []*fdt.Node{node("linux,cma", "compatible", CompatPool, "reusable", nil, "linux,cma-default", nil, "size", fdt.Cells(0x1000000, 2))}, nil},
	{"disable unknown", strings.Replace(head, "heaps:", "disable: [nothing]\nheaps:", 1) + "- {name: a, kind: cma, size: 4MiB}\n", nil, []string{"5:11 disable-unknown"}},
	{"no heap for a pool", "version: 1\ntarget: {kernel: 6.12, patched: false}\nheaps:\n- {name: a, kind: cma, size: 4MiB}\n- {name: b, kind: carveout, size: 4MiB}\n", nil, []string{"4:19 cma-no-heap", "5:19 carveout-no-heap"}},
	{"too many areas", head + areas(9), nil, []string{"14:3 cma-areas"}},
	{"chunk", head + "- {name: a, kind: chunk, size: 4MiB, chunk-size: 2KiB}\n- {name: b, kind: chunk, size: 4MiB, chunk-size: 3MiB}\n", nil, []string{"6:50 chunk-size", "7:50 chunk-size"}},
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
	{"alloc-ranges", head + ok, []*fdt.Node{node("a", "size", fdt.Cells(0x1000, 2), "alloc-ranges", fdt.U32s(0, 0x50000000))}, []string{"/reserved-memory/a region-alloc-ranges"}},
	{"several reg", head + ok, []*fdt.Node{node("a@50000000", "reg", append(reg(0x50000000, 0x1000), reg(0x51000000, 0x1000)...))}, []string{"/reserved-memory/a@50000000 multi-reg"}},
	{"reusable and no-map", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", CompatPool, "reusable", nil, "no-map", nil)}, []string{"/reserved-memory/a@50000000 reusable-no-map"}},
	{"reusable carveout", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0x400000), "compatible", CompatCarveout, "reusable", nil)}, []string{"/reserved-memory/a@50000000 carveout-reusable"}},
	{"disabled is skipped", head + ok, []*fdt.Node{node("a@50000000", "reg", reg(0x50000000, 0), "status", "disabled")}, nil},
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
		{"misspelt", DefaultTarget(), func(t *fdt.Tree) { t.Root.AddChild(&fdt.Node{Name: "reserved_memory"}) }, []string{"/reserved-memory reserved-name"}},
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
		{"no memory", DefaultTarget(), func(t *fdt.Tree) { t.Root.RemoveChild("memory@40000000") }, []string{"/ tree-memory"}},
		{"bad memory", DefaultTarget(), func(t *fdt.Tree) { t.Root.Child("memory@40000000").Set("reg", fdt.U32s(1)) }, []string{"/memory@40000000 tree-memory"}},
		{"root cells", DefaultTarget(), func(t *fdt.Tree) { t.Root.Set("#size-cells", fdt.U32s(0)) }, []string{"/ tree-cells"}},
		{"65 regions on 6.1", Target{Kernel: Version{6, 1}, PageSize: 4 * KiB, Patched: true}, manyRegions, []string{"/reserved-memory/r64@50040000 region-count"}},
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
	} {
		if got := tc.target.CMAAlign(); got != tc.align {
			t.Errorf("%+v.CMAAlign() = %s, want %s", tc.target, FormatSize(got), FormatSize(tc.align))
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
