// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"slices"
	"strings"
)

// A ChangeKind says what happened to a region between two layouts.
type ChangeKind string

// The kinds, in the order in which a region's changes are listed.
const (
	Vanished ChangeKind = "vanished"
	Added    ChangeKind = "new"
	Renamed  ChangeKind = "renamed"
	Moved    ChangeKind = "moved"
	Grew     ChangeKind = "grew"
	Shrank   ChangeKind = "shrank"
	Changed  ChangeKind = "changed"
)

// A Change is one difference between two layouts. Old and New are values as
// one would print them; Field says of what, where the kind does not.
type Change struct {
	Kind  ChangeKind `json:"kind"`
	Name  string     `json:"name"`
	Field string     `json:"field,omitempty"`
	Old   string     `json:"old,omitempty"`
	New   string     `json:"new,omitempty"`
}

// Diff returns what changed from one layout to another: the board, RAM, what
// occupies it, then the regions in the order of the first. Regions are paired by node
// name, then by name without address, then by place, so that a lock file, a
// config and a device tree can be compared with each other.
func Diff(a, b *Layout) []Change {
	var out []Change
	if x, y := boardText(a), boardText(b); x != y && x != "" && y != "" {
		out = append(out, Change{Changed, "board", "", x, y})
	}
	if x, y := rangesText(MergeRanges(a.Banks)), rangesText(MergeRanges(b.Banks)); x != y {
		out = append(out, Change{Changed, "RAM", "", x, y})
	}
	out = append(out, diffOccupied(a, b)...)
	pairs, rest := pairRegions(active(a), active(b))
	for _, p := range pairs {
		switch {
		case p[1] == nil:
			out = append(out, Change{Vanished, p[0].Name(), "", regionText(p[0]), ""})
		default:
			out = append(out, diffRegion(p[0], p[1])...)
		}
	}
	for _, r := range rest {
		out = append(out, Change{Added, r.Name(), "", "", regionText(r)})
	}
	if configured(a) && configured(b) {
		out = append(out, diffSystem(a.System, b.System)...)
	}
	return out
}

// configured reports whether a config stands behind a layout: a device tree
// cannot speak of the system heap.
func configured(l *Layout) bool {
	return l.System != nil || slices.ContainsFunc(l.Regions, func(r Region) bool { return r.FromConfig })
}

func active(l *Layout) []*Region {
	var out []*Region
	for i := range l.Regions {
		if l.Regions[i].Active() {
			out = append(out, &l.Regions[i])
		}
	}
	return out
}

func rangesText(rs []Range) string {
	if len(rs) == 0 {
		return "unknown"
	}
	var parts []string
	for _, r := range rs {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, ", ")
}

// boardText names the board a layout is for.
func boardText(l *Layout) string {
	if len(l.Board.Compatible) == 0 {
		return ""
	}
	return l.Board.Compatible[0]
}

// regionText describes a region in one line.
func regionText(r *Region) string {
	where := r.Range.String()
	if r.Dynamic {
		where = "placed at boot"
	}
	what := string(r.Kind)
	if r.Heap != nil && r.Heap.Access != "" && r.Heap.Access != Cached {
		what = string(r.Heap.Access) + " " + what
	}
	return fmt.Sprintf("%s, %s, %s", what, FormatSize(r.Range.Size), where)
}

// stemOf is the name of a region whatever source it came from: without the
// unit address, which says where it lies and not what it is.
func stemOf(r *Region) string {
	name, _, _ := strings.Cut(r.Name(), "@")
	return name
}

// pairRegions finds for each region of a its successor in b, or nil, and
// returns what of b is left. Each way of pairing only joins what is the only
// one of its name on both sides.
func pairRegions(a, b []*Region) (pairs [][2]*Region, rest []*Region) {
	partner, used := map[*Region]*Region{}, map[*Region]bool{}
	for _, key := range []func(*Region) string{
		func(r *Region) string { return r.Node },
		stemOf,
		func(r *Region) string {
			if !r.Placed() {
				return ""
			}
			return string(r.Kind) + r.Range.String()
		},
	} {
		count := func(rs []*Region, taken func(*Region) bool) map[string][]*Region {
			m := map[string][]*Region{}
			for _, r := range rs {
				if k := key(r); k != "" && !taken(r) {
					m[k] = append(m[k], r)
				}
			}
			return m
		}
		left := count(a, func(r *Region) bool { return partner[r] != nil })
		right := count(b, func(r *Region) bool { return used[r] })
		for k, l := range left {
			if r := right[k]; len(l) == 1 && len(r) == 1 {
				partner[l[0]], used[r[0]] = r[0], true
			}
		}
	}
	for _, r := range a {
		pairs = append(pairs, [2]*Region{r, partner[r]})
	}
	for _, r := range b {
		if !used[r] {
			rest = append(rest, r)
		}
	}
	return pairs, rest
}

func diffRegion(a, b *Region) []Change {
	var out []Change
	name := a.Name()
	if stemOf(a) != stemOf(b) {
		out = append(out, Change{Renamed, name, "", stemOf(a), stemOf(b)})
	}
	place := func(r *Region) string {
		if r.Dynamic {
			return "placed at boot"
		}
		return r.Range.Base.String()
	}
	if x, y := place(a), place(b); x != y {
		out = append(out, Change{Moved, name, "", x, y})
	}
	switch x, y := FormatSize(a.Range.Size), FormatSize(b.Range.Size); {
	case a.Range.Size < b.Range.Size:
		out = append(out, Change{Grew, name, "", x, y})
	case a.Range.Size > b.Range.Size:
		out = append(out, Change{Shrank, name, "", x, y})
	}
	field := func(field, x, y string) {
		if x != y {
			out = append(out, Change{Changed, name, field, x, y})
		}
	}
	field("kind", string(a.Kind), string(b.Kind))
	field("further ranges", rangesText(a.Extra), rangesText(b.Extra))
	field("no-map", yesNo(a.NoMap), yesNo(b.NoMap))
	field("default", yesNo(a.Default), yesNo(b.Default))
	if a.Dynamic && b.Dynamic {
		field("alloc-ranges", rangesText(a.Within), rangesText(b.Within))
	}
	if a.Heap != nil && b.Heap != nil {
		field("access", string(a.Heap.Access), string(b.Heap.Access))
		field("chunk size", chunkText(a.Heap), chunkText(b.Heap))
		// A device tree says nothing of permissions.
		if a.FromConfig && b.FromConfig {
			out = append(out, diffAccess(name, a.Heap, b.Heap)...)
		}
	}
	field("devices", devicesText(a), devicesText(b))
	return out
}

func diffAccess(name string, a, b *Heap) []Change {
	var out []Change
	for _, f := range []struct{ field, x, y string }{
		{"mode", modeText(a.Mode), modeText(b.Mode)}, {"owner", orNone(a.Owner), orNone(b.Owner)}, {"group", orNone(a.Group), orNone(b.Group)},
	} {
		if f.x != f.y {
			out = append(out, Change{Changed, name, f.field, f.x, f.y})
		}
	}
	return out
}

func chunkText(h *Heap) string {
	if h.ChunkSize == 0 {
		return "none"
	}
	return FormatSize(h.ChunkSize)
}

func modeText(m Mode) string {
	if m == 0 {
		return "not stated"
	}
	return m.String()
}

func orNone(s string) string {
	if s == "" {
		return "not stated"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func devicesText(r *Region) string {
	var nodes []string
	for _, u := range r.users() {
		nodes = append(nodes, u.Node)
	}
	if len(nodes) == 0 {
		return "none"
	}
	return strings.Join(nodes, ", ")
}

// diffOccupied compares what the sources state about boot loader and
// firmware; one that states nothing is not compared.
func diffOccupied(a, b *Layout) []Change {
	var out []Change
	places := func(l *Layout) (order []string, at map[string]string) {
		at = map[string]string{}
		for _, o := range l.Occupied {
			if o.Assumed || o.What == MemReserve {
				continue
			}
			k := o.Title()
			if at[k] == "" {
				order = append(order, k)
				at[k] = o.Range.String()
				continue
			}
			at[k] += ", " + o.Range.String()
		}
		return order, at
	}
	order, x := places(a)
	_, y := places(b)
	for _, k := range order {
		if y[k] != "" && x[k] != y[k] {
			out = append(out, Change{Moved, k, "", x[k], y[k]})
		}
	}
	return out
}

func diffSystem(a, b *Heap) []Change {
	switch {
	case a != nil && b != nil:
		return diffAccess("system", a, b)
	case a != nil:
		return []Change{{Vanished, "system", "", "system heap", ""}}
	case b != nil:
		return []Change{{Added, "system", "", "", "system heap"}}
	}
	return nil
}
