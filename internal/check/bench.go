// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// BenchOptions choose what is measured.
type BenchOptions struct {
	Sizes []uint64      // buffer sizes; those a heap cannot give are left out
	Count int           // allocations of each size
	Limit time.Duration // and at most this long for each size of each heap
	// Pause follows each buffer. A heap that zeroes freed memory in the
	// background does so meanwhile.
	Pause time.Duration
}

// A Spread is the distribution of a latency.
type Spread struct {
	P50 time.Duration `json:"p50_ns"`
	P90 time.Duration `json:"p90_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// A Timing is what one size cost on one heap. Touch is the first write to
// every page of a new mapping; Free is unmapping and closing.
type Timing struct {
	Size  uint64 `json:"size"`
	Count int    `json:"count"`
	Alloc Spread `json:"alloc"`
	Map   Spread `json:"map"`
	Touch Spread `json:"touch"`
	Free  Spread `json:"free"`
	// Bytes per second; 0 where the CPU may not see the memory.
	Write float64 `json:"write_bytes_per_second"`
	Read  float64 `json:"read_bytes_per_second"`
	Sync  Spread  `json:"sync"`
}

// A Bench is the measurement of one heap.
type Bench struct {
	Heap    string   `json:"heap"`
	Timings []Timing `json:"timings"`
	// Short names the first size that the heap could not give, and why.
	Short string `json:"short,omitempty"`
}

// RunBench measures the heaps side by side. For each size they take turns, and
// another one begins each round, so that what disturbs the machine for a while
// disturbs all of them. It holds one buffer at a time. before, if not nil, is
// told what is measured next.
//
// An error names the heap; what was measured until then is returned with it.
func RunBench(ctx context.Context, dev Device, heaps []string, page uint64, o BenchOptions, before func(size uint64)) ([]Bench, error) {
	runs := make([]benchRun, len(heaps))
	result := func() []Bench {
		out := make([]Bench, len(runs))
		for i, r := range runs {
			out[i] = r.Bench
		}
		return out
	}
	for i, name := range heaps {
		runs[i].Bench = Bench{Heap: name, Timings: []Timing{}}
		h, err := dev.Open(name)
		if err != nil {
			return result()[:i], err
		}
		defer h.Close()
		runs[i].h = h
	}
	text := bytes.Repeat(pattern(1), 16)
	for _, size := range o.Sizes {
		if before != nil {
			before(size)
		}
		for i := range runs {
			runs[i].s = samples{}
		}
		for n := 0; n < o.Count && ctx.Err() == nil; n++ {
			busy := false
			for i := range runs {
				r := &runs[(n+i)%len(runs)]
				if r.Short != "" || (n > 0 && r.s.took >= o.Limit) || ctx.Err() != nil {
					continue
				}
				if o.Pause > 0 {
					wake(r.h, page)
				}
				err := r.s.take(r.h, size, page, text)
				if errors.Is(err, dmaheap.ErrNoMemory) {
					r.Short = fmt.Sprintf("no buffer of %s: %v", heapcfg.FormatSize(size), dmaheap.ErrNoMemory)
					continue
				}
				if err != nil {
					return result(), fmt.Errorf("%s: %w", r.Heap, err)
				}
				busy = true
				pause(ctx, o.Pause)
			}
			if !busy {
				break
			}
		}
		for i := range runs {
			if r := &runs[i]; r.s.count > 0 {
				r.Timings = append(r.Timings, r.s.timing(size))
			}
		}
	}
	return result(), ctx.Err()
}

// PlotAlloc draws the time to allocate over the size, a line for each heap.
func PlotAlloc(w io.Writer, kernel string, heaps []Bench) error {
	series := make([]report.Series, len(heaps))
	for i, b := range heaps {
		series[i].Name = b.Heap
		for _, t := range b.Timings {
			series[i].Points = append(series[i].Points, report.Point{Size: t.Size, P50: t.Alloc.P50, P99: t.Alloc.P99})
		}
	}
	return report.Plot(w, "Time to allocate a buffer: median, and up to the 99th percentile. Linux "+kernel, series)
}

// wake allocates a page and gives it back, so that what is measured after a
// pause is the heap, and not a processor that comes out of its sleep.
func wake(h Heap, page uint64) {
	if b, err := h.AllocFlags(page, dmaheap.ReadWrite, 0); err == nil {
		b.Close()
	}
}

// A benchRun is one heap on its way through the sizes.
type benchRun struct {
	Bench
	h Heap
	s samples
}

// samples are the single measurements of one size.
type samples struct {
	count                             int
	alloc, mapping, touch, free, sync []time.Duration
	wrote, read, took                 time.Duration
	moved                             uint64
}

// take measures one buffer. A heap whose memory the CPU may not see gives only
// the time of the allocation.
func (s *samples) take(h Heap, size, page uint64, text []byte) (err error) {
	begin := time.Now()
	defer func() { s.took += time.Since(begin) }()
	defer faultInto(&err)()
	start := time.Now()
	b, err := h.AllocFlags(size, dmaheap.ReadWrite, 0)
	took := time.Since(start)
	if err != nil {
		return err
	}
	s.alloc = append(s.alloc, took)
	start = time.Now()
	m, err := b.MapRange(0, b.Size(), dmaheap.ReadWrite)
	took = time.Since(start)
	if err != nil {
		b.Close()
		if errors.Is(err, dmaheap.ErrInvalid) || errors.Is(err, dmaheap.ErrUnsupported) || errors.Is(err, dmaheap.ErrPermission) {
			s.count++
			return nil
		}
		return err
	}
	s.mapping = append(s.mapping, took)
	data := m.Bytes()
	start = time.Now()
	for i := uint64(0); i < uint64(len(data)); i += page {
		data[i] = 1
	}
	s.touch = append(s.touch, time.Since(start))
	start = time.Now()
	err = b.Begin(dmaheap.ReadWrite)
	if err == nil {
		err = b.End(dmaheap.ReadWrite)
	}
	s.sync = append(s.sync, time.Since(start))
	if err == nil {
		start = time.Now()
		for i := 0; i < len(data); i += len(text) {
			copy(data[i:], text)
		}
		s.wrote += time.Since(start)
		start = time.Now()
		same := true
		for i := 0; i < len(data); i += len(text) {
			part := data[i:min(i+len(text), len(data))]
			same = same && bytes.Equal(part, text[:len(part)])
		}
		s.read += time.Since(start)
		s.moved += uint64(len(data))
		if !same {
			err = errCorrupt
		}
	}
	start = time.Now()
	m.Close()
	b.Close()
	s.free = append(s.free, time.Since(start))
	if err == nil {
		s.count++
	}
	return err
}

func (s *samples) timing(size uint64) Timing {
	t := Timing{
		Size: size, Count: s.count,
		Alloc: spread(s.alloc), Map: spread(s.mapping), Touch: spread(s.touch), Free: spread(s.free), Sync: spread(s.sync),
	}
	t.Write, t.Read = rate(s.moved, s.wrote), rate(s.moved, s.read)
	return t
}

// rate returns bytes per second, 0 where a coarse clock saw no time pass.
func rate(bytes uint64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(bytes) / took.Seconds()
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

var (
	errCorrupt = errors.New("the memory does not hold what was written: see heapctl check --full")
	errFault   = errors.New(faulted)
)

func spread(d []time.Duration) Spread {
	if len(d) == 0 {
		return Spread{}
	}
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	at := func(percent int) time.Duration { return d[(len(d)-1)*percent/100] }
	return Spread{at(50), at(90), at(99), d[len(d)-1]}
}

// MemorySpeed is how fast this machine copies and compares ordinary memory, to
// hold the speed of a heap against.
func MemorySpeed() (write, read float64) {
	const size, rounds = 4 << 20, 16
	p := bytes.Repeat(pattern(1), 16)
	data := make([]byte, size)
	copy(data, p)
	start := time.Now()
	for range rounds {
		for i := 0; i < size; i += len(p) {
			copy(data[i:], p)
		}
	}
	write = rate(size*rounds, time.Since(start))
	start = time.Now()
	same := true
	for range rounds {
		for i := 0; i < size; i += len(p) {
			same = same && bytes.Equal(data[i:i+len(p)], p)
		}
	}
	read = rate(size*rounds, time.Since(start))
	if !same {
		read = 0
	}
	return write, read
}

// HeapsToUse returns the heaps that bench and stress take when none is named:
// every heap that the caller may open, and of those on the same memory one.
func HeapsToUse(b *sysinfo.Board) ([]string, error) {
	heaps, err := b.Heaps()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, h := range heaps {
		if h.SharesWith == "" && b.MayOpen(h.Node) {
			out = append(out, h.Name)
		}
	}
	return out, nil
}
