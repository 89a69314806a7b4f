// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A job is what the director tells a worker, by its command line.
type job struct {
	Run     int64
	Round   int
	Worker  int
	Threads int
	Steps   int
	Starve  bool
	Heaps   []string
}

// A buffer is what is known of a dma-buf.
type buffer struct {
	ino      uint32
	size     uint64
	readOnly bool
	// full says that each word of it was written once. Nothing here writes
	// zeroes, so from then on it holds none.
	full atomic.Bool
	// closed says that the CPU may not see it: the heap of a region that is
	// for devices only.
	closed bool
}

// A window is a mapping that is kept.
type window struct {
	buf   *buffer
	addr  uintptr
	bytes uintptr
	off   uint64 // in the buffer
	prot  int
}

// A slot holds a buffer. What the process does with it at once, it does under
// a read lock; only taking it away needs the slot alone. The kernel sees the
// calls of all threads at the same time either way.
type slot struct {
	mu   sync.RWMutex
	fd   int // -1: empty
	buf  *buffer
	maps []window
}

type worker struct {
	job
	page     uintptr
	proc     uint16
	heaps    []int // descriptors
	slots    [slots]slot
	socket   int // -1: this kernel has none
	importer int // -1: none
	card     int // -1: no vgem
	counts   *counters
}

// errBroken is what a worker found to be wrong with the kernel.
type errBroken struct{ what string }

func (e *errBroken) Error() string { return e.what }

func broken(format string, args ...any) error { return &errBroken{fmt.Sprintf(format, args...)} }

// fileLimit is low enough to be reached, and leaves the Go runtime its own.
const fileLimit = 200

func work(j job, counts *counters) error {
	w := &worker{job: j, page: uintptr(os.Getpagesize()), proc: uint16(j.Round*64 + j.Worker), socket: -1, importer: -1, card: -1, counts: counts}
	for i := range w.slots {
		w.slots[i].fd = -1
	}
	for _, h := range j.Heaps {
		fd, err := unix.Open("/dev/dma_heap/"+h, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", h, err)
		}
		w.heaps = append(w.heaps, fd)
	}
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err == nil {
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: w.address(j.Worker)}); err != nil {
			return err
		}
		w.socket = fd
	}
	if fd, err := unix.Open(importerFile, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		w.importer = fd
	}
	if fd, err := unix.Open("/dev/dri/card0", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		w.card = fd
	}
	// The runtime opens what it polls with when it needs it first, and does not
	// survive that it cannot.
	r, p, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer p.Close()
	limit := unix.Rlimit{Cur: fileLimit, Max: fileLimit}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}

	errs := make(chan error, j.Threads)
	for t := range j.Threads {
		go func() {
			runtime.LockOSThread()
			errs <- w.thread(t)
		}()
	}
	var first error
	for range j.Threads {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (w *worker) address(i int) string { return fmt.Sprintf("@abuse.%d.%d", w.Round, i) }

func (w *worker) thread(t int) error {
	debug.SetPanicOnFault(true)
	if w.Starve {
		// Of this thread alone, and of what it forks.
		_ = os.WriteFile("/proc/thread-self/make-it-fail", []byte("1"), 0)
	}
	for i, s := range steps(threadSeed(w.Run, w.Round, w.Worker, t), w.Steps) {
		w.counts.at(w.Worker, t, i)
		if w.Starve {
			// Under injection even starting a goroutine may kill the
			// runtime; a step that is lost here is not missed.
			runtime.Gosched()
		}
		err := w.do(s)
		var bad *errBroken
		switch {
		case errors.As(err, &bad):
			return broken("round %d worker %d thread %d step %d (%v): %s", w.Round, w.Worker, t, i, s, bad.what)
		case err == errSkipped:
			w.counts.add(s.Op, skipped)
		case err != nil:
			w.counts.add(s.Op, refused)
		default:
			w.counts.add(s.Op, done)
		}
	}
	return nil
}

var errSkipped = errors.New("nothing to do it with")

func (w *worker) do(s step) error {
	sl := &w.slots[s.Slot]
	switch s.Op {
	case opAlloc:
		return w.alloc(sl, s)
	case opClose:
		return w.close(sl, s)
	case opUnmap:
		return w.unmap(sl, s)
	case opRemap:
		return w.remap(sl, s)
	case opReceive:
		return w.receive(sl)
	case opBadAlloc:
		return w.badAlloc(s)
	case opNoFiles:
		return w.noFiles(s)
	case opNoRoom:
		return w.noRoom(s)
	case opProtect:
		return w.protect(sl, s)
	case opMap:
		return w.keepMap(sl, s)
	}
	sl.mu.RLock()
	defer sl.mu.RUnlock()
	if sl.fd < 0 {
		return errSkipped
	}
	switch s.Op {
	case opFill:
		return w.fill(sl, s)
	case opVerify:
		return w.verify(sl, s)
	case opSync:
		return w.sync(sl.fd, s)
	case opDup:
		return w.dup(sl.fd, s)
	case opSend:
		return w.send(sl.fd, s)
	case opFork:
		return w.fork(sl, s)
	case opHold:
		return w.hold(sl, s)
	case opImport:
		return w.imports(sl.fd)
	case opPrime:
		return w.prime(sl.fd, s)
	case opBadMap:
		return w.badMap(sl, s)
	case opOddCall:
		return w.oddCall(sl, s)
	case opLook:
		return w.look(sl, s)
	}
	panic("no such op: " + s.Op.String())
}

// --- allocation -------------------------------------------------------------

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
	fd, buf, err := w.newBuffer(int(s.B)%len(w.heaps), w.size(s.A), s.C&7 == 0)
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
	if s.A&3 == 0 { // the other times memory lives on by its mappings
		for _, m := range sl.maps {
			w.drop(m)
		}
		sl.maps = nil
	}
	return nil
}

// --- mappings ---------------------------------------------------------------

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

// mapped maps for as long as fn runs.
func (w *worker) mapped(fd int, off uint64, bytes uintptr, prot int, fn func([]uint64) error) error {
	at, err := mmap(0, bytes, prot, unix.MAP_SHARED, fd, off)
	if err != nil {
		return err
	}
	err = touched(func() error { return fn(words(at, bytes)) })
	if e := munmap(at, bytes); e != nil && err == nil && !w.Starve {
		err = broken("munmap: %v", e)
	}
	return err
}

func (w *worker) drop(m window) { _ = munmap(m.addr, m.bytes) }

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
	if len(sl.maps) >= 4 {
		w.drop(sl.maps[0])
		sl.maps = sl.maps[1:]
	}
	sl.maps = append(sl.maps, window{sl.buf, at, bytes, off, prot})
	return nil
}

// unmap takes a mapping away, or the front, the end or the middle of it.
func (w *worker) unmap(sl *slot, s step) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if len(sl.maps) == 0 {
		return errSkipped
	}
	i := int(s.A) % len(sl.maps)
	m := sl.maps[i]
	pages := m.bytes / w.page
	if s.B&1 == 0 || pages < 3 {
		w.drop(m)
		sl.maps = append(sl.maps[:i], sl.maps[i+1:]...)
		return nil
	}
	first := uintptr(s.C) % pages
	count := 1 + uintptr(s.D)%(pages-first)
	if err := munmap(m.addr+first*w.page, count*w.page); err != nil {
		return err
	}
	front := window{m.buf, m.addr, first * w.page, m.off, m.prot}
	skip := (first + count) * w.page
	back := window{m.buf, m.addr + skip, m.bytes - skip, m.off + uint64(skip), m.prot}
	sl.maps = append(sl.maps[:i], sl.maps[i+1:]...)
	for _, piece := range []window{front, back} {
		if piece.bytes > 0 {
			sl.maps = append(sl.maps, piece)
		}
	}
	return nil
}

const mremapDontUnmap = 4

// remap lets a mapping shrink, move, or grow: past the end of the buffer there
// must be nothing to see.
func (w *worker) remap(sl *slot, s step) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if len(sl.maps) == 0 {
		return errSkipped
	}
	i := int(s.A) % len(sl.maps)
	m := sl.maps[i]
	pages := m.bytes / w.page
	bytes := m.bytes
	flags := uintptr(unix.MREMAP_MAYMOVE)
	switch s.B % 4 {
	case 0:
		bytes = (1 + uintptr(s.C)%pages) * w.page
	case 1:
		bytes += (1 + uintptr(s.C)%64) * w.page
	case 2:
		flags |= mremapDontUnmap
	case 3:
		// To somewhere else: a place that is free for sure.
		to, err := mmap(0, bytes, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
		if err != nil {
			return err
		}
		at, _, errno := unix.Syscall6(unix.SYS_MREMAP, m.addr, m.bytes, bytes, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, to, 0)
		if errno != 0 {
			_ = munmap(to, bytes)
			// It may have been unmapped before the call failed.
			w.drop(m)
			sl.maps = append(sl.maps[:i], sl.maps[i+1:]...)
			return errno
		}
		sl.maps[i].addr = at
		return w.check(sl.maps[i])
	}
	at, _, errno := unix.Syscall6(unix.SYS_MREMAP, m.addr, m.bytes, bytes, flags, 0, 0)
	if errno != 0 {
		return errno
	}
	if flags&mremapDontUnmap != 0 {
		w.drop(m)
		m.addr = at
		w.drop(m)
		sl.maps = append(sl.maps[:i], sl.maps[i+1:]...)
		return nil
	}
	sl.maps[i].addr = at
	end := uintptr(m.buf.size - m.off)
	if bytes > end && m.prot&unix.PROT_READ != 0 {
		var seen uint64
		err := touched(func() error { seen = words(at+end, w.page)[0]; return nil })
		if err == nil {
			return broken("a mapping grew past the end of its buffer and shows %#x there", seen)
		}
	}
	sl.maps[i].bytes = min(bytes, end)
	if bytes > end {
		_ = munmap(at+end, bytes-end)
	}
	return w.check(sl.maps[i])
}

// check looks at what is seen through a mapping.
func (w *worker) check(m window) error {
	if m.prot&unix.PROT_READ == 0 {
		return nil
	}
	full := m.buf.full.Load()
	var data []uint64
	at := -1
	err := touched(func() error {
		data = words(m.addr, m.bytes)
		first := m.off / uint64(w.page)
		at = tag{w.proc, m.buf.ino}.foreign(data, first, int(w.page/8), m.off == 0, m.off+uint64(m.bytes) == m.buf.size, full)
		return nil
	})
	if err == nil && at >= 0 {
		return w.found(m.buf, data[at], m.off+uint64(at)*8)
	}
	return err
}

func (w *worker) found(buf *buffer, word, off uint64) error {
	return broken("process %d, buffer %d (%d bytes, full: %v): at offset %#x is %s", w.proc, buf.ino, buf.size, buf.full.Load(), off, describe(word))
}

func (w *worker) fill(sl *slot, s step) error {
	if sl.buf.closed {
		return errSkipped
	}
	t := tag{w.proc, sl.buf.ino}
	if len(sl.maps) > 0 && s.A&1 == 0 {
		m := sl.maps[int(s.B)%len(sl.maps)]
		if m.prot&unix.PROT_WRITE == 0 || m.buf.readOnly {
			return errSkipped
		}
		return touched(func() error {
			tag{w.proc, m.buf.ino}.fill(words(m.addr, m.bytes), m.off/uint64(w.page), int(w.page/8))
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
		t.fill(data, off/uint64(w.page), int(w.page/8))
		return nil
	})
	if err == nil && uint64(bytes) == sl.buf.size {
		sl.buf.full.Store(true)
	}
	return err
}

func (w *worker) verify(sl *slot, s step) error {
	if len(sl.maps) > 0 && s.A&1 == 0 {
		return w.check(sl.maps[int(s.B)%len(sl.maps)])
	}
	if sl.buf.closed {
		return errSkipped
	}
	full := sl.buf.full.Load()
	return w.mapped(sl.fd, 0, uintptr(sl.buf.size), unix.PROT_READ, func(data []uint64) error {
		if at := (tag{w.proc, sl.buf.ino}).foreign(data, 0, int(w.page/8), true, true, full); at >= 0 {
			return w.found(sl.buf, data[at], uint64(at)*8)
		}
		return nil
	})
}

func (w *worker) protect(sl *slot, s step) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if len(sl.maps) == 0 {
		return errSkipped
	}
	m := &sl.maps[int(s.A)%len(sl.maps)]
	if s.B&1 == 0 {
		advice := []uintptr{0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24}[s.C%22]
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.addr, m.bytes, advice); errno != 0 {
			return errno
		}
		return w.check(*m)
	}
	prot := []int{unix.PROT_NONE, unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ | unix.PROT_EXEC}[s.C&3]
	if _, _, errno := unix.Syscall(unix.SYS_MPROTECT, m.addr, m.bytes, uintptr(prot)); errno != 0 {
		return errno
	}
	if m.buf.readOnly && prot&unix.PROT_WRITE != 0 {
		return broken("mprotect made a mapping of a read-only descriptor writable")
	}
	m.prot = prot
	return nil
}

// --- more than one user -----------------------------------------------------

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
			_ = munmap(at, w.page)
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
	to := &unix.SockaddrUnix{Name: w.address(int(s.B) % 8)}
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
				_ = munmap(at, w.page)
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
	m := sl.maps[int(s.A)%len(sl.maps)]
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
		t := tag{proc, buf.ino}
		if at := t.foreign(data, 0, int(w.page/8), true, true, false); at >= 0 {
			return w.found(buf, data[at], uint64(at)*8)
		}
		t.fill(data, 0, int(w.page/8))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return nil
	})
}

// --- devices ----------------------------------------------------------------

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

// --- what must be refused ---------------------------------------------------

func (w *worker) badAlloc(s step) error {
	heap := w.heaps[int(s.A)%len(w.heaps)]
	name := w.Heaps[int(s.A)%len(w.heaps)]
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
func (w *worker) allocIntoReadOnly(heap int) error {
	at, err := mmap(0, w.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
	if err != nil {
		return err
	}
	defer func() { _ = munmap(at, w.page) }()
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
		if err == nil {
			err = munmap(at, w.page)
		}
		return err
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

// --- when something runs out ------------------------------------------------

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
		if ioctl(w.heaps[(int(s.B)+i)%len(w.heaps)], heapAlloc, unsafe.Pointer(&a)) == nil {
			unix.Close(int(a.fd))
		}
	}
	return nil
}

// most bounds what a thread takes from a heap at once: the system heap has no
// end of its own.
const most = 24 << 20

func (w *worker) noRoom(s step) error {
	heap := int(s.A) % len(w.heaps)
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
				tag{w.proc, buf.ino}.fill(data, 0, int(w.page/8))
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
		"/proc/self/numa_maps", "/sys/kernel/dma_heap/" + w.Heaps[int(s.B)%len(w.Heaps)] + "/largest_free",
		"/sys/kernel/dma_heap/" + w.Heaps[int(s.B)%len(w.Heaps)] + "/used",
	}
	i := int(s.A) % (len(files) + 1)
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
