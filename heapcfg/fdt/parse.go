// SPDX-License-Identifier: MIT

package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Parse reads a flattened device tree. Padding, FDT_NOP and bytes after the
// blob are ignored; the tree shares nothing with data. The error wraps one of
// the sentinels and says at which offset what was found.
func Parse(data []byte) (*Tree, error) {
	b, err := guard(data)
	if err != nil {
		return nil, err
	}
	t := &Tree{Root: b.root(), BootCPU: b.bootCPU}
	for r := b.reserve; len(r) > 16; r = r[16:] { // the last one ends the list
		t.Reserve = append(t.Reserve, Reserve{Base: binary.BigEndian.Uint64(r), Size: binary.BigEndian.Uint64(r[8:])})
	}
	return t, nil
}

// slab hands out pieces of one allocation. A piece cannot grow into the next.
type slab[T any] []T

func (s *slab[T]) take(n int) []T {
	piece := (*s)[:n:n]
	*s = (*s)[n:]
	return piece
}

// root builds the tree of a guarded blob. The guard has proven every offset
// and counted everything, so this allocates a few slabs and checks nothing.
func (b *blocks) root() *Node {
	var (
		nodes  = make([]Node, 0, b.counts.nodes)
		props  = make([]Prop, 0, b.counts.props)
		kids   = make(slab[*Node], b.counts.nodes)
		values = make(slab[byte], b.counts.values)
		labels strings.Builder // of the nodes
		names  = string(b.strings)

		open    []*Node // the nodes from the root to here
		first   []int   // for each of them, where its children start in pending
		pending []*Node // children of open nodes
		started int     // where the properties of the innermost node start
	)
	labels.Grow(b.counts.labels)
	// The properties of a node stand before its first child, so they are known
	// when the next node begins or this one ends.
	closeProps := func() {
		if n := len(props); n > started {
			open[len(open)-1].Props = props[started:n:n]
		}
		started = len(props)
	}
	for s, pos := b.structure, 0; ; {
		token := be32(s[pos:])
		pos += 4
		switch token {
		case tokBegin:
			end := bytes.IndexByte(s[pos:], 0)
			nodes = append(nodes, Node{})
			n := &nodes[len(nodes)-1]
			// Some firmware names the root. Nothing looks at that name.
			if len(open) > 0 {
				closeProps()
				at := labels.Len()
				labels.Write(s[pos : pos+end])
				n.Name = labels.String()[at:]
			}
			open, first = append(open, n), append(first, len(pending))
			pos = align4(pos + end + 1)
		case tokEnd:
			closeProps()
			last := len(open) - 1
			n, at := open[last], first[last]
			if len(pending) > at {
				n.Children = kids.take(len(pending) - at)
				copy(n.Children, pending[at:])
			}
			open, first, pending = open[:last], first[:last], append(pending[:at], n)
		case tokProp:
			size, name := int(be32(s[pos:])), names[be32(s[pos+4:]):]
			pos += 8
			p := Prop{Name: name[:strings.IndexByte(name, 0)]}
			if size > 0 {
				p.Value = values.take(size)
				copy(p.Value, s[pos:])
			}
			props = append(props, p)
			pos = align4(pos + size)
		case tokLast:
			return pending[0]
		}
	}
}

// Marshal writes a flattened device tree of version 17, without padding. The
// same tree gives the same bytes.
func (t *Tree) Marshal() ([]byte, error) {
	c, err := t.check()
	if err != nil {
		return nil, err
	}
	const reserveAt = headerSize
	structAt := reserveAt + 16*(len(t.Reserve)+1)
	w := writer{
		out:     make([]byte, structAt, int64(structAt)+c.bytes+4+c.names+int64(c.props)),
		offsets: make(map[string]uint32),
	}
	w.node(t.Root)
	w.word(tokLast)
	stringsAt := len(w.out)
	w.out = append(w.out, w.strings...)
	if len(w.out) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(w.out), MaxSize)
	}
	for i, v := range []uint32{
		magic, uint32(len(w.out)), uint32(structAt), uint32(stringsAt), reserveAt,
		17, 16, t.BootCPU, uint32(len(w.strings)), uint32(stringsAt - structAt),
	} {
		binary.BigEndian.PutUint32(w.out[4*i:], v)
	}
	for i, r := range t.Reserve {
		binary.BigEndian.PutUint64(w.out[reserveAt+16*i:], r.Base)
		binary.BigEndian.PutUint64(w.out[reserveAt+16*i+8:], r.Size)
	}
	return w.out, nil
}

// writer flattens nodes into the structure block and collects the names of
// their properties, each once, for the strings block.
type writer struct {
	out     []byte
	strings []byte
	offsets map[string]uint32
}

func (w *writer) word(v uint32) { w.out = binary.BigEndian.AppendUint32(w.out, v) }

// pad fills up to the next whole word.
func (w *writer) pad() { w.out = append(w.out, 0, 0, 0)[:align4(len(w.out))] }

func (w *writer) node(n *Node) {
	w.word(tokBegin)
	w.out = append(append(w.out, n.Name...), 0)
	w.pad()
	for i := range n.Props {
		p := &n.Props[i]
		at, ok := w.offsets[p.Name]
		if !ok {
			at = uint32(len(w.strings))
			w.offsets[p.Name] = at
			w.strings = append(append(w.strings, p.Name...), 0)
		}
		w.word(tokProp)
		w.word(uint32(len(p.Value)))
		w.word(at)
		w.out = append(w.out, p.Value...)
		w.pad()
	}
	for _, c := range n.Children {
		w.node(c)
	}
	w.word(tokEnd)
}
