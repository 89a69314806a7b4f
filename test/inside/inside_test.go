// SPDX-License-Identifier: MIT

package inside

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/test/failnth"
)

// Files of the kernel that the tests use.
const (
	numbersDir = "/sys/kernel/dma_heap"
	importFile = "/sys/kernel/debug/heap_importer/import"
	leaksFile  = "/sys/kernel/debug/kmemleak"
	debugDir   = "/sys/kernel/debug"
	dmaDir     = "/sys/kernel/debug/dma-api"
)

var (
	onMachine = flag.Bool("inside", false, "run: this is the machine under test")
	beyond    = flag.String("beyond", "", "`HEAP,...` that the device for the first 4 GiB cannot reach, and that have no pages to bounce")
	lockFile  = flag.String("lock", "", "`file` that says where the heaps lie")
	reserved  = flag.String("reserved", "", "`BASE+SIZE,...` whose pages the kernel must not use")
)

// TestMain also serves as the few programs that the plan of a machine needs
// besides: ls DIR..., rm FILE..., and log, which prints the kernel's.
func TestMain(m *testing.M) {
	tools := map[string]func(args []string) error{"ls": list, "rm": remove, "log": kernelLog}
	if len(os.Args) > 1 && tools[os.Args[1]] != nil {
		if err := tools[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

func list(dirs []string) error {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Println(e.Name())
		}
	}
	return nil
}

func remove(names []string) error {
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// kernelLog prints the kernel log, each line with its level in front, as
// syslog(2) gives it.
func kernelLog([]string) error {
	const readAll, sizeBuffer = 3, 10
	n, err := syscall.Klogctl(sizeBuffer, nil)
	if err != nil {
		return err
	}
	log := make([]byte, n)
	if n, err = syscall.Klogctl(readAll, log); err != nil {
		return err
	}
	_, err = os.Stdout.Write(log[:n])
	return err
}

// heaps returns the names of all heaps, without udev's links to them.
func heaps(t *testing.T) []string {
	t.Helper()
	if !*onMachine {
		t.Skip("runs in the machine under test; test/vm boots it")
	}
	entries, err := os.ReadDir(dmaheap.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		t.Fatalf("no heaps in %s", dmaheap.Dir)
	}
	return names
}

// ours tells the heaps of the patches from mainline's own.
func ours(heap string) bool {
	_, err := os.Stat(filepath.Join(numbersDir, heap))
	return err == nil
}

// number reads a file below /sys/kernel/dma_heap.
func number(t *testing.T, heap, name string) uint64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(numbersDir, heap, name))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// numbers are what a heap must come back to when nobody uses it.
type numbers struct{ used, largest, buffers uint64 }

func numbersOf(t *testing.T, heap string) numbers {
	t.Helper()
	return numbers{number(t, heap, "used"), number(t, heap, "largest_free"), number(t, heap, "buffers")}
}

// settled waits until a heap is back to what it was: the last reference to a
// buffer may be dropped a moment after the call that gave it up.
func settled(t *testing.T, heap string, want numbers) {
	t.Helper()
	var got numbers
	for range 200 {
		if got = numbersOf(t, heap); got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: used %d, largest_free %d, buffers %d; want %d, %d, %d as before",
		heap, got.used, got.largest, got.buffers, want.used, want.largest, want.buffers)
}

// importBuffer has the kernel's test importer attach, map, sync and vmap it.
func importBuffer(b *dmaheap.Buffer) error {
	f, err := os.OpenFile(importFile, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(strconv.Itoa(int(b.FD())))
	return err
}

// tolerated tells whether an import may fail this way: mainline's own heaps
// ignore how much a device takes in one go.
func tolerated(heap string, err error) bool {
	return errors.Is(err, syscall.EMSGSIZE) && !ours(heap)
}

// checksDMA tells whether this kernel has DMA_API_DEBUG, which judges what the
// heaps do with the DMA API for the importer's devices.
func checksDMA() bool {
	_, err := os.Stat(dmaDir)
	return err == nil
}

// dmaFaults returns how many faults DMA_API_DEBUG has found, shown in the log or
// not.
func dmaFaults(t *testing.T) uint64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dmaDir, "error_count"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// showDMA says whether the log is to have the faults that DMA_API_DEBUG finds.
// They stay hidden in the end: vgem, which the kernel's selftest imports with, does
// not say how much it takes in one go.
func showDMA(t *testing.T, show bool) {
	t.Helper()
	// The filter takes the name of a driver; one that no driver has hides all.
	filter := "none_is_called_so"
	if show {
		filter = "\n"
	}
	for _, f := range []struct{ name, value string }{
		{"driver_filter", filter},
		{"all_errors", "1"}, // else only the first
	} {
		if err := os.WriteFile(filepath.Join(dmaDir, f.name), []byte(f.value), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// watchDMA has DMA_API_DEBUG, where this kernel has it, judge what is done to
// heaps of the patches, or to mainline's own, until the end of the test. Of the
// former it must find no fault. The latter ignore how much a device takes in one
// go and in which direction it was mapped: that is kept out of the log, and
// must be found where the importer has seen it, or the checker is blind.
func watchDMA(t *testing.T, ofPatches bool) (seen func()) {
	t.Helper()
	if !checksDMA() {
		return func() {}
	}
	showDMA(t, ofPatches)
	before, must := dmaFaults(t), false
	t.Cleanup(func() {
		found := dmaFaults(t) - before
		showDMA(t, false)
		switch {
		case ofPatches && found > 0:
			t.Errorf("DMA_API_DEBUG found %d faults; the kernel log says which", found)
		case must && found == 0:
			t.Error("DMA_API_DEBUG found no fault where the importer did: it does not watch the importer's devices")
		}
	})
	return func() { must = true }
}

func open(t *testing.T, heap string) *dmaheap.Heap {
	t.Helper()
	h, err := dmaheap.Open(heap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// sizes are allocated one after the other: a page, an odd number of pages, and
// more than the pieces that the importer's second device takes.
var sizes = []uint64{4 << 10, 52 << 10, 1<<20 + 4<<10, 4 << 20}

// contigSize is what system-contig can give from fragmented memory, too.
const contigSize = 64 << 10

// scarce tells whether a heap may lack a block of that size through no fault of
// its own: system-contig takes what the page allocator has.
func scarce(heap string, size uint64) bool {
	return heap == "system-contig" && size > contigSize
}

func TestImporter(t *testing.T) {
	for _, name := range heaps(t) {
		t.Run(name, func(t *testing.T) {
			faulty := watchDMA(t, ours(name))
			h := open(t, name)
			for _, size := range sizes {
				if ours(name) && size > number(t, name, "largest_free") {
					continue
				}
				b, err := h.Alloc(size)
				if scarce(name, size) && errors.Is(err, dmaheap.ErrNoMemory) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				err = importBuffer(b)
				switch {
				case slices.Contains(strings.Split(*beyond, ","), name):
					if err == nil {
						t.Errorf("import of %d bytes: a device took what it cannot reach", size)
					}
				case tolerated(name, err):
					faulty()
				case err != nil:
					t.Errorf("import of %d bytes: %v; the kernel log says which step", size, err)
				}
				b.Close()
			}
		})
	}
}

// TestMapping maps buffers as programs do. Touching a mapping takes no page
// faults, not even the first write to a page, and one that was made for reading
// can be made writable. What a buffer held that was mapped is gone in the next.
func TestMapping(t *testing.T) {
	const size = 64 << 10 // what system-contig can always give
	for _, name := range heaps(t) {
		if !ours(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			h := open(t, name)
			alloc := func() *dmaheap.Buffer {
				b, err := h.Alloc(size)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { b.Close() })
				return b
			}
			mmap := func(b *dmaheap.Buffer, prot int) []byte {
				data, err := syscall.Mmap(int(b.FD()), 0, size, prot, syscall.MAP_SHARED)
				if err != nil {
					t.Fatal(err)
				}
				return data
			}
			b := alloc()
			if err := b.Begin(dmaheap.ReadWrite); errors.Is(err, syscall.EINVAL) {
				return // the CPU is kept out
			}
			data := mmap(b, syscall.PROT_READ|syscall.PROT_WRITE)
			before := minorFaults(t)
			for at := 0; at < size; at += os.Getpagesize() {
				data[at] = 0x5a
			}
			// The runtime may have faults of its own meanwhile.
			if n := minorFaults(t) - before; n > int64(size/os.Getpagesize()/4) {
				t.Errorf("%d page faults in %d pages", n, size/os.Getpagesize())
			}
			if err := syscall.Munmap(data); err != nil {
				t.Fatal(err)
			}
			b.Close()

			b = alloc()
			data = mmap(b, syscall.PROT_READ)
			for at := 0; at < size; at += os.Getpagesize() {
				if data[at] != 0 {
					t.Fatalf("a new buffer holds %#x at %d", data[at], at)
				}
			}
			if err := syscall.Mprotect(data, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
				t.Fatal(err)
			}
			for at := 0; at < size; at += os.Getpagesize() {
				data[at] = 0xa5
			}
			again := mmap(b, syscall.PROT_READ)
			for at := 0; at < size; at += os.Getpagesize() {
				if again[at] != 0xa5 {
					t.Fatalf("a second mapping has %#x at %d, want what was written", again[at], at)
				}
			}
			for _, m := range [][]byte{data, again} {
				if err := syscall.Munmap(m); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func minorFaults(t *testing.T) int64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return int64(u.Minflt)
}

// promised returns the heaps of the lock file, if one is given.
func promised(t *testing.T) []heapcfg.Expected {
	t.Helper()
	if *lockFile == "" {
		return nil
	}
	data, err := os.ReadFile(*lockFile)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := heapcfg.ParseLock(data)
	if err != nil {
		t.Fatal(err)
	}
	return lock.Heaps
}

// TestPlace looks where a device finds a buffer: inside the region that the lock
// file promises, and in one piece unless it is a heap of chunks. User space does
// not see that, since /proc/PID/pagemap has nothing of mappings without pages.
func TestPlace(t *testing.T) {
	heaps(t)
	if *lockFile == "" {
		t.Skip("no lock file is given")
	}
	for _, want := range promised(t) {
		if want.Range.Size == 0 {
			continue
		}
		t.Run(want.Name, func(t *testing.T) {
			watchDMA(t, ours(want.Name))
			h := open(t, want.Name)
			b, err := h.Alloc(sizes[len(sizes)-1])
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := importBuffer(b); err != nil && !tolerated(want.Name, err) {
				t.Fatal(err)
			}
			text, err := os.ReadFile(importFile)
			if err != nil {
				t.Fatal(err)
			}
			var sum, pieces uint64
			var end heapcfg.Addr
			for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				var base, size uint64
				if _, err := fmt.Sscanf(line, "%v %v", &base, &size); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				piece := heapcfg.Range{Base: heapcfg.Addr(base), Size: size}
				if !want.Range.Contains(piece) {
					t.Errorf("%v lies outside of %v", piece, want.Range)
				}
				if piece.Base != end {
					pieces++
				}
				sum, end = sum+size, piece.Base+heapcfg.Addr(size)
			}
			if sum != b.Size() {
				t.Errorf("the device found %d of %d bytes", sum, b.Size())
			}
			if want.Kind != heapcfg.Chunk && pieces != 1 {
				t.Errorf("%d pieces, want one", pieces)
			}
		})
	}
}

// How many users each heap has at once, and what each of them does.
const togetherUsers, togetherRounds = 4, 12

// Users of all heaps at once allocate, map, write, sync and import. Where
// DMA_API_DEBUG watches, mainline's heaps have their turn after the others, since
// it does not tell whose faults it has found.
func TestTogether(t *testing.T) {
	names := heaps(t)
	if !checksDMA() {
		together(t, names)
		return
	}
	var of, mainline []string
	for _, name := range names {
		if ours(name) {
			of = append(of, name)
		} else {
			mainline = append(mainline, name)
		}
	}
	t.Run("patches", func(t *testing.T) {
		watchDMA(t, true)
		together(t, of)
	})
	t.Run("mainline", func(t *testing.T) {
		watchDMA(t, false)
		together(t, mainline)
	})
}

func together(t *testing.T, names []string) {
	t.Helper()
	var wg sync.WaitGroup
	before := map[string]numbers{}
	deviceOnly := map[string]bool{}
	for _, h := range promised(t) {
		deviceOnly[h.Name] = h.Access == heapcfg.DeviceOnly
	}
	for _, name := range names {
		if ours(name) {
			before[name] = numbersOf(t, name)
		}
		h := open(t, name)
		for user := range togetherUsers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for round := range togetherRounds {
					if err := use(h, sizes[(user+round)%len(sizes)], byte(16*user+round), !deviceOnly[name]); err != nil {
						t.Errorf("%s, user %d, round %d: %v", name, user, round, err)
						return
					}
				}
			}()
		}
	}
	wg.Wait()
	for name, n := range before {
		settled(t, name, n)
	}
}

// use allocates a buffer and does all that can be done with it.
func use(h *dmaheap.Heap, size uint64, mark byte, mapped bool) error {
	b, err := h.Alloc(size)
	if errors.Is(err, dmaheap.ErrNoMemory) {
		return nil // the others have it
	}
	if err != nil {
		return err
	}
	defer b.Close()
	if !mapped {
		return importBuffer(b)
	}
	m, err := b.Map(dmaheap.ReadWrite)
	if err != nil {
		return err
	}
	defer m.Close()
	err = b.Sync(dmaheap.ReadWrite, func() error {
		if !consistsOf(m.Bytes(), 0) {
			return errors.New("a new buffer is not all zero")
		}
		marks := bytes.Repeat([]byte{mark}, blockSize)
		for rest := m.Bytes(); len(rest) > 0; {
			rest = rest[copy(rest, marks):]
		}
		return nil
	})
	if err != nil {
		return err
	}
	// The importer writes to the first and the last byte.
	if err := importBuffer(b); err != nil && !tolerated(h.Name(), err) {
		return fmt.Errorf("import: %w", err)
	}
	if !consistsOf(m.Bytes()[1:len(m.Bytes())-1], mark) {
		return errors.New("the buffer does not hold what was written")
	}
	return nil
}

// blockSize is how much is written and compared at once: the machine is small,
// and the emulated processor slow at single bytes.
const blockSize = 64 << 10

// consistsOf tells whether all bytes are c.
func consistsOf(b []byte, c byte) bool {
	block := bytes.Repeat([]byte{c}, min(len(b), blockSize))
	for len(b) > 0 {
		n := min(len(b), len(block))
		if !bytes.Equal(b[:n], block[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// TestReserved looks at every page of ranges that the kernel must keep its hands
// off. /proc/iomem shows only what was reserved at boot; this is the state of
// the page itself.
func TestReserved(t *testing.T) {
	heaps(t)
	if *reserved == "" {
		t.Skip("no ranges are given")
	}
	f, err := os.Open("/proc/kpageflags")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// include/uapi/linux/kernel-page-flags.h, and KPF_RESERVED of its
	// neighbour in include/linux.
	const noPage, reservedPage = 1 << 20, 1 << 32
	page := uint64(os.Getpagesize())
	for _, r := range strings.Split(*reserved, ",") {
		var base, size uint64
		if _, err := fmt.Sscanf(r, "%v+%v", &base, &size); err != nil {
			t.Fatalf("%q: %v", r, err)
		}
		for at := base / page; at*page < base+size; at++ {
			var entry [8]byte
			if _, err := f.ReadAt(entry[:], int64(at*8)); err != nil {
				t.Fatalf("page %#x: %v", at*page, err)
			}
			if flags := binary.NativeEndian.Uint64(entry[:]); flags&(noPage|reservedPage) == 0 {
				t.Errorf("%s: the kernel uses the page at %#x, flags %#x", r, at*page, flags)
				break
			}
		}
	}
}

// TestDMADebug makes sure that DMA_API_DEBUG did not switch itself off, as it does
// when it runs out of memory, before it had seen all of the above.
func TestDMADebug(t *testing.T) {
	heaps(t)
	if !checksDMA() {
		t.Skip("this kernel does not check the use of the DMA API")
	}
	data, err := os.ReadFile(filepath.Join(dmaDir, "disabled"))
	if err != nil {
		t.Fatal(err)
	}
	if off := strings.TrimSpace(string(data)); off != "N" {
		t.Errorf("disabled is %s: the tests before this one were not watched to their end", off)
	}
}

// settings make every allocation of the kernel one that can be made to fail.
var settings = []struct{ file, value string }{
	{"failslab/ignore-gfp-wait", "N"},
	{"fail_page_alloc/ignore-gfp-wait", "N"},
	{"fail_page_alloc/ignore-gfp-highmem", "N"},
	{"fail_page_alloc/min-order", "0"},
	{"failslab/verbose", "0"},
	{"fail_page_alloc/verbose", "0"},
}

// nthLimit bounds a walk: no call allocates memory so often.
const nthLimit = 400

// TestFailNth lets each allocation of memory fail in turn that the kernel makes
// in a call on a heap or a buffer. The call may fail or not; afterwards all must
// be as it was before. It comes after all that DMA_API_DEBUG is to see, whose own
// allocations fail as well.
func TestFailNth(t *testing.T) {
	names := heaps(t)
	if w, err := failnth.New(); errors.Is(err, failnth.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	} else {
		w.Close()
	}
	if checksDMA() {
		showDMA(t, false)
	}
	for _, s := range settings {
		if err := os.WriteFile(filepath.Join(debugDir, s.file), []byte(s.value), 0); err != nil {
			t.Fatal(err)
		}
	}
	imports, err := os.OpenFile(importFile, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer imports.Close()
	deviceOnly := map[string]bool{}
	for _, h := range promised(t) {
		deviceOnly[h.Name] = h.Access == heapcfg.DeviceOnly
	}
	var left []*dmaheap.Mapping
	calls := []struct {
		name string
		cpu  bool // needs memory that the CPU can map
		fn   func(h *dmaheap.Heap, b *dmaheap.Buffer) error
	}{
		{"alloc", false, func(h *dmaheap.Heap, other *dmaheap.Buffer) error {
			b, err := h.Alloc(other.Size())
			if err == nil {
				err = b.Close()
			}
			return err
		}},
		{"mmap", true, func(_ *dmaheap.Heap, b *dmaheap.Buffer) error {
			m, err := b.Map(dmaheap.ReadWrite)
			if err != nil {
				return err
			}
			// A kernel without memory may refuse to take it away, too.
			if err = m.Close(); err != nil {
				left = append(left, m)
			}
			return err
		}},
		{"sync", true, func(_ *dmaheap.Heap, b *dmaheap.Buffer) error {
			return b.Sync(dmaheap.ReadWrite, func() error { return nil })
		}},
		{"import", false, func(_ *dmaheap.Heap, b *dmaheap.Buffer) error {
			_, err := syscall.Write(int(imports.Fd()), []byte(strconv.Itoa(int(b.FD()))))
			return err
		}},
	}
	for _, name := range names {
		for _, call := range calls {
			if call.cpu && deviceOnly[name] {
				continue
			}
			t.Run(name+"/"+call.name, func(t *testing.T) {
				h := open(t, name)
				size := uint64(1<<20 + 4<<10)
				if scarce(name, size) {
					size = contigSize
				}
				b, err := h.Alloc(size)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				var before numbers
				if ours(name) {
					before = numbersOf(t, name)
				}
				// Once without a fault: what this program needs memory for is
				// then there.
				if err := call.fn(h, b); err != nil && !tolerated(name, err) {
					t.Fatal(err)
				}
				w, err := failnth.New() // of this thread; a subtest has its own
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				refused := 0
				n, err := w.Walk(nthLimit, func() error { return call.fn(h, b) }, func(hit bool, callErr error) error {
					for _, m := range left {
						if err := m.Close(); err != nil {
							return fmt.Errorf("with no fault injected: %w", err)
						}
					}
					left = nil
					if ours(name) {
						settled(t, name, before)
					}
					switch {
					case hit && callErr != nil:
						refused++
					case !hit && callErr != nil && !tolerated(name, callErr):
						return fmt.Errorf("fails with no fault injected: %w", callErr)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d allocations failed in turn, %d of them made the call fail", n, refused)
				if call.name == "alloc" && refused == 0 {
					t.Error("no fault had an effect: is it injected at all?")
				}
			})
		}
	}
}

// TestNothingLeft looks whether all memory came back, as the last of the tests.
// CMA areas also serve the kernel's own drivers.
func TestNothingLeft(t *testing.T) {
	cma := map[string]bool{heapcfg.DefaultCMAName: true}
	for _, h := range promised(t) {
		cma[h.Name] = h.Kind == heapcfg.CMA
	}
	for _, name := range heaps(t) {
		if !ours(name) {
			continue
		}
		var n numbers
		for range 200 {
			if n = numbersOf(t, name); n.buffers == 0 && (n.used == 0 || cma[name]) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		size := number(t, name, "size")
		switch {
		case n.buffers != 0:
			t.Errorf("%s: there are %d buffers", name, n.buffers)
		case cma[name]:
		case n.used != 0:
			t.Errorf("%s: %d bytes are in use", name, n.used)
		case name != "system-contig" && n.largest != size:
			t.Errorf("%s: the largest free block has %d of %d bytes", name, n.largest, size)
		}
	}
}

// TestLeaks asks kmemleak, twice: it reports only what it has seen unreferenced
// for a while.
func TestLeaks(t *testing.T) {
	heaps(t)
	if _, err := os.Stat(leaksFile); err != nil {
		t.Skip("this kernel does not look for leaks:", err)
	}
	for range 2 {
		time.Sleep(6 * time.Second)
		if err := os.WriteFile(leaksFile, []byte("scan"), 0); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(leaksFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 0 {
		t.Errorf("kmemleak:\n%s", data)
	}
}
