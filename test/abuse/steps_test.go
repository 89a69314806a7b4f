// SPDX-License-Identifier: MIT

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a log says must lead to the same steps years later.
func TestStepsAreThoseOfTheSeed(t *testing.T) {
	got := ""
	for _, s := range steps(threadSeed(7, 3, 2, 1), 6) {
		got += s.String() + "\n"
	}
	const want = `alloc     slot 4  8af97c25 7fa6f4f9 de0f2a78 82c1c2b1
alloc     slot 0  62e656cd d59f1f4d a731b136 4b98b32f
odd-call  slot 5  30e2e856 378ad40d f93cc1bc 18220dc2
close     slot 3  a7da9de6 fb75c92b b45201aa f9a1f8e6
fill      slot 5  344be4e5 455f0b54 1eea24ee 95a9297c
alloc     slot 2  044d841e 63a3119e e02c87a0 67f96c5e
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the steps of a seed have changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(steps(1, 50), steps(1, 100)[:50]); diff != "" {
		t.Errorf("fewer steps are other steps:\n%s", diff)
	}
	seen := map[int64]bool{}
	for round := range 10 {
		for worker := range 5 {
			for thread := range 3 {
				seen[threadSeed(1, round, worker, thread)] = true
			}
		}
	}
	if len(seen) != 150 {
		t.Errorf("150 threads have %d seeds", len(seen))
	}
}

func TestEveryOpComes(t *testing.T) {
	seen := map[op]bool{}
	for _, s := range steps(1, 5000) {
		seen[s.Op] = true
	}
	for o := range opCount {
		if !seen[o] || opNames[o] == "" {
			t.Errorf("op %d (%q) never comes", o, opNames[o])
		}
	}
}

func TestPlanRound(t *testing.T) {
	if diff := cmp.Diff(planRound(9, 4, 5, true), planRound(9, 4, 5, true)); diff != "" {
		t.Error(diff)
	}
	kills, starved := 0, 0
	for r := range 100 {
		p := planRound(9, r, 5, true)
		kills += len(p.Kills)
		if p.Starve {
			starved++
		}
		if planRound(9, r, 5, false).Starve {
			t.Errorf("round %d starves where that cannot be", r)
		}
	}
	if kills < 150 || kills > 350 || starved < 15 || starved > 60 {
		t.Errorf("100 rounds have %d kills and %d starve", kills, starved)
	}
}

func TestForeign(t *testing.T) {
	const words, pages = 512, 4
	mine := tag{3, 77}
	fresh := func() []uint64 {
		data := make([]uint64, words*pages)
		mine.fill(data, 2, words)
		return data
	}
	a, b := mine.words(2)
	for _, c := range []struct {
		name   string
		at     int
		word   uint64
		full   bool
		edges  bool
		accept bool
	}{
		{"as filled", 5, b, true, true, true},
		{"written by another process", 4, a&^(0xffff<<32) | 9<<32, true, false, true},
		{"zero in a buffer that was never full", 4, 0, false, false, true},
		{"zero in a full buffer", 4, 0, true, false, false},
		{"half a word", 5, b &^ 0xffffffff, false, false, true},
		{"half a word in a full buffer", 5, b &^ 0xffffffff, true, false, false},
		{"another buffer", 4, a + 1, false, false, false},
		{"another buffer, second word", 5, b - 1, false, false, false},
		{"another page", words + 1, b, false, false, false},
		{"anything", 4, 0xdeadbeef, false, false, false},
		{"one bit", 4, a | 1<<31, false, false, false},
		{"the importer's first byte", 0, a&^0xff | 0x12, true, true, true},
		{"the importer's first byte elsewhere", 2, a&^0xff | 0x12, true, true, false},
		{"the importer's first byte inside the buffer", 0, a&^0xff | 0x12, true, false, false},
		{"the importer's last byte", words*pages - 1, 0x34<<56 | 5<<32 | b&0xffffffff, true, true, true},
	} {
		data := fresh()
		data[c.at] = c.word
		got := mine.foreign(data, 2, words, c.edges, c.edges, c.full)
		want := c.at
		if c.accept {
			want = -1
		}
		if got != want {
			t.Errorf("%s: foreign = %d, want %d", c.name, got, want)
		}
	}
	if at := mine.foreign(fresh(), 3, words, false, false, false); at != 1 {
		t.Errorf("a mapping that is off by a page: foreign = %d, want 1", at)
	}
	if at := nonZero(make([]uint64, 10)); at != -1 {
		t.Errorf("nonZero of zeroes = %d", at)
	}
}
