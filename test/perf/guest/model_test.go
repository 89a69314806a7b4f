// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"math/rand"
	"testing"
)

// The model is what the heap is judged by: it must neither overlap nor lose.
func TestModel(t *testing.T) {
	const pages = 512
	m := newModel(pages)
	rng := rand.New(rand.NewSource(1))
	var live []modelled
	owner := [pages]bool{}
	for range 20000 {
		if len(live) > 0 && rng.Intn(2) == 0 {
			i := rng.Intn(len(live))
			for p := live[i].start; p < live[i].start+live[i].pages; p++ {
				owner[p] = false
			}
			m.free(live[i])
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
			continue
		}
		r, ok := m.alloc(uint64(1 + rng.Intn(64)))
		if !ok {
			continue
		}
		for p := r.start; p < r.start+r.pages; p++ {
			if owner[p] {
				t.Fatalf("page %d is given out twice", p)
			}
			owner[p] = true
		}
		live = append(live, r)
	}
	for _, r := range live {
		m.free(r)
	}
	if len(m.runs) != 1 || m.runs[0] != (modelled{0, pages}) {
		t.Errorf("an empty heap is in pieces: %v", m.runs)
	}
}

func TestModelFitsBest(t *testing.T) {
	m := &model{runs: []modelled{{0, 8}, {10, 3}, {20, 4}}}
	if r, ok := m.alloc(3); !ok || r != (modelled{10, 3}) {
		t.Errorf("alloc(3) = %v, %t; want the run of 3", r, ok)
	}
	if _, ok := m.alloc(9); ok {
		t.Error("alloc(9) fits nowhere")
	}
}
