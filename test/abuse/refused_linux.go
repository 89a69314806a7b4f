// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (w *worker) badAlloc(s step) error {
	heap := w.heaps[pick(s.A, len(w.heaps))]
	name := w.Heaps[pick(s.A, len(w.heaps))]
	a := allocation{len: uint64(w.page), fdFlags: unix.O_RDWR | unix.O_CLOEXEC}
	request, arg := uint(heapAlloc), unsafe.Pointer(&a)
	switch s.B % 8 {
	case 0:
		a.len = 0
	case 1, 2:
		// Mainline's system heap tries a huge size until the system has
		// killed every program for want of memory.
		if name == "system" {
			return errSkipped
		}
		a.len = ^uint64(0) - uint64(s.C&0xffff)
		if s.B%8 == 2 {
			a.len = 1<<40 + uint64(s.C)
		}
	case 3:
		a.heapFlags = uint64(s.C) | 1
	case 4:
		a.fdFlags = s.C | 1<<30
	case 5:
		// The last page of the address space is never user space's.
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(heap), heapAlloc, ^uintptr(0)&^0xfff)
		if errno != unix.EFAULT {
			return broken("%s: an allocation into nowhere: %v, want EFAULT", name, errno)
		}
		return nil
	case 6:
		request = uint(s.C)&^0xffff | uint(s.D)&0xffff
		if request&0xff00 == 'H'<<8 && request&0xff == 0 {
			return errSkipped
		}
	case 7:
		return w.allocIntoReadOnly(heap)
	}
	err := ioctl(heap, request, arg)
	if err == nil && s.B%8 != 6 {
		fd := int(a.fd)
		unix.Close(fd)
		return broken("%s: a wrong allocation (case %d, len %#x, fd_flags %#x, heap_flags %#x) succeeded", name, s.B%8, a.len, a.fdFlags, a.heapFlags)
	}
	return nil
}

// allocIntoReadOnly asks for a buffer with a struct that the kernel can read
// and not write, so that the descriptor cannot be told. It must not stay open.
func (w *worker) allocIntoReadOnly(heap int) (err error) {
	at, err := mmap(0, w.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
	if err != nil {
		return err
	}
	defer func() {
		if e := release(at, w.page); e != nil {
			err = e
		}
	}()
	data := words(at, 24)
	data[0], data[1] = uint64(w.page), (unix.O_RDWR|unix.O_CLOEXEC)<<32
	if _, _, errno := unix.Syscall(unix.SYS_MPROTECT, at, w.page, unix.PROT_READ); errno != 0 {
		return errno
	}
	return ioctl(heap, heapAlloc, unsafe.Pointer(&data[0]))
}

func (w *worker) badMap(sl *slot, s step) error {
	pages := sl.buf.size / uint64(w.page)
	refused := func(what string, at uintptr, bytes uintptr, err error) error {
		if err != nil {
			return nil
		}
		_ = munmap(at, bytes)
		return broken("%s was not refused", what)
	}
	switch s.A % 4 {
	case 0:
		off, bytes := (pages+uint64(s.B%1000))*uint64(w.page), w.page
		at, err := mmap(0, bytes, unix.PROT_READ, unix.MAP_SHARED, sl.fd, off)
		return refused("a mapping behind the end", at, bytes, err)
	case 1:
		off := uint64(s.B) % pages
		bytes := uintptr(pages-off+1+uint64(s.C%100)) * w.page
		at, err := mmap(0, bytes, unix.PROT_READ, unix.MAP_SHARED, sl.fd, off*uint64(w.page))
		return refused("a mapping across the end", at, bytes, err)
	case 2:
		if !sl.buf.readOnly {
			return errSkipped
		}
		at, err := mmap(0, w.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, sl.fd, 0)
		return refused("writing through a read-only descriptor", at, w.page, err)
	default:
		// Whether a private mapping is possible depends on the heap.
		at, err := mmap(0, w.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE, sl.fd, 0)
		if err != nil {
			return err
		}
		return release(at, w.page)
	}
}

func (w *worker) oddCall(sl *slot, s step) error {
	var some [64]byte
	fd := sl.fd
	switch s.A % 12 {
	case 0:
		_, err := unix.Read(fd, some[:])
		return err
	case 1:
		_, err := unix.Write(fd, some[:])
		return err
	case 2:
		_, err := unix.Seek(fd, int64(s.B)<<16, int(s.C%5))
		return err
	case 3:
		return unix.Ftruncate(fd, int64(s.B))
	case 4:
		return unix.Fallocate(fd, s.B&3, 0, int64(w.page))
	case 5:
		p := []unix.PollFd{{Fd: int32(fd), Events: int16(s.B)}}
		_, err := unix.Poll(p, 0)
		return err
	case 6:
		name := fmt.Sprintf("%032x\x00", uint64(s.B)<<uint(s.C&31))
		if s.C&64 != 0 {
			name = name[s.C&31:]
		}
		b := []byte(name)
		return ioctl(fd, bufSetName, unsafe.Pointer(&b[0]))
	case 7:
		d := [2]int32{int32(s.B & 7), -1}
		err := ioctl(fd, bufExportSync, unsafe.Pointer(&d))
		if err == nil && d[1] >= 0 {
			in := [2]int32{int32(s.B & 7), d[1]}
			_ = ioctl(fd, bufImportSync, unsafe.Pointer(&in))
			unix.Close(int(d[1]))
		}
		return err
	case 8:
		return ioctl(fd, uint(s.B), unsafe.Pointer(&some))
	case 9:
		return ioctl(fd, 0x6200|uint(s.B&0xff)|uint(s.C&0x3)<<30|uint(s.D&63)<<16, unsafe.Pointer(&some))
	case 10:
		_, err := unix.FcntlInt(uintptr(fd), int(s.B%40), int(s.C&3))
		return err
	default:
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			return err
		}
		defer unix.Close(p[0])
		defer unix.Close(p[1])
		if len(sl.maps) > 0 && sl.maps[0].prot&unix.PROT_READ != 0 {
			// Pages of a heap must not become pages of a pipe.
			_, _, errno := unix.Syscall6(unix.SYS_VMSPLICE, uintptr(p[1]), uintptr(unsafe.Pointer(&unix.Iovec{Base: (*byte)(unsafe.Pointer(&words(sl.maps[0].addr, 8)[0])), Len: 64})), 1, 0, 0, 0)
			if errno == 0 {
				return nil
			}
			return errno
		}
		_, err := unix.Splice(fd, nil, p[1], nil, int(w.page), 0)
		return err
	}
}
