// SPDX-License-Identifier: MIT

//go:build linux

// Guest measures, inside a virtual machine, what `heapctl bench` does not: the
// cases that need a whole heap, a full machine or a long time. Each line it
// prints that begins with "PERF " is one result as JSON.
//
//	guest CASE [-heap NAME]... [-size BYTES]... [-count N] [-seed N] [-area BASE+SIZE]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// A Result is what one case gave on one heap. Times are in nanoseconds.
type Result struct {
	Case   string             `json:"case"`
	Heap   string             `json:"heap"`
	Size   uint64             `json:"size"`
	Count  int                `json:"count"`
	P50    int64              `json:"p50,omitempty"`
	P99    int64              `json:"p99,omitempty"`
	Max    int64              `json:"max,omitempty"`
	Values map[string]float64 `json:"values,omitempty"`
}

type options struct {
	heaps []string
	sizes []uint64
	count int
	seed  int64
	area  area
}

// A list collects the values of a flag that may be repeated.
type list struct{ add func(string) error }

func (l list) String() string     { return "" }
func (l list) Set(s string) error { return l.add(s) }

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "guest: no case named")
		os.Exit(2)
	}
	var o options
	fs := flag.NewFlagSet("guest", flag.ExitOnError)
	fs.Var(list{func(s string) error { o.heaps = append(o.heaps, s); return nil }}, "heap", "heap to measure")
	fs.Var(list{func(s string) error {
		n, err := strconv.ParseUint(s, 0, 63)
		o.sizes = append(o.sizes, n)
		return err
	}}, "size", "size of the buffers in bytes")
	fs.IntVar(&o.count, "count", 10, "how often")
	fs.Var(list{o.area.set}, "area", "`BASE+SIZE` of the CMA area")
	fs.Int64Var(&o.seed, "seed", 1, "seed of what is random")
	_ = fs.Parse(os.Args[2:]) // ends the program on an error
	run, ok := map[string]func(options) error{
		"cycle":    cycle,
		"map":      mapWhole,
		"churn":    churn,
		"pressure": pressure,
		"clear":    clearPages,
		"pool":     pool,
		"pool-limit": func(o options) error {
			return os.WriteFile(poolLimit, []byte(strconv.Itoa(o.count)), 0)
		},
	}[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "guest: no case %q\n", os.Args[1])
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func report(r Result) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // the fields are plain
	}
	fmt.Printf("PERF %s\n", line)
}

// timed makes a result of single times.
func timed(name, heap string, size uint64, d []time.Duration) Result {
	slices.Sort(d)
	at := func(percent int) int64 { return int64(d[(len(d)-1)*percent/100]) }
	return Result{Case: name, Heap: heap, Size: size, Count: len(d), P50: at(50), P99: at(99), Max: int64(d[len(d)-1])}
}

func open(names []string) ([]*dmaheap.Heap, error) {
	var heaps []*dmaheap.Heap
	for _, name := range names {
		h, err := dmaheap.Open(name)
		if err != nil {
			return nil, err
		}
		heaps = append(heaps, h)
	}
	return heaps, nil
}

// touch writes to the first page of a buffer, which is what makes a heap take
// all of it for used.
func touch(b *dmaheap.Buffer) error {
	m, err := b.MapRange(0, uint64(os.Getpagesize()), dmaheap.ReadWrite)
	if err != nil {
		return err
	}
	m.Bytes()[0] = 1
	return m.Close()
}

// poolLimit is how much of RAM the page pool of the system heap may keep, in
// percent. 0 turns it off, and then the heap is mainline's.
const poolLimit = "/sys/module/heap_page_pool/parameters/limit_percent"

// pool allocates and frees from the system heap with its page pool and without,
// in turn. Before it is measured, the pool has what the buffer needs.
func pool(o options) error {
	before, err := os.ReadFile(poolLimit)
	if err != nil {
		return err
	}
	heaps, err := open(o.heaps)
	if err != nil {
		return err
	}
	once := func(size uint64) (time.Duration, error) {
		start := time.Now()
		b, err := heaps[0].Alloc(size)
		if err != nil {
			return 0, err
		}
		b.Close()
		return time.Since(start), nil
	}
	const limit = "25"
	for _, size := range o.sizes {
		var with, without []time.Duration
		// The pool cleans in the time between two frames of a video. It does not
		// keep small pages, so that there is nothing to wait for, and a small
		// difference to look for.
		pause, turns := 16*time.Millisecond, 10
		if size < 64<<10 {
			pause, turns = 0, 100
		}
		for range turns {
			for _, p := range []struct {
				limit string
				times *[]time.Duration
			}{{"0", &without}, {limit, &with}} {
				if err := os.WriteFile(poolLimit, []byte(p.limit), 0); err != nil {
					return err
				}
				for range 2 {
					if _, err := once(size); err != nil {
						return err
					}
					time.Sleep(2 * pause)
				}
				for range max(1, o.count/10) {
					time.Sleep(pause)
					// To wake the processor up.
					if _, err := once(uint64(os.Getpagesize())); err != nil {
						return err
					}
					t, err := once(size)
					if err != nil {
						return err
					}
					*p.times = append(*p.times, t)
				}
			}
		}
		report(timed("pool-off", o.heaps[0], size, without))
		report(timed("pool-on", o.heaps[0], size, with))
	}
	return os.WriteFile(poolLimit, before, 0)
}

// cycle allocates and frees without a pause, as mainline's dmabuf_heap_bench
// does. "cycle" leaves the buffers alone as that does; what is freed untouched
// needs no zeroing. In "cycle-used" the buffer has been mapped and written to.
// The heaps take turns of a tenth of the count.
func cycle(o options) error {
	heaps, err := open(o.heaps)
	if err != nil {
		return err
	}
	for _, used := range []bool{false, true} {
		name := "cycle"
		if used {
			name = "cycle-used"
		}
		for _, size := range o.sizes {
			times := make([][]time.Duration, len(heaps))
			for turn := range 10 {
				for i := range heaps {
					k := (turn + i) % len(heaps)
					for n := range 1 + max(1, o.count/10) {
						start := time.Now()
						b, err := heaps[k].Alloc(size)
						if err != nil {
							return err
						}
						if used {
							if err := touch(b); err != nil {
								return err
							}
						}
						b.Close()
						// The first one found what was cleaned while the others
						// had their turn.
						if n > 0 {
							times[k] = append(times[k], time.Since(start))
						}
					}
				}
			}
			for k, h := range heaps {
				report(timed(name, h.Name(), size, times[k]))
			}
		}
	}
	return nil
}

// mapWhole maps a buffer and writes to each page of it once, for the heaps in
// turn. Value "faults" is how many page faults that took.
func mapWhole(o options) error {
	heaps, err := open(o.heaps)
	if err != nil {
		return err
	}
	for _, size := range o.sizes {
		times := make([][]time.Duration, len(heaps))
		faults := make([]int64, len(heaps))
		for n := range o.count {
			for i := range heaps {
				k := (n + i) % len(heaps)
				b, err := heaps[k].Alloc(size)
				if err != nil {
					return err
				}
				before := minorFaults()
				start := time.Now()
				m, err := b.Map(dmaheap.ReadWrite)
				if err != nil {
					return err
				}
				data := m.Bytes()
				for at := 0; at < len(data); at += os.Getpagesize() {
					data[at] = 1
				}
				times[k] = append(times[k], time.Since(start))
				faults[k] += minorFaults() - before
				m.Close()
				b.Close()
			}
		}
		for k, h := range heaps {
			r := timed("map", h.Name(), size, times[k])
			r.Values = map[string]float64{"faults": float64(faults[k]) / float64(o.count)}
			report(r)
		}
	}
	return nil
}

func minorFaults() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return int64(u.Minflt)
}

// The test importer zeroes the buffer whose fd is written to the first file
// with the kernel's clear_page, and tells in the second how long it took.
const (
	clearFile   = "/sys/kernel/debug/heap_importer/clear"
	clearNsFile = "/sys/kernel/debug/heap_importer/clear_ns"
)

// clearPages measures, in turn, the kernel's clear_page on the memory of a
// buffer, and how long a buffer of all of the heap takes to come back when the
// last one was written to and is given back just before: the heap has to zero
// the same memory meanwhile.
func clearPages(o options) error {
	heaps, err := open(o.heaps)
	if err != nil {
		return err
	}
	for _, h := range heaps {
		for _, size := range o.sizes {
			var clear, again []time.Duration
			for range o.count {
				b, err := h.Alloc(size)
				if err != nil {
					return err
				}
				if err := os.WriteFile(clearFile, []byte(strconv.Itoa(int(b.FD()))), 0); err != nil {
					return err
				}
				ns, err := readNumber(clearNsFile)
				if err != nil {
					return err
				}
				clear = append(clear, time.Duration(ns))
				if err := touch(b); err != nil {
					return err
				}
				start := time.Now()
				b.Close()
				if b, err = h.Alloc(size); err != nil {
					return err
				}
				again = append(again, time.Since(start))
				b.Close()
			}
			report(timed("clear", h.Name(), size, clear))
			report(timed("clear-again", h.Name(), size, again))
		}
	}
	return nil
}

// number reads one of the heap's numbers in sysfs.
func number(heap, name string) (uint64, error) {
	return readNumber("/sys/kernel/dma_heap/" + heap + "/" + name)
}

func readNumber(file string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
}

// churn allocates and frees buffers of random sizes, up to an eighth of the
// heap or the area, about as many as fit, and does the same with a model of a
// best-fit allocator that needs no time to clean. It then frees all of them and looks
// whether the heap is in one piece again.
func churn(o options) error {
	for _, name := range o.heaps {
		h, err := dmaheap.Open(name)
		if err != nil {
			return err
		}
		size := o.area.size
		if size == 0 {
			if size, err = number(name, "size"); err != nil {
				return err
			}
		}
		page := uint64(os.Getpagesize())
		pages := size / page
		model := newModel(pages)
		rng := rand.New(rand.NewSource(o.seed))
		type pair struct {
			buffer *dmaheap.Buffer
			modelled
		}
		var live []pair
		var got, failed, modelGot, modelFailed, beaten int
		var times []time.Duration
		for range o.count {
			// Half of the steps free, so that the heap hovers about full.
			if len(live) > 0 && rng.Intn(2) == 0 {
				i := rng.Intn(len(live))
				if b := live[i].buffer; b != nil {
					b.Close()
				}
				model.free(live[i].modelled)
				live[i] = live[len(live)-1]
				live = live[:len(live)-1]
				continue
			}
			// As many small ones as large ones: uniform in the logarithm.
			want := uint64(math.Exp(rng.Float64() * math.Log(float64(pages/8))))
			start := time.Now()
			b, err := h.Alloc(want * page)
			took := time.Since(start)
			switch {
			case err == nil:
				got++
				times = append(times, took)
				if err := touch(b); err != nil {
					return err
				}
			case errors.Is(err, dmaheap.ErrNoMemory):
				failed++
			default:
				return err
			}
			m, ok := model.alloc(want)
			if ok {
				modelGot++
			} else {
				modelFailed++
			}
			if b == nil && ok {
				beaten++
			}
			if b != nil || ok {
				live = append(live, pair{b, m})
			}
		}
		for _, p := range live {
			if p.buffer != nil {
				p.buffer.Close()
			}
		}
		r := timed("churn", name, size, times)
		r.Count = o.count
		r.Values = map[string]float64{
			"allocated": float64(got), "refused": float64(failed),
			"model_allocated": float64(modelGot), "model_refused": float64(modelFailed),
			"beaten": float64(beaten),
		}
		for _, n := range []string{"largest_free", "used"} {
			// Mainline's heaps have no numbers.
			v, err := number(name, n)
			if err == nil {
				r.Values[n] = float64(v)
			} else if !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		report(r)
	}
	return nil
}

// pressureHeld is how much the buffers of all heaps together may hold before
// they are given back.
const pressureHeld = 192 << 20

func closeAll(buffers []*dmaheap.Buffer) {
	for _, b := range buffers {
		b.Close()
	}
}

// pressure allocates while the machine is full: first with memory that is
// there to be moved away, in which the kernel lends out its CMA area, then with
// pages of it pinned, as device I/O pins them. Value "given" is the share of
// the allocations that succeeded, "lent" that of the area which was in use
// when they were made, and "moved" how many pages the kernel moved for one.
func pressure(o options) error {
	heaps, err := open(o.heaps)
	if err != nil {
		return err
	}
	var f *filler
	measure := func(name string, rounds int) error {
		for _, size := range o.sizes {
			times := make([][]time.Duration, len(heaps))
			given := make([]int, len(heaps))
			moved := make([]int, len(heaps))
			var held []*dmaheap.Buffer
			lent := 0.0
			for n := range rounds {
				// Memory that a buffer gives back would serve the next one, and
				// nothing would have to be moved.
				if uint64(len(held))*size >= pressureHeld {
					closeAll(held)
					held = held[:0]
				}
				for i := range heaps {
					k := (n + i) % len(heaps)
					// Anew for each heap: an attempt in the area moves its pages
					// elsewhere, and the next heap would find nothing left there.
					if f != nil {
						free, err := f.fill()
						if err != nil {
							return err
						}
						lent += 1 - float64(free)/float64(o.area.size)
						if name == "pinned" {
							if err := f.pin(); err != nil {
								return err
							}
						}
					}
					if _, err := f.moved(); err != nil {
						return err
					}
					if b, err := heaps[k].Alloc(uint64(os.Getpagesize())); err == nil {
						b.Close() // now that is warm
					}
					start := time.Now()
					b, err := heaps[k].Alloc(size)
					times[k] = append(times[k], time.Since(start))
					pages, errMoved := f.moved()
					if errMoved != nil {
						return errMoved
					}
					moved[k] += pages
					switch {
					case err == nil:
						given[k]++
						held = append(held, b)
					case !errors.Is(err, dmaheap.ErrNoMemory):
						return err
					}
				}
			}
			closeAll(held)
			for k, h := range heaps {
				r := timed(name, h.Name(), size, times[k])
				r.Values = map[string]float64{"given": float64(given[k]) / float64(rounds)}
				if f != nil {
					r.Values["lent"] = lent / float64(rounds*len(heaps))
					r.Values["moved"] = float64(moved[k]) / float64(rounds)
				}
				report(r)
			}
		}
		return nil
	}
	if err := measure("idle", o.count); err != nil {
		return err
	}
	if f, err = newFiller(o.area); err != nil {
		return err
	}
	if err := measure("full", max(1, o.count/2)); err != nil {
		return err
	}
	if err := measure("pinned", max(1, o.count/5)); err != nil {
		return err
	}
	fmt.Printf("%d pages of the area pinned\n", len(f.pinned))
	return nil
}
