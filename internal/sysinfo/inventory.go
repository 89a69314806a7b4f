// SPDX-License-Identifier: MIT

package sysinfo

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// A Heap is everything a board tells about one heap.
type Heap struct {
	Node
	Links  []string // short names that lead to it
	Kind   heapcfg.Kind
	Region *heapcfg.Region // what the device tree says of it; nil without
	Usage  Usage
	// SharesWith names the heap that has the same memory under another
	// name, as the default CMA area does.
	SharesWith string
}

// Heaps returns the heaps of the board, in the order of their names.
func (b *Board) Heaps() ([]Heap, error) {
	nodes, err := b.Nodes()
	if err != nil {
		return nil, err
	}
	target := b.plainTarget()
	if !target.Patched {
		target = b.Target() // the configuration may know better
	}
	layout, _ := b.layoutFor(target)
	var out []Heap
	for _, n := range nodes {
		if n.Link != "" || !n.Device {
			continue
		}
		h := Heap{Node: n}
		for _, l := range nodes {
			if l.Link == n.Name {
				h.Links = append(h.Links, l.Name)
			}
		}
		h.place(layout)
		areas := []string{h.SharesWith}
		if n.Name == heapcfg.DefaultCMAName {
			areas = append(areas, "reserved", "linux,cma")
		}
		if h.Name != string(heapcfg.System) { // it has no numbers of its own
			h.Usage = b.Usage(n.Name, areas...)
		}
		if h.Region != nil && h.Region.Placed() && !h.Usage.Base.Known() {
			h.Usage.Base = Quantity{uint64(h.Region.Range.Base), TreePath + "/reserved-memory/" + h.Region.Node + "/reg"}
		}
		if h.Region != nil && h.Region.Range.Size > 0 && !h.Usage.Size.Known() {
			h.Usage.Size = Quantity{h.Region.Range.Size, TreePath + "/reserved-memory/" + h.Region.Node}
		}
		out = append(out, h)
	}
	return out, nil
}

// place finds the region behind a heap, and so its kind.
func (h *Heap) place(l *heapcfg.Layout) {
	switch {
	case h.Name == string(heapcfg.System), strings.HasPrefix(h.Name, "system"):
		h.Kind = heapcfg.System
	case h.Name == heapcfg.DefaultCMAName, h.Name == "reserved":
		h.Kind = heapcfg.CMA
	}
	if l == nil {
		return
	}
	for _, e := range l.Expect() {
		if e.Name == h.Name {
			h.SharesWith = e.SharedWith
		}
	}
	for i := range l.Regions {
		r := &l.Regions[i]
		if r.Node == h.Name || h.SharesWith != "" && r.Node == h.SharesWith {
			h.Kind, h.Region = r.Kind, r
		}
	}
}

// A DMABuf is a line of bufinfo: a buffer that is alive.
type DMABuf struct {
	Size     uint64
	Refs     uint64
	Exporter string
	Inode    string
	Name     string
	Devices  []string // that are attached
}

const bufinfo = "sys/kernel/debug/dma_buf/bufinfo"

// DMABufs returns every dma-buf that is alive, from debugfs. On kernels that
// have it not, or for callers other than root, Holders tells part of it.
func (b *Board) DMABufs() ([]DMABuf, error) {
	data, err := b.read("buffers", bufinfo)
	if err != nil {
		return nil, err
	}
	return parseBufinfo(data), nil
}

// parseBufinfo reads what dma_buf_debug_show writes. Lines that begin with a
// size are buffers; indented lines after "Attached Devices:" are devices.
func parseBufinfo(data []byte) []DMABuf {
	var out []DMABuf
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan() && len(out) < maxEntries; {
		line := s.Text()
		if dev, ok := strings.CutPrefix(line, "\t"); ok {
			if len(out) > 0 && !strings.HasPrefix(dev, "Attached") && strings.TrimSpace(dev) != "" && !strings.Contains(dev, "fence") {
				out[len(out)-1].Devices = append(out[len(out)-1].Devices, strings.TrimSpace(dev))
			}
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) < 6 {
			continue
		}
		size, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			continue
		}
		refs, _ := strconv.ParseUint(f[3], 10, 64)
		d := DMABuf{Size: size, Refs: refs, Exporter: f[4], Inode: f[5]}
		if len(f) > 6 && f[6] != "<none>" {
			d.Name = f[6]
		}
		out = append(out, d)
	}
	return out
}
