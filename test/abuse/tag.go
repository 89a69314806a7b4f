// SPDX-License-Identifier: MIT

package main

import "fmt"

// A tag is what a process writes to a buffer: two words, over and over. The
// first names the process and the buffer, by the inode number that the kernel
// gave it and that no other buffer has; the second names the page. So whoever
// reads a word knows where it belongs, and a word of another buffer, or of
// another page, is a leak whoever wrote it and whenever.
type tag struct {
	proc uint16
	ino  uint32
}

const tagMark = 0xd4a5

func (t tag) words(page uint64) (uint64, uint64) {
	return tagMark<<48 | uint64(t.proc)<<32 | uint64(t.ino), page<<32 | uint64(^t.ino)
}

// fill writes the tag to whole pages of pageWords words, of which first is the
// number of the first.
func (t tag) fill(data []uint64, first uint64, pageWords int) {
	for i := 0; i < len(data); i += pageWords {
		a, b := t.words(first + uint64(i/pageWords))
		page := data[i:min(i+pageWords, len(data))]
		for j := 0; j+1 < len(page); j += 2 {
			page[j], page[j+1] = a, b
		}
	}
}

// The kernel's test importer writes to the first and the last byte of a buffer.
const (
	importerFirst = uint64(0xff)
	importerLast  = uint64(0xff) << 56
)

// foreign returns the place of the first word that no process can have written
// to this buffer, or -1. The data begins with page first; begin and end say
// that it holds the begin and the end of the buffer. In a buffer that was full
// of tags once, a zero is as foreign as anything else.
//
// Whoever writes at the same time on a 32-bit machine writes half a word at
// once, so each half is looked at by itself.
func (t tag) foreign(data []uint64, first uint64, pageWords int, begin, end, full bool) int {
	for i := 0; i < len(data); i += pageWords {
		a, b := t.words(first + uint64(i/pageWords))
		for j, word := range data[i:min(i+pageWords, len(data))] {
			if word == 0 && !full || word == a || word == b && j&1 == 1 {
				continue
			}
			mask := ^uint64(0)
			if begin && i+j == 0 {
				mask &^= importerFirst
			}
			if end && i+j == len(data)-1 {
				mask &^= importerLast
			}
			want := b
			if j&1 == 0 {
				want = a
				if word>>48 == tagMark {
					mask &^= 0xffff << 32 // any process
				}
			}
			const low = 0xffffffff
			bad := (word ^ want) & mask
			if full && bad != 0 || bad&low != 0 && word&mask&low != 0 || bad>>32 != 0 && word&mask>>32 != 0 {
				return i + j
			}
		}
	}
	return -1
}

// describe says where a word comes from.
func describe(word uint64) string {
	if word>>48 == tagMark {
		return fmt.Sprintf("%#016x, written by process %d to buffer %d", word, uint16(word>>32), uint32(word))
	}
	return fmt.Sprintf("%#016x, which would be page %d of buffer %d", word, word>>32, ^uint32(word))
}

// nonZero returns the place of the first word that is not zero, or -1.
func nonZero(data []uint64) int {
	for i, w := range data {
		if w != 0 {
			return i
		}
	}
	return -1
}
