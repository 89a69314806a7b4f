// SPDX-License-Identifier: MIT

package vmfault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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

func TestMain(m *testing.M) {
	if os.Args[0] == "/sbin/init" && os.Getpid() == 1 {
		realInit()
	}
	if len(os.Args) > 1 && os.Args[1] == "start" {
		if err := timeStarts(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "start: %v\n", err)
			os.Exit(100)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "fault" {
		if err := makeFaults(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "fault: %v\n", err)
			os.Exit(100)
		}
		os.Exit(0)
	}
	os.Exit(bench.Main(m))
}

// onDefaultLine leaves a test out on all kernels but one: what it looks at does
// not depend on the kernel, or costs a build of its own.
func onDefaultLine(t *testing.T, b *bench.Bench) {
	t.Helper()
	if def := heapcfg.DefaultTarget().Kernel; b.Line != def {
		t.Skipf("runs on kernel %v", def)
	}
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
func boot(ctx context.Context, t *testing.T, b *bench.Bench, dtb, arguments string, lock bool, commands ...[]string) map[string]verdict {
	t.Helper()
	faults, err := b.GuestTest(ctx, "internal/check/vmfault")
	if err != nil {
		t.Fatal(err)
	}
	plan := initramfs.Plan{KeepGoing: true, Run: commands}
	files := []initramfs.File{bench.File(t, "/bin/faults", faults, 0o755)}
	if lock {
		plan.Rules = rig.RulesPath
		files = append(files, b.Files(t, b.Example)...)
	} else {
		files = append(files, bench.File(t, "/bin/heapctl", b.Heapctl, 0o755))
	}
	vm := b.VM(ctx, t, plan, files...)
	vm.DTB, vm.Append, vm.Timeout = dtb, arguments+" loglevel=1", 5*time.Minute
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
	b, ctx := bench.Setup(t)
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
	got := boot(ctx, t, b, b.Example.Merged, "", true, commands...)
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
	b, ctx := bench.Setup(t)
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
			dtb := b.Example.Merged
			switch {
			case tt.base:
				dtb = b.Base
			case tt.regions != "":
				dtb = b.WithRegions(ctx, t, tt.regions)
			}
			hold(t, boot(ctx, t, b, dtb, tt.arguments, tt.lock, command(tt.label, nil)), tt.label, tt.want)
		})
	}
}

// The overlay of an older compile run: a pool is smaller than the lock says.
func TestPoolTooSmall(t *testing.T) {
	b, ctx := bench.Setup(t)
	data, err := os.ReadFile(filepath.Join(b.Root, b.Rig.Example()))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "heaps.yaml")
	if err := os.WriteFile(config, bytes.Replace(data, []byte("size: 48MiB"), []byte("size: 16MiB"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	older := b.Compile(ctx, t, config)
	hold(t, boot(ctx, t, b, older.Merged, "", true, command("pool-too-small", nil)), "pool-too-small",
		want{"tree-matches", "", "npu@54000000: meant 48MiB, has 16MiB", "one and the same compile run", report.ExitFailed})
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
