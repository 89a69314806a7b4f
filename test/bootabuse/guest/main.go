// SPDX-License-Identifier: MIT

//go:build linux

// Guest is the whole userspace of a machine that test/bootabuse boots. It takes
// as much of every heap as there is, of all of them at the same time, sees that
// it is zero, writes to every page and sees that each still holds its own when
// all are written: memory that two heaps have, or that is none, does not pass. It
// prints a line for each heap, its name, the size of the heap, and "ok" or what
// went wrong; then it powers off.
//
// A thousand machines are booted for each kernel, so it has no more in it than
// that: what QEMU has to translate is what a boot costs.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/dmaheap/dmaheap/internal/initramfs"
)

const (
	heapDir = "/dev/dma_heap"
	usage   = "/sys/kernel/dma_heap"
)

func main() {
	if os.Getpid() != 1 {
		say("guest: this is the init of a virtual machine; it powers off what it runs on\n")
		os.Exit(2)
	}
	code := 0
	if err := mount(); err != nil {
		say("guest: " + err.Error() + "\n")
		code = initramfs.ExitInit
	} else {
		say("\n" + initramfs.RunMark + " 0 probe\n")
		if err := probe(); err != nil {
			say("probe: " + err.Error() + "\n")
			code = 1
		}
		say("\n" + initramfs.DoneMark + " 0 " + strconv.Itoa(code) + "\n")
	}
	say("\n" + initramfs.ExitMark + " " + strconv.Itoa(code) + "\n")
	const tcsbrk = 0x5409 // with 1: wait until the serial port has sent everything
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, 1, tcsbrk, 1)
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // process 1 must not end
}

func say(s string) { _, _ = os.Stdout.WriteString(s) }

func mount() error {
	for _, m := range []struct{ fstype, dir string }{{"devtmpfs", "/dev"}, {"sysfs", "/sys"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
			return &os.PathError{Op: "mount", Path: m.dir, Err: err}
		}
	}
	return nil
}

// A heap is one under test, with the buffer that was had of it.
type heap struct {
	name string
	size uint64 // 0 where the kernel does not tell
	fd   int    // of the buffer
	mem  []byte // nil where the CPU may not map it
	err  error
}

func probe() error {
	entries, err := os.ReadDir(heapDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var heaps []*heap
	for _, e := range entries {
		if e.Type()&os.ModeCharDevice == 0 {
			continue
		}
		heaps = append(heaps, &heap{name: e.Name(), fd: -1})
	}
	// From 6.17 on the default area has a second heap, which can have
	// nothing while the first one has all. It goes first and gives back.
	const alias = "default_cma_region"
	slices.SortStableFunc(heaps, func(a, b *heap) int { return rank(a.name == alias) - rank(b.name == alias) })
	for i, h := range heaps {
		h.take()
		h.write(byte(i))
		if h.name == alias {
			h.verify(byte(i))
			h.close()
		}
	}
	for i, h := range heaps {
		h.verify(byte(i))
		h.close()
		verdict := "ok"
		if h.err != nil {
			verdict = h.err.Error()
		}
		say("probe " + h.name + " " + strconv.FormatUint(h.size, 10) + " " + verdict + "\n")
	}
	return nil
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// of returns a number that the kernel tells of a heap.
func (h *heap) of(what string) (uint64, bool) {
	data, err := os.ReadFile(usage + "/" + h.name + "/" + what)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}

// take gets a buffer of all that is free, or of more than half of it: CMA
// begins each buffer at a multiple of its own size, so that pages which the
// kernel took from an area for itself cost more room than they fill.
func (h *heap) take() {
	fd, err := syscall.Open(heapDir+"/"+h.name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		h.err = err
		return
	}
	defer syscall.Close(fd)
	want := uint64(1 << 20) // of a heap that does not tell
	h.size, _ = h.of("size")
	if largest, ok := h.of("largest_free"); ok {
		want = largest
	}
	if strings.HasPrefix(h.name, "system") {
		want = min(want, 1<<20) // it has no region, and takes of what the system has
	}
	err = syscall.ENOMEM
	for eighths := uint64(8); eighths > 4 && err == syscall.ENOMEM; eighths-- {
		h.fd, err = alloc(fd, want/8*eighths)
	}
	if err != nil {
		h.fd, h.err = -1, errors.New(strconv.FormatUint(want, 10)+" bytes: "+err.Error())
		return
	}
	size, err := syscall.Seek(h.fd, 0, 2)
	if err != nil {
		h.err = err
		return
	}
	h.mem, err = syscall.Mmap(h.fd, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil && err != syscall.EINVAL {
		h.err = err
	}
}

// alloc is DMA_HEAP_IOCTL_ALLOC, <linux/dma-heap.h>.
func alloc(heap int, size uint64) (int, error) {
	a := struct {
		len       uint64
		fd, flags uint32
		heapFlags uint64
	}{len: size, flags: syscall.O_RDWR | syscall.O_CLOEXEC}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(heap), 0xc0184800, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return -1, errno
	}
	return int(a.fd), nil
}

var (
	pageSize = os.Getpagesize()
	zeroes   = make([]byte, pageSize)
)

// tag is what page number n of a heap's buffer begins with. It is never zero.
func tag(who byte, n int) uint64 { return 0xd4a5<<48 | uint64(who)<<32 | uint64(n) }

func (h *heap) write(who byte) {
	for at := 0; at < len(h.mem); at += pageSize {
		page := h.mem[at : at+pageSize]
		if !bytes.Equal(page, zeroes) && h.err == nil {
			h.err = errors.New("not zero at offset " + strconv.Itoa(at))
		}
		binary.NativeEndian.PutUint64(page, tag(who, at/pageSize))
	}
}

func (h *heap) verify(who byte) {
	for at := 0; at < len(h.mem); at += pageSize {
		if got := binary.NativeEndian.Uint64(h.mem[at:]); got != tag(who, at/pageSize) && h.err == nil {
			h.err = errors.New("at offset " + strconv.Itoa(at) + " somebody wrote 0x" + strconv.FormatUint(got, 16))
		}
	}
}

func (h *heap) close() {
	if h.mem != nil {
		_ = syscall.Munmap(h.mem)
		h.mem = nil
	}
	if h.fd >= 0 {
		syscall.Close(h.fd)
		h.fd = -1
	}
}
