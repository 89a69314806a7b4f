// SPDX-License-Identifier: MIT

//go:build linux

package main

import "slices"

// A model is a best-fit allocator over a region of pages: the smallest free
// run that is large enough, and of those the first. What is free again can be
// had at once.
type model struct {
	runs []modelled // free, by their start, never next to each other
}

// modelled is a run of pages; one of no pages was never allocated.
type modelled struct{ start, pages uint64 }

func newModel(pages uint64) *model { return &model{runs: []modelled{{0, pages}}} }

func (m *model) alloc(pages uint64) (modelled, bool) {
	best := -1
	for i, r := range m.runs {
		if r.pages >= pages && (best < 0 || r.pages < m.runs[best].pages) {
			best = i
		}
	}
	if best < 0 {
		return modelled{}, false
	}
	r := &m.runs[best]
	got := modelled{r.start, pages}
	r.start += pages
	r.pages -= pages
	if r.pages == 0 {
		m.runs = slices.Delete(m.runs, best, best+1)
	}
	return got, true
}

func (m *model) free(r modelled) {
	if r.pages == 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(m.runs, r, func(a, b modelled) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	m.runs = slices.Insert(m.runs, i, r)
	if i+1 < len(m.runs) && m.runs[i].start+m.runs[i].pages == m.runs[i+1].start {
		m.runs[i].pages += m.runs[i+1].pages
		m.runs = slices.Delete(m.runs, i+1, i+2)
	}
	if i > 0 && m.runs[i-1].start+m.runs[i-1].pages == m.runs[i].start {
		m.runs[i-1].pages += m.runs[i].pages
		m.runs = slices.Delete(m.runs, i, i+1)
	}
}
