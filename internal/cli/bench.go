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
	"strings"
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
		Args: cobra.NoArgs,
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
	r := benchResult{Format: "heapctl-bench", Version: 1, Kernel: board.Release, Heaps: []check.Bench{}}
	r.MemoryWrite, r.MemoryRead = check.MemorySpeed()
	show := progress(env)
	r.Heaps, err = check.RunBench(ctx, check.Kernel{}, heaps, board.PageSize, o, func(size uint64) {
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
		err = benchSVG(env.Stdout, r)
	default:
		err = benchText(env.Stdout, r)
	}
	if err == nil && ctx.Err() != nil {
		return &ExitError{ExitCannotTest, errors.New("interrupted; what is shown was measured before")}
	}
	return err
}

// heapNames returns the heaps to use: those named, or all that may be opened.
func heapNames(board *sysinfo.Board, named []string) ([]string, error) {
	if len(named) > 0 {
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

// colors tell the heaps of the plot apart, also for readers who see no red or
// no green.
var colors = [...]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}

// benchSVG plots the allocation latency over the size, both logarithmic: the
// median as a line, up to the 99th percentile as a bar.
func benchSVG(w io.Writer, r benchResult) error {
	const width, height, left, right, top, bottom = 760, 420, 80, 180, 40, 60
	minX, maxX, minY, maxY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, b := range r.Heaps {
		for _, t := range b.Timings {
			minX, maxX = min(minX, math.Log2(float64(t.Size))), max(maxX, math.Log2(float64(t.Size)))
			minY, maxY = min(minY, math.Log10(float64(max(t.Alloc.P50, 1)))), max(maxY, math.Log10(float64(max(t.Alloc.P99, 1))))
		}
	}
	if math.IsInf(minX, 0) {
		minX, maxX, minY, maxY = 12, 25, 3, 6
	}
	minY, maxY = math.Floor(minY), math.Max(math.Ceil(maxY), math.Floor(minY)+1)
	maxX = math.Max(maxX, minX+1)
	x := func(size uint64) float64 {
		return left + (math.Log2(float64(size))-minX)/(maxX-minX)*(width-left-right)
	}
	y := func(d time.Duration) float64 {
		return height - bottom - (math.Log10(float64(max(d, 1)))-minY)/(maxY-minY)*(height-top-bottom)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height)
	fmt.Fprintf(&s, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"%d\" y=\"20\">Time to allocate a buffer: median, and up to the 99th percentile. Linux %s</text>\n", left, svgText(r.Kernel))
	for p := minY; p <= maxY; p++ {
		d := time.Duration(math.Pow(10, p))
		fmt.Fprintf(&s, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%v</text>\n", left, y(d), width-right, left-6, y(d)+4, d)
	}
	seen := map[uint64]bool{}
	for i, b := range r.Heaps {
		color := colors[i%len(colors)]
		var line strings.Builder
		for _, t := range b.Timings {
			if !seen[t.Size] {
				seen[t.Size] = true
				fmt.Fprintf(&s, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x(t.Size), height-bottom+20, heapcfg.FormatSize(t.Size))
			}
			fmt.Fprintf(&line, "%.1f,%.1f ", x(t.Size), y(t.Alloc.P50))
			fmt.Fprintf(&s, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\" stroke-opacity=\"0.5\" stroke-width=\"3\"/>\n", x(t.Size), y(t.Alloc.P50), y(t.Alloc.P99), color)
		}
		fmt.Fprintf(&s, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", strings.TrimSpace(line.String()), color)
		fmt.Fprintf(&s, "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", width-right+10, top+10+18*i, color, svgText(b.Heap))
	}
	s.WriteString("</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}

func svgText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(report.Clean(s))
}
