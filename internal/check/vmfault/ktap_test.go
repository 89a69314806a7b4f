// SPDX-License-Identifier: MIT

package vmfault

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/test/bench"
)

// readKTAP has the kernel's own parser count what it reads: the results, and
// what it finds wrong with their form.
const readKTAP = `
import json, sys
sys.path.insert(0, sys.argv[1])
import kunit_parser
lines = sys.stdin.read().splitlines()
try:
    from kunit_printer import Printer
    test = kunit_parser.parse_run_tests(lines, Printer(output=sys.stdout))
except TypeError:
    test = kunit_parser.parse_run_tests(lines)
c = test.counts
print(json.dumps([c.passed, c.failed, c.skipped, c.crashed, c.errors]))
`

// kernelReads holds KTAP against tools/testing/kunit of the kernel under test.
func kernelReads(ctx context.Context, t *testing.T, b *bench.Bench, ktap string) {
	t.Helper()
	if old, _ := heapcfg.ParseVersion("6.1"); b.Line.Before(old) {
		return // its parser is older than KTAP
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "dmaheap", "source", "*"+b.Line.String()+"*", "tools", "testing", "kunit", "kunit_parser.py"))
	if err != nil || len(found) == 0 {
		t.Logf("no source of kernel %v in the cache to read KTAP with", b.Line)
		return
	}
	cmd := exec.CommandContext(ctx, "python3", "-c", readKTAP, filepath.Dir(found[0]))
	cmd.Stdin = strings.NewReader(ktap)
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var got [5]int
	if err == nil {
		err = json.Unmarshal([]byte(lines[len(lines)-1]), &got)
	}
	if err != nil {
		t.Fatalf("kunit_parser.py: %v\n%s", err, out)
	}
	skipped := strings.Count(ktap, " # SKIP ")
	failed := strings.Count(ktap, "\nnot ok ")
	want := [5]int{strings.Count(ktap, "\nok ") - skipped, failed, skipped, 0, 0}
	if got != want {
		t.Errorf("the kernel's parser counts %v passed, failed, skipped, crashed and malformed, want %v:\n%s\n%s", got, want, out, ktap)
	}
}

// The golden file has what a run seldom has: failures, warnings, hostile names.
func TestKTAPAsTheKernelReadsIt(t *testing.T) {
	b, ctx := bench.Setup(t)
	ktap, err := os.ReadFile(filepath.Join(b.Root, "internal", "report", "testdata", "sample.ktap"))
	if err != nil {
		t.Fatal(err)
	}
	kernelReads(ctx, t, b, string(ktap))
}
