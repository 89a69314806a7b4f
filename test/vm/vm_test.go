// SPDX-License-Identifier: MIT

// Package vm holds the tests that boot a kernel in QEMU: the main job from end
// to end, the ways in which it can fail, and the kernel's own selftest.
//
// `make test` runs them with DMAHEAP_VM=require: then a missing QEMU or kernel
// is a failure. A plain `go test` runs them where the kernel of test/kernel.sh
// is in the cache, and says why it skips where it is not. DMAHEAP_VM=skip
// leaves them out.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/internal/vmtest/guest"
	"github.com/dmaheap/dmaheap/test/rig"
)

const example = "examples/qemu-virt/heaps.yaml"

// bench is what all tests need and only the first one builds.
type bench struct {
	*rig.Rig
	demo    string // programs for this machine
	host    string // heapctl
	heapctl string // heapctl for the guest
	base    string // QEMU's own device tree
	example compiled
	image   string
}

// compiled is a heap config on its way to the board.
type compiled struct {
	rig.Products
	lock   *heapcfg.Lock
	merged string // device tree with the overlay applied
}

var shared struct {
	once  sync.Once
	bench bench
	dir   string
	err   error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vmtest")
	if err != nil {
		panic(err)
	}
	shared.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// setup returns the bench, or ends the test as DMAHEAP_VM asks.
func setup(t *testing.T) (*bench, context.Context) {
	t.Helper()
	mode := os.Getenv("DMAHEAP_VM")
	if mode == "skip" {
		t.Skip("DMAHEAP_VM=skip")
	}
	shared.once.Do(func() { shared.err = shared.bench.build(mode == "require") })
	if shared.err != nil {
		if mode == "require" {
			t.Fatalf("DMAHEAP_VM=require, but: %v", shared.err)
		}
		t.Skipf("%v; `make kernel` builds it", shared.err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	t.Cleanup(cancel)
	return &shared.bench, ctx
}

func (b *bench) build(mayTakeLong bool) error {
	ctx := context.Background()
	for _, tool := range []string{vmtest.DefaultQEMU, "dtc", "fdtoverlay"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	r, err := rig.New(os.Stderr)
	if err != nil {
		return err
	}
	b.Rig = r
	if b.demo, err = r.Host(ctx, "test/demo"); err != nil {
		return err
	}
	if b.host, err = r.Host(ctx, "cmd/heapctl"); err != nil {
		return err
	}
	if b.heapctl, err = r.Guest(ctx, "cmd/heapctl"); err != nil {
		return err
	}
	b.base = filepath.Join(shared.dir, "virt.dtb")
	if err := r.DumpDTB(ctx, b.base, vmtest.DefaultMemMiB); err != nil {
		return err
	}
	if b.example, err = b.compile(ctx, filepath.Join(r.Root, example), filepath.Join(shared.dir, "example")); err != nil {
		return err
	}
	b.image, err = r.Image(ctx, rig.Kernel{Fragments: []string{b.example.Config}, Cached: !mayTakeLong})
	return err
}

// kernelLine is the line of kernels under test: V, as for test/kernel.sh.
func kernelLine() string {
	if v := os.Getenv("V"); v != "" {
		return v
	}
	return "6.12"
}

// compile turns a heap config into all that a machine needs, in dir.
func (b *bench) compile(ctx context.Context, config, dir string) (compiled, error) {
	var c compiled
	heaps := filepath.Join(dir, "heaps")
	if said, err := exec.CommandContext(ctx, b.host, "compile", config, "--base", b.base, "--kernel", kernelLine(), "-o", heaps).CombinedOutput(); err != nil {
		return c, fmt.Errorf("heapctl compile %s: %w\n%s", config, err, said)
	}
	var err error
	if c.Products, err = rig.FindProducts(heaps); err != nil {
		return c, err
	}
	lock, err := os.ReadFile(c.Lock)
	if err != nil {
		return c, err
	}
	if c.lock, err = heapcfg.ParseLock(lock); err != nil {
		return c, err
	}
	c.merged = filepath.Join(dir, "merged.dtb")
	return c, b.ApplyOverlay(ctx, b.base, c.merged, c.Overlay)
}

// runDemo runs the demo as a person does and returns its output and exit code.
func (b *bench) runDemo(ctx context.Context, t *testing.T, env []string, args ...string) (out, dir string, code int) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "out")
	cmd := exec.CommandContext(ctx, b.demo, append([]string{"-o", dir}, args...)...)
	cmd.Dir = b.Root
	cmd.Env = append(os.Environ(), env...)
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(said), dir, cmd.ProcessState.ExitCode()
}

// boot runs a plan in a machine with the example's layout.
func (b *bench) boot(ctx context.Context, t *testing.T, dtb string, plan guest.Plan, files ...vmtest.File) (*vmtest.Result, error) {
	t.Helper()
	initrd := filepath.Join(t.TempDir(), "initramfs.cpio")
	if err := b.Initramfs(ctx, initrd, plan, files...); err != nil {
		t.Fatal(err)
	}
	return vmtest.Run(ctx, vmtest.VM{Kernel: b.image, Initrd: initrd, DTB: dtb, Timeout: 3 * time.Minute})
}

func (b *bench) hostFile(t *testing.T, name, file string, mode uint32) vmtest.File {
	t.Helper()
	f, err := rig.HostFile(name, file, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// heaps returns the names of the lock's heaps, all or those of one kind.
func (c compiled) heaps(kind heapcfg.Kind) []string {
	var names []string
	for _, h := range c.lock.Heaps {
		if kind == "" || h.Kind == kind {
			names = append(names, h.Name)
		}
	}
	return names
}

func TestDemo(t *testing.T) {
	b, ctx := setup(t)
	out, _, code := b.runDemo(ctx, t, nil)
	if code != 0 || !strings.Contains(out, "\nverdict: ok") {
		t.Fatalf("demo: exit %d, want 0 and \"verdict: ok\"\n%s", code, out)
	}
	for _, h := range b.example.lock.Heaps {
		if !strings.Contains(out, h.Name) {
			t.Errorf("the demo does not mention the heap %s\n%s", h.Name, out)
		}
	}
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
			out, dir, code := b.runDemo(ctx, t, nil, "-config", file)
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
		if out, _, code := b.runDemo(ctx, t, nil, "-config", config); code != 2 {
			t.Errorf("%s: exit %d, want 2\n%s", name, code, out)
		}
	}
}

// Without the patch the heap cannot exist, and the verdict has to say which.
func TestDemoWithoutCarveoutPatch(t *testing.T) {
	b, ctx := setup(t)
	carveouts := b.example.heaps(heapcfg.Carveout)
	if len(carveouts) == 0 {
		t.Fatalf("%s has no carveout to miss", example)
	}
	out, _, code := b.runDemo(ctx, t, []string{"DMAHEAP_PATCHES=" + b.withoutCarveout(t)})
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
func (b *bench) withoutCarveout(t *testing.T) string {
	t.Helper()
	from, dir := filepath.Join(b.Root, "kernel-patches", kernelLine()), t.TempDir()
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
	b, ctx := setup(t)
	program, err := b.Selftest(ctx, rig.Kernel{})
	if err != nil {
		t.Fatal(err)
	}
	board, err := b.compile(ctx, filepath.Join("testdata", "selftest.yaml"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// A heap of each kind asks more of the kernel than the example does.
	on := *b
	if on.image, err = b.Image(ctx, rig.Kernel{Fragments: []string{board.Config}}); err != nil {
		t.Fatal(err)
	}
	plan := guest.Plan{KeepGoing: true, Rules: "/heaps.rules", Run: [][]string{
		{"/bin/dmabuf-heap"}, {"/bin/heapctl", "check", "--full", "/heaps.lock.json"},
	}}
	res, err := on.boot(ctx, t, board.merged, plan,
		b.hostFile(t, "/bin/dmabuf-heap", program, 0o755),
		b.hostFile(t, "/bin/heapctl", b.heapctl, 0o755),
		b.hostFile(t, "/heaps.lock.json", board.Lock, 0o644),
		b.hostFile(t, "/heaps.rules", board.Rules, 0o644))
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
	for _, name := range board.heaps("") {
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
	b, ctx := setup(t)
	board, err := b.compile(ctx, filepath.Join("testdata", "selftest.yaml"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program, err := b.Selftest(ctx, rig.Kernel{})
	if err != nil {
		t.Fatal(err)
	}
	image, err := b.Image(ctx, rig.Kernel{Fragments: []string{board.Config}, Debug: true})
	if err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(t.TempDir(), "initramfs.cpio")
	plan := guest.Plan{KeepGoing: true, Rules: "/heaps.rules", Run: [][]string{
		{"/bin/heapctl", "check", "--full", "/heaps.lock.json"}, {"/bin/dmabuf-heap"},
	}}
	if err := b.Initramfs(ctx, initrd, plan,
		b.hostFile(t, "/bin/heapctl", b.heapctl, 0o755),
		b.hostFile(t, "/heaps.lock.json", board.Lock, 0o644),
		b.hostFile(t, "/heaps.rules", board.Rules, 0o644),
		b.hostFile(t, "/bin/dmabuf-heap", program, 0o755)); err != nil {
		t.Fatal(err)
	}
	res, err := vmtest.Run(ctx, vmtest.VM{
		Kernel: image, Initrd: initrd, DTB: board.merged, Timeout: 15 * time.Minute,
		// Lockdep's reports are warnings, which init keeps off the console.
		Append: "ignore_loglevel",
	})
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
	b, ctx := setup(t)
	out, _, code := b.runDemo(ctx, t, nil, "-append", "rdinit=/nonexistent")
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

// outsideRAM is a layout that dtc and fdtoverlay accept and that 6.12 does not
// survive: a pool of reusable memory behind the end of RAM.
const outsideRAM = `/dts-v1/;
/plugin/;
&{/} {
	reserved-memory {
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
		pool@80000000 {
			compatible = "shared-dma-pool";
			reusable;
			reg = <0x0 0x80000000 0x0 0x4000000>;
		};
	};
};
`

func TestFatalLayoutIsSeen(t *testing.T) {
	b, ctx := setup(t)
	dir := t.TempDir()
	dtso, dtbo, merged := filepath.Join(dir, "o.dtso"), filepath.Join(dir, "o.dtbo"), filepath.Join(dir, "merged.dtb")
	if err := os.WriteFile(dtso, []byte(outsideRAM), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, "dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", dtbo, dtso).CombinedOutput(); err != nil {
		t.Fatalf("dtc: %v\n%s", err, out)
	}
	if err := b.ApplyOverlay(ctx, b.base, merged, dtbo); err != nil {
		t.Fatal(err)
	}
	_, err := b.boot(ctx, t, merged, guest.Plan{Run: [][]string{{"/bin/heapctl", "--version"}}},
		b.hostFile(t, "/bin/heapctl", b.heapctl, 0o755))
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
	b, ctx := setup(t)
	heapctl := b.hostFile(t, "/bin/heapctl", b.heapctl, 0o755)
	good := []string{"/bin/heapctl", "--version"}
	usage := []string{"/bin/heapctl", "no-such-verb"}
	missing := []string{"/bin/no-such-program"}
	tests := []struct {
		name  string
		plan  guest.Plan
		exit  int
		exits []int
	}{
		{"all good", guest.Plan{Run: [][]string{good, good}}, 0, []int{0, 0}},
		{"stop at the first failure", guest.Plan{Run: [][]string{usage, good}}, 2, []int{2}},
		{"keep going", guest.Plan{Run: [][]string{good, usage, missing, good}, KeepGoing: true}, 2, []int{0, 2, guest.ExitInit, 0}},
		{"rules that cannot be read", guest.Plan{Rules: "/nowhere", Run: [][]string{good}}, guest.ExitInit, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := b.boot(ctx, t, b.example.merged, tt.plan, heapctl)
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
