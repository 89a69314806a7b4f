// SPDX-License-Identifier: MIT

package vmtest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// As 5.10 and 6.12 print it.
const (
	oldKTAP = `[    0.9] not stamped as the kernel does
[    0.910000] TAP version 14
[    0.910100] 1..2
[    0.910200]     # Subtest: extents
[    0.910300]     1..2
[    0.910400]     ok 1 - first
[    0.910500]     ok 2 - second
[    0.910600] ok 1 - extents
`
	newKTAP = `[    1.000000] KTAP version 1
[    1.000100] 1..1
[    1.000200]     KTAP version 1
[    1.000300]     # Subtest: buffer
[    1.000400]     # module: heap_test
[    1.000500]     1..3
[    1.000600]     ok 1 maps
[    1.000700]     # syncs: EXPECTATION FAILED at heap-test.c:7
[    1.000800]     not ok 2 syncs
[    1.000900]     ok 3 vmaps # SKIP no vmap
[    1.001000] # buffer: pass:1 fail:1 skip:1 total:3
[    1.001100] # Totals: pass:1 fail:1 skip:1 total:3
[    1.001200] not ok 1 buffer
`
)

func TestSuites(t *testing.T) {
	want := []Suite{
		{Name: "extents", Planned: 2, Cases: []Case{{"first", true, false}, {"second", true, false}}, OK: true, Ended: true},
		{Name: "buffer", Planned: 3, Cases: []Case{{"maps", true, false}, {"syncs", false, false}, {"vmaps", true, true}}, Ended: true},
	}
	got := Suites(oldKTAP + newKTAP)
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("Suites (-want +got):\n%s", d)
	}
	if err := got[0].Err(); err != nil {
		t.Errorf("a suite that passed: %v", err)
	}
	if err := got[1].Err(); err == nil || err.Error() != "buffer: syncs failed\nbuffer: vmaps was skipped" {
		t.Errorf("a suite that failed: %v", err)
	}
}

// What the log lost must not pass.
func TestSuitesThatAreCut(t *testing.T) {
	for name, tt := range map[string]struct{ cut, want string }{
		"a case":   {"[    0.910500]     ok 2 - second\n", "1 results for 2 planned cases"},
		"the plan": {"[    0.910300]     1..2\n", "2 results for 0 planned cases"},
		"the end":  {"[    0.910600] ok 1 - extents\n", "no verdict"},
	} {
		got := Suites(strings.Replace(oldKTAP, tt.cut, "", 1))
		if len(got) != 1 || got[0].Err() == nil || !strings.Contains(got[0].Err().Error(), tt.want) {
			t.Errorf("without %s: %+v, want an error with %q", name, got, tt.want)
		}
	}
	failed := Suites(strings.Replace(oldKTAP, "] ok 1 - extents", "] not ok 1 - extents", 1))
	if len(failed) != 1 || failed[0].Err() == nil {
		t.Errorf("a suite that failed as a whole: %+v passes", failed)
	}
}
