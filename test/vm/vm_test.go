// SPDX-License-Identifier: MIT

// Package vm holds the tests that boot a kernel in QEMU: the main job from end
// to end, the ways in which it can fail, and the kernel's own selftest.
package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// demo runs the demo as a person does and returns its output and exit code.
func demo(ctx context.Context, t *testing.T, b *bench.Bench, env []string, args ...string) (out, dir string, code int) {
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
	b, ctx := bench.Setup(t)
	out, _, code := demo(ctx, t, b, nil)
	if code != 0 || !strings.Contains(out, "\nverdict: ok") {
		t.Fatalf("demo: exit %d, want 0 and \"verdict: ok\"\n%s", code, out)
	}
	for _, h := range b.Example.Locked.Heaps {
		if !strings.Contains(out, h.Name) {
			t.Errorf("the demo does not mention the heap %s\n%s", h.Name, out)
		}
	}
}

// Every broken example ends before anything is written, at a line and column.
func TestDemoRefusesBrokenConfigs(t *testing.T) {
	b, ctx := bench.Setup(t)
	files, err := filepath.Glob(filepath.Join(b.Root, "examples", "broken", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("examples/broken: %q, %v; want files", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			out, dir, code := demo(ctx, t, b, nil, "-config", file)
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
	b, ctx := bench.Setup(t)
	for name, config := range map[string]string{
		"missing":   "no/such/heaps.yaml",
		"directory": b.Root,
	} {
		if out, _, code := demo(ctx, t, b, nil, "-config", config); code != 2 {
			t.Errorf("%s: exit %d, want 2\n%s", name, code, out)
		}
	}
}

// Without the patch the heap cannot exist, and the verdict has to say which.
func TestDemoWithoutCarveoutPatch(t *testing.T) {
	b, ctx := bench.Setup(t)
	carveouts := b.Example.Heaps(heapcfg.Carveout)
	if len(carveouts) == 0 {
		t.Fatalf("%s has no carveout to miss", b.Rig.Example())
	}
	out, _, code := demo(ctx, t, b, []string{"DMAHEAP_PATCHES=" + withoutCarveout(t, b)})
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

// The kernel's own test is the judge of every heap, unmodified.
func TestMainlineSelftest(t *testing.T) {
	b, ctx := bench.Setup(t)
	program := b.Selftest(ctx, t)
	board := b.Compile(ctx, t, filepath.Join("testdata", "selftest.yaml"))
	plan := initramfs.Plan{KeepGoing: true, Rules: rig.RulesPath, Run: [][]string{
		{"/bin/dmabuf-heap"}, {"/bin/heapctl", "check", "--full", rig.LockPath},
	}}
	vm := b.VM(ctx, t, plan, append(b.Files(t, board), bench.File(t, "/bin/dmabuf-heap", program, 0o755))...)
	// A heap of each kind asks more of the kernel than the example does.
	vm.Kernel, vm.DTB = b.Kernel(ctx, t, rig.Kernel{Fragments: []string{board.Config}}), board.Merged
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Commands) != 2 || res.Commands[1].Exit != 0 {
		t.Errorf("heapctl check does not find these heaps sound:\n%s", res.Console)
	}
	out := res.Commands[0].Output
	if res.Exit != 0 || strings.Contains(out, "\nnot ok") {
		t.Errorf("selftest: exit %d\n%s", res.Exit, out)
	}
	for _, name := range board.Heaps("") {
		if !regexp.MustCompile(`(?m)\b` + regexp.QuoteMeta(name) + `$`).MatchString(out) {
			t.Errorf("the selftest did not test %s\n%s", name, out)
		}
	}
}

// splat finds what KASAN, lockdep, the DMA API and their kind report; all of
// them begin one of these two ways.
var splat = regexp.MustCompile(`(?m)^.*(WARNING: |BUG: ).*$`)

// With all of the kernel's own checkers on, heapctl's whole programme and the
// selftest leave not one report. Building that kernel takes as long again as
// the plain one, so it has a target of its own.
func TestDebugKernel(t *testing.T) {
	if os.Getenv("DMAHEAP_VM_DEBUG") == "" {
		t.Skip("DMAHEAP_VM_DEBUG is not set; `make test-debug` runs this")
	}
	b, ctx := bench.Setup(t)
	board := b.Compile(ctx, t, filepath.Join("testdata", "selftest.yaml"))
	plan := initramfs.Plan{KeepGoing: true, Rules: rig.RulesPath, Run: [][]string{
		{"/bin/heapctl", "check", "--full", rig.LockPath}, {"/bin/dmabuf-heap"},
	}}
	vm := b.VM(ctx, t, plan, append(b.Files(t, board), bench.File(t, "/bin/dmabuf-heap", b.Selftest(ctx, t), 0o755))...)
	vm.Kernel, vm.DTB = b.Kernel(ctx, t, rig.Kernel{Fragments: []string{board.Config}, Debug: true}), board.Merged
	// Lockdep's reports are warnings, which init keeps off the console.
	vm.Append, vm.Timeout = "ignore_loglevel", 15*time.Minute
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(res.Console, "kasan: KernelAddressSanitizer initialized") {
		t.Error("this kernel has no KASAN: the test looked at the wrong one")
	}
	for _, line := range splat.FindAllString(res.Console, -1) {
		t.Errorf("the kernel reports: %s", line)
	}
	if res.Exit != 0 {
		t.Errorf("exit %d, want 0", res.Exit)
	}
	if t.Failed() {
		t.Log(res.Console)
	}
}

// A machine that crashes must never pass, and has to say why in one line.
func TestPanicIsAFailure(t *testing.T) {
	b, ctx := bench.Setup(t)
	out, _, code := demo(ctx, t, b, nil, "-append", "rdinit=/nonexistent")
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

// A pool of reusable memory behind the end of RAM is a layout that dtc and
// fdtoverlay accept and that no kernel survives.
func TestFatalLayoutIsSeen(t *testing.T) {
	b, ctx := bench.Setup(t)
	vm := b.VM(ctx, t, initramfs.Plan{Run: [][]string{{"/bin/heapctl", "--version"}}}, bench.File(t, "/bin/heapctl", b.Heapctl, 0o755))
	vm.DTB = b.WithRegions(ctx, t, `pool@80000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x80000000 0x0 0x4000000>; };`)
	_, err := vmtest.Run(ctx, vm)
	var none *vmtest.NoResultError
	if !errors.As(err, &none) {
		t.Fatalf("boot with a pool outside of RAM: %v, want no result", err)
	}
	if none.Fault == "" {
		t.Errorf("no sign of the crash in the error:\n%v", err)
	}
}

// The guest's init carries exit codes out as they are, the first that is not 0
// for the whole machine.
func TestGuestExitCodes(t *testing.T) {
	b, ctx := bench.Setup(t)
	heapctl := bench.File(t, "/bin/heapctl", b.Heapctl, 0o755)
	good := []string{"/bin/heapctl", "--version"}
	usage := []string{"/bin/heapctl", "no-such-verb"}
	missing := []string{"/bin/no-such-program"}
	tests := []struct {
		name  string
		plan  initramfs.Plan
		exit  int
		exits []int
	}{
		{"all good", initramfs.Plan{Run: [][]string{good, good}}, 0, []int{0, 0}},
		{"stop at the first failure", initramfs.Plan{Run: [][]string{usage, good}}, 2, []int{2}},
		{"keep going", initramfs.Plan{Run: [][]string{good, usage, missing, good}, KeepGoing: true}, 2, []int{0, 2, initramfs.ExitInit, 0}},
		{"rules that cannot be read", initramfs.Plan{Rules: "/nowhere", Run: [][]string{good}}, initramfs.ExitInit, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := vmtest.Run(ctx, b.VM(ctx, t, tt.plan, heapctl))
			if err != nil {
				t.Fatal(err)
			}
			var exits []int
			for _, c := range res.Commands {
				exits = append(exits, c.Exit)
			}
			if res.Exit != tt.exit || !slices.Equal(exits, tt.exits) {
				t.Errorf("machine %d, commands %v; want %d, %v\n%s", res.Exit, exits, tt.exit, tt.exits, res.Console)
			}
		})
	}
}
