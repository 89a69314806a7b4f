// SPDX-License-Identifier: MIT

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/check"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

type benchFlags struct {
	format string
	heaps  []string
	sizes  []string
	count  int
	limit  time.Duration
	pause  time.Duration
}

func newBench(env *Env) *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure allocation, mapping and throughput of the heaps",
		Long: `Measure how long it takes to allocate, map, touch for the first time, sync and
free buffers of several sizes, and how fast they are written and read, side by
side for every heap: the heaps take turns, and one buffer is held at a time.

The speed of ordinary memory is measured in the same run, to compare with.`,
		Example: `  heapctl bench
  heapctl bench --heap video --size 4KiB --size 8MiB --count 1000
  heapctl bench -o svg > latency.svg`,
		Args: exactly(),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), env) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.format, "output", "o", "text", "text, json or svg")
	fl.Var((*words)(&f.heaps), "heap", "measure this heap only (may be repeated)")
	fl.StringArrayVar(&f.sizes, "size", []string{"4KiB", "64KiB", "1MiB", "8MiB", "32MiB"}, "size of the buffers (may be repeated)")
	fl.IntVar(&f.count, "count", 200, "buffers of each size")
	fl.DurationVar(&f.limit, "time", time.Second, "the most time for each size of each heap, whatever the count")
	fl.DurationVar(&f.pause, "pause", 0, "time after each buffer, for heaps that zero freed memory in the background")
	return c
}

// benchResult is the JSON of bench.
type benchResult struct {
	Format      string        `json:"format"`
	Version     int           `json:"version"`
	Kernel      string        `json:"kernel,omitempty"`
	MemoryWrite float64       `json:"memory_write_bytes_per_second"`
	MemoryRead  float64       `json:"memory_read_bytes_per_second"`
	Heaps       []check.Bench `json:"heaps"`
}

func (f *benchFlags) run(ctx context.Context, env *Env) error {
	if !slices.Contains([]string{"text", "json", "svg"}, f.format) {
		return usagef("unknown output format %q; use text, json or svg", f.format)
	}
	o := check.BenchOptions{Count: f.count, Limit: f.limit, Pause: f.pause}
	if f.count < 1 {
		return usagef("--count must be 1 or more")
	}
	for _, s := range f.sizes {
		n, err := heapcfg.ParseSize(s)
		if err != nil || n == 0 || n > math.MaxInt32 {
			return usagef("--size %s: a size between 1 byte and 2GiB, such as 64KiB", s)
		}
		o.Sizes = append(o.Sizes, n)
	}
	sort.Slice(o.Sizes, func(i, j int) bool { return o.Sizes[i] < o.Sizes[j] })
	board := openBoard("/")
	heaps, err := heapNames(board, f.heaps)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	r := benchResult{Format: "heapctl-bench", Version: 1, Kernel: board.Release, Heaps: []check.Bench{}}
	r.MemoryWrite, r.MemoryRead = check.MemorySpeed()
	show := progress(env)
	r.Heaps, err = check.RunBench(ctx, &check.Kernel{}, heaps, board.PageSize, o, func(size uint64) {
		show("measuring buffers of %s", heapcfg.FormatSize(size))
	})
	show("")
	if err != nil && ctx.Err() == nil {
		code := ExitFailed
		if errors.Is(err, dmaheap.ErrPermission) {
			code = ExitCannotTest
		}
		return &ExitError{code, err}
	}
	switch f.format {
	case "json":
		err = writeJSON(env.Stdout, r)
	case "svg":
		err = check.PlotAlloc(env.Stdout, r.Kernel, r.Heaps)
	default:
		err = benchText(env.Stdout, r)
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return &ExitError{ExitCannotTest, errors.New("interrupted; what is shown was measured before")}
	}
	return measured(r.Heaps)
}

// measured is the error of heaps that gave no buffer at all: what shows nothing is
// no success.
func measured(heaps []check.Bench) error {
	for _, h := range heaps {
		if len(h.Timings) > 0 {
			return nil
		}
	}
	return &ExitError{ExitCannotTest, errors.New("nothing was measured: the heaps have no buffer to give")}
}

// heapNames returns the heaps to use: those named, or all that may be opened.
func heapNames(board *sysinfo.Board, named []string) ([]string, error) {
	if len(named) > 0 {
		nodes, err := board.Nodes()
		if err != nil {
			return nil, noHeaps(err)
		}
		var have []string
		for _, n := range nodes {
			have = append(have, n.Name)
		}
		for _, name := range named {
			if !slices.Contains(have, name) {
				return nil, noSuchHeap(name, have)
			}
		}
		return named, nil
	}
	heaps, err := check.HeapsToUse(board)
	if err != nil {
		return nil, noHeaps(err)
	}
	if len(heaps) == 0 {
		return nil, &ExitError{ExitCannotTest, fmt.Errorf("no heap in %s that this user may open; \"heapctl check\" says why", sysinfo.HeapDir)}
	}
	return heaps, nil
}

// progress writes one line that is overwritten, on a terminal only. An empty
// line removes it.
func progress(env *Env) func(format string, args ...any) {
	if !isTerminal(env, env.Stderr) {
		return func(string, ...any) {}
	}
	return func(format string, args ...any) {
		fmt.Fprintf(env.Stderr, "\r\x1b[K%s", report.Clean(fmt.Sprintf(format, args...)))
	}
}

// synced lets two goroutines show progress, and does not remove a line that is
// not there.
func synced(show func(format string, args ...any)) func(format string, args ...any) {
	var mu sync.Mutex
	shown := false
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if format != "" || shown {
			show(format, args...)
		}
		shown = format != ""
	}
}

func benchText(w io.Writer, r benchResult) error {
	rows := [][]string{{"HEAP", "SIZE", "COUNT", "ALLOC p50", "p99", "max", "MAP", "TOUCH", "SYNC", "FREE", "WRITE", "READ"}}
	for _, b := range r.Heaps {
		for _, t := range b.Timings {
			rows = append(rows, []string{
				b.Heap, heapcfg.FormatSize(t.Size), fmt.Sprint(t.Count), micros(t.Alloc.P50), micros(t.Alloc.P99), micros(t.Alloc.Max),
				micros(t.Map.P50), micros(t.Touch.P50), micros(t.Sync.P50), micros(t.Free.P50), speed(t.Write), speed(t.Read),
			})
		}
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	for _, b := range r.Heaps {
		if b.Short != "" {
			fmt.Fprintf(w, "%s: %s\n", report.Clean(b.Heap), report.Clean(b.Short))
		}
	}
	_, err := fmt.Fprintf(w, "ordinary memory: write %s, read %s\n", speed(r.MemoryWrite), speed(r.MemoryRead))
	return err
}

func micros(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(time.Microsecond / 10).String()
}

func speed(bytesPerSecond float64) string {
	if bytesPerSecond == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f MB/s", bytesPerSecond/1e6)
}
