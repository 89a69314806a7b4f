// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// vendorTree has the heaps of all kinds: the kernel's, the project's, TI's,
// and an ION device of each vendor.
func vendorTree() *fdt.Tree {
	t := testTree(
		pool("linux,cma@50000000", "reg", reg(0x50000000, 0x4000000), "linux,cma-default", nil),
		pool("camera@54000000", "reg", reg(0x54000000, 0x1000000), "phandle", fdt.U32s(1)),
		node("npu@55000000", "compatible", CompatCarveout, "no-map", nil, "reg", reg(0x55000000, 0x800000)),
		node("bits@55800000", "compatible", CompatCarveout, "no-map", nil, PropWriteCombine, nil, "reg", reg(0x55800000, 0x800000)),
		node("frames@56000000", "compatible", CompatChunk, "chunk-size", fdt.U32s(0x10000), "reg", reg(0x56000000, 0x800000)),
		node("vision_apps_shared-memories", "compatible", CompatCarveoutTI, "reg", reg(0x56800000, 0x800000)),
		node("dsp@57000000", "compatible", CompatPool, "no-map", nil, "reg", reg(0x57000000, 0x100000)),
		node("adsp_region@57200000", "reg", reg(0x57200000, 0x200000), "phandle", fdt.U32s(2)),
		node("mtk-ion@57400000", "compatible", "mediatek,ion-carveout-heap", "reg", reg(0x57400000, 0x200000)),
		node("exynos-ion@57600000", "compatible", "exynos9820-ion", "reg", reg(0x57600000, 0x200000)),
		node("secure@57800000", "compatible", "exynos8890-ion,vstream", "ion,secure", nil, "reg", reg(0x57800000, 0x200000)),
		node("tui@57c00000", "reg", reg(0x57c00000, 0x200000), "phandle", fdt.U32s(3)),
		node("firmware@57a00000", "no-map", nil, "reg", reg(0x57a00000, 0x200000)),
		pool("late", "size", fdt.Cells(0x1000000, 2), "alloc-ranges", reg(0x40000000, 0x10000000)),
	)
	codec(t).Set("memory-region", fdt.U32s(1))
	codec(t).Set("memory-region-names", fdt.StringList("frames"))
	ion := func(name string, heaps ...*fdt.Node) {
		n := t.Root.AddChild(&fdt.Node{Name: strings.ReplaceAll(name, ",", "-"), Children: heaps})
		n.Set("compatible", fdt.StringList(name))
	}
	ion("qcom,msm-ion",
		node("qcom,ion-heap@25", "reg", fdt.U32s(25), "qcom,ion-heap-type", "MSM_SYSTEM"),
		node("qcom,ion-heap@22", "reg", fdt.U32s(22), "qcom,ion-heap-type", "CARVEOUT", "memory-region", fdt.U32s(2)),
		node("qcom,ion-heap@28", "reg", fdt.U32s(28), "qcom,ion-heap-type", "DMA", "memory-region", fdt.U32s(1)),
		node("qcom,ion-heap@9", "reg", fdt.U32s(9), "qcom,ion-heap-type", "SECURE_DMA", "memory-region", fdt.U32s(1)))
	ion("hisilicon,hi3660-ion", node("heap_carveout@1", "heap-name", "carveout_heap", "heap-type", "ion_carveout", "heap-range", fdt.U32s(0x58000000, 0x200000)))
	ion("hisilicon,hisi-ion", node("heap_carveout@2", "heap-name", "iris", "heap-type", "ion_carveout", "heap-base", fdt.U32s(0x5a000000), "heap-size", fdt.U32s(0x200000)))
	// The old binding of the kernel's staging tree.
	ion("hisilicon,hi6220-ion",
		node("ion-fb-region", "compatible", "linux,ion-heap-dma", "memory-region", fdt.U32s(1)),
		node("ion-old", "compatible", "linux,ion-heap-carveout", "status", "disabled"))
	for _, n := range []*fdt.Node{
		node("tui-heap", "compatible", "samsung,dma-heap-carveout", "dma-heap,name", "tui", "memory-region", fdt.U32s(3)),
		node("camera-heap", "compatible", "exynos,ion,cma_heap", "memory-region", fdt.U32s(1)),
		node("drm-heap", "compatible", "exynos,ion,carveout_heap", "ion,secure", nil, "memory-region", fdt.U32s(3)),
	} {
		t.Root.AddChild(n)
	}
	ion("allwinner,sunxi-ion", node("cma_heap", "heap-name", "cma", "heap-type", "ion_cma", "heap-base", fdt.U32s(0), "heap-size", fdt.U32s(0x800000)))
	ion("rockchip,ion", node("drm-heap", "compatible", "rockchip,ion-heap", "rockchip,ion_heap", fdt.U32s(4), "reg", fdt.U32s(0x58800000, 0x800000)))
	ion("sprd,ion", node("heap@3", "reg-names", "ion_heap_carveout_overlay", "sprd,ion-heap-type", fdt.U32s(2), "sprd,ion-heap-mem", fdt.U32s(0x59000000, 0x200000)))
	return t
}

// facts are what must be the same of a heap after it was imported and
// compiled; the address only where the tree had one.
func facts(r *Region, dynamic bool) string {
	at := r.Range.Base.String()
	if dynamic {
		at = "anywhere"
	}
	access := r.Heap.Access
	return fmt.Sprintf("%s %s %s at %s default=%v chunk=%d devices=%s", r.Kind, access, FormatSize(r.Range.Size), at, r.Default, r.Heap.ChunkSize, devicesText(r))
}

func TestImportGivesTheSameRegions(t *testing.T) {
	tree := vendorTree()
	imp, findings := ImportTree("board.dtb", tree, DefaultTarget())
	if HasErrors(findings) {
		t.Fatalf("findings: %v", findings)
	}
	before, _ := FromTree("board.dtb", tree, DefaultTarget())
	want := map[string]string{}
	for i := range before.Regions {
		if r := &before.Regions[i]; r.Heap != nil {
			r.Users = slices.DeleteFunc(r.Users, func(u User) bool { return strings.Contains(u.Node, "-ion/") || strings.HasSuffix(u.Node, "-heap") })
			want[stemOf(r)] = facts(r, r.Dynamic)
		}
	}
	// What only vendor kernels made a heap of.
	for name, s := range map[string]string{
		"adsp_region":               "carveout cached 2MiB at 0x57200000",
		"mtk-ion":                   "carveout cached 2MiB at 0x57400000",
		"exynos-ion":                "carveout cached 2MiB at 0x57600000",
		"carveout_heap":             "carveout cached 2MiB at 0x58000000",
		"iris":                      "carveout cached 2MiB at 0x5a000000",
		"tui":                       "carveout cached 2MiB at 0x57c00000",
		"drm-heap":                  "cma cached 8MiB at 0x58800000",
		"ion_heap_carveout_overlay": "carveout cached 2MiB at 0x59000000",
		"cma":                       "cma cached 8MiB at anywhere",
	} {
		want[name] = s + " default=false chunk=0 devices=none"
	}
	bare := vendorTree()
	for _, path := range imp.Nodes {
		cut := strings.LastIndexByte(path, '/')
		parent := bare.Root
		if cut > 0 {
			parent = bare.Lookup(path[:cut])
		}
		if !parent.RemoveChild(path[cut+1:]) {
			t.Errorf("the tree has no %s", path)
		}
	}
	codec(bare).Remove("memory-region")
	codec(bare).Remove("memory-region-names")
	l, findings := planned(t, string(imp.YAML), bare)
	if HasErrors(findings) {
		t.Fatalf("the import does not compile: %v\n%s", findings, imp.YAML)
	}
	got := map[string]string{}
	for i := range l.Regions {
		if r := &l.Regions[i]; r.FromConfig {
			got[r.Name()] = facts(r, r.Name() == "late" || r.Name() == "cma")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("regions before and after (-before +after):\n%s\n%s", diff, imp.YAML)
	}
	if l.System == nil {
		t.Error("the system heap is lost")
	}
	for _, s := range []string{
		"#   exynos8890-ion,vstream is protected", "#     /reserved-memory/secure@57800000\n", "#   heap drm-heap is protected",
		"was the ION heap tui", "was the ION heap camera-heap", "was the ION heap ion-fb-region", "#   status says that it is switched off:\n#     /hisilicon-hi6220-ion/ion-old\n",
		"#   ION heap secure_heap of type SECURE_DMA", "#     /reserved-memory/dsp@57000000\n", "was the ION heap audio",
	} {
		if !strings.Contains(string(imp.YAML), s) {
			t.Errorf("the import does not say %q:\n%s", s, imp.YAML)
		}
	}
	for _, s := range []string{"firmware@57a00000", "has no heap-type"} {
		if strings.Contains(string(imp.YAML), s) {
			t.Errorf("the import should not say %q:\n%s", s, imp.YAML)
		}
	}
}

func TestImportWithoutHeaps(t *testing.T) {
	imp, _ := ImportTree("board.dtb", testTree(), DefaultTarget())
	if _, findings := Parse("heaps.yaml", imp.YAML); len(findings) > 0 || imp.Heaps != 0 {
		t.Errorf("%d heaps, findings %v\n%s", imp.Heaps, findings, imp.YAML)
	}
}
