// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dmaheap/dmaheap/test/failnth"
)

// faults fails every allocation that the kernel makes for a call, one after the
// other: the first one of the first try, the second of the second, until a try
// is through without one.
func (d *director) faults() error {
	if nth, err := failnth.New(); err != nil {
		d.say("faults: skipped: %v", err)
		return nil
	} else {
		nth.Close()
	}
	for _, h := range d.heaps {
		// A program of its own: the runtime may not survive a failure that
		// was meant for the kernel.
		c := exec.Command("/proc/self/exe", "faults", h)
		var said bytes.Buffer
		c.Stdout, c.Stderr = &said, &said
		err := c.Run()
		text := strings.TrimSpace(said.String())
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == exitBroken {
			return broken("%s", strings.TrimPrefix(text, "BROKEN: "))
		}
		if err != nil && strings.Contains(text, "fatal error: ") {
			// The kernel had a page of the program itself to copy.
			d.say("faults: %s, given up: the program did not survive a failure that hit it and not its call", h)
			continue
		}
		if err != nil {
			return fmt.Errorf("faults %s: %w: %s", h, err, text)
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("faults %s: %q", h, text)
		}
		d.injected += n
		d.say("faults: %s, %d allocations failed one by one", h, n)
		if err := d.quiet("faults in " + h); err != nil {
			return err
		}
	}
	return nil
}

// mostFaults is more than any call here allocates.
const mostFaults = 500

func startFaults(args []string) error {
	nth, err := failnth.New()
	if err != nil {
		return err
	}
	defer nth.Close()
	// A signal that finds no memory for its frame ends the program.
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return err
	}
	if len(args) != 1 {
		return errUsage
	}
	w := &worker{job: job{Heaps: args}, page: uintptr(os.Getpagesize()), proc: 1, importer: -1, card: -1}
	path := append([]byte("/dev/dma_heap/"+args[0]), 0)
	heap, err := unix.Open(string(path[:len(path)-1]), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.heaps = []int{heap}
	if fd, err := unix.Open(importerFile, unix.O_WRONLY, 0); err == nil {
		w.importer = fd
	}
	if fd, err := unix.Open("/dev/dri/card0", unix.O_RDWR, 0); err == nil {
		w.card = fd
	}
	fd, buf, err := w.newBuffer(0, 5*64<<10, false)
	if err != nil {
		return err
	}
	var kept uintptr
	if !buf.closed {
		if kept, err = mmap(0, uintptr(buf.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd, 0); err != nil {
			return err
		}
		w.stamp(buf, words(kept, uintptr(buf.size)), 0)
	}
	var pair [2]int
	sockets := false
	if p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0); err == nil {
		pair, sockets = p, true
	}
	oob := unix.UnixRights(fd)
	data := make([]byte, 8)
	look := append([]byte("/sys/kernel/debug/dma_buf/bufinfo"), 0)
	big := make([]byte, 1<<16)
	number := []byte(strconv.Itoa(fd))

	// What they return does not matter: most are cut short on purpose. What
	// they hold they let go of, so that the next ones find the heap as it was.
	alloc := func(size uint64, flags int, bytes uintptr) {
		a := allocation{len: size, fdFlags: unix.O_RDWR | unix.O_CLOEXEC}
		if ioctl(heap, heapAlloc, unsafe.Pointer(&a)) != nil {
			return
		}
		if bytes > 0 {
			if at, err := mmap(0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|flags, int(a.fd), 0); err == nil {
				_ = release(at, bytes)
			}
		}
		unix.Close(int(a.fd))
	}
	scenarios := []struct {
		name string
		do   func()
	}{
		{"open the heap", func() { rawOpenClose(path) }},
		{"one page", func() { alloc(uint64(w.page), 0, 0) }},
		{"several chunks", func() { alloc(7*64<<10+uint64(w.page), 0, 0) }},
		{"allocate and map", func() { alloc(64<<10, 0, 64<<10) }},
		{"allocate, map and populate", func() { alloc(1<<20, unix.MAP_POPULATE, 1<<20) }},
		{"map a part", func() {
			if at, err := mmap(0, w.page, unix.PROT_READ, unix.MAP_SHARED, fd, uint64(w.page)); err == nil {
				_ = release(at, w.page)
			}
		}},
		{"import", func() {
			if w.importer >= 0 {
				_, _ = unix.Pwrite(w.importer, number, 0)
			}
		}},
		{"import by vgem", func() {
			if w.card >= 0 {
				p := primeHandle{fd: int32(fd)}
				if ioctl(w.card, primeToHandle, unsafe.Pointer(&p)) == nil {
					shut := [2]uint32{p.handle}
					_ = ioctl(w.card, gemClose, unsafe.Pointer(&shut))
				}
			}
		}},
		{"sync", func() { flags := uint64(3); _ = ioctl(fd, bufSync, unsafe.Pointer(&flags)) }},
		{"name", func() { n := [2]uint64{'a'}; _ = ioctl(fd, bufSetName, unsafe.Pointer(&n)) }},
		{"duplicate", func() {
			if n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err == nil {
				unix.Close(n)
			}
		}},
		{"pass through a socket", func() {
			if sockets && unix.Sendmsg(pair[0], data, oob, nil, unix.MSG_DONTWAIT) == nil {
				// Without the control part, the kernel closes what is passed.
				_, _, _, _, _ = unix.Recvmsg(pair[1], data, nil, unix.MSG_DONTWAIT)
			}
		}},
		{"fork with a mapping", func() {
			if kept != 0 {
				if pid, err := forkReader(kept, uintptr(buf.size), w.page); err == nil {
					_, _ = unix.Wait4(pid, nil, 0, nil)
				}
			}
		}},
		{"read the numbers", func() { rawRead(look, big) }},
	}
	injected := 0
	for _, s := range scenarios {
		n, err := nth.Walk(mostFaults, func() error { s.do(); return nil }, nil)
		if errors.Is(err, failnth.ErrEndless) {
			return broken("%s: %q: %v", args[0], s.name, err)
		}
		if err != nil {
			return err
		}
		injected += n
	}
	if kept != 0 {
		if err := w.examine(buf, words(kept, uintptr(buf.size)), 0, true); err != nil {
			return err
		}
	}
	// A mapping that stayed would have kept room from those after it.
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	want := 0
	if kept != 0 {
		want = 1
	}
	if n := bytes.Count(maps, []byte("/dmabuf:")); n != want {
		return fmt.Errorf("%d mappings of buffers are left, want %d:\n%s", n, want, maps)
	}
	fmt.Println(injected)
	return nil
}

func rawOpenClose(path []byte) {
	dir := unix.AT_FDCWD
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno == 0 {
		unix.Close(int(fd))
	}
}

func rawRead(path, into []byte) {
	dir := unix.AT_FDCWD
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno == 0 {
		_, _ = unix.Read(int(fd), into)
		unix.Close(int(fd))
	}
}
