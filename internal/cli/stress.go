// SPDX-License-Identifier: MIT

package cli

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/check"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

type stressFlags struct {
	format   string
	heaps    []string
	workers  int
	duration time.Duration
	count    int
	seed     int64
	most     string
	largest  string
	pressure string
}

func newStress(env *Env) *cobra.Command {
	var f stressFlags
	c := &cobra.Command{
		Use:   "stress",
		Short: "Allocate, map, verify and free in parallel",
		Long: `Allocate, map, verify and free buffers of random sizes in parallel, one heap
after the other, and see at the end that all of it came back.

It takes memory that running programs may need; --most bounds it. Whatever ends
it, Ctrl-C or a kill, leaves no buffer behind. A failure prints the seed that
repeats its sizes and its order.`,
		Example: `  heapctl stress --duration 1m
  heapctl stress --heap video --workers 8 --count 100000 --seed 7
  heapctl stress --pressure 200MiB`,
		Args: exactly(),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), env) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.format, "output", "o", "text", "how the result is written: "+strings.Join(report.Formats(), ", "))
	fl.Var((*words)(&f.heaps), "heap", "stress this heap only (may be repeated)")
	fl.IntVar(&f.workers, "workers", runtime.NumCPU(), "how many work at once")
	fl.DurationVar(&f.duration, "duration", 10*time.Second, "how long for each heap; 0 is until the count is reached")
	fl.IntVar(&f.count, "count", 0, "how many buffers for each heap; 0 is until the time is up")
	fl.Int64Var(&f.seed, "seed", 0, "repeat the run of this seed; 0 takes a new one")
	fl.StringVar(&f.most, "most", "32MiB", "hold at most this much of a heap at once")
	fl.StringVar(&f.largest, "largest", "4MiB", "the largest buffer")
	fl.StringVar(&f.pressure, "pressure", "", "keep this much ordinary memory in use meanwhile, so that CMA has pages to move away")
	return c
}

func (f *stressFlags) options() (check.StressOptions, uint64, error) {
	o := check.StressOptions{Workers: f.workers, Duration: f.duration, Count: f.count, Seed: f.seed}
	var pressure uint64
	for _, s := range []struct {
		name, text string
		to         *uint64
	}{{"--most", f.most, &o.Most}, {"--largest", f.largest, &o.Largest}, {"--pressure", f.pressure, &pressure}} {
		if s.text == "" {
			continue
		}
		n, err := heapcfg.ParseSize(s.text)
		if err != nil {
			return o, 0, usagef("%s %s: %v", s.name, s.text, err)
		}
		*s.to = n
	}
	page := uint64(4096)
	switch {
	case f.workers < 1 || f.workers > 1024:
		return o, 0, usagef("--workers must be between 1 and 1024")
	case f.duration <= 0 && f.count <= 0:
		return o, 0, usagef("state --duration or --count")
	case f.count < 0 || f.duration < 0:
		return o, 0, usagef("--count and --duration cannot be negative")
	case o.Largest < page || o.Most < o.Largest:
		return o, 0, usagef("--largest must be a page at least, and --most no less than --largest")
	}
	if o.Seed == 0 {
		o.Seed = time.Now().UnixNano() & 0xffffffff
	}
	return o, pressure, nil
}

func (f *stressFlags) run(ctx context.Context, env *Env) error {
	if !slices.Contains(report.Formats(), f.format) {
		return usagef("unknown output format %q; use one of %s", f.format, strings.Join(report.Formats(), ", "))
	}
	o, pressure, err := f.options()
	if err != nil {
		return err
	}
	board := openBoard("/")
	heaps, err := heapNames(board, f.heaps)
	if err != nil {
		return err
	}
	ballast, err := load(board, pressure)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	r := &report.Report{Tool: version(), Mode: fmt.Sprintf("stress with %d workers, seed %d", o.Workers, o.Seed),
		Good: "every buffer kept its bytes, and all of them came back"}
	if board.Release != "" {
		r.Kernel = fmt.Sprintf("Linux %s, %s pages", board.Release, heapcfg.FormatSize(board.PageSize))
	}
	var text *report.Text
	if f.format == "text" {
		text = report.NewText(env.Stdout, report.Options{Color: colored(env, env.Stdout)})
		_ = text.Start(r)
	}
	start := time.Now()
	show := progress(env)
	for _, name := range heaps {
		if ctx.Err() != nil {
			break
		}
		show("stressing %s", name)
		check.RunStress(ctx, board, &check.Kernel{}, name, o, r, func(res report.Result) {
			show("")
			if text != nil {
				_ = text.Result(&res)
			}
		})
	}
	runtime.KeepAlive(ballast)
	r.Interrupted = ctx.Err() != nil
	r.Finish(time.Since(start).Seconds())
	if text != nil {
		err = text.End(r)
	} else {
		err = report.Write(env.Stdout, r, f.format, report.Options{})
	}
	if err != nil {
		return &ExitError{ExitCannotTest, err}
	}
	if code := r.Summary.Exit; code != ExitOK {
		return &ExitError{Code: code}
	}
	return nil
}

// load takes ordinary memory and writes to each page, so that it is in use.
func load(board *sysinfo.Board, size uint64) ([]byte, error) {
	free, known := board.MemAvailable()
	if !known {
		free = math.MaxInt
	}
	if free = min(free, math.MaxInt); size > free {
		return nil, &ExitError{ExitCannotTest, fmt.Errorf("--pressure %s: the board has %s of memory to spare", heapcfg.FormatSize(size), heapcfg.AboutSize(free))}
	}
	data := make([]byte, size)
	for i := uint64(0); i < size; i += board.PageSize {
		data[i] = byte(i>>12) | 1
	}
	return data, nil
}
