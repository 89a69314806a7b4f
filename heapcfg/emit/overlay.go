// SPDX-License-Identifier: MIT

package emit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// Overlay returns the overlay that adds the heaps of a Layout to its base
// tree. It carries the root's cell counts, since no tool refuses one that
// does not, and the kernel then ignores every region.
func Overlay(l *heapcfg.Layout) *fdt.Overlay {
	o := &fdt.Overlay{}
	labels := labelsOf(l)
	// Before the heaps are there: to libfdt the path /reserved-memory/linux,cma
	// would also mean a node linux,cma@a8000000 that stands before it.
	for i := range l.Regions {
		r := &l.Regions[i]
		if r.SwitchedOff() {
			n := &fdt.SourceNode{}
			n.Set("status", fdt.Text("disabled"))
			o.Fragments = append(o.Fragments, &fdt.Fragment{TargetPath: r.Source.Path, Node: n,
				Comment: "named under disable: the kernel skips this region of the base tree"})
		}
	}
	if root := reservedMemory(l, labels); root != nil {
		o.Fragments = append(o.Fragments, root)
	}
	addDevices(o, l, labels)
	if len(o.Fragments) == 0 {
		// A tree without a fragment is no overlay, and boot loaders call it
		// anything from a success to corrupt.
		o.Fragments = append(o.Fragments, &fdt.Fragment{TargetPath: "/", Node: &fdt.SourceNode{},
			Comment: "none of the heaps has a region: there is nothing to add"})
	}
	return o
}

// reservedMemory returns the fragment with the regions, or nil without any.
func reservedMemory(l *heapcfg.Layout, labels map[*heapcfg.Region]string) *fdt.Fragment {
	rm := &fdt.SourceNode{Name: "reserved-memory"}
	rm.Set("#address-cells", fdt.Words(uint32(l.Cells.Address)))
	rm.Set("#size-cells", fdt.Words(uint32(l.Cells.Size)))
	rm.Set("ranges")
	for i := range l.Regions {
		r := &l.Regions[i]
		if !r.FromConfig {
			continue
		}
		n := rm.AddChild(&fdt.SourceNode{Name: r.Node, Labels: []string{labels[r]}, Comment: regionComment(r)})
		n.Set("compatible", fdt.Text(r.Compatible...))
		n.Set("reg", fdt.Pair(fdt.Range{Base: uint64(r.Range.Base), Size: r.Range.Size}, l.Cells.Address, l.Cells.Size))
		if r.Reusable {
			n.Set("reusable")
		}
		if r.Default {
			n.Set("linux,cma-default")
		}
		if r.NoMap {
			n.Set("no-map")
		}
		if r.Heap.Access == heapcfg.WriteCombine {
			n.Set(heapcfg.PropWriteCombine)
		}
		if r.Heap.ChunkSize > 0 {
			n.Set("chunk-size", fdt.Num(r.Heap.ChunkSize, 1)) // a u32, whatever the cells
		}
	}
	if len(rm.Children) == 0 {
		return nil
	}
	return &fdt.Fragment{TargetPath: "/", Node: &fdt.SourceNode{Children: []*fdt.SourceNode{rm}}}
}

// regionComment says in the source where the node comes from.
func regionComment(r *heapcfg.Region) string {
	s := fmt.Sprintf("%s:%d: heap %s, %s, %s", fileName(r.Source.File), r.Source.Line, r.Heap.Short, r.Kind, heapcfg.FormatSize(r.Range.Size))
	if r.Heap.Access != heapcfg.Cached {
		s += ", " + string(r.Heap.Access)
	}
	if r.Why != "" {
		s += "\n" + r.Why
	}
	return s
}

// fileName drops the directory: products must not depend on where they were
// made.
func fileName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// labelsOf gives each region of the config a label that dtc accepts.
func labelsOf(l *heapcfg.Layout) map[*heapcfg.Region]string {
	used, out := map[string]bool{}, map[*heapcfg.Region]string{}
	for i := range l.Regions {
		r := &l.Regions[i]
		if !r.FromConfig {
			continue
		}
		label := "heap_" + strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
				return c
			}
			return '_'
		}, r.Heap.Short)
		for used[label] {
			label += "_"
		}
		used[label], out[r] = true, label
	}
	return out
}

// addDevices adds a memory-region to every device that heaps name, with the
// heaps in the order of the config.
func addDevices(o *fdt.Overlay, l *heapcfg.Layout, labels map[*heapcfg.Region]string) {
	type device struct {
		heapcfg.User
		refs  []fdt.Part
		names []string
	}
	var devices []*device
	for i := range l.Regions {
		r := &l.Regions[i]
		if r.Heap == nil || !r.FromConfig {
			continue
		}
		for _, u := range r.Heap.Devices {
			k := slices.IndexFunc(devices, func(d *device) bool { return d.Node == u.Node })
			if k < 0 {
				k = len(devices)
				devices = append(devices, &device{User: u})
			}
			devices[k].refs = append(devices[k].refs, fdt.Ref(labels[r]))
			devices[k].names = append(devices[k].names, u.Name)
		}
	}
	for _, d := range devices {
		n := &fdt.SourceNode{}
		n.Set("memory-region", d.refs...)
		if !slices.Contains(d.names, "") {
			n.Set("memory-region-names", fdt.Text(d.names...))
		}
		o.Fragments = append(o.Fragments, &fdt.Fragment{TargetPath: d.Node, Node: n})
	}
}
