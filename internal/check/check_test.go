// SPDX-License-Identifier: MIT

package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
	"github.com/dmaheap/dmaheap/internal/sysinfo/sysinfotest"
)

const videoSize = 2 << 20

// videoLock promises one heap, video@54000000.
func videoLock() *heapcfg.Lock {
	l := &heapcfg.Layout{
		Target: heapcfg.DefaultTarget(),
		Regions: []heapcfg.Region{{
			Node: "video@54000000", Kind: heapcfg.Carveout, FromConfig: true,
			Range: heapcfg.Range{Base: 0x54000000, Size: videoSize},
			Heap:  &heapcfg.Heap{Short: "video", Access: heapcfg.Cached, Mode: 0o660, Owner: "root", Group: "video"},
		}},
	}
	return heapcfg.NewLock("heaps.yaml", l)
}

// videoBoard is the board that the lock promises.
func videoBoard() sysinfotest.FS {
	m := sysinfotest.FS{}
	m.File("proc/sys/kernel/osrelease", "6.12.117\n")
	m.File("proc/cmdline", "console=ttyAMA0\n")
	m.File("etc/group", "root:x:0:\nvideo:x:44:ann\n")
	m.File("etc/passwd", "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\n")
	m.File("run/udev/control", "")
	m.Device("dev/dma_heap/video@54000000", 0o660, sysinfo.Owner{GID: 44})
	m.Link("dev/dma_heap/video", "video@54000000")
	m.File("proc/iomem", "40000000-5fffffff : System RAM\n  54000000-541fffff : reserved\n")
	m.File("sys/kernel/dma_heap/video@54000000/size", "2097152\n")
	m.File("sys/kernel/dma_heap/video@54000000/used", "0\n")
	m.File("sys/kernel/dma_heap/video@54000000/largest_free", "2097152\n")
	return withTree(m, "video@54000000", 0x54000000, videoSize, "linux,carveout-heap", "")
}

const treeRoot = "sys/firmware/devicetree/base/"

func be(words ...uint32) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(string([]byte{byte(w >> 24), byte(w >> 16), byte(w >> 8), byte(w)}))
	}
	return b.String()
}

// withTree adds a live device tree with 512 MiB of RAM and one region.
func withTree(m sysinfotest.FS, node string, base, size uint32, compatible, flags string) sysinfotest.FS {
	for name, val := range map[string]string{
		"#address-cells": be(2), "#size-cells": be(2), "compatible": "test,board\x00", "model": "Test board\x00",
		"memory@40000000/device_type": "memory\x00", "memory@40000000/reg": be(0, 0x40000000, 0, 0x20000000),
		"reserved-memory/#address-cells": be(2), "reserved-memory/#size-cells": be(2), "reserved-memory/ranges": "",
	} {
		m.File(treeRoot+name, val)
	}
	if node != "" {
		dir := treeRoot + "reserved-memory/" + node
		m.File(dir+"/compatible", compatible+"\x00")
		m.File(dir+"/reg", be(0, base, 0, size))
		for _, f := range strings.Fields(flags) {
			m.File(dir+"/"+f, "")
		}
	}
	return m
}

type setup struct {
	ctx    context.Context // nil is one without an end
	fs     sysinfotest.FS
	dev    Device
	lock   *heapcfg.Lock
	o      Options
	log    string
	caller *sysinfo.Caller
	copied bool
}

func (s setup) run(t *testing.T) *report.Report {
	t.Helper()
	if s.lock == nil {
		s.lock = videoLock()
	}
	if s.fs == nil {
		s.fs = videoBoard()
	}
	if s.dev == nil {
		s.dev = newFakeKernel(videoSize, faults{})
	}
	if s.caller == nil {
		s.caller = &sysinfo.Caller{Groups: []int{0}}
	}
	b := sysinfo.New(s.fs, sysinfo.Options{Live: !s.copied, PageSize: 4096, Caller: s.caller,
		Log: func() ([]byte, error) { return []byte("Linux version 6.12\n" + s.log), nil }})
	if s.ctx == nil {
		s.ctx = context.Background()
	}
	r, err := Run(s.ctx, b, s.dev, s.lock, s.o, func(*report.Report) {}, func(report.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dump(r *report.Report) string {
	var b strings.Builder
	for _, x := range r.Results {
		fmt.Fprintf(&b, "%s %s %s: %s\n", x.Status, x.Heap, x.ID, x.Message)
	}
	return b.String()
}

// A board that shows what was meant passes every check, quick and full.
func TestHealthyBoard(t *testing.T) {
	for _, full := range []bool{false, true} {
		r := setup{o: Options{Full: full}}.run(t)
		for _, x := range r.Results {
			if x.Status == report.Skip && !full && (x.ID == "alloc-largest" || x.ID == "alloc-exhaust") {
				continue
			}
			if x.Status != report.Pass {
				t.Errorf("full %v: %s %s: %s", full, x.Status, x.ID, x.Message)
			}
		}
		if r.Summary.Exit != report.ExitOK {
			t.Errorf("full %v: exit %d, want 0", full, r.Summary.Exit)
		}
		ran := map[string]bool{}
		for _, x := range r.Results {
			ran[x.ID] = true
		}
		for _, d := range Defs() {
			if !ran[d.ID] && d.ID != "mmap-refused" && !strings.HasPrefix(d.ID, "import-") {
				t.Errorf("full %v: the check %s did not run", full, d.ID)
			}
		}
	}
}

// Every way in which the fake kernel is wrong is found, by the check that is
// about it, and the failure says what to do.
func TestFaultyKernel(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    faults
		want string // id of the check that must fail first
	}{
		{"not zeroed", faults{dirty: true}, "zeroed-reuse"},
		{"small buffers not zeroed", faults{dirtySmall: true}, "zeroed-reuse"},
		{"memory is lost", faults{leakFree: true}, "write-read"},
		{"wrong errno", faults{wrongErrno: true}, "alloc-exhaust"},
		{"mmap ignores the offset", faults{ignoreOffset: true}, "mmap-partial"},
		{"mmap past the end", faults{mapBeyond: true}, "mmap-beyond"},
		{"read-only maps for writing", faults{mapReadOnly: true}, "mmap-readonly"},
		{"no mmap", faults{noMap: true}, "zeroed"},
		{"sync takes all", faults{anySync: true}, "sync"},
		{"sync refuses all", faults{badSync: true}, "zeroed"},
		{"buffers overlap", faults{alias: true}, "no-alias"},
		{"writes are lost", faults{lostWrites: true}, "write-read"},
		{"sizes not rounded", faults{oddSize: true}, "alloc-page"},
		{"wrong arguments taken", faults{takeAll: true}, "bad-args"},
		{"pages not contiguous", faults{scattered: true}, "place-pages"},
		{"one struct size", faults{oneStruct: true}, "struct-size"},
		{"lost with the first descriptor", faults{freeOnClose: true}, "exporter-death"},
		{"descriptors leak", faults{leakFD: true}, "fd-leak"},
		{"no memory", faults{noMemory: true}, "alloc-page"},
		{"largest block too small", faults{small: videoSize / 2}, "alloc-largest"},
		{"fault", faults{fault: true}, "zeroed"},
		{"no heap behind the node", faults{openErr: dmaheap.ErrNotHeap}, "alloc-page"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := setup{dev: newFakeKernel(videoSize, tt.f), o: Options{Full: true}}.run(t)
			f := r.Summary.First
			if f == nil {
				t.Fatalf("nothing failed:\n%s", dump(r))
			}
			if f.ID != tt.want || f.Heap != "video@54000000" {
				t.Errorf("%s of %q failed first, want %s:\n%s", f.ID, f.Heap, tt.want, dump(r))
			}
			if f.Advice == "" || f.Expected == "" || f.Found == "" || f.Evidence == "" {
				t.Errorf("the failure lacks a field: %+v", *f)
			}
			if r.Summary.Exit != report.ExitFailed {
				t.Errorf("exit %d, want 1", r.Summary.Exit)
			}
			// What a fault of the kernel left behind is not a second one.
			if last := result(t, r, "fd-leak", "video@54000000"); last.Status == report.Fail && tt.want != "fd-leak" {
				t.Errorf("a descriptor was left open: %s", last.Message)
			}
		})
	}
}

// A kernel that never answers ends the checks of the heap, not the program.
func TestStuckKernel(t *testing.T) {
	told := make(chan string, 8)
	r := setup{dev: newFakeKernel(videoSize, faults{hang: true}), o: Options{
		Patience: slow + 300*time.Millisecond, Slow: func(id, heap string) { told <- heap + ": " + id },
	}}.run(t)
	if len(told) != 1 || <-told != "video@54000000: zeroed" {
		t.Error("a check that takes long is not shown, or others are too")
	}
	if f := r.Summary.First; f == nil || f.ID != "zeroed" || !strings.Contains(f.Message, "did not answer") {
		t.Errorf("first failure %+v, want zeroed: did not answer", f)
	}
	if r.Summary.Failed != 1 {
		t.Errorf("%d failures, want the one and skips after it:\n%s", r.Summary.Failed, dump(r))
	}
	r = setup{dev: newFakeKernel(videoSize, faults{openHangs: true}), o: Options{Patience: 100 * time.Millisecond}}.run(t)
	if f := r.Summary.First; f == nil || f.ID != "alloc-page" || !strings.Contains(f.Message, "did not answer") || r.Summary.Failed != 1 {
		t.Errorf("a node that does not open gives %+v and %d failures, want alloc-page alone: did not answer", f, r.Summary.Failed)
	}
}

// An answer that comes after all is nobody's: the check goes no further, and
// what it was given goes back.
func TestLateKernel(t *testing.T) {
	k := newFakeKernel(videoSize, faults{late: make(chan struct{})})
	r := setup{dev: k, o: Options{Patience: time.Second}}.run(t)
	if f := r.Summary.First; f == nil || f.ID != "alloc-sizes" || !strings.Contains(f.Message, "did not answer") {
		t.Errorf("first failure %+v, want alloc-sizes: did not answer", f)
	}
	close(k.f.late)
	state := func() (returned, files int) {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.returned, k.files
	}
	// Three descriptors are of the process, and one of the heap.
	for range 500 {
		if returned, files := state(); returned >= 2 && files == 4 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	if returned, files := state(); returned != 2 || files != 4 {
		t.Errorf("%d allocations and %d descriptors, want 2 and 4", returned, files)
	}
}

// Ctrl-C ends a check that the kernel does not answer.
func TestInterruptStuckKernel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	r := setup{ctx: ctx, dev: newFakeKernel(videoSize, faults{hang: true}), o: Options{Patience: time.Minute}}.run(t)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the run ended %v after it was interrupted", took)
	}
	if x := r.Results[len(r.Results)-1]; x.ID != "zeroed" || x.Status != report.Skip || x.Message != "interrupted" {
		t.Errorf("the last result is %s %s: %s, want a skip of zeroed", x.Status, x.ID, x.Message)
	}
	if r.Summary.Exit != report.ExitCannotTest || r.Summary.Failed != 0 {
		t.Errorf("exit %d with %d failures, want 3 and none", r.Summary.Exit, r.Summary.Failed)
	}
}

// A child that ends with an interrupt says nothing about the kernel.
func TestInterruptedChild(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r := setup{ctx: ctx, dev: newFakeKernel(videoSize, faults{child: func() error { cancel(); return io.EOF }})}.run(t)
	if x := result(t, r, "zeroed-process", "video@54000000"); x.Status != report.Skip || r.Summary.Exit != report.ExitCannotTest {
		t.Errorf("%s: %s, exit %d; want a skip and 3", x.Status, x.Message, r.Summary.Exit)
	}
	r = setup{dev: newFakeKernel(videoSize, faults{child: func() error { return io.EOF }})}.run(t)
	if x := result(t, r, "zeroed-process", "video@54000000"); x.Status != report.Fail {
		t.Errorf("a child that dies is %s: %s; want a failure", x.Status, x.Message)
	}
}

// Gigabytes that no cache holds take longer than the patience with a kernel
// that says nothing.
func TestSlowMemory(t *testing.T) {
	const size = 8 * window
	m, lock := videoBoard(), videoLock()
	for _, f := range []string{"size", "largest_free"} {
		m.File("sys/kernel/dma_heap/video@54000000/"+f, fmt.Sprintln(size))
	}
	k := newFakeKernel(size, faults{mapTime: 80 * time.Millisecond})
	r := setup{fs: m, lock: lock, dev: k, o: Options{Full: true, Patience: 2 * time.Second}}.run(t)
	for _, x := range r.Results {
		if x.ID == "zeroed-reuse" && (x.Status != report.Pass || x.Seconds < 2) {
			t.Errorf("zeroed-reuse is %s in %.2f s, want a pass in more than the patience: %s", x.Status, x.Seconds, x.Message)
		}
		if strings.Contains(x.Message, "did not answer") {
			t.Errorf("%s %s: %s", x.Status, x.ID, x.Message)
		}
	}
}

// Exhaustion ends with the smallest buffer: a heap is no multiple of its pieces.
func TestExhaustTakesAll(t *testing.T) {
	const size = videoSize + 5*4096
	m := videoBoard()
	for _, f := range []string{"size", "largest_free"} {
		m.File("sys/kernel/dma_heap/video@54000000/"+f, fmt.Sprintln(size))
	}
	x := result(t, setup{fs: m, dev: newFakeKernel(size, faults{}), o: Options{Full: true}}.run(t), "alloc-exhaust", "video@54000000")
	if x.Status != report.Pass || len(x.Measurements) != 1 || x.Measurements[0].Value != size {
		t.Errorf("%s: %s, measured %v, want %d bytes", x.Status, x.Message, x.Measurements, size)
	}
}

func TestDeviceOnly(t *testing.T) {
	lock := videoLock()
	lock.Heaps[0].Access = heapcfg.DeviceOnly
	k := newFakeKernel(videoSize, faults{})
	k.deviceOK = false
	r := setup{lock: lock, dev: k, o: Options{Full: true}}.run(t)
	if r.Summary.Exit != report.ExitOK {
		t.Errorf("a device-only heap fails:\n%s", dump(r))
	}
	k = newFakeKernel(videoSize, faults{mapAnyway: true})
	k.deviceOK = false
	r = setup{lock: lock, dev: k}.run(t)
	if f := r.Summary.First; f == nil || f.ID != "mmap-refused" {
		t.Errorf("device-only memory that maps gives %+v, want mmap-refused", f)
	}
}

func TestPlacePages(t *testing.T) {
	r := setup{dev: newFakeKernel(videoSize, faults{hidden: true})}.run(t)
	if r.Summary.Exit != report.ExitOK {
		t.Errorf("a kernel that hides page frames fails:\n%s", dump(r))
	}
	k := newFakeKernel(videoSize, faults{})
	k.base = 0x58000000
	r = setup{dev: k}.run(t)
	if f := r.Summary.First; f == nil || f.ID != "place-pages" || !strings.Contains(f.Message, "0x58000000") {
		t.Errorf("memory outside of the region gives %+v, want place-pages with the address", f)
	}
}

func TestNoSockets(t *testing.T) {
	r := setup{dev: newFakeKernel(videoSize, faults{noSockets: true})}.run(t)
	if r.Summary.Exit != report.ExitOK {
		t.Errorf("a kernel without unix sockets fails:\n%s", dump(r))
	}
}

// What stands around the heap: its node, its place, its users. Each board has
// one thing wrong, and the first failure names it.
func TestFaultyBoard(t *testing.T) {
	node := "dev/dma_heap/video@54000000"
	for _, tt := range []struct {
		name   string
		change func(m sysinfotest.FS)
		lock   func(k *heapcfg.Lock)
		log    string
		want   string // id
		says   string // in the message
		advice string // in the advice
		exit   int
	}{
		{name: "mode", change: func(m sysinfotest.FS) { m.Device(node, 0o600, sysinfo.Owner{GID: 44}) },
			want: "heap-mode", says: "0600, not 0660", advice: `KERNEL=="video@54000000", MODE="0660", OWNER="root", GROUP="video"`, exit: 1},
		{name: "mode, with mdev", change: func(m sysinfotest.FS) {
			delete(m, "run/udev/control")
			m.File("etc/mdev.conf", ".* root:root 600\n")
			m.Device(node, 0o600, sysinfo.Owner{GID: 44})
		}, want: "heap-mode", says: "0600, not 0660", advice: "/etc/mdev.conf:1 matches first, and says mode 0600; put before it\ndma_heap/video@54000000 root:video 660 @ln", exit: 1},
		{name: "link, with mdev", change: func(m sysinfotest.FS) {
			delete(m, "run/udev/control")
			m.File("etc/mdev.conf", "null root:root 666\n")
			delete(m, "dev/dma_heap/video")
		}, want: "heap-link", says: "short name video is missing", advice: "no line of /etc/mdev.conf sets it", exit: 1},
		{name: "mode, with neither", change: func(m sysinfotest.FS) {
			delete(m, "run/udev/control")
			m.Device(node, 0o600, sysinfo.Owner{GID: 44})
		}, want: "heap-mode", says: "0600, not 0660", advice: "neither udev nor mdev is on this board, so nothing sets it; add one of them to the image, or have a boot script run\nchown root:video /dev/dma_heap/video@54000000\nchmod 0660", exit: 1},
		{name: "group in a rule that never matches", change: func(m sysinfotest.FS) {
			m.Device(node, 0o660, sysinfo.Owner{})
			m.File("etc/udev/rules.d/99-heap.rules", `KERNEL=="dma_heap/*", GROUP="video"`+"\n")
		}, want: "heap-group", says: "not to video", advice: "/etc/udev/rules.d/99-heap.rules:1 means to set it, but KERNEL==\"dma_heap/*\" never matches", exit: 1},
		{name: "mode in a rule without quotes", change: func(m sysinfotest.FS) {
			m.Device(node, 0o600, sysinfo.Owner{GID: 44})
			m.File("etc/udev/rules.d/99-heap.rules", `SUBSYSTEM==dma_heap, GROUP=video, MODE=0660`+"\n")
		}, want: "heap-mode", says: "0600, not 0660", advice: "SUBSYSTEM==dma_heap lacks its quotes", exit: 1},
		{name: "group", change: func(m sysinfotest.FS) { m.Device(node, 0o660, sysinfo.Owner{}) },
			want: "heap-group", says: "group root, not to video", advice: `GROUP="video"`, exit: 1},
		{name: "group decided by another rule", change: func(m sysinfotest.FS) {
			m.Device(node, 0o660, sysinfo.Owner{GID: 105})
			m.File("usr/lib/udev/rules.d/70-media.rules", `SUBSYSTEM=="dma_heap", GROUP="render"`)
		}, want: "heap-group", says: "105", advice: "/usr/lib/udev/rules.d/70-media.rules:1 decides", exit: 1},
		{name: "unknown group", change: func(m sysinfotest.FS) { m.File("etc/group", "root:x:0:\n") },
			want: "heap-group", says: "no group video", advice: "groupadd", exit: 1},
		{name: "owner", change: func(m sysinfotest.FS) { m.Device(node, 0o660, sysinfo.Owner{UID: 1000, GID: 44}) },
			want: "heap-owner", says: "user 1000", advice: `OWNER="root"`, exit: 1},
		{name: "no link", change: func(m sysinfotest.FS) { delete(m, "dev/dma_heap/video") },
			want: "heap-link", says: "short name video is missing", advice: `SYMLINK+="dma_heap/video"`, exit: 1},
		{name: "link to another heap", change: func(m sysinfotest.FS) {
			m.Device("dev/dma_heap/system", 0o600, sysinfo.Owner{})
			m.Link("dev/dma_heap/video", "system")
		}, want: "heap-link", says: "leads to system", exit: 1},
		{name: "size", change: func(m sysinfotest.FS) { m.File("sys/kernel/dma_heap/video@54000000/size", "1048576\n") },
			want: "heap-size", says: "1MiB, not 2MiB", exit: 1},
		{name: "not reserved", change: func(m sysinfotest.FS) {
			m.File("proc/iomem", "40000000-5fffffff : System RAM\n  40200000-40ffffff : reserved\n")
		},
			want: "heap-place", says: "system RAM", exit: 1},
		{name: "not reserved, on 32-bit ARM", change: func(m sysinfotest.FS) {
			m.File("proc/iomem", "40000000-5fffffff : System RAM\n  40208000-407fffff : Kernel code\n")
			m.File("sys/kernel/debug/memblock/reserved", "   0: 0x0000000040204000..0x0000000040ffffff    NONE\n")
		}, want: "heap-place", says: "system RAM", exit: 1},
		{name: "unexpected", change: func(m sysinfotest.FS) { m.Device("dev/dma_heap/extra", 0o600, sysinfo.Owner{}) },
			want: "heap-unexpected", says: "nobody asked", exit: 1},
		{name: "a symlink in the place of the heap", change: func(m sysinfotest.FS) {
			m.Device("dev/dma_heap/system", 0o600, sysinfo.Owner{})
			m.Link(node, "system")
		}, want: "heap-present", says: "symlink to system", exit: 1},
		{name: "overlay not applied", change: func(m sysinfotest.FS) {
			clearHeap(m)
			removeTree(m)
			withTree(m, "", 0, 0, "", "")
		}, want: "tree-matches", says: "overlay was not applied", advice: "fdtoverlay", exit: 1},
		{name: "moved", change: func(m sysinfotest.FS) {
			withTree(m, "video@54000000", 0x55000000, videoSize, "linux,carveout-heap", "")
		},
			want: "tree-matches", says: "moved", exit: 1},
		{name: "another board", change: func(m sysinfotest.FS) {},
			lock: func(k *heapcfg.Lock) { k.Layout.Board.Compatible = []string{"other,board"} },
			want: "tree-matches", says: "not the one", exit: 1},
		{name: "disabled", change: func(m sysinfotest.FS) {
			clearHeap(m)
			m.File(treeRoot+"reserved-memory/video@54000000/status", "disabled\x00")
		}, want: "tree-matches", exit: 1},
		{name: "no driver in the source", change: func(m sysinfotest.FS) { clearHeap(m); config(m, "CONFIG_DMABUF_HEAPS=y\n") },
			want: "heap-present", says: "no driver for carveout heaps", advice: "kernel-patches", exit: 1},
		{name: "driver not built", change: func(m sysinfotest.FS) { clearHeap(m); config(m, "# CONFIG_DMABUF_HEAPS_CARVEOUT is not set\n") },
			want: "heap-present", says: "built without the driver", advice: "CONFIG_DMABUF_HEAPS_CARVEOUT=y", exit: 1},
		{name: "module not loaded", change: func(m sysinfotest.FS) { clearHeap(m); config(m, "CONFIG_DMABUF_HEAPS_CARVEOUT=m\n") },
			want: "heap-present", says: "module that is not loaded", advice: "modprobe carveout_heap", exit: 1},
		{name: "region could not be reserved", change: clearHeap,
			log:  "OF: reserved mem: failed to reserve memory for node 'video@54000000': base 0x0000000054000000, size 2 MiB",
			want: "heap-present", says: "could not reserve", exit: 1},
		{name: "a device points to nothing, which is no reason", change: func(m sysinfotest.FS) {
			clearHeap(m)
			m.File(treeRoot+"chosen/memory-region", be(99))
			config(m, "# CONFIG_DMABUF_HEAPS_CARVEOUT is not set\n")
		}, want: "heap-present", says: "built without the driver", exit: 1},
		{name: "no numbers where the driver has them", change: func(m sysinfotest.FS) {
			for _, f := range []string{"size", "used", "largest_free"} {
				delete(m, "sys/kernel/dma_heap/video@54000000/"+f)
			}
			m.File("sys/kernel/dma_heap/other/size", "4096\n")
		}, want: "heap-size", says: "shows the numbers of its heaps in /sys/kernel/dma_heap, and does not", advice: "see dmesg", exit: 1},
		{name: "regions overlap", change: func(m sysinfotest.FS) {},
			log:  "OF: reserved mem: OVERLAP DETECTED!\nvideo@54000000 (0x54000000--0x54200000) overlaps with fw@54100000 (0x54100000--0x54200000)",
			want: "tree-rules", says: "video@54000000 (0x54000000", exit: 1},
		{name: "rejected by its driver", change: clearHeap,
			log:  "dma_heap: video@54000000: no heap: 0x54000000+0x200000 overlaps heap npu@54100000; correct 'reg'",
			want: "heap-present", says: "the driver rejected the region: 0x54000000+0x200000 overlaps", advice: "correct 'reg'", exit: 1},
		{name: "the node is missing in a container", change: func(m sysinfotest.FS) {
			clearHeap(m)
			m.File(".dockerenv", "")
			m.File("sys/class/dma_heap/video@54000000/dev", "254:1")
			m.Device("dev/dma_heap/system", 0o666, sysinfo.Owner{})
		}, want: "heap-present", says: "docker container", advice: "--device /dev/dma_heap/video@54000000", exit: 1},
		{name: "the directory is missing in a container", change: func(m sysinfotest.FS) {
			clearHeap(m)
			m.File(".dockerenv", "")
			m.File("sys/class/dma_heap/video@54000000/dev", "254:1")
			delete(m, "dev/dma_heap/system")
		}, want: "heaps-supported", says: "container", advice: "--device", exit: 1},
		{name: "an empty directory in a container", change: func(m sysinfotest.FS) {
			clearHeap(m)
			delete(m, "dev/dma_heap/system")
			m["dev/dma_heap"] = &fstest.MapFile{Mode: os.ModeDir | 0o755}
			m.File("run/.containerenv", "")
			m.File("sys/class/dma_heap/video@54000000/dev", "254:1")
		}, want: "heaps-supported", says: "container", advice: "--device /dev/dma_heap/video@54000000", exit: 1},
		{name: "kernel without heaps", change: func(m sysinfotest.FS) { clearHeap(m); config(m, "# CONFIG_DMABUF_HEAPS is not set\n") },
			want: "heaps-supported", says: "CONFIG_DMABUF_HEAPS", exit: 4},
		{name: "ION", change: func(m sysinfotest.FS) {
			clearHeap(m)
			delete(m, "dev/dma_heap/system")
			m.File("proc/sys/kernel/osrelease", "4.19.255\n")
			m.Device("dev/ion", 0o660, sysinfo.Owner{})
		}, want: "heaps-supported", says: "ION", exit: 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := setup{fs: videoBoard(), lock: videoLock(), log: tt.log}
			tt.change(s.fs)
			if tt.lock != nil {
				tt.lock(s.lock)
			}
			r := s.run(t)
			f := r.Summary.First
			if f == nil {
				t.Fatalf("nothing failed:\n%s", dump(r))
			}
			if f.ID != tt.want || !strings.Contains(f.Message, tt.says) || !strings.Contains(f.Advice, tt.advice) {
				t.Errorf("the first failure is %s: %s\nadvice: %s\nwant %s with %q, advice with %q\n%s",
					f.ID, f.Message, f.Advice, tt.want, tt.says, tt.advice, dump(r))
			}
			if f.Advice == "" || f.Expected == "" || f.Found == "" || f.Evidence == "" {
				t.Errorf("the failure lacks a field: %+v", *f)
			}
			if r.Summary.Exit != tt.exit {
				t.Errorf("exit %d, want %d", r.Summary.Exit, tt.exit)
			}
		})
	}
}

// clearHeap takes the heap away, and everything that tells of it but the tree.
func clearHeap(m sysinfotest.FS) {
	for name := range m {
		if strings.HasPrefix(name, "dev/dma_heap/") || strings.HasPrefix(name, "sys/kernel/dma_heap/") {
			delete(m, name)
		}
	}
	m.Device("dev/dma_heap/system", 0o600, sysinfo.Owner{})
}

func removeTree(m sysinfotest.FS) {
	for name := range m {
		if strings.HasPrefix(name, treeRoot) {
			delete(m, name)
		}
	}
}

// config gives the board a kernel configuration; without heaps in it the
// directory goes as well.
func config(m sysinfotest.FS, text string) {
	m.File("boot/config-6.12.117", text)
	if strings.HasPrefix(text, "# CONFIG_DMABUF_HEAPS is") {
		delete(m, "dev/dma_heap/system")
	}
}

// CMA has causes of its own.
func TestMissingCMA(t *testing.T) {
	lock := func() *heapcfg.Lock {
		l := &heapcfg.Layout{Target: heapcfg.DefaultTarget(), Regions: []heapcfg.Region{{
			Node: "linux,cma@50000000", Kind: heapcfg.CMA, Default: true, Reusable: true, FromConfig: true,
			Range: heapcfg.Range{Base: 0x50000000, Size: 64 << 20}, Heap: &heapcfg.Heap{Access: heapcfg.Cached, Default: true},
		}}}
		return heapcfg.NewLock("heaps.yaml", l)
	}
	for _, tt := range []struct {
		name, cmdline, config, log string
		base                       uint32
		says, advice               string
	}{
		{"cma=", "console=ttyAMA0 cma=16M", "CONFIG_DMABUF_HEAPS_CMA=y\nCONFIG_DMA_CMA=y\n", "", 0x50000000, "cma=16M", "remove cma=16M"},
		{"alignment", "", "CONFIG_DMABUF_HEAPS_CMA=y\nCONFIG_DMA_CMA=y\n",
			"Reserved memory: incorrect alignment of CMA region", 0x50100000, "not aligned", "4MiB"},
		{"areas", "", "CONFIG_DMABUF_HEAPS_CMA=y\nCONFIG_DMA_CMA=y\n", "cma: Not enough slots for CMA reserved regions!", 0x50000000, "no room for another CMA area", "CONFIG_CMA_AREAS"},
		{"format", "", "", "OF: reserved mem: Reserved memory: unsupported node format, ignoring", 0x50000000, "ignores all of /reserved-memory", "#address-cells"},
		{"no DMA_CMA", "", "CONFIG_DMABUF_HEAPS_CMA=y\n# CONFIG_DMA_CMA is not set\n", "", 0x50000000, "CONFIG_DMA_CMA", "CONFIG_DMA_CMA=y"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := sysinfotest.FS{}
			m.File("proc/sys/kernel/osrelease", "6.12.117\n")
			m.File("proc/cmdline", tt.cmdline)
			m.Device("dev/dma_heap/system", 0o600, sysinfo.Owner{})
			m.File("boot/config-6.12.117", tt.config)
			withTree(m, "linux,cma@50000000", tt.base, 64<<20, "shared-dma-pool", "reusable linux,cma-default")
			k := lock()
			k.Layout.Regions[0].Range.Base = heapcfg.Addr(tt.base)
			r := setup{fs: m, lock: k, log: tt.log}.run(t)
			f := r.Summary.First
			if f == nil || f.ID != "heap-present" || !strings.Contains(f.Message, tt.says) || !strings.Contains(f.Advice, tt.advice) {
				t.Errorf("the first failure is %+v, want heap-present with %q, advice with %q", f, tt.says, tt.advice)
			}
			for _, x := range r.Results {
				if x.Status == report.Fail && x.Heap == f.Heap && x.ID != "heap-present" {
					t.Errorf("a missing heap fails %s as well: %s", x.ID, x.Message)
				}
			}
		})
	}
}

// result returns what a check said of a heap, or of the board with "".
func result(t *testing.T, r *report.Report, id, heap string) report.Result {
	t.Helper()
	i := slices.IndexFunc(r.Results, func(x report.Result) bool { return x.ID == id && x.Heap == heap })
	if i < 0 {
		t.Fatalf("%s did not run for %q:\n%s", id, heap, dump(r))
	}
	return r.Results[i]
}

// tree-matches fails first where the region is not what was meant, but the heap
// tells what became of it as well.
func TestMissingRegion(t *testing.T) {
	const heap = "video@54000000"
	for _, tt := range []struct {
		name         string
		change       func(m sysinfotest.FS)
		says, advice string
	}{
		{"absent", func(m sysinfotest.FS) { removeTree(m); withTree(m, "", 0, 0, "", "") }, "its region is not in the device tree", "apply the .dtbo"},
		{"under another name", func(m sysinfotest.FS) {
			removeTree(m)
			withTree(m, "video", 0x54000000, videoSize, "linux,carveout-heap", "")
		}, "in the device tree under another name, video", "apply the .dtbo"},
		{"disabled", func(m sysinfotest.FS) { m.File(treeRoot+"reserved-memory/"+heap+"/status", "disabled\x00") }, "its region is disabled", "remove the status property of " + heap},
		{"cells", func(m sysinfotest.FS) { m.File(treeRoot+"reserved-memory/#size-cells", be(1)) }, "ignores all of /reserved-memory", "#size-cells"},
	} {
		m := videoBoard()
		clearHeap(m)
		tt.change(m)
		x := result(t, setup{fs: m}.run(t), "heap-present", heap)
		if x.Status != report.Fail || !strings.Contains(x.Message, tt.says) || !strings.Contains(x.Advice, tt.advice) {
			t.Errorf("%s: %s %s\nadvice: %s\nwant a failure with %q, advice with %q", tt.name, x.Status, x.Message, x.Advice, tt.says, tt.advice)
		}
	}
}

// Of the rules about the live tree those that would stop a build are told.
func TestTreeRules(t *testing.T) {
	for _, tt := range []struct {
		name string
		base uint32
		want report.Status
		says string
	}{
		{"all kept", 0x50400000, report.Pass, "1 regions keep all rules"},
		{"a warning of the compiler", 0x50200000, report.Pass, "keep all rules"},
		{"an error", 0x80000000, report.Warn, "RAM"},
	} {
		m := sysinfotest.FS{}
		m.File("proc/sys/kernel/osrelease", "6.12.117\n")
		m.Device("dev/dma_heap/system", 0o600, sysinfo.Owner{})
		withTree(m, fmt.Sprintf("video@%x", tt.base), tt.base, 4<<20, "shared-dma-pool", "reusable")
		x := result(t, setup{fs: m, lock: heapcfg.NewLock("", &heapcfg.Layout{})}.run(t), "tree-rules", "")
		if x.Status != tt.want || !strings.Contains(x.Message, tt.says) {
			t.Errorf("%s: %s %s, want %s with %q", tt.name, x.Status, x.Message, tt.want, tt.says)
		}
	}
}

// Where a kernel has what tells the numbers of CMA areas, their absence is a
// fault; elsewhere nothing can be said.
func TestNumbersOfCMA(t *testing.T) {
	const node = "linux,cma@50000000"
	lock := heapcfg.NewLock("heaps.yaml", &heapcfg.Layout{Target: heapcfg.DefaultTarget(), Regions: []heapcfg.Region{{
		Node: node, Kind: heapcfg.CMA, Reusable: true, FromConfig: true,
		Range: heapcfg.Range{Base: 0x50000000, Size: videoSize}, Heap: &heapcfg.Heap{Access: heapcfg.Cached},
	}}})
	for _, tt := range []struct {
		release, config string
		want            report.Status
	}{
		{"7.3.4", "CONFIG_CMA_SYSFS=y\n", report.Fail}, {"7.3.4", "# CONFIG_CMA_SYSFS is not set\n", report.Skip}, {"6.12.117", "CONFIG_CMA_SYSFS=y\n", report.Skip},
	} {
		m := sysinfotest.FS{}
		m.File("proc/sys/kernel/osrelease", tt.release+"\n")
		m.File("boot/config-"+tt.release, tt.config)
		m.Device("dev/dma_heap/"+node, 0o600, sysinfo.Owner{})
		withTree(m, node, 0x50000000, videoSize, "shared-dma-pool", "reusable")
		r := setup{fs: m, lock: lock}.run(t)
		for _, id := range []string{"heap-size", "heap-free"} {
			if x := result(t, r, id, node); x.Status != tt.want {
				t.Errorf("%s, %q: %s %s: %s, want %s", tt.release, tt.config, x.Status, id, x.Message, tt.want)
			}
		}
	}
}

// A default CMA area that nobody stated is the kernel's own; why there is one
// beside the area that was stated differs.
func TestOtherDefaultArea(t *testing.T) {
	const stated = "linux,cma@50000000"
	for _, tt := range []struct {
		name, cmdline string
		missing       bool   // the heap of the stated region
		unstated      bool   // nor is there a region for one
		advice, not   string // what it says, and what it does not
	}{
		{name: "none stated", unstated: true, advice: "state a default CMA heap in heaps.yaml", not: "32-bit"},
		{name: "cma=", cmdline: "console=ttyAMA0 cma=16M", missing: true, advice: "remove cma=16M", not: "32-bit"},
		{name: "the stated one was refused", missing: true, advice: "has no " + stated, not: "32-bit"},
		// Seen on 7.3: both areas become heaps.
		{name: "32-bit ARM", advice: "a kernel with CONFIG_CMA_SIZE_MBYTES=0 does without (not cma=0", not: "heaps.yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &heapcfg.Layout{Target: heapcfg.DefaultTarget()}
			m := sysinfotest.FS{}
			m.File("proc/sys/kernel/osrelease", "6.12.117\n")
			m.File("proc/cmdline", tt.cmdline)
			m.Device("dev/dma_heap/reserved", 0o600, sysinfo.Owner{})
			if !tt.unstated {
				l.Regions = []heapcfg.Region{{
					Node: stated, Kind: heapcfg.CMA, Default: true, Reusable: true, FromConfig: true,
					Range: heapcfg.Range{Base: 0x50000000, Size: videoSize}, Heap: &heapcfg.Heap{Access: heapcfg.Cached, Default: true},
				}}
				withTree(m, stated, 0x50000000, videoSize, "shared-dma-pool", "reusable linux,cma-default")
			}
			if !tt.missing && !tt.unstated {
				m.Device("dev/dma_heap/"+stated, 0o600, sysinfo.Owner{})
			}
			r := setup{fs: m, lock: heapcfg.NewLock("heaps.yaml", l)}.run(t)
			x := result(t, r, "heap-unexpected", "reserved")
			if x.Status != report.Warn || !strings.Contains(x.Advice, tt.advice) || strings.Contains(x.Advice, tt.not) {
				t.Errorf("%s: %s\nadvice: %s\nwant a warning, advice with %q and without %q", x.Status, x.Message, x.Advice, tt.advice, tt.not)
			}
		})
	}
}

// A heap held by others is a warning while they may be working, and a failure
// where everything was to be tested; both name the holder.
func TestHeldHeap(t *testing.T) {
	board := func() sysinfotest.FS {
		m := videoBoard()
		m.File("sys/kernel/dma_heap/video@54000000/used", "1572864\n")
		m.File("sys/kernel/dma_heap/video@54000000/largest_free", "524288\n")
		return m
	}
	holds := func(m sysinfotest.FS, pid int, comm string) {
		dir := fmt.Sprintf("proc/%d/", pid)
		m.File(dir+"comm", comm+"\n")
		m.Link(dir+"fd/7", "/dmabuf:")
		m.File(dir+"fdinfo/7", "size:\t1572864\nexp_name:\tvideo@54000000\n")
	}
	for _, tt := range []struct {
		name      string
		change    func(m sysinfotest.FS)
		says, not string
	}{
		{"a program", func(m sysinfotest.FS) { holds(m, 412, "camera"); holds(m, os.Getpid(), "heapctl") }, "held by camera[412] 1536KiB in 1 buffers", "heapctl["},
		{"a program that cannot be seen", func(m sysinfotest.FS) { m.Forbid("proc/412/fd") }, "by processes of other users, which only root can see", "held by"},
		{"nobody", func(m sysinfotest.FS) { m.File("proc/cpuinfo", "") }, "by the kernel's own drivers", "held by"},
	} {
		for full, want := range map[bool]report.Status{false: report.Warn, true: report.Fail} {
			m := board()
			tt.change(m)
			x := result(t, setup{fs: m, o: Options{Full: full}}.run(t), "heap-free", "video@54000000")
			if x.Status != want || !strings.Contains(x.Message, tt.says) || strings.Contains(x.Message, tt.not) {
				t.Errorf("%s, full %v: %s: %s; want %s with %q, without %q", tt.name, full, x.Status, x.Message, want, tt.says, tt.not)
			}
		}
	}
}

// Without rights the run says what it could not test, and does not pass.
func TestUnprivileged(t *testing.T) {
	r := setup{dev: newFakeKernel(videoSize, faults{openErr: dmaheap.ErrPermission}), caller: &sysinfo.Caller{UID: 1001, Groups: []int{1001}}}.run(t)
	if r.Summary.Exit != report.ExitCannotTest || r.Summary.Failed != 0 {
		t.Errorf("exit %d with %d failures, want 3 and none:\n%s", r.Summary.Exit, r.Summary.Failed, dump(r))
	}
	for _, x := range r.Results {
		if x.ID == "heap-access" && (x.Status != report.Skip || !strings.Contains(x.Advice, "usermod -aG video")) {
			t.Errorf("heap-access is %s: %s\n%s", x.Status, x.Message, x.Advice)
		}
	}
	if b := r.Summary.Blocked; b == nil || b.ID != "heap-access" {
		t.Errorf("the first blocked check is %+v, want heap-access", b)
	}
	m := videoBoard()
	m.Device("dev/dma_heap/video@54000000", 0o600, sysinfo.Owner{UID: 1000, GID: 44})
	x := result(t, setup{fs: m, caller: &sysinfo.Caller{UID: 1001, Groups: []int{1001}}}.run(t), "heap-access", "video@54000000")
	if !strings.Contains(x.Message, "only its owner, user 1000, may open it") {
		t.Errorf("heap-access of a node that is ann's: %s", x.Message)
	}
	// ann is in the group, but logged in before she was.
	r = setup{dev: newFakeKernel(videoSize, faults{openErr: dmaheap.ErrPermission}), caller: &sysinfo.Caller{UID: 1000, Groups: []int{1000}}}.run(t)
	for _, x := range r.Results {
		if x.ID == "heap-access" && !strings.Contains(x.Advice, "log in again") {
			t.Errorf("advice for a stale login: %s", x.Advice)
		}
	}
}

// One failure names a full heap; what needs a buffer is skipped after it.
func TestFullHeap(t *testing.T) {
	m := videoBoard()
	m.File("sys/kernel/dma_heap/video@54000000/used", "2097152\n")
	m.File("sys/kernel/dma_heap/video@54000000/largest_free", "0\n")
	r := setup{fs: m, dev: newFakeKernel(videoSize, faults{noMemory: true})}.run(t)
	if f := r.Summary.First; f == nil || f.ID != "alloc-page" || !strings.Contains(f.Message, "heap is full: 2MiB of 2MiB") || r.Summary.Failed != 1 {
		t.Errorf("a full heap gives %d failures:\n%s", r.Summary.Failed, dump(r))
	}
}

// Held against the live tree, short names and the kernel's own heaps are no
// news.
func TestLiveTreeExpectation(t *testing.T) {
	m := videoBoard()
	m.Device("dev/dma_heap/system", 0o660, sysinfo.Owner{GID: 44})
	m.Device("dev/dma_heap/system-contig", 0o660, sysinfo.Owner{GID: 44})
	m.File("sys/kernel/dma_heap/system-contig/size", "67108864\n")
	m.File("sys/kernel/dma_heap/system-contig/used", "0\n")
	m.File("sys/kernel/dma_heap/system-contig/largest_free", "65536\n")
	m.File("proc/meminfo", "MemTotal: 16384 kB\nMemAvailable:    8192 kB\n")
	k := videoLock()
	k.Config = ""
	r := setup{fs: m, lock: k}.run(t)
	tested := false
	for _, x := range r.Results {
		tested = tested || x.Heap == "system" && x.ID == "zeroed" && x.Status == report.Pass
		if x.Heap == "system-contig" && x.ID == "zeroed" && !strings.Contains(x.Message, "64KiB") {
			t.Errorf("a heap of contiguous pages is asked for more than its largest block: %s", x.Message)
		}
	}
	if !tested {
		t.Errorf("a heap that nobody promised is not tested:\n%s", dump(r))
	}
	if r.Summary.Failed != 0 {
		t.Errorf("a healthy board without a lock raises an alarm:\n%s", dump(r))
	}
}

// A copy of a board is examined, but its memory cannot be tested.
func TestCopiedBoard(t *testing.T) {
	r := setup{copied: true}.run(t)
	for _, x := range r.Results {
		if x.ID == "alloc-page" && x.Status != report.Skip {
			t.Errorf("alloc-page on a copy is %s", x.Status)
		}
	}
	if r.Summary.Failed != 0 {
		t.Errorf("a copy fails:\n%s", dump(r))
	}
}

// A profile follows the program's own search, in its order.
func TestProfiles(t *testing.T) {
	heap := func(mode uint32) func(m sysinfotest.FS, name string) {
		return func(m sysinfotest.FS, name string) {
			m.Device("dev/dma_heap/"+name, os.FileMode(mode), sysinfo.Owner{GID: 44})
		}
	}
	open, closed, readOnly := heap(0o660), heap(0o600), heap(0o640)
	for _, tt := range []struct {
		profile string
		board   func(m sysinfotest.FS)
		want    report.Status
		says    string
	}{
		{"libcamera", func(m sysinfotest.FS) { open(m, "linux,cma"); open(m, "system") }, report.Pass, "takes linux,cma"},
		{"libcamera", func(m sysinfotest.FS) { open(m, "video@54000000"); m.Link("dev/dma_heap/linux,cma", "video@54000000") }, report.Pass, "which is video@54000000"},
		{"libcamera", func(m sysinfotest.FS) { readOnly(m, "reserved") }, report.Pass, "takes reserved"},
		{"libcamera", func(m sysinfotest.FS) { open(m, "system") }, report.Warn, "not contiguous"},
		{"libcamera", func(m sysinfotest.FS) { closed(m, "linux,cma"); open(m, "reserved") }, report.Warn, "may not open linux,cma"},
		{"libcamera", func(m sysinfotest.FS) { open(m, "default_cma_region"); m.Device("dev/udmabuf", 0o660, sysinfo.Owner{}) }, report.Warn, "/dev/udmabuf serves"},
		{"libcamera", func(m sysinfotest.FS) { open(m, "default_cma_region") }, report.Fail, "none of the heaps"},
		{"libcamera", func(m sysinfotest.FS) { m.Link("dev/dma_heap/linux,cma", "gone") }, report.Fail, "none of the heaps"},
		{"picamera2", func(m sysinfotest.FS) { closed(m, "vidbuf_cached"); open(m, "linux,cma") }, report.Fail, "may not open it: vidbuf_cached"},
		{"picamera2", func(m sysinfotest.FS) { readOnly(m, "linux,cma") }, report.Fail, "may not open"},
		{"rockchip-mpp", func(m sysinfotest.FS) { open(m, "system") }, report.Warn, "system-uncached is missing"},
		{"imx", func(m sysinfotest.FS) { open(m, "linux,cma") }, report.Warn, "DMA_BUF_IOCTL_PHYS"},
		{"gstreamer", func(m sysinfotest.FS) { open(m, "system") }, report.Fail, "/dev/udmabuf is missing"},
		{"gstreamer", func(m sysinfotest.FS) { open(m, "system"); m.Device("dev/udmabuf", 0o660, sysinfo.Owner{}) }, report.Pass, "is there"},
		{"ti-edgeai", func(m sysinfotest.FS) { open(m, "carveout_edgeai_shared-memories") }, report.Warn, "ti,dma-buf-phys"},
	} {
		m := sysinfotest.FS{}
		m.File("etc/group", "video:x:44:\n")
		tt.board(m)
		r := setup{fs: m, lock: heapcfg.NewLock("", &heapcfg.Layout{}), o: Options{Profiles: []string{tt.profile}},
			caller: &sysinfo.Caller{UID: 1000, Groups: []int{1000, 44}}}.run(t)
		x := r.Results[len(r.Results)-1]
		if x.ID != "profile-"+tt.profile || x.Status != tt.want || !strings.Contains(x.Message, tt.says) {
			t.Errorf("%s: %s %s: %s; want %s with %q", tt.profile, x.Status, x.ID, x.Message, tt.want, tt.says)
		}
		if x.Status != report.Pass && x.Advice == "" {
			t.Errorf("%s: %s without advice", tt.profile, x.Message)
		}
	}
}

func TestImport(t *testing.T) {
	einval := &dmaheap.Error{Op: dmaheap.OpImport, Err: syscall.EINVAL}
	barred := &dmaheap.Error{Op: dmaheap.OpImport, Kind: dmaheap.ErrPermission, Err: syscall.EACCES}
	for _, tt := range []struct {
		name string
		errs map[string]error
		want report.Status
		says string
	}{
		{"all", nil, report.Pass, "can import: renderD128 (v3d), card1"},
		{"one", map[string]error{"/dev/dri/card1": einval}, report.Pass, "cannot: card1: invalid argument"},
		{"none", map[string]error{"/dev/dri/card1": einval, "/dev/dri/renderD128": einval}, report.Warn, "no device can import"},
		{"no rights", map[string]error{"/dev/dri/card1": barred, "/dev/dri/renderD128": barred}, report.Skip, "may not open"},
	} {
		m := videoBoard()
		for node, parent := range map[string]string{"card0": "../../gpu", "renderD128": "../../gpu", "card1": "../../display"} {
			m.Device("dev/dri/"+node, 0o660, sysinfo.Owner{})
			m.Link("sys/class/drm/"+node+"/device", parent)
		}
		// fstest has no links in the middle of a path for ReadLink.
		m.Link("sys/class/drm/renderD128/device/driver", "../../bus/platform/drivers/v3d")
		r := setup{fs: m, dev: newFakeKernel(videoSize, faults{importErr: tt.errs}), o: Options{Import: true}}.run(t)
		found := false
		for _, x := range r.Results {
			if x.ID == "import-drm" {
				found = true
				if x.Status != tt.want || !strings.Contains(x.Message, tt.says) || strings.Contains(x.Message, "card0") {
					t.Errorf("%s: %s %s; want %s with %q and without card0", tt.name, x.Status, x.Message, tt.want, tt.says)
				}
			}
		}
		if !found {
			t.Errorf("%s: import-drm did not run", tt.name)
		}
	}
}

// A camera that refuses: is it the heap, or would it refuse everybody.
func TestImportV4L2(t *testing.T) {
	const camera, codec = "/dev/video0", "/dev/video11"
	fault := &dmaheap.Error{Op: dmaheap.OpImport, Err: syscall.EFAULT}
	refuses := map[string]error{camera: fault, codec: fault}
	for _, tt := range []struct {
		name   string
		f      faults
		o      Options
		want   report.Status
		says   string
		advice string
	}{
		{name: "both", want: report.Pass, says: "can import: video0 (uvcvideo), video11 (venus, behind an IOMMU)"},
		{name: "one", f: faults{importErr: map[string]error{codec: fault}}, want: report.Pass, says: "can import: video0 (uvcvideo); cannot: video11 (venus, behind an IOMMU): bad address (memory from /dev/udmabuf it takes)"},
		{name: "heap refused", f: faults{importErr: refuses}, want: report.Warn, says: "no device can import from this heap", advice: "it is this heap that it refuses"},
		{name: "all refused", f: faults{importErr: refuses, referenceErr: fault}, want: report.Warn, says: "memory from /dev/udmabuf as well", advice: "below 4GiB"},
		{name: "nothing to compare", f: faults{importErr: refuses, noReference: true}, want: report.Warn, says: "bad address", advice: "below 4GiB"},
		{name: "busy", f: faults{importErr: map[string]error{camera: &dmaheap.Error{Kind: dmaheap.ErrBusy}, codec: &dmaheap.Error{Kind: dmaheap.ErrUnsupported}}},
			want: report.Skip, says: "video0 (uvcvideo): in use by another program", advice: "no other program"},
		{name: "no DMABUF", f: faults{importErr: map[string]error{camera: &dmaheap.Error{Kind: dmaheap.ErrUnsupported}, codec: &dmaheap.Error{Kind: dmaheap.ErrUnsupported}}},
			want: report.Skip, says: "imports nothing"},
		{name: "large frames", f: faults{frame: videoSize / 2}, want: report.Skip, says: "its frame of 1MiB is more than a quick run takes, use --full"},
		{name: "large frames, full", f: faults{frame: videoSize / 2}, o: Options{Full: true}, want: report.Pass, says: "can import"},
		{name: "frames that no buffer holds", f: faults{frame: 2 * videoSize}, o: Options{Full: true}, want: report.Skip, says: "the heap has no buffer of 4MiB"},
	} {
		m := videoBoard()
		for node, driver := range map[string]string{"video0": "uvcvideo", "video11": "venus"} {
			m.Device("dev/"+node, 0o660, sysinfo.Owner{})
			m.File("sys/class/video4linux/"+node+"/name", node)
			m.Link("sys/class/video4linux/"+node+"/device/driver", "../../bus/platform/drivers/"+driver)
		}
		m.File("sys/class/video4linux/v4l-subdev0/name", "sensor")
		m.Link("sys/class/video4linux/video11/device/iommu_group", "../../iommu_groups/3")
		if tt.f.frame == 0 {
			tt.f.frame = 100_000
		}
		tt.o.Import = true
		r := setup{fs: m, dev: newFakeKernel(videoSize, tt.f), o: tt.o}.run(t)
		found := false
		for _, x := range r.Results {
			if x.ID != "import-v4l2" {
				continue
			}
			found = true
			if x.Status != tt.want || !strings.Contains(x.Message, tt.says) || !strings.Contains(x.Advice, tt.advice) {
				t.Errorf("%s: %s %s\n%s\nwant %s with %q, advice with %q", tt.name, x.Status, x.Message, x.Advice, tt.want, tt.says, tt.advice)
			}
		}
		if !found {
			t.Errorf("%s: import-v4l2 did not run", tt.name)
		}
	}
}

// A heap that is named is tested, whoever asked for it and by whatever name.
func TestNamedHeap(t *testing.T) {
	for _, tt := range []struct {
		name       string
		heap       string
		noLock     bool
		tested     string
		unexpected bool
	}{
		{"by its name", "video@54000000", false, "video@54000000", false},
		{"by its short name", "video", false, "video@54000000", false},
		{"by a link, without a lock", "video", true, "video@54000000", false},
		{"that nobody asked for", "extra", false, "extra", true},
		{"that nobody asked for, by a link", "more", false, "extra", true},
		{"that nobody asked for, without a lock", "extra", true, "extra", false},
	} {
		m, lock := videoBoard(), videoLock()
		m.Device("dev/dma_heap/extra", 0o600, sysinfo.Owner{})
		m.Link("dev/dma_heap/more", "extra")
		if tt.noLock {
			lock = liveLock(t, m)
		}
		r := setup{fs: m, lock: lock, o: Options{Heaps: []string{tt.heap}}}.run(t)
		if x := result(t, r, "write-read", tt.tested); x.Status != report.Pass {
			t.Errorf("%s: write-read is %s: %s", tt.name, x.Status, x.Message)
		}
		told := false
		for _, x := range r.Results {
			if x.Heap != "" && x.Heap != tt.tested {
				t.Errorf("%s: %s of %s was asked for by nobody", tt.name, x.ID, x.Heap)
			}
			told = told || x.ID == "heap-unexpected"
		}
		if told != tt.unexpected {
			t.Errorf("%s: heap-unexpected was told: %v", tt.name, told)
		}
	}
}

func TestUnknownHeapOption(t *testing.T) {
	lock := videoLock()
	lock.Heaps = append(lock.Heaps, heapcfg.Expected{Name: "system", Kind: heapcfg.System}) // it has no short name
	for _, name := range []string{"vidoe", ""} {
		b := sysinfo.New(videoBoard(), sysinfo.Options{Live: true, PageSize: 4096})
		_, err := Run(context.Background(), b, newFakeKernel(videoSize, faults{}), lock, Options{Heaps: []string{name}},
			func(*report.Report) {}, func(report.Result) {})
		if !errors.Is(err, ErrNoSuchHeap) {
			t.Errorf("Run with the heap %q = %v, want %v", name, err, ErrNoSuchHeap)
		}
	}
}

// Ids are a promise to scripts, so they are unique and of one shape.
func TestDefs(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range AllDefs() {
		if seen[d.ID] || d.Title == "" || !strings.HasSuffix(d.Does, ".") || !strings.HasSuffix(d.Means, ".") || strings.Trim(d.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("check %+v: the id must be unique and kebab-case, the texts not empty", d)
		}
		seen[d.ID] = true
	}
}
