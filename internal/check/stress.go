// SPDX-License-Identifier: MIT

package check

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// StressOptions choose how a heap is stressed.
type StressOptions struct {
	Workers  int
	Duration time.Duration // 0: by Count alone
	Count    int           // allocations of all workers; 0: by Duration alone
	Seed     int64         // the same seed gives the same sizes and order to each worker
	Most     uint64        // bytes held at once, over all workers
	Largest  uint64        // of one buffer
	Patience time.Duration // how long the kernel may be silent; 0 takes 90 seconds
}

// stressStats is what the workers did.
type stressStats struct {
	allocs, full, verified atomic.Uint64
	bytes                  atomic.Uint64
	held, peak             atomic.Int64
}

// errStress stops all workers: one of them found memory broken.
type errStress struct {
	what, expected, found, evidence, advice string
	stuck                                   bool // workers are in the kernel still
}

func (e *errStress) Error() string { return e.what }

// RunStress allocates, maps, verifies and frees in parallel. Whatever ends it,
// the process holds nothing afterwards: memory lives by descriptors, and the
// kernel takes those of a killed process back.
func RunStress(ctx context.Context, board *sysinfo.Board, dev Device, heap string, o StressOptions, rep *report.Report, emit func(report.Result)) {
	put := func(d Def, out *outcome, took time.Duration) {
		emit(rep.Add(report.Result{ID: d.ID, Title: d.Title, Heap: heap, Status: out.status, Message: out.message, Expected: out.expected,
			Found: out.found, Evidence: out.evidence, Advice: out.advice, Blocked: out.blocked, Measurements: out.measured, Seconds: took.Seconds()}))
	}
	if deviceOnly(board, heap) {
		put(defStress, skip("the memory of this heap is for devices alone, so there is nothing that could be written and verified"), 0)
		return
	}
	before := board.Usage(heap)
	files, filesErr := dev.OpenFiles()
	h, err := dev.Open(heap)
	if err != nil {
		o := fail("cannot open the heap: %v", err).because("an open heap", fmt.Sprint(err), sysinfo.HeapDir+"/"+heap).advise("heapctl check says why")
		if errors.Is(err, dmaheap.ErrPermission) {
			o = blocked("cannot open the heap: %v", err)
		}
		put(defStress, o, 0)
		return
	}
	start := time.Now()
	stats, err := stress(ctx, dev, h, board.PageSize, o)
	took := time.Since(start)
	h.Close()

	out := pass("%d buffers, %s in all, at most %s at once, %d verified, %d times full; seed %d",
		stats.allocs.Load(), heapcfg.AboutSize(stats.bytes.Load()), heapcfg.AboutSize(uint64(stats.peak.Load())),
		stats.verified.Load(), stats.full.Load(), o.Seed)
	var broken *errStress
	switch {
	case errors.As(err, &broken):
		out = fail("%s; seed %d", broken.what, o.Seed).because(broken.expected, broken.found, broken.evidence).advise("%s", broken.advice)
	case err != nil:
		out = fail("%v; seed %d", err, o.Seed).because("buffers", fmt.Sprint(err), sysinfo.HeapDir+"/"+heap).advise("see dmesg")
	case stats.allocs.Load() == 0:
		out = blocked("no buffer could be had: the heap is full")
	}
	out = out.measure("buffers", float64(stats.allocs.Load()), "buffers").
		measure("allocation_rate", float64(stats.allocs.Load())/took.Seconds(), "buffers/second").
		measure("peak", float64(stats.peak.Load()), "bytes")
	put(defStress, out, took)
	lost := skip("the kernel still holds buffers of this run")
	if broken == nil || !broken.stuck {
		lost = stressLost(board, dev, heap, before, files, filesErr)
	}
	put(defStressLost, lost, 0)
}

// deviceOnly reports whether the live device tree keeps the processor off the
// memory of a heap.
func deviceOnly(board *sysinfo.Board, heap string) bool {
	layout, err := board.Layout()
	if err != nil {
		return false
	}
	for _, e := range layout.Expect() {
		if e.Name == heap && e.Access == heapcfg.DeviceOnly {
			return true
		}
	}
	return false
}

// stressLost compares what is used, and what is open, with the time before.
func stressLost(board *sysinfo.Board, dev Device, heap string, before sysinfo.Usage, files int, filesErr error) *outcome {
	if now, err := dev.OpenFiles(); filesErr == nil && err == nil && now != files {
		return fail("%d descriptors are open, %d were before", now, files).because(fmt.Sprint(files), fmt.Sprint(now), "/proc/self/fd").
			advise("the kernel leaves descriptors behind: compare dma_heap_ioctl_allocate() with mainline")
	}
	if !before.Used.Known() {
		return skip("this kernel does not tell how much of the heap is used")
	}
	end := time.Now().Add(recovery)
	for {
		now := board.Usage(heap).Used
		if now.Known() && now.Value <= before.Used.Value {
			return pass("%s in use, as before", heapcfg.FormatSize(now.Value))
		}
		if time.Now().After(end) {
			return fail("%s are in use, %s were before", heapcfg.FormatSize(now.Value), heapcfg.FormatSize(before.Used.Value)).
				because(heapcfg.FormatSize(before.Used.Value), heapcfg.FormatSize(now.Value), before.Used.From).
				advise("if no other program took it meanwhile, the driver loses memory")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stress runs the workers until the time or the count is up, or one fails.
func stress(ctx context.Context, dev Device, h Heap, page uint64, o StressOptions) (*stressStats, error) {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Duration)
		defer cancel()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stats := &stressStats{}
	left := atomic.Int64{}
	left.Store(int64(o.Count))
	var wg sync.WaitGroup
	for i := range o.Workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w := stressWorker{h: h, page: page, o: o, stats: stats, left: &left, rng: newRandom(uint64(o.Seed) + uint64(i)), id: uint64(i + 1)}
			if err := w.run(ctx); err != nil {
				stop(err)
			}
		}()
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	if !await(done, nil, dev, o.Patience) {
		return stats, &errStress{fmt.Sprintf("the kernel did not answer within %v", o.Patience), "an answer", "none", "ioctl or mmap of the heap",
			stuckAdvice, true}
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return stats, err
	}
	return stats, nil
}

type stressWorker struct {
	h     Heap
	page  uint64
	o     StressOptions
	stats *stressStats
	left  *atomic.Int64
	rng   random
	id    uint64
	next  uint64
	held  []heldBuffer
}

type heldBuffer struct {
	Buffer
	seed uint64
}

func (w *stressWorker) run(ctx context.Context) (err error) {
	defer func() {
		for _, b := range w.held {
			w.release(b)
		}
	}()
	defer onFault(func(found string) {
		err = &errStress{faulted, wholeMapping, found, "mmap of the dma-buf",
			"the region has no RAM behind it, or the driver's mapping is wrong: see dmesg", false}
	})()
	for ctx.Err() == nil {
		switch {
		case len(w.held) > 0 && w.rng.below(3) == 0:
			if err := w.verifyOne(); err != nil {
				return err
			}
		default:
			if more, err := w.take(); err != nil {
				return err
			} else if !more {
				return w.verifyAll()
			}
		}
	}
	return w.verifyAll()
}

// take allocates a buffer, looks whether it is zero and fills it. When there is
// no room it gives one back instead. It reports whether there is more to do.
func (w *stressWorker) take() (more bool, err error) {
	// Sizes are spread over orders of magnitude, as those of real users.
	size := w.page << w.rng.below(bitsBetween(w.page, w.o.Largest))
	size += w.page * uint64(w.rng.below(3))
	size = min(size, w.o.Largest)
	if w.stats.held.Add(int64(size)) > int64(w.o.Most) {
		w.stats.held.Add(-int64(size))
		return true, w.drop()
	}
	if w.o.Count > 0 && w.left.Add(-1) < 0 {
		w.stats.held.Add(-int64(size))
		return false, nil
	}
	b, err := w.h.AllocFlags(size, dmaheap.ReadWrite, 0)
	if err != nil {
		w.stats.held.Add(-int64(size))
		if errors.Is(err, dmaheap.ErrNoMemory) {
			w.stats.full.Add(1)
			return true, w.drop()
		}
		return false, err
	}
	w.stats.held.Add(int64(b.Size()) - int64(size))
	for peak := w.stats.peak.Load(); ; peak = w.stats.peak.Load() {
		if now := w.stats.held.Load(); now <= peak || w.stats.peak.CompareAndSwap(peak, now) {
			break
		}
	}
	w.stats.allocs.Add(1)
	w.stats.bytes.Add(b.Size())
	w.next++
	held := heldBuffer{b, w.id<<32 | w.next}
	w.held = append(w.held, held)
	at, err := firstNonZero(b)
	if err == nil && at >= 0 {
		return false, &errStress{fmt.Sprintf("a new buffer holds old bytes, at offset %#x", at), "zeroes", "other bytes", "mmap of the dma-buf",
			"the heap's driver must clear memory before it hands it out", false}
	}
	if err == nil {
		err = fill(b, held.seed)
	}
	return true, err
}

func (w *stressWorker) verifyOne() error {
	i := w.rng.below(len(w.held))
	if err := w.check(w.held[i]); err != nil {
		return err
	}
	if w.rng.below(2) == 0 {
		w.forget(i)
	}
	return nil
}

func (w *stressWorker) verifyAll() error {
	for _, b := range w.held {
		if err := w.check(b); err != nil {
			return err
		}
	}
	return nil
}

func (w *stressWorker) check(b heldBuffer) error {
	at, err := verify(b.Buffer, b.seed)
	if err != nil {
		return err
	}
	if at >= 0 {
		return &errStress{fmt.Sprintf("a buffer of %s was overwritten at offset %#x while it was in use", heapcfg.FormatSize(b.Size()), at),
			"the pattern of this buffer", "other bytes", "mmap of the dma-buf",
			"two buffers share memory, or something else uses the region: look for OVERLAP in dmesg", false}
	}
	w.stats.verified.Add(1)
	return nil
}

// drop gives one buffer back to make room, or lets the others do so.
func (w *stressWorker) drop() error {
	if len(w.held) == 0 {
		time.Sleep(time.Millisecond)
		return nil
	}
	i := w.rng.below(len(w.held))
	if err := w.check(w.held[i]); err != nil {
		return err
	}
	w.forget(i)
	return nil
}

func (w *stressWorker) forget(i int) {
	w.release(w.held[i])
	w.held[i] = w.held[len(w.held)-1]
	w.held = w.held[:len(w.held)-1]
}

func (w *stressWorker) release(b heldBuffer) {
	w.stats.held.Add(-int64(b.Size()))
	b.Close()
}

// bitsBetween returns how many powers of two there are from a to b, at least 1.
func bitsBetween(a, b uint64) int {
	n := 1
	for a<<1 <= b {
		a <<= 1
		n++
	}
	return n
}
