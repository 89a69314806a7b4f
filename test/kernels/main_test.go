// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunRefuses(t *testing.T) {
	for _, name := range []string{"6", "6.12-", "6.12-fast", "linux-6.12", "-h"} {
		var out, said bytes.Buffer
		if code := run(context.Background(), []string{"6.1", name}, &out, &said); code != 2 || !strings.Contains(said.String(), name) {
			t.Errorf("run(%q) = %d, %q; want 2 and the name", name, code, said.String())
		}
	}
}

// A kernel that fails is in the table and in the exit code, and the others are
// tried nevertheless.
func TestFailureHidesNothing(t *testing.T) {
	var mu sync.Mutex
	tried := map[string]int{}
	fail := map[string]error{}
	goTest := func(_ context.Context, j *job, out io.Writer, how ...string) error {
		mu.Lock()
		defer mu.Unlock()
		step := j.name + " tests"
		if len(how) > 0 {
			step = j.name + " build"
		}
		tried[step]++
		fmt.Fprintf(out, "output of %s\nok  \tpackage of %s\t1.0s\n", step, step)
		return fail[step]
	}
	carry := func() (string, int) {
		dir := t.TempDir()
		clear(tried)
		var jobs []*job
		for _, name := range []string{"5.10", "6.1", "6.12", "6.12-debug"} {
			jobs = append(jobs, &job{name: name, log: filepath.Join(dir, name)})
		}
		var out strings.Builder
		code := carryOut(context.Background(), jobs, &out, goTest)
		return out.String(), code
	}

	all := map[string]int{
		"5.10 build": 1, "5.10 tests": 1, "6.1 build": 1, "6.1 tests": 1,
		"6.12 build": 1, "6.12 tests": 1, "6.12-debug build": 1, "6.12-debug tests": 1,
	}
	out, code := carry()
	if code != 0 || strings.Count(out, "  ok\n") != 4 {
		t.Errorf("all pass: exit %d\n%s", code, out)
	}
	// Who waits sees each package, and not all that its tests print.
	if !strings.Contains(out, "\nkernel 6.1: ok  \tpackage of 6.1 tests\t") || strings.Contains(out, "output of 6.1 tests") {
		t.Errorf("all pass: want a line for each package and no more:\n%s", out)
	}
	if d := cmp.Diff(all, tried); d != "" {
		t.Errorf("all pass (-want +got):\n%s", d)
	}

	fail["5.10 build"], fail["6.12 tests"] = errors.New("exit status 1"), errors.New("exit status 1")
	delete(all, "5.10 tests")
	out, code = carry()
	if code != 1 {
		t.Errorf("two fail: exit %d, want 1", code)
	}
	if d := cmp.Diff(all, tried); d != "" {
		t.Errorf("two fail (-want +got):\n%s", d)
	}
	for _, want := range []string{
		`(?m)^output of 6\.12 tests$`,
		`(?m)^5\.10 .*FAILED to build`, `(?m)^6\.1 .*  ok$`, `(?m)^6\.12 .*FAILED, see `, `(?m)^6\.12-debug .*  ok$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}
