// SPDX-License-Identifier: MIT

package emit_test

import (
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
