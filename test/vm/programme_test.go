// SPDX-License-Identifier: MIT

package vm

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

// kunitSuites are those of kernel-patches; other code of a kernel may have its
// own.
func kunitSuites(b *bench.Bench) []string {
	if !b.HasKUnit() {
		return nil
	}
	suites := []string{"dma_heap_extents", "dma_heap_contig_buffer"}
	if b.HasPagePool() {
		suites = append(suites, "dma_heap_page_pool")
	}
	return suites
}

// heapArguments are what the machines get that have every heap: system-contig
// must have room for the selftest, and KUnit waits to be asked, newer ones twice.
const heapArguments = "system_contig_heap.limit_percent=25 kunit.enable=1 kunit.autorun=1"

// A programme is one boot with a heap of each kind, in which everything that
// tests a heap is run.
type programme struct {
	line   heapcfg.Version
	board  bench.Board
	kunit  []string // suites that this kernel has
	result *vmtest.Result

	check   vmtest.Command // heapctl check against the lock, in JSON
	inside  vmtest.Command // tests that run in the machine
	without vmtest.Command // heapctl check of all heaps, without a lock
	self    vmtest.Command // the kernel's own selftest
	log     vmtest.Command // the kernel log at the end
}

// boot boots the kernel with a heap of each kind.
func boot(ctx context.Context, t *testing.T, b *bench.Bench, arguments string, timeout time.Duration) *programme {
	t.Helper()
	inside, err := b.GuestTest(ctx, "test/inside")
	if err != nil {
		t.Fatal(err)
	}
	// The selftest takes every heap for one that it can map.
	var hidden []string
	for _, h := range b.All.Locked.Heaps {
		if h.Access == heapcfg.DeviceOnly {
			hidden = append(hidden, "/dev/dma_heap/"+h.Name, "/dev/dma_heap/"+h.Short)
		}
	}
	plan := initramfs.Plan{KeepGoing: true, Rules: rig.RulesPath, Run: [][]string{
		{"/bin/heapctl", "check", "--full", "-o", "json", rig.LockPath},
		{"/bin/inside", "-inside", "-lock", rig.LockPath, "-test.v", "-test.timeout", timeout.String()},
		{"/bin/inside", "rm", rig.LockPath},
		{"/bin/heapctl", "check", "-o", "json"},
		append([]string{"/bin/inside", "rm"}, hidden...),
		{"/bin/dmabuf-heap"},
		{"/bin/inside", "log"},
	}}
	vm := b.VM(ctx, t, plan, append(b.Files(t, b.All),
		bench.File(t, "/bin/inside", inside, 0o755),
		bench.File(t, "/bin/dmabuf-heap", b.Selftest(ctx, t), 0o755))...)
	vm.DTB, vm.Append, vm.Timeout = b.All.Merged, heapArguments+" "+arguments, timeout
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Commands) != len(plan.Run) {
		t.Fatalf("%d of %d commands were run\n%s", len(res.Commands), len(plan.Run), res.Console)
	}
	t.Logf("kernel %v: booted and tested in %v", b.Line, res.Duration.Round(time.Second))
	c := res.Commands
	return &programme{
		line: b.Line, board: b.All, kunit: kunitSuites(b), result: res,
		check: c[0], inside: c[1], without: c[3], self: c[5], log: c[6],
	}
}

// judge holds every result of the programme against what it must be. The tests
// in the machine that may skip are named, all others have to pass.
func (p *programme) judge(t *testing.T, maySkip ...string) {
	if len(p.kunit) > 0 {
		t.Run("kunit", p.judgeKUnit)
	}
	t.Run("check", func(t *testing.T) { judgeCheck(t, p.check, append(p.board.Heaps(""), "system")) })
	t.Run("check-without-lock", func(t *testing.T) {
		judgeCheck(t, p.without, append(p.board.Heaps(""), "system", "system-contig"))
	})
	t.Run("selftest", p.judgeSelftest)
	t.Run("inside", func(t *testing.T) {
		if p.inside.Exit != 0 {
			t.Errorf("exit %d\n%s\nthe kernel says:\n%s", p.inside.Exit, p.inside.Output, aboutHeaps(p.log.Output))
		}
		ran := 0
		for _, m := range insideResult.FindAllStringSubmatch(p.inside.Output, -1) {
			ran++
			if m[1] == "SKIP" && !slices.Contains(maySkip, m[2]) {
				t.Errorf("%s was skipped\n%s", m[2], p.inside.Output)
			}
		}
		if ran < 5 {
			t.Errorf("only %d tests ran\n%s", ran, p.inside.Output)
		}
	})
	t.Run("log", func(t *testing.T) {
		if p.log.Exit != 0 {
			t.Fatalf("the kernel log cannot be read: %s", p.log.Output)
		}
		for _, line := range splat.FindAllString(p.log.Output+p.result.Console, -1) {
			if !vmapWarning.MatchString(line) {
				t.Errorf("the kernel reports: %s", line)
			}
		}
		if t.Failed() {
			t.Logf("%s\n%s", p.result.Console, p.log.Output)
		}
	})
}

var insideResult = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+)`)

func (p *programme) judgeKUnit(t *testing.T) {
	got := vmtest.Suites(p.result.Console)
	for _, name := range p.kunit {
		i := slices.IndexFunc(got, func(s vmtest.Suite) bool { return s.Name == name })
		if i < 0 {
			t.Errorf("the suite %s did not run", name)
			continue
		}
		if err := got[i].Err(); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.Log(p.result.Console)
	}
}

// mustPass are checks that this kernel can do, and so must do, on each heap.
var mustPass = []string{"exporter-death", "fd-pass"}

func judgeCheck(t *testing.T, check vmtest.Command, heaps []string) {
	text := check.Output
	if i := strings.IndexByte(text, '{'); i >= 0 {
		text = text[i:]
	}
	var got report.Report
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&got); err != nil {
		t.Fatalf("exit %d: %v\n%s", check.Exit, err, check.Output)
	}
	passed := map[string]bool{}
	for _, r := range got.Results {
		switch r.Status {
		case report.Pass:
			passed[r.Heap] = true
		case report.Fail:
			t.Errorf("%s %s: %s", r.Heap, r.ID, r.Message)
		case report.Skip:
			if slices.Contains(mustPass, r.ID) {
				t.Errorf("%s %s was skipped: %s", r.Heap, r.ID, r.Message)
			}
		}
		// A fallback passes with a word about it.
		if strings.Contains(r.Message, "no unix sockets") {
			t.Errorf("%s %s: %s", r.Heap, r.ID, r.Message)
		}
	}
	for _, name := range heaps {
		if !passed[name] {
			t.Errorf("nothing passed on the heap %s", name)
		}
	}
	if check.Exit != 0 {
		t.Errorf("exit %d", check.Exit)
	}
	if t.Failed() {
		t.Log(check.Output)
	}
}

// The kernel's own test, unmodified, judges every heap that the CPU can map.
func (p *programme) judgeSelftest(t *testing.T) {
	out, exit := p.self.Output, 0
	if p.line.Before(heapcfg.Version{Major: 5, Minor: 0}) {
		// This kernel gives vgem, the test's importer, no DMA operations on
		// arm64, so that it can import from no heap at all.
		heaps := strings.Count(out, "# Testing heap: ")
		if n := len(vgemRefused.FindAllString(out, -1)); n != heaps {
			t.Errorf("vgem could not import from %d of %d heaps; on this kernel that is all or an error of the test", n, heaps)
		}
		out, exit = vgemRefused.ReplaceAllString(out, ""), 1
	}
	if p.self.Exit != exit || selftestBad.MatchString(out) {
		t.Errorf("exit %d, want %d\n%s", p.self.Exit, exit, out)
	}
	tested := []string{"system-contig"}
	for _, h := range p.board.Locked.Heaps {
		if h.Access != heapcfg.DeviceOnly {
			tested = append(tested, h.Name)
		}
	}
	for _, name := range tested {
		if !regexp.MustCompile(`(?m)\b` + regexp.QuoteMeta(name) + `$`).MatchString(out) {
			t.Errorf("the selftest did not test %s\n%s", name, out)
		}
	}
}

var (
	selftestBad = regexp.MustCompile(`(?m)^(not ok\b|ok\b.*# SKIP\b)`)
	vgemRefused = regexp.MustCompile(`(?m)^not ok \d+ Import buffer -1$`)
)

// splat finds what KASAN, lockdep, the DMA API and their kind report, all of
// which begin one of the first ways, and that one of them has given up.
var splat = regexp.MustCompile(`(?m)^.*(WARNING: |BUG: |INFO: task .* blocked|` +
	`DMA-API: debugging (disabled|out of memory)|kmemleak: .* disabled|turning off the locking correctness validator).*$`)

// vmapWarning is what dma-buf.c says, once, when an exporter cannot map a buffer
// for want of memory, which TestFailNth brings about.
var vmapWarning = regexp.MustCompile(`WARNING: .*\bdma_buf_vmap\+`)

// aboutHeaps returns the lines of the kernel log that name the heaps.
func aboutHeaps(log string) string {
	var lines []string
	for _, l := range strings.Split(log, "\n") {
		if strings.Contains(l, "heap") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// TestBuild builds what the tests boot.
func TestBuild(t *testing.T) {
	b, ctx := bench.SetupAny(t)
	b.Selftest(ctx, t)
}

// Every kernel line passes this: the kernel's own selftest, KUnit, the test
// importer, heapctl check, each on a heap of every kind. With the kernel's own
// checkers in it not one of them reports anything, also when each allocation in
// turn is made to fail.
func TestProgramme(t *testing.T) {
	b, ctx := bench.SetupAny(t)
	if !b.Debug {
		boot(ctx, t, b, "", 10*time.Minute).judge(t, "TestDMADebug", "TestFailNth", "TestLeaks", "TestReserved")
		return
	}
	// The log is long, so all of it goes to the console at once.
	p := boot(ctx, t, b, "ignore_loglevel", 25*time.Minute)
	if !strings.Contains(p.result.Console, "KernelAddressSanitizer initialized") {
		t.Error("this kernel has no KASAN: the test looked at the wrong one")
	}
	p.judge(t, "TestReserved")
}

// Heaps above 4 GiB, and a device that reaches only what is below: what has
// pages is bounced, what has none is refused.
func TestAbove4GiB(t *testing.T) {
	small, ctx := bench.SetupAny(t)
	m := small.Machine
	m.MemMiB = 5 << 10
	b := small.On(ctx, t, m)
	inside, err := b.GuestTest(ctx, "test/inside")
	if err != nil {
		t.Fatal(err)
	}
	const combined = "secure@142000000"
	vm := b.VM(ctx, t, initramfs.Plan{KeepGoing: true, Run: [][]string{
		{"/bin/inside", "-inside", "-test.v", "-test.run", "^(TestImporter|TestNothingLeft)$", "-beyond", combined},
		{"/bin/inside", "ls", "/dev/dma_heap"},
		{"/bin/inside", "log"},
	}}, bench.File(t, "/bin/inside", inside, 0o755))
	vm.Timeout = 10 * time.Minute
	vm.DTB = b.WithRegions(ctx, t, `
		npu@140000000 { compatible = "linux,carveout-heap"; reg = <1 0x40000000 0 0x1000000>; };
		tiles@141000000 { compatible = "linux,chunk-heap"; chunk-size = <0x10000>; reg = <1 0x41000000 0 0x1000000>; };
		`+combined+` { compatible = "linux,carveout-heap"; no-map; write-combining; reg = <1 0x42000000 0 0x1000000>; };`)
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	if res.Exit != 0 || len(res.Commands) != 3 {
		t.Errorf("exit %d", res.Exit)
	}
	for _, name := range []string{"npu@140000000", "tiles@141000000", combined} {
		if !strings.Contains(res.Commands[1].Output, name) {
			t.Errorf("no heap %s", name)
		}
	}
	if t.Failed() {
		t.Logf("%s\nthe kernel says:\n%s", res.Console, aboutHeaps(res.Commands[2].Output))
	}
}
