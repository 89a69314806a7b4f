// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/test/bench"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// setup returns the bench. The demo is the same on every kernel, and each test
// on a kernel of its own takes a build; so one line of kernels has to do.
func setup(t *testing.T) (*bench.Bench, context.Context) {
	t.Helper()
	bench.OnlyDefaultLine(t)
	return bench.Setup(t)
}

// TestBuild builds what the tests boot.
func TestBuild(t *testing.T) {
	b, ctx := setup(t)
	for _, patches := range []string{"", withoutCarveout(t, b)} {
		k := bench.Cached()
		k.Fragments, k.KeepGoing = []string{b.Example.Config}, true
		if patches != "" {
			k.Env = []string{"DMAHEAP_PATCHES=" + patches}
		}
		b.Kernel(ctx, t, k)
	}
}

// runDemo runs the demo as a person does and returns its output and exit code.
func runDemo(ctx context.Context, t *testing.T, b *bench.Bench, env []string, args ...string) (out, dir string, code int) {
	t.Helper()
	program, err := b.Rig.Host(ctx, "test/demo")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "out")
	cmd := exec.CommandContext(ctx, program, append([]string{"-o", dir}, args...)...)
	cmd.Dir = b.Root
	cmd.Env = append(os.Environ(), env...)
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(said), dir, cmd.ProcessState.ExitCode()
}

func TestDemo(t *testing.T) {
	b, ctx := setup(t)
	out, _, code := runDemo(ctx, t, b, nil)
	if code != 0 || !strings.Contains(out, "\nverdict: ok") {
		t.Fatalf("demo: exit %d, want 0 and \"verdict: ok\"\n%s", code, out)
	}
	for _, h := range b.Example.Locked.Heaps {
		if !strings.Contains(out, h.Name) {
			t.Errorf("the demo does not mention the heap %s\n%s", h.Name, out)
		}
	}
	shows(t, b, out)
}

// Every broken example ends before anything is written, at a line and column.
func TestDemoRefusesBrokenConfigs(t *testing.T) {
	b, ctx := setup(t)
	files, err := filepath.Glob(filepath.Join(b.Root, "examples", "broken", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("examples/broken: %q, %v; want files", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			out, dir, code := runDemo(ctx, t, b, nil, "-config", file)
			if code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
			place := regexp.MustCompile(regexp.QuoteMeta(filepath.Base(file)) + `:\d+:\d+`)
			if !place.MatchString(out) {
				t.Errorf("no %s:LINE:COLUMN in the output", filepath.Base(file))
			}
			if left, err := filepath.Glob(filepath.Join(dir, "heaps", "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestDemoUnreadableInput(t *testing.T) {
	b, ctx := setup(t)
	for name, config := range map[string]string{
		"missing":   "no/such/heaps.yaml",
		"directory": b.Root,
	} {
		if out, _, code := runDemo(ctx, t, b, nil, "-config", config); code != 2 {
			t.Errorf("%s: exit %d, want 2\n%s", name, code, out)
		}
	}
}

// Without the patch the heap cannot exist, and the verdict has to say which.
func TestDemoWithoutCarveoutPatch(t *testing.T) {
	b, ctx := setup(t)
	carveouts := b.Example.Heaps(heapcfg.Carveout)
	if len(carveouts) == 0 {
		t.Fatalf("%s has no carveout to miss", b.Rig.Example())
	}
	out, _, code := runDemo(ctx, t, b, []string{"DMAHEAP_PATCHES=" + withoutCarveout(t, b)})
	if code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	_, verdict, checked := strings.Cut(out, "heapctl check in the booted machine")
	if !checked || !strings.Contains(verdict, "verdict: FAILED") {
		t.Errorf("heapctl check gave no verdict in the guest")
	}
	for _, name := range carveouts {
		if !regexp.MustCompile(`(?m)^.*` + regexp.QuoteMeta(name) + `.*$`).MatchString(verdict) {
			t.Errorf("the verdict does not name the missing heap %s", name)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// withoutCarveout copies the series of patches without the one that adds the
// carveout heap, as if somebody had deleted that file.
func withoutCarveout(t *testing.T, b *bench.Bench) string {
	t.Helper()
	from, dir := filepath.Join(b.Root, "kernel-patches", b.Line.String()), t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	removed := 0
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("\n+++ b/drivers/dma-buf/heaps/carveout_heap.c")) {
			removed++
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if removed != 1 {
		t.Fatalf("%d patches of the series touch the carveout heap, want one that adds it", removed)
	}
	return dir
}

// A machine that crashes must never pass, and has to say why in one line.
func TestPanicIsAFailure(t *testing.T) {
	b, ctx := setup(t)
	out, _, code := runDemo(ctx, t, b, nil, "-append", "rdinit=/nonexistent")
	if code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	for _, want := range []string{"the guest gave no result", "the kernel crashed: ", "Kernel panic - not syncing", "to see it again: qemu-system-aarch64"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}
