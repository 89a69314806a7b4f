// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (w *worker) noFiles(s step) error {
	var taken []int
	defer func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
	}()
	for {
		fd, err := unix.FcntlInt(uintptr(w.heaps[0]), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	// Other threads give descriptors back, so some of these succeed.
	for i := range 20 {
		a := allocation{len: w.size(s.A + uint32(i)), fdFlags: unix.O_RDWR | unix.O_CLOEXEC}
		if ioctl(w.heaps[(pick(s.B, len(w.heaps))+i)%len(w.heaps)], heapAlloc, unsafe.Pointer(&a)) == nil {
			unix.Close(int(a.fd))
		}
	}
	return nil
}

// most bounds what a thread takes from a heap at once: the system heap has no
// end of its own.
const most = 24 << 20

func (w *worker) noRoom(s step) error {
	heap := pick(s.A, len(w.heaps))
	var taken []int
	defer func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
	}()
	for sum := uint64(0); sum < most; {
		size := uint64(w.page) << (s.B % 8) * uint64(1+s.C%5)
		fd, buf, err := w.newBuffer(heap, size, false)
		var bad *errBroken
		if errors.As(err, &bad) {
			return err
		}
		if err != nil {
			return nil
		}
		taken = append(taken, fd)
		if !buf.closed && s.D&1 == 0 {
			// Dirty, so that whoever comes next sees it unless the kernel
			// cleans it.
			_ = w.mapped(fd, 0, w.page, unix.PROT_READ|unix.PROT_WRITE, func(data []uint64) error {
				w.stamp(buf, data, 0)
				return nil
			})
		}
		sum += buf.size
		if len(taken) > fileLimit/2 {
			return nil
		}
	}
	return nil
}

// look reads what the kernel shows of buffers while they come and go.
func (w *worker) look(sl *slot, s step) error {
	files := []string{
		"/proc/self/fdinfo/" + strconv.Itoa(sl.fd), "/proc/self/maps", "/proc/self/smaps", "/sys/kernel/debug/dma_buf/bufinfo",
		"/proc/self/numa_maps", "/sys/kernel/dma_heap/" + w.Heaps[pick(s.B, len(w.Heaps))] + "/largest_free",
		"/sys/kernel/dma_heap/" + w.Heaps[pick(s.B, len(w.Heaps))] + "/used",
	}
	i := pick(s.A, len(files)+1)
	if i < len(files) {
		return readAll(files[i])
	}
	if len(sl.maps) == 0 {
		return errSkipped
	}
	fd, err := unix.Open("/proc/self/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Pread(fd, make([]byte, 64), int64(sl.maps[0].addr))
	return err
}

func readAll(file string) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for buf := make([]byte, 1<<14); ; {
		if n, err := unix.Read(fd, buf); n <= 0 || err != nil {
			return err
		}
	}
}
