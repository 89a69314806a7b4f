// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// An area is the memory that the kernel lends out until the CMA heap wants it.
type area struct{ base, size uint64 }

func (a *area) set(s string) error {
	n, err := fmt.Sscanf(s, "%v+%v", &a.base, &a.size)
	if err != nil || n != 2 {
		return fmt.Errorf("%q is not BASE+SIZE", s)
	}
	return nil
}

// A filler keeps the CMA area in use, with pages that can be moved: anonymous
// memory, as that of any program. Outside of the area it leaves some memory
// free, which is where the pages go that have to make room. It makes no garbage,
// which would fill the area as well.
type filler struct {
	area    area
	chunks  []chunk
	frames  *os.File // physical addresses of the pages
	entries []byte   // of one chunk, as read from frames
	pinned  map[uint64]bool
	pipe    [2]int
	room    int // slots of the pipe that are free
}

// A chunk is some of the filler's memory, and where each page of it was when
// last looked at; 0 if it is not there.
type chunk struct {
	data  []byte
	where []uint64
}

const (
	fillChunk = 4 << 20
	// Free memory outside of the area. The kernel takes pages from the area
	// only while more is free there than elsewhere, so a fill ends with as
	// little in both, and then gives this much back.
	fillSpare = 64 << 20
	// What may stay free in the area.
	fillRest = 6 << 20
	// More chunks than this mean that the area does not fill up.
	fillChunks = 1000
)

// fillSettings let a fill come close to nothing free outside of the area, which
// is what it takes to fill the area, without the kernel calling itself out of
// memory at the next page of its own, which cannot be in the area.
var fillSettings = []struct{ name, value string }{
	// The kernel keeps 4.6 MiB back by default, and a fill ends with little more
	// than 5 MiB in both places.
	{"min_free_kbytes", "1024"},
	// After a page has gone to where those of another kind are, it keeps 4 to 8 MiB
	// more back, for a while. Since 5.0.
	{"watermark_boost_factor", "0"},
	// From 6.7 on a processor keeps tens of MiB of freed pages for itself. MemFree
	// does not count them, and an allocation of another kind does not get them.
	// Called so since 5.14.
	{"percpu_pagelist_high_fraction", "1000"},
}

func newFiller(a area) (*filler, error) {
	if a.size == 0 {
		return nil, errors.New("-area is missing")
	}
	for _, s := range fillSettings {
		err := os.WriteFile("/proc/sys/vm/"+s.name, []byte(s.value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	frames, err := os.Open("/proc/self/pagemap")
	return &filler{
		area: a, frames: frames, pinned: map[uint64]bool{},
		entries: make([]byte, 8*fillChunk/os.Getpagesize()), chunks: make([]chunk, 0, fillChunks),
	}, err
}

// fill uses up the area and returns how many bytes of it are still free.
func (f *filler) fill() (uint64, error) {
	for i := 0; i < fillChunks; i++ {
		free, inArea, err := freeMemory()
		if err != nil {
			return 0, err
		}
		if inArea <= fillRest {
			return inArea, f.spare(int64(fillSpare) - int64(free-inArea))
		}
		if i == len(f.chunks) {
			data, err := syscall.Mmap(-1, 0, fillChunk, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS)
			if err != nil {
				return 0, err
			}
			f.chunks = append(f.chunks, chunk{data, make([]uint64, fillChunk/os.Getpagesize())})
		}
		c := &f.chunks[i]
		for n, at := range c.where {
			if at == 0 {
				c.data[n*os.Getpagesize()] = 1
			}
		}
		if _, err := f.look(c); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("the CMA area does not fill up")
}

// spare gives pages outside of the area back.
func (f *filler) spare(bytes int64) error {
	page := os.Getpagesize()
	for i := len(f.chunks) - 1; i >= 0 && bytes > 0; i-- {
		c := &f.chunks[i]
		if _, err := f.look(c); err != nil {
			return err
		}
		for n, at := range c.where {
			if at == 0 || f.inside(at) || bytes <= 0 {
				continue
			}
			if err := syscall.Madvise(c.data[n*page:(n+1)*page], syscall.MADV_DONTNEED); err != nil {
				return err
			}
			c.where[n] = 0
			bytes -= int64(page)
		}
	}
	return nil
}

func (f *filler) inside(at uint64) bool {
	return at >= f.area.base && at-f.area.base < f.area.size
}

// look brings chunk.where up to date and returns how many pages are somewhere
// else than before.
func (f *filler) look(c *chunk) (moved int, err error) {
	page := uint64(os.Getpagesize())
	at := uint64(uintptr(unsafe.Pointer(&c.data[0]))) / page * 8
	if _, err := f.frames.ReadAt(f.entries, int64(at)); err != nil {
		return 0, err
	}
	for i := range c.where {
		const present, frame = 1 << 63, 1<<55 - 1
		now := uint64(0)
		if e := binary.NativeEndian.Uint64(f.entries[8*i:]); e&present != 0 {
			now = e & frame * page
		}
		if now != c.where[i] {
			moved++
		}
		c.where[i] = now
	}
	return moved, nil
}

// moved returns how many pages were moved since it was last called. No filler
// has no pages.
func (f *filler) moved() (int, error) {
	if f == nil {
		return 0, nil
	}
	sum := 0
	for i := range f.chunks {
		n, err := f.look(&f.chunks[i])
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// pin sees to it that one page in each 2 MiB of the area cannot be moved, as
// far as the area is filled. It puts the page into a pipe without copying it:
// whoever holds a reference of its own to a page, such as a device that reads
// or writes it, keeps it where it is.
func (f *filler) pin() error {
	page := os.Getpagesize()
	for i := range f.chunks {
		c := &f.chunks[i]
		if _, err := f.look(c); err != nil {
			return err
		}
		for n, at := range c.where {
			if at == 0 || !f.inside(at) || f.pinned[at>>21] {
				continue
			}
			if f.room == 0 {
				if err := syscall.Pipe(f.pipe[:]); err != nil {
					return err
				}
				f.room = 16 // slots of a pipe, PIPE_DEF_BUFFERS
			}
			v := syscall.Iovec{Base: &c.data[n*page]}
			v.SetLen(page)
			if err := vmsplice(f.pipe[1], &v); err != nil {
				return err
			}
			f.room--
			f.pinned[at>>21] = true
		}
	}
	return nil
}

func vmsplice(fd int, v *syscall.Iovec) error {
	_, _, errno := syscall.Syscall6(syscall.SYS_VMSPLICE, uintptr(fd), uintptr(unsafe.Pointer(v)), 1, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// freeMemory returns how many bytes are free, and how many of them in CMA areas.
func freeMemory() (all, cma uint64, err error) {
	if all, err = field("/proc/meminfo", "MemFree:"); err != nil {
		return 0, 0, err
	}
	cma, err = field("/proc/meminfo", "CmaFree:")
	return all << 10, cma << 10, err
}

// field finds a number by the word in front of it.
func field(file, name string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return strconv.ParseUint(words[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}
