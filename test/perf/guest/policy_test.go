// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"math"
	"math/rand"
	"slices"
	"testing"
)

// What the heap's choice among clean memory costs, and what other choices would
// give, for the table in docs/performance.md: -v prints it. The load is that of
// churn, and as there, each policy goes through the same trace as a best-fit
// model: a buffer lives as long in both. Between two steps the cleaner gets
// through so many pages; the oldest dirty memory comes first, in pieces of 4 MiB.
func TestPolicies(t *testing.T) {
	const pages, piece = 64 << 20 / 4096, 4 << 20 / 4096
	paces, steps, traces := []uint64{0, 150}, 20000, 2
	if testing.Verbose() {
		steps, traces = 100000, 10
	}
	type pair struct {
		id uint64 // 0: refused
		modelled
	}
	for _, pace := range paces {
		for _, p := range policies {
			var asked, got, modelGot, waits int
			for seed := range traces {
				h := &simulated{runs: []simRun{{pages: pages}}}
				best := newModel(pages)
				rng := rand.New(rand.NewSource(int64(seed + 1)))
				var live []pair
				for range steps {
					if pace > 0 {
						h.clean(pace, piece)
					}
					if len(live) > 0 && rng.Intn(2) == 0 {
						i := rng.Intn(len(live))
						if live[i].id != 0 {
							h.free(live[i].id, p.instant)
						}
						best.free(live[i].modelled)
						live[i] = live[len(live)-1]
						live = live[:len(live)-1]
						continue
					}
					want := uint64(math.Exp(rng.Float64() * math.Log(pages/8)))
					asked++
					at, wait := p.choose(h, want)
					if wait {
						waits++
					}
					for wait {
						h.clean(0, piece)
						at, wait = p.choose(h, want)
					}
					var b pair
					if at >= 0 {
						b.id = h.take(at, want)
						got++
					}
					var ok bool
					if b.modelled, ok = best.alloc(want); ok {
						modelGot++
					}
					if ok || b.id != 0 {
						live = append(live, b)
					}
				}
				if h.total() != pages {
					t.Fatalf("%s: the region has %d pages, want %d", p.name, h.total(), pages)
				}
			}
			share := func(n int) float64 { return 100 * float64(n) / float64(asked) }
			t.Logf("%3d pages a step: %-48s %.2f%% succeed, the model %.2f%%; %.1f%% wait", pace, p.name, share(got), share(modelGot), share(waits))
			if r := float64(got) / float64(modelGot); r < 0.985 || r > 1.015 {
				t.Errorf("%s: %.3f of what the model gives", p.name, r)
			}
			if p.same && got != modelGot {
				t.Errorf("%s: %d, the model %d", p.name, got, modelGot)
			}
		}
	}
}

var policies = []struct {
	name    string
	instant bool // what is freed is clean
	same    bool // as the model
	choose  func(h *simulated, want uint64) (at int, wait bool)
}{
	{"best fit, cleaned at once", true, true, bestClean},
	{"best fit among clean runs (the driver)", false, false, bestClean},
	{"first fit among clean runs", false, false, func(h *simulated, want uint64) (int, bool) {
		at := slices.IndexFunc(h.runs, func(r simRun) bool { return r.state == simClean && r.pages >= want })
		return at, at < 0 && h.hole(want) > 0
	}},
	{"clean run in the smallest hole that has one", false, false, func(h *simulated, want uint64) (int, bool) {
		at := h.inHole(want, func(hole uint64) bool { return true })
		return at, at < 0 && h.hole(want) > 0
	}},
	{"smallest hole, waiting until it is clean", false, false, func(h *simulated, want uint64) (int, bool) {
		smallest := h.hole(want)
		if smallest == 0 {
			return -1, false
		}
		at := h.inHole(want, func(hole uint64) bool { return hole == smallest })
		return at, at < 0
	}},
}

func bestClean(h *simulated, want uint64) (int, bool) {
	best := -1
	for i, r := range h.runs {
		if r.state == simClean && r.pages >= want && (best < 0 || r.pages < h.runs[best].pages) {
			best = i
		}
	}
	return best, best < 0 && h.hole(want) > 0
}

type simState int

const (
	simClean simState = iota
	simDirty
	simUsed
)

type simRun struct {
	pages uint64
	state simState
	id    uint64 // of a used run, and the age of a dirty one
}

// A simulated region is the driver's bookkeeping in its simplest form.
type simulated struct {
	runs []simRun
	last uint64 // newest id
	left uint64 // work that the cleaner has done on its piece
}

// set gives a run a state and merges it with its neighbours.
func (h *simulated) set(i int, s simState) {
	h.last++
	h.runs[i].state, h.runs[i].id = s, h.last
	if s == simUsed {
		return
	}
	if i+1 < len(h.runs) && h.runs[i+1].state == s {
		h.runs[i].pages += h.runs[i+1].pages
		h.runs = slices.Delete(h.runs, i+1, i+2)
	}
	if i > 0 && h.runs[i-1].state == s {
		h.runs[i].pages += h.runs[i-1].pages
		h.runs = slices.Delete(h.runs, i-1, i)
	}
}

func (h *simulated) take(i int, want uint64) (id uint64) {
	if rest := h.runs[i].pages - want; rest > 0 {
		h.runs = slices.Insert(h.runs, i+1, simRun{pages: rest, state: h.runs[i].state})
		h.runs[i].pages = want
	}
	h.set(i, simUsed)
	return h.last
}

func (h *simulated) free(id uint64, clean bool) {
	i := slices.IndexFunc(h.runs, func(r simRun) bool { return r.state == simUsed && r.id == id })
	if clean {
		h.set(i, simClean)
	} else {
		h.set(i, simDirty)
	}
}

// clean does so many pages of work on the oldest dirty memory, a piece at a
// time; 0 is what it takes to finish the piece at hand.
func (h *simulated) clean(work, piece uint64) {
	h.left += work
	for {
		oldest := -1
		for i, r := range h.runs {
			if r.state == simDirty && (oldest < 0 || r.id < h.runs[oldest].id) {
				oldest = i
			}
		}
		if oldest < 0 {
			h.left = 0
			return
		}
		n := min(piece, h.runs[oldest].pages)
		if work > 0 && h.left < n {
			return
		}
		h.left -= min(n, h.left)
		if rest := h.runs[oldest].pages - n; rest > 0 {
			h.runs = slices.Insert(h.runs, oldest+1, simRun{rest, simDirty, h.runs[oldest].id})
			h.runs[oldest].pages = n
		}
		h.set(oldest, simClean)
		if work == 0 {
			return
		}
	}
}

// hole returns the size of the smallest run of free pages, clean or not, that
// is large enough; 0 if there is none.
func (h *simulated) hole(want uint64) (smallest uint64) {
	h.holes(func(_, _ int, pages uint64) {
		if pages >= want && (smallest == 0 || pages < smallest) {
			smallest = pages
		}
	})
	return smallest
}

// inHole returns a clean run that is large enough in the smallest hole that has
// one and is allowed, or -1.
func (h *simulated) inHole(want uint64, allowed func(hole uint64) bool) int {
	best, size := -1, uint64(0)
	h.holes(func(from, to int, pages uint64) {
		if pages < want || !allowed(pages) || best >= 0 && pages >= size {
			return
		}
		for i := from; i < to; i++ {
			if h.runs[i].state == simClean && h.runs[i].pages >= want {
				best, size = i, pages
				return
			}
		}
	})
	return best
}

func (h *simulated) holes(fn func(from, to int, pages uint64)) {
	from, pages := 0, uint64(0)
	for i := 0; i <= len(h.runs); i++ {
		if i < len(h.runs) && h.runs[i].state != simUsed {
			pages += h.runs[i].pages
			continue
		}
		if pages > 0 {
			fn(from, i, pages)
		}
		from, pages = i+1, 0
	}
}

func (h *simulated) pages(s simState) (n uint64) {
	for _, r := range h.runs {
		if r.state == s {
			n += r.pages
		}
	}
	return n
}

func (h *simulated) total() uint64 { return h.pages(simClean) + h.pages(simDirty) + h.pages(simUsed) }
