// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

type allocation struct {
	len       uint64
	fd        uint32
	fdFlags   uint32
	heapFlags uint64
}

const heapAlloc = 0xc018_4800 // DMA_HEAP_IOCTL_ALLOC

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR, unix.EAGAIN:
			continue
		}
		return errno
	}
}

// size spreads sizes over orders of magnitude; most buffers are small.
func (w *worker) size(a uint32) uint64 {
	pages := uint64(1 + a>>8&15)
	switch c := a & 0xff; {
	case c < 4:
		pages += uint64(a>>8) % (8 << 20 / uint64(w.page))
	case c < 24:
		pages += uint64(a>>8) % (1 << 20 / uint64(w.page))
	case c < 90:
		pages += uint64(a>>8) & 63
	}
	return pages*uint64(w.page) - uint64(a>>12&1)*uint64(a>>16&0xfff)
}

func (w *worker) alloc(sl *slot, s step) error {
	fd, buf, err := w.newBuffer(pick(s.B, len(w.heaps)), w.size(s.A), s.C&7 == 0)
	if err != nil {
		return err
	}
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.fd >= 0 {
		unix.Close(sl.fd)
	}
	sl.fd, sl.buf = fd, buf
	return nil
}

// newBuffer allocates and sees that nobody has left anything in it.
func (w *worker) newBuffer(heap int, size uint64, readOnly bool) (int, *buffer, error) {
	a := allocation{len: size, fdFlags: unix.O_RDWR | unix.O_CLOEXEC}
	if readOnly {
		a.fdFlags = unix.O_RDONLY | unix.O_CLOEXEC
	}
	if err := ioctl(w.heaps[heap], heapAlloc, unsafe.Pointer(&a)); err != nil {
		return -1, nil, err
	}
	fd := int(a.fd)
	buf, err := w.known(fd)
	if err != nil {
		unix.Close(fd)
		return -1, nil, broken("a new buffer of %s: %v", w.Heaps[heap], err)
	}
	if buf.size < size {
		unix.Close(fd)
		return -1, nil, broken("%s gave %d bytes, %d were wanted", w.Heaps[heap], buf.size, size)
	}
	err = w.mapped(fd, 0, uintptr(buf.size), unix.PROT_READ, func(data []uint64) error {
		if at := nonZero(data); at >= 0 {
			return broken("a new buffer of %s (%d bytes, number %d) holds %s at offset %#x, want zeroes", w.Heaps[heap], buf.size, buf.ino, describe(data[at]), at*8)
		}
		return nil
	})
	var bad *errBroken
	if errors.As(err, &bad) {
		unix.Close(fd)
		return -1, nil, err
	}
	buf.closed = errors.Is(err, unix.EINVAL)
	return fd, buf, nil
}

// known asks the kernel what a descriptor is.
func (w *worker) known(fd int) (*buffer, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	size, err := unix.Seek(fd, 0, 2)
	if err != nil {
		return nil, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	return &buffer{ino: uint32(st.Ino), size: uint64(size), readOnly: flags&unix.O_ACCMODE == unix.O_RDONLY}, nil
}

func (w *worker) close(sl *slot, s step) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.fd < 0 {
		return errSkipped
	}
	unix.Close(sl.fd)
	sl.fd, sl.buf = -1, nil
	if s.A&3 != 0 {
		return nil // memory lives on by its mappings
	}
	maps := sl.maps
	sl.maps = nil
	for _, m := range maps {
		if err := release(m.addr, m.bytes); err != nil {
			return err
		}
	}
	return nil
}

func mmap(addr, bytes uintptr, prot, flags, fd int, off uint64) (uintptr, error) {
	at, _, errno := unix.Syscall6(sysMmap, addr, bytes, uintptr(prot), uintptr(flags), uintptr(fd), uintptr(off/mmapUnit))
	if errno != 0 {
		return 0, errno
	}
	return at, nil
}

func munmap(addr, bytes uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_MUNMAP, addr, bytes, 0); errno != 0 {
		return errno
	}
	return nil
}

// release takes a mapping away for good. A kernel that has no memory, or is made to
// have none, may refuse that, but not for ever.
func release(addr, bytes uintptr) error {
	var err error
	for range 50 {
		if err = munmap(addr, bytes); err != unix.ENOMEM {
			break
		}
	}
	if err != nil {
		return broken("munmap of %d bytes: %v", bytes, err)
	}
	return nil
}

// words looks at mapped memory; the collector knows nothing of it.
func words(addr, bytes uintptr) []uint64 {
	return unsafe.Slice((*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), bytes/8)
}

// touched runs fn, which touches mapped memory, and returns a fault as an error.
func touched(fn func() error) (err error) {
	defer func() {
		if e := recover(); e != nil {
			if f, ok := e.(interface{ Addr() uintptr }); ok {
				err = fmt.Errorf("fault at %#x", f.Addr())
				return
			}
			panic(e)
		}
	}()
	return fn()
}

// stamp writes the tag of a buffer to whole pages of it; the data begins at off.
func (w *worker) stamp(buf *buffer, data []uint64, off uint64) {
	tag{w.proc, buf.ino}.fill(data, off/uint64(w.page), int(w.page/8))
}

// examine sees that the data, which begins at off of a buffer, is what may be
// there. Full tells that no zeroes are left in it: whoever knows that has to have
// known it before the data was mapped.
func (w *worker) examine(buf *buffer, data []uint64, off uint64, full bool) error {
	t := tag{w.proc, buf.ino}
	at := t.foreign(data, off/uint64(w.page), int(w.page/8), off == 0, off+uint64(len(data))*8 == buf.size, full)
	if at < 0 {
		return nil
	}
	return broken("process %d, buffer %d (%d bytes, full: %v): at offset %#x is %s",
		w.proc, buf.ino, buf.size, full, off+uint64(at)*8, describe(data[at]))
}

// mapped maps for as long as fn runs.
func (w *worker) mapped(fd int, off uint64, bytes uintptr, prot int, fn func([]uint64) error) error {
	at, err := mmap(0, bytes, prot, unix.MAP_SHARED, fd, off)
	if err != nil {
		return err
	}
	err = touched(func() error { return fn(words(at, bytes)) })
	if e := release(at, bytes); e != nil && err == nil {
		err = e
	}
	return err
}

// part chooses whole pages of a buffer.
func (w *worker) part(buf *buffer, a, b uint32) (off uint64, bytes uintptr) {
	pages := buf.size / uint64(w.page)
	first := uint64(a) % pages
	count := 1 + uint64(b)%(pages-first)
	return first * uint64(w.page), uintptr(count) * w.page
}

func (w *worker) keepMap(sl *slot, s step) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.fd < 0 {
		return errSkipped
	}
	off, bytes := w.part(sl.buf, s.A, s.B)
	prot := unix.PROT_READ | unix.PROT_WRITE
	if sl.buf.readOnly || s.C&3 == 0 {
		prot = unix.PROT_READ
	}
	flags := unix.MAP_SHARED
	if s.C&4 != 0 {
		flags |= unix.MAP_POPULATE
	}
	at, err := mmap(0, bytes, prot, flags, sl.fd, off)
	if err != nil {
		return err
	}
	sl.maps = append(sl.maps, window{sl.buf, at, bytes, off, prot})
	if len(sl.maps) <= 4 {
		return nil
	}
	first := sl.maps[0]
	sl.maps = sl.maps[1:]
	return release(first.addr, first.bytes)
}

// change does something to one of the mappings of a slot, and keeps what is left
// of it.
func (w *worker) change(sl *slot, s step, how func(window, step) ([]window, error)) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if len(sl.maps) == 0 {
		return errSkipped
	}
	i := pick(s.A, len(sl.maps))
	left, err := how(sl.maps[i], s)
	sl.maps = slices.Replace(sl.maps, i, i+1, left...)
	return err
}

// unmap takes a mapping away, or the front, the end or the middle of it.
func (w *worker) unmap(m window, s step) ([]window, error) {
	pages := m.bytes / w.page
	if s.B&1 == 0 || pages < 3 {
		return nil, release(m.addr, m.bytes)
	}
	first := uintptr(s.C) % pages
	count := 1 + uintptr(s.D)%(pages-first)
	if err := munmap(m.addr+first*w.page, count*w.page); err != nil {
		return []window{m}, err
	}
	front := window{m.buf, m.addr, first * w.page, m.off, m.prot}
	skip := (first + count) * w.page
	back := window{m.buf, m.addr + skip, m.bytes - skip, m.off + uint64(skip), m.prot}
	return slices.DeleteFunc([]window{front, back}, func(piece window) bool { return piece.bytes == 0 }), nil
}

const mremapDontUnmap = 4

// remap lets a mapping shrink, move, or grow: past the end of the buffer there
// must be nothing to see.
func (w *worker) remap(m window, s step) ([]window, error) {
	pages := m.bytes / w.page
	bytes := m.bytes
	flags, to := uintptr(unix.MREMAP_MAYMOVE), uintptr(0)
	switch s.B % 4 {
	case 0:
		bytes = (1 + uintptr(s.C)%pages) * w.page
	case 1:
		bytes += (1 + uintptr(s.C)%64) * w.page
	case 2:
		flags |= mremapDontUnmap
	case 3:
		// To somewhere else: a place that is free for sure. When the call fails,
		// it may be anybody's by then, so nothing takes it back.
		var err error
		if to, err = mmap(0, bytes, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0); err != nil {
			return []window{m}, err
		}
		flags |= unix.MREMAP_FIXED
	}
	at, _, errno := unix.Syscall6(unix.SYS_MREMAP, m.addr, m.bytes, bytes, flags, to, 0)
	if errno != 0 {
		return []window{m}, errno
	}
	if flags&mremapDontUnmap != 0 {
		err := release(m.addr, m.bytes)
		if e := release(at, m.bytes); e != nil {
			err = e
		}
		return nil, err
	}
	end := uintptr(m.buf.size - m.off)
	if bytes > end && m.prot&unix.PROT_READ != 0 {
		var seen uint64
		err := touched(func() error { seen = words(at+end, w.page)[0]; return nil })
		if err == nil {
			return nil, broken("a mapping grew past the end of its buffer and shows %#x there", seen)
		}
	}
	if bytes > end {
		if err := release(at+end, bytes-end); err != nil {
			return nil, err
		}
	}
	m.addr, m.bytes = at, min(bytes, end)
	return []window{m}, w.check(m)
}

// check looks at what is seen through a mapping.
func (w *worker) check(m window) error {
	if m.prot&unix.PROT_READ == 0 {
		return nil
	}
	full := m.buf.full.Load()
	return touched(func() error { return w.examine(m.buf, words(m.addr, m.bytes), m.off, full) })
}

func (w *worker) fill(sl *slot, s step) error {
	if sl.buf.closed {
		return errSkipped
	}
	if len(sl.maps) > 0 && s.A&1 == 0 {
		m := sl.maps[pick(s.B, len(sl.maps))]
		if m.prot&unix.PROT_WRITE == 0 || m.buf.readOnly {
			return errSkipped
		}
		return touched(func() error {
			w.stamp(m.buf, words(m.addr, m.bytes), m.off)
			return nil
		})
	}
	if sl.buf.readOnly {
		if _, err := mmap(0, uintptr(sl.buf.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, sl.fd, 0); err == nil {
			return broken("a buffer whose descriptor is read-only was mapped for writing")
		}
		return errSkipped
	}
	off, bytes := uint64(0), uintptr(sl.buf.size)
	if s.A&2 != 0 {
		off, bytes = w.part(sl.buf, s.C, s.D)
	}
	err := w.mapped(sl.fd, off, bytes, unix.PROT_READ|unix.PROT_WRITE, func(data []uint64) error {
		w.stamp(sl.buf, data, off)
		return nil
	})
	if err == nil && uint64(bytes) == sl.buf.size {
		sl.buf.full.Store(true)
	}
	return err
}

func (w *worker) verify(sl *slot, s step) error {
	if len(sl.maps) > 0 && s.A&1 == 0 {
		return w.check(sl.maps[pick(s.B, len(sl.maps))])
	}
	if sl.buf.closed {
		return errSkipped
	}
	full := sl.buf.full.Load()
	return w.mapped(sl.fd, 0, uintptr(sl.buf.size), unix.PROT_READ, func(data []uint64) error {
		return w.examine(sl.buf, data, 0, full)
	})
}

// protect changes what may be done with a mapping, or how it is used.
func (w *worker) protect(m window, s step) ([]window, error) {
	if s.B&1 == 0 {
		advice := []uintptr{0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24}[s.C%22]
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.addr, m.bytes, advice); errno != 0 {
			return []window{m}, errno
		}
		return []window{m}, w.check(m)
	}
	prot := []int{unix.PROT_NONE, unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ | unix.PROT_EXEC}[s.C&3]
	if _, _, errno := unix.Syscall(unix.SYS_MPROTECT, m.addr, m.bytes, uintptr(prot)); errno != 0 {
		return []window{m}, errno
	}
	if m.buf.readOnly && prot&unix.PROT_WRITE != 0 {
		return nil, broken("mprotect made a mapping of a read-only descriptor writable")
	}
	m.prot = prot
	return []window{m}, nil
}
