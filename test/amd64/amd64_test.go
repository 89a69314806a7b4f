// SPDX-License-Identifier: MIT

// Package amd64 runs the tools and the library on a PC. It has no device tree,
// so there is nothing to compile for it: its heaps are those that the kernel
// makes by itself: of ordinary memory, and of a CMA area that its command line
// asks for.
package amd64

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// setup returns a bench for the PC, and its kernel.
func setup(t *testing.T) (*bench.Bench, context.Context, string) {
	t.Helper()
	bench.OnlyDefaultLine(t)
	b, ctx := bench.Setup(t)
	on, r := *b, *b.Rig
	r.Machine, on.Rig = vmtest.AMD64, &r
	return &on, ctx, on.Kernel(ctx, t, rig.Kernel{Fragments: []string{filepath.Join(b.Root, "kernel-patches", "configs", "test.config")}})
}

// TestBuild builds what the tests boot.
func TestBuild(t *testing.T) { setup(t) }

func TestPC(t *testing.T) {
	b, ctx, image := setup(t)
	heapctl, err := b.Guest(ctx, "cmd/heapctl")
	if err != nil {
		t.Fatal(err)
	}
	library, err := b.GuestTest(ctx, "dmaheap")
	if err != nil {
		t.Fatal(err)
	}
	plan := initramfs.Plan{KeepGoing: true, Run: [][]string{
		{"/bin/heapctl", "list"},
		{"/bin/heapctl", "check", "--full"},
		{"/bin/heapctl", "bench", "--heap", "reserved", "--size", "16MiB", "--count", "5"},
		{"/bin/heapctl", "stress", "--heap", "reserved", "--duration", "5s"},
		{"/bin/dmaheap.test", "-test.v"},
	}}
	vm := b.VM(ctx, t, plan, bench.File(t, "/bin/heapctl", heapctl, 0o755), bench.File(t, "/bin/dmaheap.test", library, 0o755))
	vm.Kernel, vm.DTB, vm.Append = image, "", "cma=64M"
	res := bench.Boot(ctx, t, vm)
	if len(res.Commands) != len(plan.Run) {
		t.Fatalf("%d of %d commands were run", len(res.Commands), len(plan.Run))
	}
	for _, c := range res.Commands {
		if c.Exit != 0 {
			t.Errorf("%s: exit %d", c.Line, c.Exit)
		}
	}
	for _, heap := range []string{"reserved", "system", "system-contig"} {
		if !regexp.MustCompile(`(?m)^` + heap + `\b`).MatchString(res.Commands[0].Output) {
			t.Errorf("heapctl list shows no heap %s", heap)
		}
	}
	// What the library's tests skip on a machine without heaps has to run here.
	var passed []string
	for _, m := range regexp.MustCompile(`(?m)^ *--- PASS: (\S+)`).FindAllStringSubmatch(res.Commands[len(res.Commands)-1].Output, -1) {
		passed = append(passed, m[1])
	}
	for _, name := range []string{"TestHeapRoundTrip/reserved", "TestHeapRoundTrip/system", "TestHeapPassing/reserved", "TestFromMemory"} {
		if !slices.Contains(passed, name) {
			t.Errorf("%s of the library did not pass", name)
		}
	}
}
