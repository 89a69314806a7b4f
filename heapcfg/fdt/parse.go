// SPDX-License-Identifier: MIT

package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/u-root/u-root/pkg/dt"
)

// Parse reads a flattened device tree. Padding, FDT_NOP and bytes after the
// blob are ignored; the tree shares nothing with data. The error wraps one of
// the sentinels and says at which offset what was found.
func Parse(data []byte) (*Tree, error) {
	b, err := guard(data)
	if err != nil {
		return nil, err
	}
	raw, err := dt.ReadFDT(bytes.NewReader(b.canonical()))
	if err != nil {
		// The guard passes nothing the reader refuses; the fuzz target
		// would show it.
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	t := &Tree{Root: fromDT(raw.RootNode), BootCPU: raw.Header.BootCpuidPhys}
	// Some firmware names the root. Nothing looks at that name.
	t.Root.Name = ""
	for _, r := range raw.ReserveEntries {
		t.Reserve = append(t.Reserve, Reserve{Base: r.Address, Size: r.Size})
	}
	return t, nil
}

// canonical puts the guarded blocks into the one shape the reader of pkg/dt
// handles in every case: blocks in the usual order, nothing after FDT_END, and
// a byte behind the strings block, without which a tree that has no property
// at all reads as end of file.
func (b *blocks) canonical() []byte {
	const reserveAt = headerSize
	structAt := reserveAt + len(b.reserve)
	stringsAt := structAt + len(b.structure)
	end := stringsAt + len(b.strings)
	out := make([]byte, 0, end+1)
	for _, v := range []uint32{
		magic, uint32(end), uint32(structAt), uint32(stringsAt), reserveAt,
		17, 16, b.bootCPU, uint32(len(b.strings)), uint32(len(b.structure)),
	} {
		out = binary.BigEndian.AppendUint32(out, v)
	}
	out = append(out, b.reserve...)
	out = append(out, b.structure...)
	out = append(out, b.strings...)
	return append(out, 0)
}

func fromDT(n *dt.Node) *Node {
	out := &Node{Name: n.Name}
	if len(n.Properties) > 0 {
		out.Props = make([]Prop, len(n.Properties))
		for i, p := range n.Properties {
			out.Props[i] = Prop{Name: p.Name}
			if len(p.Value) > 0 {
				out.Props[i].Value = p.Value
			}
		}
	}
	if len(n.Children) > 0 {
		out.Children = make([]*Node, len(n.Children))
		for i, c := range n.Children {
			out.Children[i] = fromDT(c)
		}
	}
	return out
}

// Marshal writes a flattened device tree of version 17, without padding. The
// same tree gives the same bytes.
func (t *Tree) Marshal() ([]byte, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	raw := &dt.FDT{
		Header: dt.Header{
			Magic: dt.Magic, Version: 17, LastCompVersion: 16,
			BootCpuidPhys: t.BootCPU,
		},
		ReserveEntries: make([]dt.ReserveEntry, 0, len(t.Reserve)),
		RootNode:       toDT(t.Root),
	}
	for _, r := range t.Reserve {
		raw.ReserveEntries = append(raw.ReserveEntries, dt.ReserveEntry{Address: r.Base, Size: r.Size})
	}
	var buf bytes.Buffer
	if _, err := raw.Write(&buf); err != nil {
		return nil, fmt.Errorf("write device tree: %w", err)
	}
	if buf.Len() > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, buf.Len(), MaxSize)
	}
	return buf.Bytes(), nil
}

func toDT(n *Node) *dt.Node {
	out := &dt.Node{Name: n.Name}
	if len(n.Props) > 0 {
		out.Properties = make([]dt.Property, len(n.Props))
		for i, p := range n.Props {
			out.Properties[i] = dt.Property{Name: p.Name, Value: p.Value}
		}
	}
	if len(n.Children) > 0 {
		out.Children = make([]*dt.Node, len(n.Children))
		for i, c := range n.Children {
			out.Children[i] = toDT(c)
		}
	}
	return out
}
