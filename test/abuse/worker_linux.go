// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

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
		return w.change(sl, s, w.unmap)
	case opRemap:
		return w.change(sl, s, w.remap)
	case opReceive:
		return w.receive(sl)
	case opBadAlloc:
		return w.badAlloc(s)
	case opNoFiles:
		return w.noFiles(s)
	case opNoRoom:
		return w.noRoom(s)
	case opProtect:
		return w.change(sl, s, w.protect)
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
