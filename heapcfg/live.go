// SPDX-License-Identifier: MIT

package heapcfg

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// Unmerge returns the tree of a running board as it was before the overlay of
// the config, so that the config can be compiled against it once more, and the
// config with each heap where it is on that board. A heap whose address the
// config leaves open may lie anywhere that breaks no rule; where it does is
// what the boot loader was given, and not a fault. A tree without the overlay
// comes back as it is.
func (c *Config) Unmerge(live *fdt.Tree) (*Config, *fdt.Tree) {
	out, base := *c, live.Clone()
	out.Heaps = slices.Clone(c.Heaps)
	reserved := base.Root.Child("reserved-memory")
	if reserved == nil {
		return &out, base
	}
	gone := map[uint32]bool{} // phandles
	for i := range out.Heaps {
		h := &out.Heaps[i]
		n := regionOf(reserved, h)
		if n == nil {
			continue
		}
		if ph := n.Phandle(); ph != 0 {
			gone[ph] = true
		}
		if addr, ok := unitAddress(n.Name); ok && !h.HasBase {
			h.Base, h.HasBase = Addr(addr), true
		}
		reserved.RemoveChild(n.Name)
	}
	if len(gone) == 0 {
		return &out, base
	}
	// Devices point to the regions; what points to nothing is the overlay's.
	_ = base.Walk(func(_ string, n *fdt.Node) error {
		v, ok := n.Prop("memory-region")
		if !ok || len(v) == 0 || len(v)%4 != 0 {
			return nil
		}
		for i := 0; i < len(v); i += 4 {
			if !gone[binary.BigEndian.Uint32(v[i:])] {
				return nil
			}
		}
		n.Remove("memory-region")
		n.Remove("memory-region-names")
		return nil
	})
	return &out, base
}

// regionOf finds the node that the overlay made of a heap: its name is that of
// the heap with an address behind it. The base tree's own regions without an
// address are left alone, whatever they are called.
func regionOf(reserved *fdt.Node, h *HeapConfig) *fdt.Node {
	want := map[Kind]string{CMA: CompatPool, Carveout: CompatCarveout, Chunk: CompatChunk}[h.Kind]
	for _, n := range reserved.Children {
		name, _, ok := strings.Cut(n.Name, "@")
		if ok && name == h.Name && slices.Contains(n.Strings("compatible"), want) {
			return n
		}
	}
	return nil
}
