// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	bufSync       = 0x4008_6200 // DMA_BUF_IOCTL_SYNC
	bufSetName    = 0x4008_6201 // DMA_BUF_SET_NAME_B
	bufExportSync = 0xc008_6202
	bufImportSync = 0x4008_6203
)

func (w *worker) sync(fd int, s step) error {
	flags := uint64(s.A & 7)
	if s.B&7 == 0 {
		flags = uint64(s.C)<<32 | uint64(s.D)
	}
	return ioctl(fd, bufSync, unsafe.Pointer(&flags))
}

// dup closes a descriptor while another thread is in the middle of using it.
func (w *worker) dup(fd int, s step) error {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for range s.A & 3 {
			_ = w.sync(d, s)
		}
		if s.A&4 != 0 {
			// Not by the number that is being closed: it may be that of
			// somebody else's new buffer by then, and importing writes.
			_ = w.imports(fd)
		}
	}()
	if s.A&8 != 0 {
		runtime.Gosched()
	}
	if s.A&16 != 0 {
		at, err := mmap(0, w.page, unix.PROT_READ, unix.MAP_SHARED, d, 0)
		if err == nil {
			_ = release(at, w.page)
		}
	}
	unix.Close(d)
	<-gone
	return nil
}

func (w *worker) send(fd int, s step) error {
	if w.socket < 0 {
		return errSkipped
	}
	rights := []int{fd}
	if s.A&3 == 0 {
		rights = append(rights, fd)
	}
	if s.A&12 == 0 {
		// A socket inside of its own queue, which only the collector of
		// the kernel gets out again.
		rights = append(rights, w.socket)
	}
	to := &unix.SockaddrUnix{Name: w.address(pick(s.B, 8))}
	return unix.Sendmsg(w.socket, []byte{1}, unix.UnixRights(rights...), to, unix.MSG_DONTWAIT)
}

func (w *worker) receive(sl *slot) error {
	if w.socket < 0 {
		return errSkipped
	}
	data, oob := make([]byte, 8), make([]byte, unix.CmsgSpace(4*8))
	_, n, _, _, err := unix.Recvmsg(w.socket, data, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return errSkipped
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return err
	}
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			buf, err := w.known(fd)
			if err != nil || buf.size == 0 {
				unix.Close(fd) // a socket
				continue
			}
			at, err := mmap(0, w.page, unix.PROT_READ, unix.MAP_SHARED, fd, 0)
			if err == nil {
				_ = release(at, w.page)
			}
			buf.closed = errors.Is(err, unix.EINVAL)
			sl.mu.Lock()
			if sl.fd >= 0 {
				unix.Close(sl.fd)
			}
			sl.fd, sl.buf = fd, buf
			sl.mu.Unlock()
		}
	}
	return nil
}

// fork has a child read, and now and then write, what it inherited.
func (w *worker) fork(sl *slot, s step) error {
	if len(sl.maps) == 0 {
		return errSkipped
	}
	m := sl.maps[pick(s.A, len(sl.maps))]
	if m.prot&unix.PROT_READ == 0 {
		return errSkipped
	}
	pid, err := forkReader(m.addr, m.bytes, w.page)
	if err != nil {
		return err
	}
	if s.B&1 == 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for {
		if _, err = unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return err
		}
	}
}

// hold has another program use the buffer for a while, and kills it perhaps.
func (w *worker) hold(sl *slot, s step) error {
	if sl.buf.closed || sl.buf.readOnly {
		return errSkipped
	}
	d, err := unix.FcntlInt(uintptr(sl.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(d), "dmabuf")
	defer f.Close()
	c := exec.Command("/proc/self/exe", "hold", strconv.Itoa(int(w.proc^0x8000)), strconv.Itoa(int(s.A%60)))
	c.ExtraFiles = []*os.File{f}
	c.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := c.Start(); err != nil {
		return err
	}
	if s.B&1 == 0 {
		time.Sleep(time.Duration(s.C%80) * time.Millisecond)
		_ = c.Process.Kill()
	}
	err = c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitBroken {
		return broken("a program that was handed the buffer found foreign bytes in it; its own line says which")
	}
	return err
}

// holdBuffer is the life of that program.
func holdBuffer(proc uint16, ms int) error {
	w := &worker{page: uintptr(os.Getpagesize()), proc: proc}
	debug.SetPanicOnFault(true)
	buf, err := w.known(3)
	if err != nil {
		return err
	}
	return w.mapped(3, 0, uintptr(buf.size), unix.PROT_READ|unix.PROT_WRITE, func(data []uint64) error {
		if err := w.examine(buf, data, 0, false); err != nil {
			return err
		}
		w.stamp(buf, data, 0)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return nil
	})
}

const importerFile = "/sys/kernel/debug/heap_importer/import"

func (w *worker) imports(fd int) error {
	if w.importer < 0 {
		return errSkipped
	}
	_, err := unix.Pwrite(w.importer, []byte(strconv.Itoa(fd)), 0)
	return err
}

type primeHandle struct {
	handle uint32
	flags  uint32
	fd     int32
}

const (
	primeToHandle = 0xc00c_642e // DRM_IOCTL_PRIME_FD_TO_HANDLE
	primeToFD     = 0xc00c_642d
	gemClose      = 0x4008_6409
)

// prime has vgem import the buffer. All threads share one open device, where a
// second import of a buffer finds the first one's handle: one thread closes
// what another has just been given.
func (w *worker) prime(fd int, s step) error {
	if w.card < 0 {
		return errSkipped
	}
	p := primeHandle{fd: int32(fd)}
	if err := ioctl(w.card, primeToHandle, unsafe.Pointer(&p)); err != nil {
		return err
	}
	if s.A&1 == 0 {
		back := primeHandle{handle: p.handle, flags: unix.O_CLOEXEC | unix.O_RDWR}
		if ioctl(w.card, primeToFD, unsafe.Pointer(&back)) == nil {
			unix.Close(int(back.fd))
		}
	}
	if s.A&2 == 0 {
		runtime.Gosched()
	}
	shut := [2]uint32{p.handle}
	return ioctl(w.card, gemClose, unsafe.Pointer(&shut))
}
