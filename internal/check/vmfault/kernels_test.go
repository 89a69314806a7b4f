// SPDX-License-Identifier: MIT

package vmfault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

// A kernelFault lies in how the kernel was built.
type kernelFault struct {
	label    string
	fragment string // of testdata, "" for none
	check    []string
	want     want
}

// kernelFaults are those that say something about this line.
func kernelFaults(b *bench.Bench) []kernelFault {
	switch b.Line {
	case heapcfg.DefaultTarget().Kernel:
		return []kernelFault{
			{label: "no-heaps", fragment: "no-heaps.config",
				want: want{"heaps-supported", "", "built without CONFIG_DMABUF_HEAPS", "CONFIG_DMABUF_HEAPS=y", report.ExitUnsupported}},
			{label: "no-driver", check: []string{"--heap", "npu"},
				want: want{"heap-present", "npu@", "built without the driver of carveout heaps", "CONFIG_DMABUF_HEAPS_CARVEOUT=y", report.ExitFailed}},
		}
	case heapcfg.Version{Major: 5, Minor: 10}: // the last with ION beside heaps
		return []kernelFault{
			{label: "ion", fragment: "ion.config",
				want: want{"heaps-supported", "", "ION (/dev/ion)", "CONFIG_DMABUF_HEAPS=y", report.ExitUnsupported}},
		}
	}
	return nil
}

// image builds the kernel of a fault.
func (f kernelFault) image(ctx context.Context, t *testing.T, b *bench.Bench) string {
	t.Helper()
	k := rig.Kernel{}
	if f.fragment != "" {
		k.Fragments = []string{filepath.Join(b.Root, "internal", "check", "vmfault", "testdata", f.fragment)}
	}
	return b.Kernel(ctx, t, k)
}

// TestBuild builds what the tests boot beside the kernel of the bench, but for
// the second kernel of the line, which test/truth builds when all else is done.
func TestBuild(t *testing.T) {
	b, ctx := bench.Setup(t)
	for _, f := range kernelFaults(b) {
		f.image(ctx, t, b)
	}
}

func TestKernelConfig(t *testing.T) {
	b, ctx := bench.Setup(t)
	faults := kernelFaults(b)
	if len(faults) == 0 {
		t.Skipf("kernel %v has none of these faults", b.Line)
	}
	for _, f := range faults {
		t.Run(f.label, func(t *testing.T) {
			other := *b
			other.Image = f.image(ctx, t, b)
			hold(t, boot(ctx, t, &other, b.Example.Merged, "", true, command(f.label, nil, f.check...)), f.label, f.want)
		})
	}
}

// A heap that somebody must load, and that nobody has loaded.
func TestModuleNotLoaded(t *testing.T) {
	b, ctx := bench.Setup(t)
	onlyModules(t, b)
	other := *b
	other.Image = b.Kernel(ctx, t, b.Second())
	const label = "module-not-loaded"
	hold(t, boot(ctx, t, &other, b.Example.Merged, "", true, command(label, nil, "--heap", "system")), label,
		want{"heap-present", "system", "a module that is not loaded", "modprobe system_heap", report.ExitFailed})
}

// onlyModules skips a test on lines whose heaps are part of the kernel.
func onlyModules(t *testing.T, b *bench.Bench) {
	t.Helper()
	if !b.HasModules() {
		t.Skipf("the heaps of kernel %v cannot be modules", b.Line)
	}
}

// Modules of --module are loaded before the check, and one that the kernel
// refuses is said aloud and keeps nobody from the verdict.
func TestInitramfsModules(t *testing.T) {
	b, ctx := bench.Setup(t)
	onlyModules(t, b)
	image := b.Kernel(ctx, t, b.Second())
	found, err := filepath.Glob(filepath.Join(filepath.Dir(image), "lib", "modules", "*", "kernel", "drivers", "dma-buf", "heaps", "system_heap.ko"))
	if err != nil || len(found) != 1 {
		t.Fatalf("want one system_heap.ko beside %s, have %q, %v", image, found, err)
	}
	broken := filepath.Join(t.TempDir(), "broken.ko")
	if err := os.WriteFile(broken, []byte("\x7fELF and no more"), 0o644); err != nil {
		t.Fatal(err)
	}
	vm := machineWith(b, pack(ctx, t, b, b.Example.Lock, "--module", broken, "--module", found[0], "--", "--heap", "system"))
	vm.Kernel = image
	res := vm.run(ctx, t)
	if res.Exit != 0 {
		t.Errorf("exit %d:\n%s", res.Exit, res.Console)
	}
	for _, want := range []string{"init: module /lib/modules/00-broken.ko: it was built for another kernel", "PASS heap-present"} {
		if !strings.Contains(res.Console, want) {
			t.Errorf("the console lacks %q:\n%s", want, res.Console)
		}
	}
	if strings.Contains(res.Console, "01-system_heap.ko:") {
		t.Errorf("the module was refused:\n%s", res.Console)
	}
}

// importResult finds the result of a check on one heap.
func importResult(v verdict, id, heap string) report.Result {
	for _, r := range v.Results {
		if r.ID == id && strings.HasPrefix(r.Heap, heap) {
			return r
		}
	}
	return report.Result{Message: "did not run"}
}

// A camera imports from the heaps, and refuses what its driver cannot use: one
// boot with a driver that takes pages from anywhere, one with a driver that
// needs contiguous memory, as most without an IOMMU do.
func TestImport(t *testing.T) {
	b, ctx := bench.Setup(t)
	onDefaultLine(t, b)
	other := *b
	other.Image = b.Kernel(ctx, t, b.Second())
	verdicts := map[string]verdict{}
	for _, tt := range []struct {
		label, arguments string
		heap             string
		status           report.Status
		says, advice     string
	}{
		{"scatter", "vivid.n_devs=1 vivid.node_types=0x1 vivid.allocators=0", "system", report.Pass, "can import: video0 (vivid)", ""},
		{"scatter", "vivid.n_devs=1 vivid.node_types=0x1 vivid.allocators=0", "npu@", report.Pass, "can import: video0 (vivid)", ""},
		{"contiguous", "vivid.n_devs=1 vivid.node_types=0x1 vivid.allocators=1", "npu@", report.Pass, "can import: video0 (vivid)", ""},
		{"contiguous", "vivid.n_devs=1 vivid.node_types=0x1 vivid.allocators=1", "video@", report.Pass, "can import: video0 (vivid)", ""},
		{"contiguous", "vivid.n_devs=1 vivid.node_types=0x1 vivid.allocators=1", "system", report.Warn, "memory from /dev/udmabuf as well", "takes contiguous memory only"},
	} {
		v, ok := verdicts[tt.label]
		if !ok {
			v = boot(ctx, t, &other, b.Example.Merged, tt.arguments, true, command("import", nil, "--import", "--full"))["import"]
			verdicts[tt.label] = v
			if v.exit != report.ExitOK {
				t.Errorf("%s: exit %d\n%v", tt.label, v.exit, v)
			}
		}
		r := importResult(v, "import-v4l2", tt.heap)
		if r.Status != tt.status || !strings.Contains(r.Message, tt.says) || !strings.Contains(r.Advice, tt.advice) {
			text, _ := json.MarshalIndent(r, "", "  ")
			t.Errorf("%s, heap %s: want %s with %q and %q, have\n%s", tt.label, tt.heap, tt.status, tt.says, tt.advice, text)
		}
		if r := importResult(v, "import-drm", tt.heap); r.Status != report.Pass || !strings.Contains(r.Message, "can import: ") {
			t.Errorf("%s, heap %s: import-drm: %s %s", tt.label, tt.heap, r.Status, r.Message)
		}
	}
}

// realInit is the init of the root file system of TestInitramfsChains: the
// test binary itself. It says what it was given and goes off.
func realInit() {
	os.Stdout.WriteString("REAL-INIT exit=" + os.Getenv("DMAHEAP_EXIT") + " pid=" + itoa(os.Getpid()) + "\n")
	for _, name := range []string{"/bin/heapctl", "/proc/cmdline", "/dev/null", "/sys/class", "/etc/dmaheap/heaps.lock.json"} {
		if _, err := os.Stat(name); err == nil {
			os.Stdout.WriteString("REAL-INIT sees " + name + "\n")
		}
	}
	time.Sleep(200 * time.Millisecond)
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	time.Sleep(time.Hour)
}

func itoa(n int) string {
	if n == 1 {
		return "1"
	}
	return "not 1"
}

// After its verdict the board goes on as if nothing had been.
func TestInitramfsChains(t *testing.T) {
	b, ctx := bench.Setup(t)
	onDefaultLine(t, b)
	program, err := b.GuestTest(ctx, "internal/check/vmfault")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, d := range []string{"sbin", "dev", "proc", "sys", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "sbin", "init"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.img")
	if said, err := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext2", "-d", root, disk, "24M").CombinedOutput(); err != nil {
		bench.Lacking(t, fmt.Errorf("mke2fs of e2fsprogs: %w\n%s", err, said))
	}
	vm := machineWith(b, pack(ctx, t, b, b.Example.Lock, "--then", "init", "--", "--heap", "npu"))
	vm.Kernel = b.Kernel(ctx, t, b.Second())
	vm.Devices = []string{"-drive", "if=none,id=root,format=raw,file=" + disk, "-device", "virtio-blk-device,drive=root"}
	for _, tt := range []struct {
		name, arguments, dtb string
		want                 []string
	}{
		{"good", "root=/dev/vda rootwait", b.Example.Merged, []string{"REAL-INIT exit=0 pid=1", "sees /proc/cmdline", "sees /dev/null", "sees /sys/class"}},
		{"failed check", "root=/dev/vda rootfstype=ext2 init=/sbin/init", b.Base, []string{"REAL-INIT exit=1 pid=1"}},
		{"no such device", "root=UUID=0123", b.Example.Merged, []string{"cannot start the real init: root=UUID=0123: heapctl's init knows /dev/NAME", "heapctl> "}},
	} {
		vm.Append, vm.DTB = "loglevel=4 "+tt.arguments, tt.dtb
		in, to := io.Pipe()
		vm.Input = in
		vm.Console = &typist{prompt: "heapctl> ", to: to, lines: []string{"poweroff"}}
		res := vm.run(ctx, t)
		to.Close()
		for _, want := range tt.want {
			if !strings.Contains(res.Console, want) {
				t.Errorf("%s: the console lacks %q:\n%s", tt.name, want, res.Console)
			}
		}
		if strings.Contains(res.Console, "sees /bin/heapctl") || strings.Contains(res.Console, "sees /etc/dmaheap") {
			t.Errorf("%s: the initramfs is still there:\n%s", tt.name, res.Console)
		}
	}
}
