// SPDX-License-Identifier: MIT

//go:build linux

// Command pagepool tries the page pool of the system heap in the machine it
// runs on, as root: that it fills, that nobody sees what freed buffers held,
// and that all of it comes back when memory runs short. It ends with the times
// that buffers take with and without the pool.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
)

const (
	poolDir   = "/sys/kernel/dma_heap_page_pool"
	limitFile = "/sys/module/heap_page_pool/parameters/limit_percent"
	mib       = 1 << 20
)

func main() {
	heap, err := dmaheap.Open("system")
	if err != nil {
		fail("%v", err)
	}
	defer heap.Close()
	for _, try := range []struct {
		name string
		run  func(*dmaheap.Heap)
	}{
		{"fills, and cleans what it holds", fills},
		{"shows nothing of freed buffers", showsNothing},
		{"gives all back on demand", givesBack},
		{"gives memory to a program that needs it", yields},
		{"can be turned off", turnsOff},
	} {
		try.run(heap)
		fmt.Println("ok:", try.name)
	}
	measure(heap)
}

func fail(format string, args ...any) {
	fmt.Printf("pagepool: "+format+"\n", args...)
	os.Exit(1)
}

func number(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		fail("%v", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		fail("%s: %v", path, err)
	}
	return n
}

func write(path, text string) {
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		fail("%v", err)
	}
}

func pooled() int { return number(filepath.Join(poolDir, "size")) }

// meminfo returns what a line of /proc/meminfo says, in bytes.
func meminfo(key string) int {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		fail("%v", err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(rest, "kB")))
			if err != nil {
				fail("/proc/meminfo: %q: %v", line, err)
			}
			return n << 10
		}
	}
	fail("/proc/meminfo has no %s", key)
	return 0
}

// use allocates buffers, hands the bytes of each to fn, and frees them all.
func use(heap *dmaheap.Heap, size uint64, count int, fn func([]byte)) {
	var buffers []*dmaheap.Buffer
	for range count {
		b, err := heap.Alloc(size)
		if err != nil {
			fail("%v", err)
		}
		buffers = append(buffers, b)
		m, err := b.Map(dmaheap.ReadWrite)
		if err != nil {
			fail("%v", err)
		}
		if err := b.Sync(dmaheap.ReadWrite, func() error { fn(m.Bytes()); return nil }); err != nil {
			fail("%v", err)
		}
		if err := m.Close(); err != nil {
			fail("%v", err)
		}
	}
	for _, b := range buffers {
		if err := b.Close(); err != nil {
			fail("%v", err)
		}
	}
}

func soil(b []byte) {
	for i := range b {
		b[i] = 0xa5
	}
}

// spotless fails unless all bytes are zero, and then soils them.
func spotless(b []byte) {
	if i := slices.IndexFunc(b, func(c byte) bool { return c != 0 }); i >= 0 {
		fail("byte %d of a new buffer is %#x", i, b[i])
	}
	soil(b)
}

// settle waits until the pool is clean, and returns how much it holds.
func settle() int {
	for range 1000 {
		size, clean := pooled(), number(filepath.Join(poolDir, "clean"))
		if size == clean {
			return size
		}
		time.Sleep(10 * time.Millisecond)
	}
	fail("the pool is not clean after 10 s")
	return 0
}

// fill brings the pool to what it takes of 32 MiB, all of it soiled before.
func fill(heap *dmaheap.Heap) int {
	use(heap, 4*mib, 8, soil)
	size := settle()
	if size < 16*mib {
		fail("the pool holds %d of 32 MiB", size/mib)
	}
	return size
}

func fills(heap *dmaheap.Heap) {
	before, available := pooled(), meminfo("MemAvailable")
	size := fill(heap)
	if lost := available - meminfo("MemAvailable"); lost > (size-before)/2 {
		fail("%d MiB in the pool count as lost, not as available: %d MiB", size/mib, lost/mib)
	}
	// Now a buffer comes out of it.
	b, err := heap.Alloc(8 * mib)
	if err != nil {
		fail("%v", err)
	}
	if now := pooled(); now != size-8*mib {
		fail("the pool had %d bytes and has %d after an allocation of 8 MiB", size, now)
	}
	if err := b.Close(); err != nil {
		fail("%v", err)
	}
}

func showsNothing(heap *dmaheap.Heap) {
	fill(heap)
	use(heap, 4*mib, 8, spotless)
	// At once, while pages are still dirty, in all sizes.
	for i := range 20 {
		use(heap, uint64(i%5+1)*mib/4, 6, spotless)
	}
}

func givesBack(heap *dmaheap.Heap) {
	fill(heap)
	write("/proc/sys/vm/drop_caches", "2")
	if size := pooled(); size != 0 {
		fail("%d bytes stayed in the pool", size)
	}
}

// yields takes more memory than is free without the pool.
func yields(heap *dmaheap.Heap) {
	size := fill(heap)
	// Caches could be given up in its place.
	write("/proc/sys/vm/drop_caches", "1")
	// Only who finds less than this has to ask for memory back; above it the
	// kernel does so when it comes to it.
	floor := number("/proc/sys/vm/min_free_kbytes") << 10
	for taken := 0; pooled() > 0; {
		want := max(meminfo("MemFree")/4, 1*mib)
		mem, err := syscall.Mmap(-1, 0, want, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_POPULATE)
		if err != nil {
			fail("%d MiB taken, %d MiB still in the pool: %v", taken/mib, pooled()/mib, err)
		}
		taken += len(mem)
		if len(mem) == 1*mib && pooled() == size && meminfo("MemFree") < floor {
			fail("%d MiB taken, and the pool keeps its %d MiB", taken/mib, size/mib)
		}
		defer syscall.Munmap(mem)
	}
}

func turnsOff(heap *dmaheap.Heap) {
	limit := strconv.Itoa(number(limitFile))
	fill(heap)
	write(limitFile, "0")
	if size := pooled(); size != 0 {
		fail("%d bytes stayed in the pool", size)
	}
	use(heap, 4*mib, 2, spotless)
	if size := pooled(); size != 0 {
		fail("the pool took %d bytes while it was off", size)
	}
	write(limitFile, limit)
}

// measure prints what one buffer takes, allocated and freed, with the pool and
// without, in turns. The pool is given time to clean between them.
func measure(heap *dmaheap.Heap) {
	limit := strconv.Itoa(number(limitFile))
	for _, m := range []struct {
		size   uint64
		count  int // of buffers in a row
		rounds int
	}{{4096, 200, 9}, {mib, 12, 9}, {8 * mib, 3, 9}} {
		var with, without, steady []time.Duration
		for range m.rounds {
			write(limitFile, "0")
			without = append(without, row(heap, m.size, m.count))
			write(limitFile, limit)
			fill(heap)
			with = append(with, row(heap, m.size, m.count))
			steady = append(steady, row(heap, m.size, 4*m.count))
		}
		a, b, c := median(with), median(without), median(steady)
		fmt.Printf("%7d KiB: %9v with the pool, %9v without, %.2f times as fast; %9v, %.2f times, without a break\n",
			m.size/1024, a, b, float64(b)/float64(a), c, float64(b)/float64(c))
	}
}

// row returns the time that one buffer takes of so many in a row.
func row(heap *dmaheap.Heap, size uint64, count int) time.Duration {
	start := time.Now()
	for range count {
		b, err := heap.Alloc(size)
		if err != nil {
			fail("%v", err)
		}
		if err := b.Close(); err != nil {
			fail("%v", err)
		}
	}
	return time.Since(start) / time.Duration(count)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
