// SPDX-License-Identifier: MIT

package vmfault

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

// pack runs heapctl initramfs on this machine, for the guest.
func pack(ctx context.Context, t *testing.T, b *bench.Bench, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "heapctl.cpio")
	argv := append([]string{"initramfs", "--program", b.Heapctl, "-o", out}, args...)
	if said, err := exec.CommandContext(ctx, b.Host, argv...).CombinedOutput(); err != nil {
		t.Fatalf("heapctl %v: %v\n%s", argv, err, said)
	}
	// A few MB, as heapctl itself.
	if fi, err := os.Stat(out); err != nil || fi.Size() > 6<<20 {
		t.Errorf("the archive has %d bytes (%v), want 6 MiB at most", fi.Size(), err)
	}
	return out
}

func (b initramfsVM) run(ctx context.Context, t *testing.T) *vmtest.Result {
	t.Helper()
	vm := b.VM
	vm.Timeout, vm.Grace = 4*time.Minute, 2*time.Minute
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatalf("%v\nto see it again: %s", err, vm.Reproduce())
	}
	return res
}

type initramfsVM struct{ vmtest.VM }

func machineWith(b *bench.Bench, archive string) initramfsVM {
	return initramfsVM{vmtest.VM{Machine: b.Machine, Kernel: b.Image, Initrd: archive, DTB: b.Example.Merged, Append: "loglevel=4"}}
}

// The archive that the verb makes boots a board, and its verdict comes out.
func TestInitramfsBoots(t *testing.T) {
	b, ctx := bench.Setup(t)
	vm := machineWith(b, pack(ctx, t, b, b.Example.Lock, "--", "-o", "ktap", "--heap", "npu"))
	res := vm.run(ctx, t)
	if res.Exit != 0 || len(res.Commands) != 1 || !strings.Contains(res.Commands[0].Output, "\nok 1 board.heaps-supported") {
		t.Errorf("exit %d:\n%s", res.Exit, res.Console)
	}
	kernelReads(ctx, t, b, res.Commands[0].Output)
	for _, want := range []string{"npu@54000000.heap-group", "npu@54000000.heap-link"} {
		if !strings.Contains(res.Console, want) {
			t.Errorf("the console lacks %q", want)
		}
	}
	// Without the overlay the same archive fails, and says so.
	vm.DTB = b.Base
	res = vm.run(ctx, t)
	if res.Exit != 1 || !strings.Contains(res.Console, "overlay was not applied") {
		t.Errorf("without the overlay: exit %d:\n%s", res.Exit, res.Console)
	}
}

// A board that is to go on by itself starts again after its verdict.
func TestInitramfsReboots(t *testing.T) {
	b, ctx := bench.Setup(t)
	onDefaultLine(t, b)
	res := machineWith(b, pack(ctx, t, b, b.Example.Lock, "--then", "reboot", "--", "--heap", "npu")).run(ctx, t)
	_, after, _ := strings.Cut(res.Console, initramfs.ExitMark+" 0")
	if res.Exit != 0 || !strings.Contains(after, "reboot: Restarting system") || strings.Contains(after, "Power down") {
		t.Errorf("exit %d, want 0 and a restart after it:\n%s", res.Exit, res.Console)
	}
}

// typist types a line whenever the prompt shows.
type typist struct {
	mu     sync.Mutex
	seen   bytes.Buffer
	prompt string
	lines  []string
	to     *io.PipeWriter
}

func (p *typist) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.Write(data)
	if !bytes.HasSuffix(p.seen.Bytes(), []byte(p.prompt)) || len(p.lines) == 0 {
		return len(data), nil
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	p.seen.Reset()
	go func() {
		// A line that begins with a time is typed that much later.
		if wait, rest, ok := strings.Cut(line, "|"); ok {
			_, _ = io.WriteString(p.to, rest)
			d, _ := time.ParseDuration(wait)
			time.Sleep(d)
			_, _ = io.WriteString(p.to, "\x03")
			return
		}
		_, _ = io.WriteString(p.to, line+"\n")
	}()
	return len(data), nil
}

// A person at the serial console looks around, and Ctrl-C reaches what runs.
func TestInitramfsPrompt(t *testing.T) {
	b, ctx := bench.Setup(t)
	vm := machineWith(b, pack(ctx, t, b, b.Example.Lock, "--then", "shell", "--", "--heap", "npu"))
	in, to := io.Pipe()
	defer to.Close()
	vm.Input = in
	vm.Console = &typist{prompt: "heapctl> ", to: to, lines: []string{
		"list", "info npu", "nonsense", "cat /proc/cmdline", "3s|bench --heap npu --count 1000000 --time 1h\n", "3s|check --full --heap npu --heap video\n", "4s|stress --heap npu --duration 10m\n", "info npu", "poweroff",
	}}
	res := vm.run(ctx, t)
	if res.Exit != 0 {
		t.Errorf("exit %d", res.Exit)
	}
	_, after, _ := strings.Cut(res.Console, initramfs.ExitMark+" 0")
	for _, want := range []string{
		"npu@54000000  ", "0x54000000", "/dev/dma_heap/npu@54000000", `unknown command "nonsense"`, "exit code 2", "panic=-1",
		"interrupted; what is shown was measured before", "full check", "stress with", "COULD NOT TEST\x1b[0m: interrupted", "exit code 3", "Power down",
	} {
		if !strings.Contains(after, want) {
			t.Errorf("the console lacks %q", want)
		}
	}
	// What the interrupted run held is back, and no process is left.
	_, last, _ := strings.Cut(after, "stress with")
	if !strings.Contains(last, "used            0 ") || !strings.Contains(last, "no process that this user can see") {
		t.Errorf("after Ctrl-C:\n%s", last)
	}
	if t.Failed() {
		t.Logf("the console:\n%s", after)
	}
}

// Every heap of a board is stressed but the one whose memory is for devices
// alone: nobody is told that it is fine, and nobody that it is broken.
func TestStress(t *testing.T) {
	b, ctx := bench.Setup(t)
	onDefaultLine(t, b)
	plan := initramfs.Plan{Run: [][]string{{"/bin/heapctl", "stress", "--count", "100", "--seed", "1", "--duration", "1m"}}}
	vm := b.VM(ctx, t, plan, bench.File(t, "/bin/heapctl", b.Heapctl, 0o755))
	vm.DTB = b.All.Merged
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	if res.Exit != 0 {
		t.Errorf("exit %d", res.Exit)
	}
	for _, h := range b.All.Locked.Heaps {
		if h.SharedWith != "" {
			continue // another name of memory that is stressed under the first
		}
		_, said, _ := strings.Cut(res.Commands[0].Output, "\n"+h.Name+"\n")
		line, _, _ := strings.Cut(said, "\n")
		want := "PASS stress-verify"
		if h.Access == heapcfg.DeviceOnly {
			want = "SKIP stress-verify"
		}
		if !strings.Contains(line, want) {
			t.Errorf("%s: %q, want %s", h.Name, line, want)
		}
	}
	if t.Failed() {
		t.Logf("the console:\n%s", res.Console)
	}
}
