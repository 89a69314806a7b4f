// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/check"
)

// chunkSize is that of heaps.yaml.
const chunkSize = 64 * kib

// figures is all that one boot gave.
type figures struct {
	machine string
	kernel  string
	quick   bool
	name    map[string]string // real names of the heaps
	latency []check.Bench
	chunks  check.Bench
	records []record
	plot    []byte
	tools   *tools // nil: not measured
	failed  error  // of the first command that failed; what the others gave is there
}

// record is one result of the guest program.
type record struct {
	Case, Heap    string
	Size          uint64
	Count         int
	P50, P99, Max time.Duration
	Values        map[string]float64
}

// add reads what one command of the guest printed.
func (f *figures) add(output string) error {
	if strings.HasPrefix(output, "{") {
		var b struct {
			Kernel string        `json:"kernel"`
			Heaps  []check.Bench `json:"heaps"`
		}
		if err := json.Unmarshal([]byte(output), &b); err != nil {
			return err
		}
		f.kernel = b.Kernel
		if len(b.Heaps) == 1 {
			f.chunks = b.Heaps[0]
		} else {
			f.latency = b.Heaps
		}
		return nil
	}
	for _, line := range strings.Split(output, "\n") {
		rest, ok := strings.CutPrefix(line, "PERF ")
		if !ok {
			continue
		}
		var r record
		if err := json.Unmarshal([]byte(rest), &r); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		f.records = append(f.records, r)
	}
	return nil
}

func (f *figures) draw() error {
	heaps := slices.Clone(f.latency)
	for i := range heaps {
		heaps[i].Heap = f.short(heaps[i].Heap)
	}
	var buf bytes.Buffer
	if err := check.PlotAlloc(&buf, f.kernel, heaps); err != nil {
		return err
	}
	f.plot = buf.Bytes()
	return nil
}

// kinds describes the heaps to a reader who has not seen heaps.yaml.
var kinds = map[string]string{cma: "CMA", system: "system", big: "carveout", tight: "carveout, 64MiB", tiles: "chunk"}

func (f *figures) short(real string) string {
	for short, name := range f.name {
		if name == real {
			return kinds[short]
		}
	}
	return real
}

// timing finds the latency of one size, zero where it was not measured.
func (f *figures) timing(heap string, size uint64) check.Timing {
	for _, b := range f.latency {
		if b.Heap != f.name[heap] {
			continue
		}
		for _, t := range b.Timings {
			if t.Size == size {
				return t
			}
		}
	}
	return check.Timing{}
}

// record finds a result of the guest program; heap is a short name or "".
func (f *figures) record(what, heap string, size uint64) record {
	for _, r := range f.records {
		if r.Case == what && r.Heap == f.name[heap] && (size == 0 || r.Size == size) {
			return r
		}
	}
	return record{}
}

// ratio of two times; NaN where one is missing.
func ratio(a, b time.Duration) float64 {
	if a <= 0 || b <= 0 {
		return math.NaN()
	}
	return float64(a) / float64(b)
}

// A target is one promise and what became of it.
type target struct {
	what  string
	want  string
	value float64
	unit  string
	met   bool
}

func atMost(what string, value, limit float64, unit string) target {
	return target{what, fmt.Sprintf("at most %g%s", limit, unit), value, unit, value <= limit}
}

func atLeast(what string, value, limit float64, unit string) target {
	return target{what, fmt.Sprintf("at least %g%s", limit, unit), value, unit, value >= limit}
}

// targets holds the figures against what the project promises. A figure that
// is missing is NaN, which no comparison accepts.
func (f *figures) targets() []target {
	alloc := func(heap string, size uint64) time.Duration { return f.timing(heap, size).Alloc.P50 }
	churn := f.record("churn", tight, 0)
	value := func(name string) float64 {
		if v, ok := churn.Values[name]; ok {
			return v
		}
		return math.NaN()
	}
	perChunk := func(n uint64) float64 {
		for _, t := range f.chunks.Timings {
			if t.Size == n*chunkSize {
				return float64(t.Alloc.P50) / float64(n)
			}
		}
		return math.NaN()
	}
	pool := func(size uint64) float64 {
		return ratio(f.record("pool-off", system, size).P50, f.record("pool-on", system, size).P50)
	}
	return append([]target{
		atMost("carveout, allocate 64MiB against 4KiB, clean memory there", ratio(alloc(big, 64*mib), alloc(big, 4*kib)), 2, "x"),
		atLeast("carveout against CMA, allocate 1MiB", ratio(alloc(cma, mib), alloc(big, mib)), 10, "x faster"),
		atLeast("carveout against CMA, allocate 64MiB", ratio(alloc(cma, 64*mib), alloc(big, 64*mib)), 300, "x faster"),
		atMost("carveout against CMA, 64MiB allocated, used and freed without a pause, nothing clean ahead",
			ratio(f.record("cycle-used", tight, 64*mib).P50, f.record("cycle-used", cma, 64*mib).P50), 1, "x the time"),
		atLeast("zeroing 64MiB, with all that comes with a buffer, against the kernel's clear_page on the same memory",
			100*ratio(f.record("clear", tight, 64*mib).P50, f.record("clear-again", tight, 64*mib).P50), 90, "% of its rate"),
		atLeast("carveout against CMA, map 512MiB and touch each page", ratio(f.record("map", cma, 512*mib).P50, f.record("map", big, 512*mib).P50), 20, "x faster"),
		atMost("carveout, page faults while touching 512MiB", faults(f.record("map", big, 512*mib)), 8, " faults"),
		atMost(fmt.Sprintf("carveout after %d random steps: used", churn.Count), value("used"), 0, " bytes"),
		atLeast("the same: largest free block", 100*value("largest_free")/float64(churn.Size), 100, "% of the heap"),
		atLeast("the same: allocations that succeeded, against a best-fit model", 100*value("allocated")/value("model_allocated"), 100, "% of its"),
		atLeast("page pool against mainline's system heap, 1MiB allocated and freed", pool(mib), 1.3, "x faster"),
		atLeast("page pool against mainline's system heap, 8MiB", pool(8*mib), 1.3, "x faster"),
		atLeast("page pool against mainline's system heap, 4KiB", pool(4*kib), 1, "x as fast"),
		atMost("chunk heap, cost of a chunk, 1000 against 10", perChunk(1000)/perChunk(10), 1, "x"),
	}, f.tools.targets()...)
}

func faults(r record) float64 {
	if v, ok := r.Values["faults"]; ok {
		return v
	}
	return math.NaN()
}

// markdown writes the figures as they stand in docs/performance.md.
func (f *figures) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Linux %s, %s.\n", f.kernel, f.machine)
	if f.quick {
		b.WriteString("A quick run, with a tenth of the rounds: not to be quoted.\n")
	}
	b.WriteString("\n| target | wanted | measured | |\n|---|---|---|---|\n")
	for _, t := range f.targets() {
		verdict := "met"
		if !t.met {
			verdict = "**missed**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s%s | %s |\n", t.what, t.want, number(t.value), t.unit, verdict)
	}

	b.WriteString("\nAllocation, and in brackets the time against the CMA heap's:\n\n| size | heap | median | p99 | max | map | first touch | free |\n|---|---|---|---|---|---|---|---|\n")
	for _, size := range sizes {
		base := f.timing(cma, size)
		for _, heap := range []string{cma, system, big, tiles} {
			t := f.timing(heap, size)
			if t.Count == 0 {
				continue
			}
			against := ""
			if heap != cma {
				against = fmt.Sprintf(" (%sx)", number(ratio(t.Alloc.P50, base.Alloc.P50)))
			}
			fmt.Fprintf(&b, "| %s | %s | %s%s | %s | %s | %s | %s | %s |\n", heapcfg.FormatSize(size), kinds[heap], short(t.Alloc.P50), against,
				short(t.Alloc.P99), short(t.Alloc.Max), short(t.Map.P50), short(t.Touch.P50), short(t.Free.P50))
		}
	}

	for _, c := range []struct{ id, head string }{
		{"cycle", "Allocate and free in turn without a pause, the method of mainline's `dmabuf_heap_bench`: the buffer is not looked at"},
		{"cycle-used", "The same with a buffer that was written to"},
		{"pool-off", "System heap without its page pool, buffers allocated and freed with a pause after each"},
		{"pool-on", "The same with the page pool"},
		{"map", "Map a buffer and write to each page of it once"},
		{"idle", "Allocate on an idle machine, for comparison with what follows"},
		{"full", "Allocate while the kernel has lent out the CMA area, to memory of programs, and has to move its pages away"},
		{"pinned", "The same while one page in each 2 MiB of the area cannot be moved, as one that a device reads or writes"},
	} {
		fmt.Fprintf(&b, "\n%s:\n\n| size | heap | median | p99 | max | |\n|---|---|---|---|---|---|\n", c.head)
		for _, r := range f.records {
			if r.Case != c.id {
				continue
			}
			note := ""
			if v, ok := r.Values["given"]; ok {
				note = fmt.Sprintf("%.0f%% succeeded", 100*v)
			}
			if v, ok := r.Values["lent"]; ok {
				note += fmt.Sprintf(", %.0f%% of the area in use, %.0f pages moved", 100*v, r.Values["moved"])
			}
			if v, ok := r.Values["faults"]; ok {
				note = fmt.Sprintf("%.0f page faults", v)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", heapcfg.FormatSize(r.Size), f.short(r.Heap), short(r.P50), short(r.P99), short(r.Max), note)
		}
	}
	b.WriteString("\nBuffers of random sizes from a page to an eighth of the heap, allocated, written to and freed without a pause, about as many as fit:\n\n| heap | steps | median | p99 | max | refused | a best-fit model refuses |\n|---|---|---|---|---|---|---|\n")
	for _, r := range f.records {
		if r.Case != "churn" {
			continue
		}
		share := func(refused, allocated string) string {
			n, of := r.Values[refused], r.Values[refused]+r.Values[allocated]
			return fmt.Sprintf("%.0f of %.0f, %.2f%%", n, of, 100*n/of)
		}
		fmt.Fprintf(&b, "| %s, %s | %d | %s | %s | %s | %s | %s |\n", f.short(r.Heap), heapcfg.FormatSize(r.Size), r.Count,
			short(r.P50), short(r.P99), short(r.Max), share("refused", "allocated"), share("model_refused", "model_allocated"))
	}
	return b.String()
}

// number rounds for reading; a ratio has no more than three digits to tell.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "not measured "
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(100 * time.Nanosecond).String()
	}
}
