// SPDX-License-Identifier: MIT

package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The flattened format, Devicetree Specification v0.4 chapter 5.
const (
	magic      = 0xd00dfeed
	headerSize = 40

	tokBegin = 1
	tokEnd   = 2
	tokProp  = 3
	tokNop   = 4
	tokLast  = 9
)

// blocks is what the guard found: where each block lies, and that all of it
// can be read without surprise.
type blocks struct {
	reserve, structure, strings []byte
	bootCPU                     uint32
	counts                      counts
}

// guard proves that a blob is whole and well formed before anything is built
// from it. It allocates nothing, reads each byte of the structure once and
// trusts no number of the file: all sums are 64 bits wide, so they are the
// same on a 32-bit board.
func guard(data []byte) (*blocks, error) {
	if len(data) < 4 || be32(data) != magic {
		return nil, notDTB(data)
	}
	if len(data) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes, and the header alone has %d", ErrTruncated, len(data), headerSize)
	}
	field := func(i int) int64 { return int64(be32(data[4*i:])) }
	total, offStruct, offStrings, offReserve := field(1), field(2), field(3), field(4)
	version, lastCompatible := field(5), field(6)
	sizeStrings, sizeStruct := field(8), field(9)

	if version < 17 {
		return nil, fmt.Errorf("%w: version %d; version 17 is needed (dtc and U-Boot have written it since 2005): decompile it and compile it again with dtc", ErrVersion, version)
	}
	if lastCompatible > 17 {
		return nil, fmt.Errorf("%w: version %d, compatible back to %d only; version 17 is needed", ErrVersion, version, lastCompatible)
	}
	if total < headerSize {
		return nil, fmt.Errorf("%w: offset 0x4: total size of %d bytes is smaller than the header", ErrMalformed, total)
	}
	if total > MaxSize {
		return nil, fmt.Errorf("%w: offset 0x4: total size of %d bytes, the limit is %d", ErrTooLarge, total, MaxSize)
	}
	if total > int64(len(data)) {
		return nil, fmt.Errorf("%w: the header says %d bytes, %d are there", ErrTruncated, total, len(data))
	}
	data = data[:total]

	block := func(name string, at int, off, size, align int64) ([]byte, error) {
		switch {
		case off < headerSize:
			return nil, fmt.Errorf("%w: offset %#x: the %s block starts at %#x, inside the header", ErrMalformed, at, name, off)
		case off%align != 0:
			return nil, fmt.Errorf("%w: offset %#x: the %s block starts at %#x, not a multiple of %d", ErrMalformed, at, name, off, align)
		case off > total || size > total-off:
			return nil, fmt.Errorf("%w: offset %#x: the %s block (%d bytes at %#x) does not fit into %d bytes", ErrMalformed, at, name, size, off, total)
		}
		return data[off : off+size : off+size], nil
	}
	var b blocks
	var err error
	if b.structure, err = block("structure", 0x8, offStruct, sizeStruct, 4); err != nil {
		return nil, err
	}
	if b.strings, err = block("strings", 0xc, offStrings, sizeStrings, 1); err != nil {
		return nil, err
	}
	// The reservation block says its end itself: an entry of zeros.
	if _, err := block("memory reservation", 0x10, offReserve, 0, 8); err != nil {
		return nil, err
	}
	rest := data[offReserve:]
	end := -1
	for i := 0; i+16 <= len(rest); i += 16 {
		if i/16 > MaxReserve {
			return nil, fmt.Errorf("%w: offset %#x: more than %d memory reservations", ErrTooLarge, offReserve, MaxReserve)
		}
		if binary.BigEndian.Uint64(rest[i:]) == 0 && binary.BigEndian.Uint64(rest[i+8:]) == 0 {
			end = i + 16
			break
		}
	}
	if end < 0 {
		return nil, fmt.Errorf("%w: offset %#x: the memory reservation block has no end", ErrMalformed, offReserve)
	}
	b.reserve = rest[:end:end]
	b.bootCPU = uint32(field(7))

	used, err := b.counts.structure(b.structure, b.strings, offStruct)
	if err != nil {
		return nil, err
	}
	// What a writer left behind FDT_END is padding.
	b.structure = b.structure[:used:used]

	type span struct {
		name     string
		off, len int64
	}
	spans := []span{
		{"memory reservation", offReserve, int64(end)},
		{"structure", offStruct, int64(used)},
		{"strings", offStrings, sizeStrings},
	}
	for i, x := range spans {
		for _, y := range spans[i+1:] {
			if x.len > 0 && y.len > 0 && x.off < y.off+y.len && y.off < x.off+x.len {
				return nil, fmt.Errorf("%w: the %s block at %#x and the %s block at %#x overlap", ErrMalformed, x.name, x.off, y.name, y.off)
			}
		}
	}
	return &b, nil
}

// notDTB says what the bytes look like instead, for the mistakes that happen.
func notDTB(data []byte) error {
	switch {
	case len(data) == 0:
		return fmt.Errorf("%w: empty file", ErrNotDTB)
	case len(data) < 4 && bytes.HasPrefix([]byte{0xd0, 0x0d, 0xfe, 0xed}, data):
		return fmt.Errorf("%w: %d bytes", ErrTruncated, len(data))
	case bytes.Contains(data[:min(len(data), 4096)], []byte("/dts-v1/")):
		return fmt.Errorf("%w: this is device tree source; compile it first: dtc -@ -I dts -O dtb", ErrNotDTB)
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		return fmt.Errorf("%w: this is gzip data; unpack it first", ErrNotDTB)
	case bytes.HasPrefix(data, []byte{0xed, 0xfe, 0x0d, 0xd0}):
		return fmt.Errorf("%w: the bytes of each word are swapped", ErrNotDTB)
	case len(data) < 4:
		return fmt.Errorf("%w: %d bytes", ErrNotDTB, len(data))
	}
	return fmt.Errorf("%w: it starts with %#08x, a blob starts with %#08x", ErrNotDTB, be32(data), uint32(magic))
}

// structure walks the tokens of the structure block, counts what they hold and
// returns how many bytes they take, FDT_END included. Offsets in errors are
// offsets in the file.
func (c *counts) structure(s, names []byte, at int64) (int, error) {
	// Properties come before child nodes: libfdt and the kernel do not see
	// those that come after, so what they say cannot be what was meant.
	var hasChild [MaxDepth + 1]bool
	depth, pos, rooted := 0, 0, false
	bad := func(pos int, format string, args ...any) error {
		return fmt.Errorf("%w: offset %#x: %s", ErrMalformed, at+int64(pos), fmt.Sprintf(format, args...))
	}
	for {
		start := pos
		if len(s)-pos < 4 {
			return 0, bad(start, "the structure block ends without FDT_END, at depth %d", depth)
		}
		token := be32(s[pos:])
		pos += 4
		switch token {
		case tokBegin:
			end := bytes.IndexByte(s[pos:min(len(s), pos+MaxName+1)], 0)
			if end < 0 {
				return 0, bad(start, "the name of a node has no end within %d bytes", MaxName)
			}
			name := s[pos : pos+end]
			pos = align4(pos + end + 1)
			if depth == 0 {
				if rooted {
					return 0, bad(start, "a second root node")
				}
				rooted = true
			} else {
				if msg := badNodeName(name); msg != "" {
					return 0, bad(start, "node %q: %s", name, msg)
				}
				hasChild[depth] = true
				c.labels += end
			}
			depth++
			if err := c.node(depth); err != nil {
				return 0, fmt.Errorf("%w, at offset %#x", err, at+int64(start))
			}
			hasChild[depth] = false
		case tokEnd:
			if depth == 0 {
				return 0, bad(start, "the end of a node that never began")
			}
			depth--
		case tokProp:
			if len(s)-pos < 8 {
				return 0, bad(start, "a property is cut off by the end of the structure block")
			}
			size, nameAt := int64(be32(s[pos:])), int64(be32(s[pos+4:]))
			pos += 8
			if depth == 0 {
				return 0, bad(start, "a property outside of any node")
			}
			if nameAt >= int64(len(names)) {
				return 0, bad(start, "a property name at %#x of a strings block of %#x bytes", nameAt, len(names))
			}
			rest := names[nameAt:]
			end := bytes.IndexByte(rest[:min(len(rest), MaxName+1)], 0)
			if end < 0 {
				return 0, bad(start, "the property name at %#x of the strings block has no end within %d bytes", nameAt, MaxName)
			}
			if msg := badPropName(rest[:end]); msg != "" {
				return 0, bad(start, "property %q: %s", rest[:end], msg)
			}
			if size > int64(len(s)-pos) {
				return 0, bad(start, "property %q claims %d bytes, %d are left in the structure block", rest[:end], size, len(s)-pos)
			}
			if hasChild[depth] {
				return 0, bad(start, "property %q comes after a child node, where libfdt and the kernel do not see it", rest[:end])
			}
			if err := c.prop(end); err != nil {
				return 0, fmt.Errorf("%w, at offset %#x", err, at+int64(start))
			}
			c.values += int(size)
			pos = align4(pos + int(size))
		case tokNop:
		case tokLast:
			if depth != 0 {
				return 0, bad(start, "FDT_END while %d nodes are still open", depth)
			}
			if !rooted {
				return 0, bad(start, "no root node")
			}
			return pos, nil
		default:
			return 0, bad(start, "unknown token %#x", token)
		}
		if pos > len(s) {
			return 0, bad(start, "padding runs over the end of the structure block")
		}
	}
}

func align4(n int) int { return (n + 3) &^ 3 }
