// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"encoding/binary"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// window is how much of a buffer is mapped at once: what the process holds of
// a heap never grows with the size of the heap.
const window = 4 << 20

// tile is one page of pattern. Each page of a buffer gets the tile with its
// own number at the start, so that a page in a wrong place is seen.
const tile = 4096

// The tile of zeroes and the tile of pattern are compared with, and copied
// from, as a whole: that runs at the speed of memory.
func pattern(seed uint64) []byte {
	b := make([]byte, tile)
	r := newRandom(seed)
	for i := 0; i < tile; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.next())
	}
	return b
}

// random gives numbers that look like chance, the same ones for the same seed:
// Marsaglia's xorshift. Package math/rand is a kilobyte of heapctl in 350.
type random uint64

func newRandom(seed uint64) random { return random(seed*0x9e3779b97f4a7c15 | 1) }

func (r *random) next() uint64 {
	*r ^= *r << 13
	*r ^= *r >> 7
	*r ^= *r << 17
	return uint64(*r)
}

// below returns a number from 0 up to and without n.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

// access runs fn within begin and end of CPU access.
func access(b Buffer, a dmaheap.Access, fn func() error) (err error) {
	if err := b.Begin(a); err != nil {
		return err
	}
	defer func() {
		if end := b.End(a); err == nil {
			err = end
		}
	}()
	return fn()
}

// windows maps the buffer piece by piece and calls fn on each piece, until fn
// returns false.
func windows(b Buffer, a dmaheap.Access, fn func(off uint64, data []byte) bool) error {
	return access(b, a, func() error {
		for off := uint64(0); off < b.Size(); off += window {
			m, err := b.MapRange(off, min(window, b.Size()-off), a)
			if err != nil {
				return err
			}
			more := callAndClose(m, func() bool { return fn(off, m.Bytes()) })
			if !more {
				return nil
			}
		}
		return nil
	})
}

// callAndClose unmaps also when the memory faults under fn.
func callAndClose(m Mapping, fn func() bool) bool {
	defer m.Close()
	return fn()
}

// firstNonZero returns the offset of the first byte that is not zero, or -1.
func firstNonZero(b Buffer) (int64, error) {
	zero := make([]byte, tile)
	at := int64(-1)
	err := windows(b, dmaheap.Read, func(off uint64, data []byte) bool {
		for i := 0; i < len(data); i += tile {
			if page := data[i:min(i+tile, len(data))]; !bytes.Equal(page, zero[:len(page)]) {
				for j, c := range page {
					if c != 0 {
						at = int64(off) + int64(i+j)
						return false
					}
				}
			}
		}
		return true
	})
	return at, err
}

// fill writes the pattern of a seed into the whole buffer.
func fill(b Buffer, seed uint64) error {
	p := pattern(seed)
	return windows(b, dmaheap.Write|dmaheap.Read, func(off uint64, data []byte) bool {
		for i := 0; i < len(data); i += tile {
			copy(data[i:], p)
			binary.LittleEndian.PutUint64(data[i:], number(seed, off+uint64(i)))
		}
		return true
	})
}

// number is what the first word of the tile at an offset holds.
func number(seed, off uint64) uint64 { return seed<<48 ^ off/tile }

// verify returns the offset of the first tile that does not hold its pattern,
// or -1.
func verify(b Buffer, seed uint64) (int64, error) {
	p := pattern(seed)
	at := int64(-1)
	err := windows(b, dmaheap.Read, func(off uint64, data []byte) bool {
		for i := 0; i < len(data); i += tile {
			if !sameTile(data[i:min(i+tile, len(data))], p, number(seed, off+uint64(i))) {
				at = int64(off) + int64(i)
				return false
			}
		}
		return true
	})
	return at, err
}

func sameTile(data, p []byte, n uint64) bool {
	return len(data) >= 8 && binary.LittleEndian.Uint64(data) == n && bytes.Equal(data[8:], p[8:len(data)])
}

// samePage reports whether data is the page of that number in a buffer that
// was filled with the seed.
func samePage(data []byte, seed, page, pageSize uint64) bool {
	p := pattern(seed)
	for i := 0; i < len(data); i += tile {
		if !sameTile(data[i:i+tile], p, number(seed, page*pageSize+uint64(i))) {
			return false
		}
	}
	return true
}
