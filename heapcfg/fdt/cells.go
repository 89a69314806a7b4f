// SPDX-License-Identifier: MIT

package fdt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCells is what DecodeReg wraps when a value does not fit the cell counts.
var ErrCells = errors.New("value does not fit the cell counts")

// Range is one <base size> pair of reg, alloc-ranges or ranges.
type Range struct{ Base, Size uint64 }

// End returns the first address after the range. It is 0 for a range that
// ends with the address space.
func (r Range) End() uint64 { return r.Base + r.Size }

func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// U32s encodes cells.
func U32s(values ...uint32) []byte {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// StringList encodes a string list: each string with its terminator.
func StringList(strs ...string) []byte {
	var b []byte
	for _, s := range strs {
		b = append(b, s...)
		b = append(b, 0)
	}
	return b
}

// Cells encodes a number in that many cells, most significant first. A number
// that does not fit in one cell loses its upper half, so compare first when
// the number comes from outside (FitsCells).
func Cells(value uint64, cells int) []byte {
	b := make([]byte, 0, 4*max(cells, 0))
	for i := cells - 1; i >= 0; i-- {
		var v uint32
		if i < 2 {
			v = uint32(value >> (32 * i))
		}
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// FitsCells reports whether Cells loses nothing of the value.
func FitsCells(value uint64, cells int) bool {
	switch {
	case cells <= 0:
		return value == 0
	case cells == 1:
		return value>>32 == 0
	}
	return true
}

// DecodeCells reads one number of one or two cells, as size and alignment
// have it. The whole value must be that number.
func DecodeCells(value []byte, cells int) (uint64, error) {
	if cells < 1 || cells > 2 {
		return 0, fmt.Errorf("%w: %d cells per number, and only 1 or 2 make sense", ErrCells, cells)
	}
	if len(value) != 4*cells {
		return 0, fmt.Errorf("%w: %d bytes where %d cells need %d", ErrCells, len(value), cells, 4*cells)
	}
	return number(value), nil
}

// number reads the whole of a value of up to two cells.
func number(b []byte) uint64 {
	var v uint64
	for ; len(b) >= 4; b = b[4:] {
		v = v<<32 | uint64(be32(b))
	}
	return v
}

// DecodeReg splits a reg, alloc-ranges or similar value into its pairs, given
// #address-cells and #size-cells of the parent. Size cells may be 0, as for
// cpus. A range that runs over the end of the 64-bit address space is an
// error; ending exactly there is not.
func DecodeReg(value []byte, addrCells, sizeCells int) ([]Range, error) {
	if addrCells < 1 || addrCells > 2 || sizeCells < 0 || sizeCells > 2 {
		return nil, fmt.Errorf("%w: #address-cells %d, #size-cells %d, and only 1 or 2 are understood", ErrCells, addrCells, sizeCells)
	}
	step := 4 * (addrCells + sizeCells)
	if len(value)%step != 0 {
		return nil, fmt.Errorf("%w: %d bytes are not a multiple of %d (#address-cells %d, #size-cells %d)",
			ErrCells, len(value), step, addrCells, sizeCells)
	}
	ranges := make([]Range, 0, len(value)/step)
	for ; len(value) > 0; value = value[step:] {
		r := Range{Base: number(value[:4*addrCells]), Size: number(value[4*addrCells : step])}
		if r.Size > 0 && r.Base > ^uint64(0)-(r.Size-1) {
			return nil, fmt.Errorf("%w: %#x bytes at %#x run over the end of the address space", ErrCells, r.Size, r.Base)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}
