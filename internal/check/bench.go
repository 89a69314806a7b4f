// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// BenchOptions choose what is measured.
type BenchOptions struct {
	Sizes []uint64      // buffer sizes; those a heap cannot give are left out
	Count int           // allocations of each size
	Limit time.Duration // and at most this long for each size
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

// RunBench measures the heap. It holds one buffer at a time.
func RunBench(ctx context.Context, dev Device, heap string, page uint64, o BenchOptions) (Bench, error) {
	b := Bench{Heap: heap, Timings: []Timing{}}
	h, err := dev.Open(heap)
	if err != nil {
		return b, err
	}
	defer h.Close()
	for _, size := range o.Sizes {
		t, err := benchSize(ctx, h, size, page, o)
		if errors.Is(err, dmaheap.ErrNoMemory) {
			b.Short = fmt.Sprintf("no buffer of %s: %v", heapcfg.FormatSize(size), dmaheap.ErrNoMemory)
			break
		}
		if err != nil {
			return b, err
		}
		if t.Count > 0 {
			b.Timings = append(b.Timings, t)
		}
		if ctx.Err() != nil {
			return b, ctx.Err()
		}
	}
	return b, nil
}

func benchSize(ctx context.Context, h Heap, size, page uint64, o BenchOptions) (Timing, error) {
	t := Timing{Size: size}
	var alloc, mapping, touch, free, syncs []time.Duration
	var wrote, read time.Duration
	var moved uint64
	end := time.Now().Add(o.Limit)
	p := bytes.Repeat(pattern(1), 16)
	for n := 0; n < o.Count && ctx.Err() == nil && (n == 0 || time.Now().Before(end)); n++ {
		start := time.Now()
		b, err := h.AllocFlags(size, dmaheap.ReadWrite, 0)
		alloc = append(alloc, time.Since(start))
		if err != nil {
			return t, err
		}
		start = time.Now()
		m, err := b.MapRange(0, b.Size(), dmaheap.ReadWrite)
		if err != nil {
			b.Close()
			if errors.Is(err, dmaheap.ErrInvalid) || errors.Is(err, dmaheap.ErrUnsupported) || errors.Is(err, dmaheap.ErrPermission) {
				t.Count, t.Alloc = n+1, spread(alloc) // a device-only heap
				continue
			}
			return t, err
		}
		mapping = append(mapping, time.Since(start))
		data := m.Bytes()
		start = time.Now()
		for i := uint64(0); i < uint64(len(data)); i += page {
			data[i] = 1
		}
		touch = append(touch, time.Since(start))
		start = time.Now()
		err = b.Begin(dmaheap.ReadWrite)
		if err == nil {
			err = b.End(dmaheap.ReadWrite)
		}
		syncs = append(syncs, time.Since(start))
		if err == nil {
			start = time.Now()
			for i := 0; i < len(data); i += len(p) {
				copy(data[i:], p)
			}
			wrote += time.Since(start)
			start = time.Now()
			same := true
			for i := 0; i < len(data); i += len(p) {
				part := data[i:min(i+len(p), len(data))]
				same = same && bytes.Equal(part, p[:len(part)])
			}
			read += time.Since(start)
			moved += uint64(len(data))
			if !same {
				err = errCorrupt
			}
		}
		start = time.Now()
		m.Close()
		b.Close()
		free = append(free, time.Since(start))
		if err != nil {
			return t, err
		}
		t.Count = n + 1
	}
	t.Alloc, t.Map, t.Touch, t.Free, t.Sync = spread(alloc), spread(mapping), spread(touch), spread(free), spread(syncs)
	if wrote > 0 && read > 0 {
		t.Write, t.Read = float64(moved)/wrote.Seconds(), float64(moved)/read.Seconds()
	}
	return t, nil
}

var errCorrupt = errors.New("the memory does not hold what was written: see heapctl check --full")

func spread(d []time.Duration) Spread {
	if len(d) == 0 {
		return Spread{}
	}
	slices.Sort(d)
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
	write = size * rounds / time.Since(start).Seconds()
	start = time.Now()
	same := true
	for range rounds {
		for i := 0; i < size; i += len(p) {
			same = same && bytes.Equal(data[i:i+len(p)], p)
		}
	}
	read = size * rounds / time.Since(start).Seconds()
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
