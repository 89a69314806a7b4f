// SPDX-License-Identifier: MIT

package vmfault

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/internal/vmtest/guest"
	"github.com/dmaheap/dmaheap/test/rig"
)

// bench is what all tests need and only the first one builds.
type bench struct {
	*rig.Rig
	dir     string
	image   string
	base    string // QEMU's own device tree
	merged  string // with the overlay of the example
	heaps   rig.Products
	heapctl string
	faults  string // this test binary, for the guest
}

var shared struct {
	once  sync.Once
	bench bench
	err   error
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fault" {
		if err := makeFaults(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "fault: %v\n", err)
			os.Exit(100)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "vmfault")
	if err != nil {
		panic(err)
	}
	shared.bench.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// setup returns the bench, or ends the test as DMAHEAP_VM asks: "require" turns
// a missing QEMU or kernel into a failure, "skip" leaves these tests out.
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
	var err error
	if b.Rig, err = rig.New(os.Stderr); err != nil {
		return err
	}
	host, err := b.Host(ctx, "cmd/heapctl")
	if err != nil {
		return err
	}
	if b.heapctl, err = b.Guest(ctx, "cmd/heapctl"); err != nil {
		return err
	}
	b.faults = filepath.Join(b.dir, "faults")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", b.faults, "./internal/check/vmfault")
	build.Dir = b.Root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c: %w\n%s", err, said)
	}
	virt := filepath.Join(b.dir, "virt.dtb")
	if err := b.DumpDTB(ctx, virt, vmtest.DefaultMemMiB); err != nil {
		return err
	}
	heaps := filepath.Join(b.dir, "heaps")
	config := filepath.Join(b.Root, "examples", "qemu-virt", "heaps.yaml")
	if said, err := exec.CommandContext(ctx, host, "compile", config, "--base", virt, "-o", heaps).CombinedOutput(); err != nil {
		return fmt.Errorf("heapctl compile %s: %w\n%s", config, err, said)
	}
	if b.heaps, err = rig.FindProducts(heaps); err != nil {
		return err
	}
	// QEMU doubles the size of a blob it is given, and the kernel takes 2 MiB
	// at most: the megabyte of padding in QEMU's own must go.
	b.base = filepath.Join(b.dir, "base.dtb")
	if said, err := exec.CommandContext(ctx, "dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", b.base, virt).CombinedOutput(); err != nil {
		return fmt.Errorf("dtc: %w\n%s", err, said)
	}
	b.merged = filepath.Join(b.dir, "merged.dtb")
	if err := b.ApplyOverlay(ctx, b.base, b.merged, b.heaps.Overlay); err != nil {
		return err
	}
	b.image, err = b.Image(ctx, rig.Kernel{Fragments: []string{b.heaps.Config}, Cached: !mayTakeLong})
	return err
}

// withRegions returns the base tree with these children of /reserved-memory.
func (b *bench) withRegions(ctx context.Context, t *testing.T, nodes string) string {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	source := fmt.Sprintf("/dts-v1/;\n/plugin/;\n&{/} { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; %s }; };\n", nodes)
	if err := os.WriteFile(in("o.dts"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(ctx, "dtc", "-q", "-@", "-O", "dtb", "-o", in("o.dtbo"), in("o.dts")).CombinedOutput(); err != nil {
		t.Fatalf("dtc: %v\n%s", err, said)
	}
	if err := b.ApplyOverlay(ctx, b.base, in("merged.dtb"), in("o.dtbo")); err != nil {
		t.Fatal(err)
	}
	return in("merged.dtb")
}

// a verdict is what heapctl check said of one fault.
type verdict struct {
	report.Report
	exit   int
	rssKiB int
}

func (v verdict) String() string {
	var s strings.Builder
	for _, r := range v.Results {
		if r.Status == report.Fail || r.Status == report.Warn {
			fmt.Fprintf(&s, "%s %s %s: %s\n", r.Status, r.Heap, r.ID, r.Message)
		}
	}
	return s.String()
}

// boot boots the tree and runs the fault commands; their verdicts come back by
// label. Without a lock the board is held against its own tree.
func (b *bench) boot(ctx context.Context, t *testing.T, dtb, arguments string, lock bool, commands ...[]string) map[string]verdict {
	t.Helper()
	files := []vmtest.File{}
	add := func(name, file string, mode uint32) {
		f, err := rig.HostFile(name, file, mode)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	add("/bin/heapctl", b.heapctl, 0o755)
	add("/bin/faults", b.faults, 0o755)
	plan := guest.Plan{KeepGoing: true, Run: commands}
	if lock {
		plan.Rules = "/etc/udev/rules.d/60-heaps.rules"
		add(plan.Rules, b.heaps.Rules, 0o644)
		add("/etc/dmaheap/heaps.lock.json", b.heaps.Lock, 0o644)
		rules, err := os.ReadFile(b.heaps.Rules)
		if err != nil {
			t.Fatal(err)
		}
		accounts, err := rig.Accounts(rules)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, accounts...)
	}
	initrd := filepath.Join(t.TempDir(), "initramfs.cpio")
	if err := b.Initramfs(ctx, initrd, plan, files...); err != nil {
		t.Fatal(err)
	}
	vm := vmtest.VM{Kernel: b.image, Initrd: initrd, DTB: dtb, Append: arguments + " loglevel=1", Timeout: 5 * time.Minute}
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatalf("%v\nto see it again: %s", err, vm.Reproduce())
	}
	out, err := parse(res.Console)
	if err != nil {
		t.Fatalf("%v\n%s", err, res.Console)
	}
	return out
}

// parse finds the verdicts in what the console showed. The kernel may print
// between the lines of a report, but never within one.
func parse(console string) (map[string]verdict, error) {
	out := map[string]verdict{}
	label := ""
	var body strings.Builder
	for _, line := range strings.Split(strings.ReplaceAll(console, "\r", ""), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == beginMark:
			label = words[1]
			body.Reset()
		case len(words) == 4 && words[0] == endMark:
			var v verdict
			if err := json.Unmarshal([]byte(body.String()), &v.Report); err != nil {
				return nil, fmt.Errorf("%s: %w", label, err)
			}
			if _, err := fmt.Sscan(words[2]+" "+words[3], &v.exit, &v.rssKiB); err != nil {
				return nil, fmt.Errorf("%s: exit code and memory %q", label, words[2:])
			}
			out[label], label = v, ""
		case label != "" && !strings.HasPrefix(line, "["):
			body.WriteString(line + "\n")
		}
	}
	return out, nil
}

// command is one check with its faults, for the plan of the guest.
func command(label string, faults []string, check ...string) []string {
	c := append([]string{"/bin/faults", "fault", label}, faults...)
	return append(append(c, "--", "/bin/heapctl", "check", "-o", "json"), check...)
}

// want is what a verdict must say.
type want struct {
	id, heap, says, advice string
	exit                   int
}

// hold compares a verdict with what it must say. The first failure is what a
// person acts on, so it alone must name the fault.
func hold(t *testing.T, got map[string]verdict, label string, w want) {
	t.Helper()
	v, ok := got[label]
	if !ok {
		t.Errorf("%s: no verdict", label)
		return
	}
	if v.exit != w.exit || v.exit != v.Summary.Exit {
		t.Errorf("%s: exit %d, in the report %d, want %d\n%v", label, v.exit, v.Summary.Exit, w.exit, v)
	}
	f := v.Summary.First
	if w.exit == report.ExitCannotTest {
		f = v.Summary.Blocked
	}
	switch {
	case w.id == "" && f != nil:
		t.Errorf("%s: a false alarm: %s %s: %s", label, f.ID, f.Heap, f.Message)
	case w.id == "":
	case f == nil:
		t.Errorf("%s: nothing failed, want %s", label, w.id)
	case f.ID != w.id || w.heap != "" && !strings.HasPrefix(f.Heap, w.heap) || !strings.Contains(f.Message, w.says) || !strings.Contains(f.Advice, w.advice):
		t.Errorf("%s: the first failure is %s of %q: %s\nadvice: %s\nwant %s of %q with %q, advice with %q\n%v",
			label, f.ID, f.Heap, f.Message, f.Advice, w.id, w.heap, w.says, w.advice, v)
	}
}

// Faults that are made while the board runs, on the layout of the example.
func TestRunningBoard(t *testing.T) {
	b, ctx := setup(t)
	type fault struct {
		label  string
		faults []string
		check  []string
		want   want
	}
	const npu, video = "/dev/dma_heap/npu", "/dev/dma_heap/video"
	cases := []fault{
		{"healthy-quick", nil, nil, want{exit: report.ExitOK}},
		{"healthy-full", nil, []string{"--full"}, want{exit: report.ExitOK}},
		{"held", []string{"hold", "npu", "0x2c00000"}, []string{"--full", "--heap", "npu"},
			want{"heap-free", "npu@", "held by faults[", "end the programs", report.ExitFailed}},
		{"held-by-mapping", []string{"map", "npu", "0x2c00000"}, []string{"--full", "--heap", "npu"},
			want{"heap-free", "npu@", "held by faults[", "end the programs", report.ExitFailed}},
		{"held-all", []string{"hold", "npu", "0x3000000"}, []string{"--heap", "npu"},
			want{"alloc-page", "npu@", "the heap is full", "end the programs", report.ExitFailed}},
		{"fragmented", []string{"fragment", "video", "0x40000"}, []string{"--full", "--heap", "video"},
			want{"heap-free", "video@", "fragmented", "large buffers first", report.ExitFailed}},
		{"no-rights", []string{"user", "1000"}, []string{"--heap", "npu"},
			want{"heap-access", "npu@", "not in group", "usermod -aG", report.ExitCannotTest}},
		{"no-link", []string{"remove", video}, []string{"--heap", "video"},
			want{"heap-link", "video@", "short name video is missing", "has the right rule", report.ExitFailed}},
		{"wrong-mode", []string{"chmod", "0600", npu}, []string{"--heap", "npu"},
			want{"heap-mode", "npu@", "0600, not", "has the right rule", report.ExitFailed}},
		{"wrong-group", []string{"chmod", "0660", npu, "chgrp", "29", npu}, []string{"--heap", "npu"},
			want{"heap-group", "npu@", "audio", "has the right rule", report.ExitFailed}},
		{"healthy-without-lock", []string{"remove", "/etc/dmaheap/heaps.lock.json"}, []string{"--full"}, want{exit: report.ExitOK}},
		{"container", []string{"touch", "/.dockerenv", "cover", "/dev/dma_heap"}, nil,
			want{"heaps-supported", "", "container", "--device /dev/dma_heap/", report.ExitFailed}},
	}
	var commands [][]string
	for _, c := range cases {
		commands = append(commands, command(c.label, c.faults, c.check...))
	}
	got := b.boot(ctx, t, b.merged, "", true, commands...)
	for _, c := range cases {
		hold(t, got, c.label, c.want)
	}
	// Boards with little memory left are those whose heaps are checked.
	const most = 16 << 10
	if rss := got["healthy-full"].rssKiB; rss == 0 || rss > most {
		t.Errorf("a full check needs %d KiB of memory, want at most %d", rss, most)
	} else {
		t.Logf("a full check needs %d KiB of memory", rss)
	}
}

// Faults that lie in what the board was booted with.
func TestBootedBoard(t *testing.T) {
	b, ctx := setup(t)
	const cma = `compatible = "shared-dma-pool"; reusable; linux,cma-default;`
	const carveout = `compatible = "linux,carveout-heap";`
	for _, tt := range []struct {
		label, arguments string
		regions          string // "" for the layout of the example
		base             bool   // no overlay at all
		lock             bool
		want             want
	}{
		{label: "cma-parameter", arguments: "cma=16M", lock: true,
			want: want{"heap-present", "linux,cma@", "cma=16M on the kernel command line", "remove cma=16M", report.ExitFailed}},
		{label: "no-overlay", base: true, lock: true,
			want: want{"tree-matches", "", "overlay was not applied", "fdtoverlay", report.ExitFailed}},
		{label: "misaligned", regions: `linux,cma@50100000 { ` + cma + ` reg = <0 0x50100000 0 0x4100000>; };`,
			want: want{"heap-present", "linux,cma@50100000", "not aligned", "MiB", report.ExitFailed}},
		{label: "overlap", regions: `a@50000000 { ` + carveout + ` reg = <0 0x50000000 0 0x2000000>; }; b@51000000 { ` + carveout + ` reg = <0 0x51000000 0 0x2000000>; };`,
			want: want{"tree-rules", "", "overlap", "move one of them", report.ExitFailed}},
		{label: "over-the-kernel", regions: `video@40200000 { ` + carveout + ` no-map; reg = <0 0x40200000 0 0x400000>; };`,
			want: want{"heap-present", "video@40200000", "could not reserve", "move the region", report.ExitFailed}},
		{label: "outside-ram", regions: `video@80000000 { ` + carveout + ` reg = <0 0x80000000 0 0x2000000>; };`,
			want: want{"heap-present", "video@80000000", "not all RAM", "reg", report.ExitFailed}},
		{label: "no-room", regions: `linux,cma { ` + cma + ` size = <0 0x30000000>; alloc-ranges = <0 0x50000000 0 0x10000000>; };`,
			want: want{"heap-present", "linux,cma", "no room", "smaller", report.ExitFailed}},
		{label: "wrong-cells", regions: `video@50000000 { ` + cma + ` reg = <0 0x50000000 0>; };`,
			want: want{"heap-present", "video@50000000", "reg", "cells", report.ExitFailed}}, // 7.3 says nothing, the rules do
	} {
		t.Run(tt.label, func(t *testing.T) {
			dtb := b.merged
			switch {
			case tt.base:
				dtb = b.base
			case tt.regions != "":
				dtb = b.withRegions(ctx, t, tt.regions)
			}
			hold(t, b.boot(ctx, t, dtb, tt.arguments, tt.lock, command(tt.label, nil)), tt.label, tt.want)
		})
	}
}

// A report is found between other lines, and one that is cut is an error.
func TestParse(t *testing.T) {
	got, err := parse("[    0.1] boot\r\n" + beginMark + " a\r\n{\"results\": null,\r\n[    0.2] kernel\r\n\"summary\": {\"exit\": 3}}\r\n" + endMark + " a 3 9\r\n")
	if err != nil || got["a"].exit != 3 || got["a"].Summary.Exit != 3 {
		t.Errorf("parse = %+v, %v", got, err)
	}
	if _, err := parse(beginMark + " a\n{\n" + endMark + " a 0 9\n"); err == nil {
		t.Error("parse takes half a report")
	}
	if !slices.Contains(command("x", []string{"user", "1"}, "--full"), "--full") {
		t.Error("command loses its arguments")
	}
}
