// SPDX-License-Identifier: MIT

package emit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
)

// Which symbols make the heaps of CMA areas: mainline's own heap came with 5.6,
// and makes one of each area from 6.19 on.
func TestSymbolsCMA(t *testing.T) {
	for _, tt := range []struct {
		major, minor int
		mainline     bool
		patches      bool
	}{
		{4, 19, false, true},
		{5, 4, false, true},
		{5, 10, true, true},
		{6, 18, true, true},
		{7, 3, true, false},
	} {
		l := &heapcfg.Layout{Target: heapcfg.DefaultTarget(), Regions: []heapcfg.Region{{
			Node: "video@50000000", Kind: heapcfg.CMA, Reusable: true,
			Range: heapcfg.Range{Base: 0x5000_0000, Size: 16 << 20}, Heap: &heapcfg.Heap{},
		}}}
		l.Target.Kernel = heapcfg.Version{Major: tt.major, Minor: tt.minor}
		has := map[string]bool{}
		for _, s := range emit.Symbols(l) {
			has[s.Name] = true
		}
		if has["DMABUF_HEAPS_CMA"] != tt.mainline || has["DMABUF_HEAPS_CMA_REGIONS"] != tt.patches || !has["DMA_CMA"] {
			t.Errorf("%v: %v; want DMABUF_HEAPS_CMA %t, DMABUF_HEAPS_CMA_REGIONS %t", l.Target.Kernel, has, tt.mainline, tt.patches)
		}
	}
}

// Where a kernel reserves a default area beside that of the tree the fragment
// says so, in comments: no build may stop for it.
func TestKconfigOfOwnDefault(t *testing.T) {
	for _, tt := range []struct {
		arch    heapcfg.Arch
		kernel  string
		stated  bool
		comment bool
	}{
		{heapcfg.Arm, "6.6", true, false},
		{heapcfg.Arm, "6.12", true, true},
		{heapcfg.Arm, "7.3", true, true},
		{heapcfg.Arm, "7.3", false, false},
		{heapcfg.Riscv, "6.18", true, true},
		{heapcfg.Riscv, "7.3", true, false},
		{heapcfg.Arm64, "6.12", true, false},
	} {
		l := &heapcfg.Layout{Target: heapcfg.DefaultTarget(), Regions: []heapcfg.Region{{
			Node: "main@50000000", Kind: heapcfg.CMA, Reusable: true, Default: tt.stated,
			Range: heapcfg.Range{Base: 0x5000_0000, Size: 16 << 20}, Heap: &heapcfg.Heap{},
		}}}
		var err error
		if l.Target.Kernel, err = heapcfg.ParseVersion(tt.kernel); err != nil {
			t.Fatal(err)
		}
		l.Target.Arch = tt.arch
		fragment := string(emit.Kconfig("heaps", l))
		if got := strings.Contains(fragment, "CONFIG_CMA_SIZE_MBYTES=0"); got != tt.comment {
			t.Errorf("%s %s, default %t: the fragment speaks of it: %t, want %t", tt.arch, tt.kernel, tt.stated, got, tt.comment)
		}
		if strings.Contains(fragment, "\nCONFIG_CMA_SIZE") {
			t.Errorf("%s %s: the fragment asks for it:\n%s", tt.arch, tt.kernel, fragment)
		}
	}
}

// Where a 32-bit kernel would leave out the RAM that heaps lie in.
func TestSymbolsHighmem(t *testing.T) {
	for _, tt := range []struct {
		arch heapcfg.Arch
		base heapcfg.Addr
		want bool
	}{
		{heapcfg.Arm, 0x6ff0_0000, false}, {heapcfg.Arm, 0x6ff8_0000, true}, {heapcfg.Arm, 0x7ff0_0000, true}, {heapcfg.Arm64, 0x7ff0_0000, false},
	} {
		l := &heapcfg.Layout{
			Target: heapcfg.DefaultTarget(), Banks: []heapcfg.Range{{Base: 0x4000_0000, Size: 1 << 30}},
			Regions: []heapcfg.Region{{Node: "npu", Kind: heapcfg.Carveout, FromConfig: true, Range: heapcfg.Range{Base: tt.base, Size: 1 << 20}, Heap: &heapcfg.Heap{}}},
		}
		l.Target.Arch = tt.arch
		if got := slices.ContainsFunc(emit.Symbols(l), func(n heapcfg.Need) bool { return n.Name == "HIGHMEM" }); got != tt.want {
			t.Errorf("%s, a heap of 1 MiB at %v: HIGHMEM is needed: %t, want %t", tt.arch, tt.base, got, tt.want)
		}
	}
}
