// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
	"github.com/dmaheap/dmaheap/test/rig"
)

// tools is what the program itself takes, on the machine that runs the
// benchmark.
type tools struct {
	merge  float64 // compile against dtc -@ and fdtoverlay
	board  string  // on which
	trees  int     // linted
	median time.Duration
	max    time.Duration
	memcpy float64 // share of the slowest part of verification
}

var (
	mergeLine  = regexp.MustCompile(`compile --merge on (\S+): .* ratio ([0-9.]+)`)
	memcpyLine = regexp.MustCompile(`(look for old bytes|fill|verify): [0-9]+ MB/s, ([0-9]+)% of memcpy`)
)

// measureTools runs the tests that measure the tools, and lints the boards of a
// kernel tree.
func measureTools(ctx context.Context, r *rig.Rig) (*tools, error) {
	boards := exec.CommandContext(ctx, filepath.Join(r.Root, "test", "corpus.sh"), "6.12")
	boards.Stderr = r.Progress
	out, err := boards.Output()
	if err != nil {
		return nil, fmt.Errorf("test/corpus.sh: %w", err)
	}
	corpus := strings.TrimSpace(string(out))
	t := &tools{merge: math.NaN(), memcpy: math.Inf(1)}
	said, err := goTest(ctx, r, corpus, "TestMergeTime", "./heapcfg/emit")
	if err != nil {
		return nil, err
	}
	if m := mergeLine.FindStringSubmatch(said); m != nil {
		t.board = m[1]
		t.merge, _ = strconv.ParseFloat(m[2], 64) // digits, as the pattern has it
	}
	if said, err = goTest(ctx, r, corpus, "TestVerifyBandwidth", "./internal/check"); err != nil {
		return nil, err
	}
	parts := memcpyLine.FindAllStringSubmatch(said, -1)
	for _, m := range parts {
		share, _ := strconv.ParseFloat(m[2], 64)
		t.memcpy = min(t.memcpy, share)
	}
	if len(parts) != 3 {
		t.memcpy = math.NaN()
	}
	return t, t.lint(filepath.Join(corpus, "arm64"))
}

// goTest returns what a test logged. One that missed its own target has logged
// its figures all the same; the table tells.
func goTest(ctx context.Context, r *rig.Rig, corpus, name, pkg string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^"+name+"$", pkg)
	cmd.Dir = r.Root
	cmd.Env = append(os.Environ(), "DTB_CORPUS="+corpus)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	if !strings.Contains(string(out), "--- PASS: "+name) && !strings.Contains(string(out), "--- FAIL: "+name) {
		return "", fmt.Errorf("go test %s did not run %s:\n%s", pkg, name, out)
	}
	return string(out), nil
}

// lint does what `heapctl lint` does for each tree below dir, three times over:
// the best run counts, as what else the machine does only adds to one.
func (t *tools) lint(dir string) error {
	best := map[string]time.Duration{}
	for range 3 {
		if err := lintAll(dir, best); err != nil {
			return err
		}
	}
	if len(best) == 0 {
		return fmt.Errorf("no trees below %s", dir)
	}
	var times []time.Duration
	for _, d := range best {
		times = append(times, d)
	}
	slices.Sort(times)
	t.trees, t.median, t.max = len(times), times[len(times)/2], times[len(times)-1]
	return nil
}

func lintAll(dir string, best map[string]time.Duration) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".dtb" {
			return err
		}
		start := time.Now()
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		tree, err := fdt.Parse(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		l, findings := heapcfg.FromTree(path, tree, heapcfg.DefaultTarget())
		if l == nil {
			return fmt.Errorf("%s: %v", path, findings)
		}
		heapcfg.Lint(l)
		if took := time.Since(start); best[path] == 0 || took < best[path] {
			best[path] = took
		}
		return nil
	})
}

func (t *tools) targets() []target {
	if t == nil {
		t = &tools{merge: math.NaN(), memcpy: math.NaN()}
	}
	ms := func(d time.Duration) float64 {
		if d == 0 {
			return math.NaN()
		}
		return d.Seconds() * 1000
	}
	return []target{
		atMost(fmt.Sprintf("`heapctl compile --merge` against `dtc -@` and `fdtoverlay`, on the largest board, %s", t.board), t.merge, 2, "x the time"),
		atMost(fmt.Sprintf("lint of %d arm64 trees in one process: the median", t.trees), ms(t.median), 10, " ms"),
		atMost("the same: the slowest", ms(t.max), 10, " ms"),
		atLeast("`check --full`: reading and writing a buffer, against memcpy", t.memcpy, 80, "% of its rate"),
	}
}
