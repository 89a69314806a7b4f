// SPDX-License-Identifier: MIT

package main

import (
	"strings"
	"testing"
)

// What was not measured is no target met.
func TestNothingMeasured(t *testing.T) {
	f := &figures{name: map[string]string{cma: cma, system: system, big: big, tight: tight, tiles: tiles}}
	for _, target := range f.targets() {
		if target.met {
			t.Errorf("%s is met without a figure", target.what)
		}
	}
	if got := strings.Count(f.markdown(), "**missed**"); got != len(f.targets()) {
		t.Errorf("the table has %d missed targets, want %d", got, len(f.targets()))
	}
}

func TestAdd(t *testing.T) {
	f := &figures{name: map[string]string{cma: "linux,cma@50000000"}}
	for _, output := range []string{
		`{"kernel": "6.12", "heaps": [{"heap": "a", "timings": []}, {"heap": "b", "timings": []}]}`,
		"noise\nPERF {\"case\":\"map\",\"heap\":\"linux,cma@50000000\",\"size\":4096,\"count\":3,\"p50\":7,\"values\":{\"faults\":2}}\n",
	} {
		if err := f.add(output); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.latency) != 2 || f.kernel != "6.12" {
		t.Errorf("latency of %d heaps on %q, want 2 on 6.12", len(f.latency), f.kernel)
	}
	if r := f.record("map", cma, 4096); r.P50 != 7 || faults(r) != 2 {
		t.Errorf("record = %+v", r)
	}
	if err := f.add("PERF {\n"); err == nil {
		t.Error("a torn line is no error")
	}
}
