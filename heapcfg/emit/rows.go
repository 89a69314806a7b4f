// SPDX-License-Identifier: MIT

package emit

import (
	"sort"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// A Row is one stretch of the memory map: RAM that is free, or something that
// occupies memory. Maps of every format are made of the same rows.
type Row struct {
	Range heapcfg.Range
	Class Class
	Title string
	Notes []string // what a person should know beside the name
	// Overlaps names the other rows that share memory with this one.
	Overlaps []string
	// Outside says that part of it is not RAM.
	Outside bool
}

// Class decides how a row is drawn.
type Class string

// The classes of rows.
const (
	Free   Class = "free"
	Taken  Class = "taken"  // kernel, initrd, firmware, memreserve
	Region Class = "region" // reserved without a heap
	Heap   Class = "heap"
)

// Rows returns the map of a Layout in address order, gaps included. Dynamic
// regions have no address and are not in it; Unplaced returns them.
func Rows(l *heapcfg.Layout) []Row {
	var rows []Row
	var taken []heapcfg.Range
	add := func(r Row) {
		if r.Range.Size == 0 {
			return
		}
		_, inside := l.Bank(r.Range)
		r.Outside = !inside && len(l.Banks) > 0
		rows = append(rows, r)
		taken = append(taken, r.Range)
	}
	for _, o := range l.Occupied {
		add(Row{Range: o.Range, Class: Taken, Title: o.Title()})
	}
	for _, i := range l.Sorted() {
		r := &l.Regions[i]
		row := Row{Range: r.Range, Class: Region, Title: r.Name(), Notes: notes(r)}
		if r.Heap != nil {
			row.Class = Heap
		}
		add(row)
		for _, extra := range r.Extra {
			row.Range, row.Notes = extra, []string{"further reg entry"}
			add(row)
		}
	}
	for i := range rows {
		for j := range rows {
			// A /memreserve/ over firmware protects it twice; only what
			// heaps and regions share is a mistake.
			if rows[i].Class == Taken && rows[j].Class == Taken {
				continue
			}
			if i != j && rows[i].Range.Overlaps(rows[j].Range) {
				rows[i].Overlaps = append(rows[i].Overlaps, rows[j].Title)
			}
		}
	}
	for _, gap := range heapcfg.Subtract(l.Banks, taken) {
		rows = append(rows, Row{Range: gap, Class: Free, Title: "free"})
	}
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := rows[i].Range, rows[j].Range
		return a.Base < b.Base || a.Base == b.Base && a.Size > b.Size
	})
	return rows
}

// notes returns kind and properties of a region in the order a reader wants.
func notes(r *heapcfg.Region) []string {
	var out []string
	switch {
	case r.Heap != nil:
		out = append(out, string(r.Kind)+" heap")
		if r.Default {
			out = append(out, "default")
		}
		if r.Heap.Access != heapcfg.Cached && r.Heap.Access != "" {
			out = append(out, string(r.Heap.Access))
		}
		if r.Heap.ChunkSize > 0 {
			out = append(out, heapcfg.FormatSize(r.Heap.ChunkSize)+" chunks")
		}
		if r.Heap.Owner != "" {
			out = append(out, "owner "+r.Heap.Owner)
		}
		if r.Heap.Group != "" {
			out = append(out, "group "+r.Heap.Group)
		}
	default:
		out = append(out, string(r.Kind))
		if r.NoMap {
			out = append(out, "no-map")
		}
		if r.Reusable {
			out = append(out, "reusable")
		}
	}
	return out
}

// Unplaced returns the active regions that the kernel will place at boot.
func Unplaced(l *heapcfg.Layout) []Row {
	var rows []Row
	for i := range l.Regions {
		r := &l.Regions[i]
		if r.Active() && r.Dynamic {
			row := Row{Range: heapcfg.Range{Size: r.Range.Size}, Class: Region, Title: r.Name(), Notes: notes(r)}
			if r.Heap != nil {
				row.Class = Heap
			}
			rows = append(rows, row)
		}
	}
	return rows
}
