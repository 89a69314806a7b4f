// SPDX-License-Identifier: MIT

package dmaheap

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The numbers that C programs built from the kernel's headers use, on
// architectures with the generic ioctl layout.
func TestIoctlNumbers(t *testing.T) {
	if iocDirShift != 30 {
		t.Skip("this architecture lays ioctl numbers out in its own way")
	}
	setName := uint32(0x40086201)
	if unix.SizeofPtr == 4 {
		setName = 0x40046201
	}
	for _, tt := range []struct {
		name      string
		got, want uint32
	}{
		{"DMA_HEAP_IOCTL_ALLOC", ioctlAlloc(), 0xc0184800},
		{"DMA_BUF_IOCTL_SYNC", ioctlSync(), 0x40086200},
		{"DMA_BUF_SET_NAME", ioctlSetName(), setName},
		{"DMA_BUF_IOCTL_EXPORT_SYNC_FILE", ioctlExportSyncFile(), 0xc0086202},
		{"DRM_IOCTL_PRIME_FD_TO_HANDLE", ioctlPrimeImport(), 0xc00c642e},
		{"DRM_IOCTL_GEM_CLOSE", ioctlGEMClose(), 0x40086409},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %#x, want %#x", tt.name, tt.got, tt.want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	regular := filepath.Join(dir, "regular")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want error
	}{
		{filepath.Join(dir, "missing"), ErrNoHeap},
		{filepath.Join(regular, "below"), ErrNoHeap},
		{regular, ErrNotHeap},
		{fifo, ErrNotHeap},
		{dir, ErrNotHeap},
	} {
		h, err := OpenPath(tt.path)
		if !errors.Is(err, tt.want) {
			t.Errorf("OpenPath(%s) = %v, want %v", filepath.Base(tt.path), err, tt.want)
		}
		if err == nil {
			h.Close()
		}
	}
	for _, name := range []string{"", ".", "..", "../null", "a/b"} {
		// The kernel is not asked about what is no name.
		if _, err := Open(name); !errors.Is(err, ErrNoHeap) || !errors.Is(err, unix.EINVAL) {
			t.Errorf("Open(%q) = %v, want %v and EINVAL", name, err, ErrNoHeap)
		}
	}
}

func TestAllocOnOtherDevice(t *testing.T) {
	h, err := OpenPath("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	_, err = h.Alloc(4096)
	if !errors.Is(err, ErrNotHeap) || !errors.Is(err, unix.ENOTTY) {
		t.Errorf("Alloc on /dev/null = %v, want %v and ENOTTY", err, ErrNotHeap)
	}
	var e *Error
	if !errors.As(err, &e) || e.Heap != "/dev/null" || e.Size != 4096 || e.Op != OpAlloc {
		t.Errorf("Alloc on /dev/null = %#v, want the heap, the size and the operation in it", err)
	}
}

// The kernel would write behind the end of an argument that is too short.
func TestIoctlLength(t *testing.T) {
	h, err := OpenPath("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, arg := range [][]byte{{}, make([]byte, 23)} {
		if err := h.Ioctl(AllocRequest(24), arg); !errors.Is(err, ErrInvalid) {
			t.Errorf("Ioctl of 24 bytes with %d = %v, want %v", len(arg), err, ErrInvalid)
		}
	}
	for _, arg := range [][]byte{nil, make([]byte, 24), make([]byte, 40)} {
		if err := h.Ioctl(AllocRequest(24), arg); !errors.Is(err, unix.ENOTTY) {
			t.Errorf("Ioctl of 24 bytes with %d = %v, want ENOTTY of /dev/null", len(arg), err)
		}
	}
}

func TestHeapClosed(t *testing.T) {
	h, err := OpenPath("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Alloc(4096); !errors.Is(err, ErrClosed) {
		t.Errorf("Alloc after Close = %v, want %v", err, ErrClosed)
	}
	if err := h.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close = %v, want %v", err, ErrClosed)
	}
}

// A file that is no dma-buf has no feature, and a device that imports nothing
// says so.
func TestProbeAndImport(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	b := &Buffer{file: null}
	for _, f := range []Feature{FeatureSetName, FeatureSyncFile} {
		if err := b.Probe(f); !errors.Is(err, ErrUnsupported) || !errors.Is(err, unix.ENOTTY) {
			t.Errorf("Probe(%v) of /dev/null = %v, want %v and ENOTTY", f, err, ErrUnsupported)
		}
	}
	var e *Error
	if err := b.ImportDRM(os.DevNull); !errors.As(err, &e) || e.Op != OpImport || e.Object != os.DevNull || !errors.Is(err, ErrUnsupported) {
		t.Errorf("ImportDRM(/dev/null) = %#v, want the operation and the device in it", err)
	} else if want := "import into /dev/null: not supported (inappropriate ioctl for device)"; err.Error() != want {
		t.Errorf("ImportDRM(/dev/null) = %q, want %q", err, want)
	}
	if err := b.ImportV4L2(os.DevNull); !errors.As(err, &e) || e.Op != OpImport || e.Object != os.DevNull || !errors.Is(err, ErrUnsupported) {
		t.Errorf("ImportV4L2(/dev/null) = %#v, want the operation and the device in it", err)
	}
	if err := b.Probe(FeatureSyncFile + 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("Probe of no feature = %v, want %v", err, ErrInvalid)
	}
	null.Close()
	if err := b.Probe(FeatureSetName); !errors.Is(err, ErrClosed) {
		t.Errorf("Probe after Close = %v, want %v", err, ErrClosed)
	}
}

// Mapping is the same for every file, so that one of memory stands in for a
// dma-buf.
func TestMap(t *testing.T) {
	page := uint64(os.Getpagesize())
	open := func(flags int) *Buffer {
		f, err := os.OpenFile(filepath.Join(t.TempDir(), "memory"), flags|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Ftruncate(int(f.Fd()), int64(2*page)); err != nil && flags != os.O_RDONLY {
			t.Fatal(err)
		}
		return &Buffer{file: f, size: 2 * page}
	}
	b := open(os.O_RDWR)
	m, err := b.Map(ReadWrite)
	if err != nil || uint64(len(m.Bytes())) != 2*page {
		t.Fatalf("Map = %v, %v", m, err)
	}
	m.Bytes()[page] = 7
	second, err := b.MapRange(page, page, Read)
	if err != nil || second.Bytes()[0] != 7 {
		t.Fatalf("a mapping of the second page does not show what was written to it: %v", err)
	}
	if !faults(func() { second.Bytes()[0] = 8 }) {
		t.Error("memory that was mapped for reading can be written")
	}
	for _, tt := range []struct {
		offset, length uint64
		access         Access
	}{{0, 0, Read}, {1, page, Read}, {1 << 63, page, Read}, {0, 1 << 63, Read}, {0, page, 1 << 7}, {0, page, ReadWrite | 1<<7}} {
		if _, err := b.MapRange(tt.offset, tt.length, tt.access); !errors.Is(err, ErrInvalid) {
			t.Errorf("MapRange(%#x, %#x, %v) = %v, want %v", tt.offset, tt.length, tt.access, err, ErrInvalid)
		}
	}
	// The memory stays as long as a mapping does.
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if m.Bytes()[page] != 7 {
		t.Error("the memory went with the descriptor")
	}
	if _, err := b.Map(Read); !errors.Is(err, ErrClosed) {
		t.Errorf("Map after Close = %v, want %v", err, ErrClosed)
	}
	for _, m := range []*Mapping{m, second} {
		if err := m.Close(); err != nil || m.Bytes() != nil {
			t.Errorf("Close = %v, then %d bytes", err, len(m.Bytes()))
		}
		if err := m.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("second Close = %v, want %v", err, ErrClosed)
		}
	}
	for flags, access := range map[int]Access{os.O_WRONLY: Write, os.O_RDONLY: ReadWrite} {
		b := open(flags)
		if _, err := b.Map(access); !errors.Is(err, ErrPermission) {
			t.Errorf("Map(%v) of a file opened with %v = %v, want %v", access, flags, err, ErrPermission)
		}
		b.Close()
	}
}

// faults reports whether fn touches memory that it may not.
func faults(fn func()) (did bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { did = recover() != nil }()
	fn()
	return false
}

func TestImportRefusesOtherFiles(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Import(f); !errors.Is(err, ErrNotBuffer) {
		t.Errorf("Import(/dev/null) = %v, want %v", err, ErrNotBuffer)
	}
	if _, err := f.Stat(); err != nil {
		t.Errorf("Import closed the file it refused: %v", err)
	}
}

func TestReceiveRefusesOtherDescriptors(t *testing.T) {
	before := openFiles(t)
	a, b := socketPair(t)
	defer a.Close()
	defer b.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if err := Send(a, &Buffer{file: null}); err != nil {
		t.Fatal(err)
	}
	if _, err := Receive(b); !errors.Is(err, ErrNotBuffer) {
		t.Errorf("Receive of /dev/null = %v, want %v", err, ErrNotBuffer)
	}
	if _, err := a.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := Receive(b); !errors.Is(err, ErrNotBuffer) {
		t.Errorf("Receive of plain data = %v, want %v", err, ErrNotBuffer)
	}
	a.Close()
	if _, err := Receive(b); !errors.Is(err, io.EOF) {
		t.Errorf("Receive from a closed socket = %v, want %v", err, io.EOF)
	}
	b.Close()
	null.Close()
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

// The kernel drops a descriptor for which the process has no number left, and the
// message still arrives.
func TestReceiveWithoutDescriptorsLeft(t *testing.T) {
	a, b := socketPair(t)
	defer a.Close()
	defer b.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Send(a, &Buffer{file: null}); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(int(null.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next), Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err = Receive(b)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err == nil || errors.Is(err, ErrNotBuffer) || !strings.Contains(err.Error(), "too many are open") {
		t.Errorf("Receive = %v, want that too many are open", err)
	}
}

// A stranger at the other end must not be able to use up our descriptors.
func TestReceiveKeepsNothingElse(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	a, b := socketPair(t)
	defer a.Close()
	defer b.Close()
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for n := 1; n <= 4; n++ {
		fds = append(fds, int(null.Fd()))
		before := openFiles(t)
		if err := raw.Write(func(s uintptr) bool {
			err = unix.Sendmsg(int(s), []byte{0}, unix.UnixRights(fds...), nil, 0)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Receive(b); !errors.Is(err, ErrNotBuffer) {
			t.Errorf("Receive of /dev/null = %v, want %v", err, ErrNotBuffer)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%d descriptors sent: %d are open, %d were before", n, after, before)
		}
	}
}

// A plain file over a blocking socket serves as well as package net does.
func TestPassThroughFiles(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no unix sockets: %v", err)
	}
	a, b := os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	defer b.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Send(a, &Buffer{file: null}); err != nil {
		t.Fatal(err)
	}
	// It arrives, and is found to be no dma-buf.
	if _, err := Receive(b); !errors.Is(err, ErrNotBuffer) || !errors.Is(err, unix.ENOTTY) {
		t.Errorf("Receive of /dev/null = %v, want %v with ENOTTY", err, ErrNotBuffer)
	}
	a.Close()
	if _, err := Receive(b); !errors.Is(err, io.EOF) {
		t.Errorf("Receive from a closed socket = %v, want %v", err, io.EOF)
	}
}

// eachHeap runs fn on every heap of this kernel. There is one under a virtual
// machine, where the whole of this file is run as root.
func eachHeap(t *testing.T, fn func(t *testing.T, h *Heap)) {
	t.Helper()
	entries, err := os.ReadDir(Dir)
	if err != nil {
		t.Skipf("no heaps on this machine: %v", err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			before := openFiles(t)
			h, err := Open(e.Name())
			if errors.Is(err, ErrPermission) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			fn(t, h)
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors are open, were %d", after, before)
			}
		})
	}
}

func TestHeapRoundTrip(t *testing.T) {
	page := uint64(os.Getpagesize())
	eachHeap(t, func(t *testing.T, h *Heap) {
		b, err := h.Alloc(3*page + 1)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if b.Size() != 4*page {
			t.Errorf("Size() = %d, want %d", b.Size(), 4*page)
		}
		if err := b.SetName("round-trip"); err != nil {
			t.Error(err)
		}
		if name, err := b.Name(); err != nil || name != "round-trip" {
			t.Errorf("Name() = %q, %v, want round-trip", name, err)
		}
		m, err := b.Map(ReadWrite)
		if errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrPermission) {
			t.Skipf("a device-only heap: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if i := bytes.IndexFunc(m.Bytes(), func(r rune) bool { return r != 0 }); i >= 0 {
			t.Errorf("byte %d of a new buffer is not zero", i)
		}
		if err := b.Sync(Write, func() error { m.Bytes()[page] = 7; return nil }); err != nil {
			t.Error(err)
		}
		second, err := b.MapRange(page, page, Read)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		err = b.Sync(Read, func() error {
			if second.Bytes()[0] != 7 {
				t.Error("a second mapping does not show what the first one wrote")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for _, f := range []Feature{FeatureSetName, FeatureSyncFile} {
			if err := b.Probe(f); err != nil && !errors.Is(err, ErrUnsupported) {
				t.Errorf("Probe(%v) = %v, want nil or %v", f, err, ErrUnsupported)
			}
		}
	})
}

func TestFromMemory(t *testing.T) {
	page := uint64(os.Getpagesize())
	before := openFiles(t)
	b, err := FromMemory(3*page + 1)
	if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if b.Size() != 4*page {
		t.Errorf("Size() = %d, want %d", b.Size(), 4*page)
	}
	m, err := b.Map(ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(Write, func() error { m.Bytes()[4*page-1] = 7; return nil }); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
	if _, err := FromMemory(0); !errors.Is(err, ErrInvalid) {
		t.Errorf("FromMemory(0) = %v, want %v", err, ErrInvalid)
	}
}

func TestHeapPassing(t *testing.T) {
	eachHeap(t, func(t *testing.T, h *Heap) {
		b, err := h.Alloc(8192)
		if err != nil {
			t.Fatal(err)
		}
		x, y := socketPair(t)
		defer x.Close()
		defer y.Close()
		if err := Send(x, b); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := Receive(y)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if got.Size() != b.Size() {
			t.Errorf("the received buffer has %d bytes, want %d", got.Size(), b.Size())
		}
	})
}

func TestHeapImportDRM(t *testing.T) {
	nodes, err := filepath.Glob("/dev/dri/renderD*")
	if err != nil || len(nodes) == 0 {
		t.Skip("no render node")
	}
	eachHeap(t, func(t *testing.T, h *Heap) {
		b, err := h.Alloc(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, node := range nodes {
			if err := b.ImportDRM(node); err != nil {
				t.Logf("%s: %v", node, err)
			}
		}
		if err := b.ImportDRM("/dev/null"); !errors.Is(err, ErrUnsupported) {
			t.Errorf("ImportDRM(/dev/null) = %v, want %v", err, ErrUnsupported)
		}
	})
}

func TestHeapRefusals(t *testing.T) {
	eachHeap(t, func(t *testing.T, h *Heap) {
		for _, size := range []uint64{0, 1<<64 - 1} {
			if b, err := h.Alloc(size); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNoMemory) {
				t.Errorf("Alloc(%d) = %v, want a refusal", size, err)
				if err == nil {
					b.Close()
				}
			}
		}
		if _, err := h.AllocFlags(4096, ReadWrite, 1<<63); !errors.Is(err, ErrInvalid) {
			t.Errorf("AllocFlags with an unknown flag = %v, want %v", err, ErrInvalid)
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func socketPair(t *testing.T) (*net.UnixConn, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EAFNOSUPPORT) {
		t.Skipf("this kernel has no unix sockets: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}
