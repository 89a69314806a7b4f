// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// shortRun is how long rounds are begun where nobody says otherwise.
const shortRun = "20s"

func setting(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// The heaps of all kinds stand some rounds of abuse. `make abuse` runs more of
// them: ABUSE_DURATION and ABUSE_SEED are its DURATION and SEED.
func TestAbuse(t *testing.T) {
	setup := bench.Setup // the short form is for plain kernels
	if os.Getenv("ABUSE_DURATION") != "" {
		setup = bench.SetupAny
	}
	one, ctx := setup(t)
	duration, err := time.ParseDuration(setting("ABUSE_DURATION", shortRun))
	if err != nil {
		t.Fatalf("ABUSE_DURATION: %v", err)
	}
	// Two processors, so that two threads are in the kernel at once.
	m := one.Machine
	m.CPUs = 2
	b := one.On(ctx, t, m)
	board := b.All // what other machines have
	if m.Arch == vmtest.ARM64.Arch {
		board = b.Compile(ctx, t, filepath.Join("testdata", "abuse.yaml"))
	}
	program, err := b.Guest(ctx, "test/abuse")
	if err != nil {
		t.Fatal(err)
	}
	run := []string{"/bin/abuse", "-duration", duration.String()}
	if seed := os.Getenv("ABUSE_SEED"); seed != "" {
		run = append(run, "-seed", seed)
	}
	vm := b.VM(ctx, t, initramfs.Plan{Run: [][]string{run}}, bench.File(t, "/bin/abuse", program, 0o755))
	vm.DTB = board.Merged
	// vgem maps more in one go than it says it takes, which the checker of
	// the DMA API reports for every importer of its kind.
	vm.Append = "dma_debug_driver=heap_importer"
	vm.Timeout = duration + 4*time.Minute
	if b.Debug {
		vm.Timeout = 2*duration + 15*time.Minute
	}
	vm.Console = vmtest.CommandOutput(os.Stdout)
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	if res.Exit != 0 {
		t.Errorf("abuse: exit %d\n%s", res.Exit, res.Console)
	}
	if out := res.Commands[0].Output; !regexp.MustCompile(`(?m)^abuse: \d{3,} steps done`).MatchString(out) {
		t.Errorf("abuse has done next to nothing:\n%s", out)
	}
	if b.Debug && !strings.Contains(res.Console, "KernelAddressSanitizer initialized") {
		t.Error("this kernel has no KASAN: the test looked at the wrong one")
	}
}
