// SPDX-License-Identifier: MIT

package check

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
)

func size(n uint64) string { return heapcfg.FormatSize(n) }

// share is how much memory this run may hold of the heap at once, in whole
// units of allocation and never less than one.
func (t *target) share() uint64 {
	n := uint64(unknownShare)
	switch {
	case t.exp.Kind == heapcfg.System:
		n = quickMost
		if free, ok := t.board.MemAvailable(); ok {
			n = min(n, free/(2*quickShare)) // all of the system lives from it
		}
		if t.usage.Largest.Known() {
			n = min(n, t.usage.Largest.Value) // contiguous pages end at a few MiB
		}
	case t.whole() > 0:
		free := t.whole()
		if t.usage.Used.Known() {
			free -= min(free, t.usage.Used.Value)
		}
		if t.usage.Largest.Known() {
			free = min(free, t.usage.Largest.Value)
		}
		n = min(free/quickShare, quickMost)
	}
	return max(n-n%t.unit(), t.unit())
}

// unit is the smallest amount the heap hands out.
func (t *target) unit() uint64 { return max(t.exp.ChunkSize, t.board.PageSize) }

// round returns the size of the buffer that a request gives: whole pages, also
// where the memory behind it is whole chunks (drivers/dma-buf/dma-heap.c,
// dma_heap_buffer_alloc).
func (t *target) round(n uint64) uint64 {
	u := t.board.PageSize
	return (n + u - 1) / u * u
}

// alloc takes a buffer from the heap. A check that nobody waits for gets no
// more: the board is not for two at a time.
func (t *target) alloc(n uint64) (Buffer, error) {
	b, err := t.heap.AllocFlags(n, dmaheap.ReadWrite, 0)
	if !t.gone.Load() {
		return b, err
	}
	if err == nil {
		b.Close()
	}
	return nil, dmaheap.ErrClosed
}

// allocFailed is a failure to allocate where it should work, with the reason
// the heap's numbers give.
func (t *target) allocFailed(n uint64, err error) *outcome {
	o := fail("cannot allocate %s: %v", size(n), err).
		because("a buffer of "+size(n), fmt.Sprint(err), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path())
	if !errors.Is(err, dmaheap.ErrNoMemory) {
		return o.advise("the heap's driver refuses what every heap must give; see dmesg")
	}
	u := t.board.Usage(t.exp.Name, t.areas(t.exp)...)
	if u.Used.Known() && u.Size.Known() {
		if u.Used.Value+n > u.Size.Value {
			o.message = fmt.Sprintf("the heap is full: %s of %s are in use%s", size(u.Used.Value), size(u.Size.Value), t.heldBy())
			return o.advise("end the programs that hold it, or make the heap larger in heaps.yaml")
		}
		if u.Largest.Known() && u.Largest.Value < n {
			o.message = fmt.Sprintf("the heap is fragmented: %s are free, the largest block has %s", size(u.Size.Value-u.Used.Value), size(u.Largest.Value))
			return o.advise("allocate large buffers first and keep them, or use a carveout")
		}
	}
	return o.advise("see dmesg for lines of cma or of the heap; a CMA area also fails while pages in it cannot be moved away")
}

func (t *target) allocPage() *outcome {
	start := time.Now()
	b, err := t.alloc(1)
	took := time.Since(start)
	if err != nil {
		t.starved = true
		return t.allocFailed(t.unit(), err)
	}
	defer b.Close()
	if want := t.round(1); b.Size() != want {
		return fail("one byte gives a buffer of %d bytes", b.Size()).
			because(size(want), size(b.Size()), "the size of the dma-buf").
			advise("the heap's driver rounds sizes in its own way; programs compute offsets from the page size")
	}
	return pass("one byte gives %s, in %v", size(b.Size()), took.Round(time.Microsecond)).
		measure("latency", took.Seconds(), "seconds")
}

func (t *target) allocSizes() *outcome {
	most := t.share()
	n := 0
	var slowest time.Duration
	for want := t.unit() + 1; ; want *= 2 {
		want = min(want, most)
		start := time.Now()
		b, err := t.alloc(want)
		slowest = max(slowest, time.Since(start))
		if err != nil {
			return t.allocFailed(want, err)
		}
		got := b.Size()
		b.Close()
		if got != t.round(want) {
			return fail("a request of %d bytes gives a buffer of %d", want, got).
				because(size(t.round(want)), size(got), "the size of the dma-buf").
				advise("the heap's driver rounds sizes in its own way; programs compute offsets from the page size")
		}
		n++
		if want == most || t.ctx.Err() != nil {
			break
		}
	}
	return pass("%d sizes up to %s, the slowest in %v", n, size(most), slowest.Round(time.Microsecond)).
		measure("latency_max", slowest.Seconds(), "seconds")
}

// allocStruct writes struct dma_heap_allocation_data, with extra bytes of
// rubbish behind it, or cut short.
func allocStruct(length uint64, fd, fdFlags uint32, heapFlags uint64, total int) []byte {
	b := make([]byte, max(24, total))
	binary.NativeEndian.PutUint64(b[0:], length)
	binary.NativeEndian.PutUint32(b[8:], fd)
	binary.NativeEndian.PutUint32(b[12:], fdFlags)
	binary.NativeEndian.PutUint64(b[16:], heapFlags)
	for i := 24; i < len(b); i++ {
		b[i] = 0xff
	}
	return b[:total]
}

const fdFlags = uint32(syscall.O_RDWR | syscall.O_CLOEXEC)

// badArgs sends what the interface says must be refused. A driver or a vendor
// kernel that takes it lets a wrong program go on with a wrong buffer.
func (t *target) badArgs() *outcome {
	full := dmaheap.AllocRequest(24)
	type wrongCall struct {
		what    string
		request uint32
		arg     []byte
		want    []error
	}
	calls := []wrongCall{
		{"a length of 0", full, allocStruct(0, 0, fdFlags, 0, 24), []error{syscall.EINVAL}},
		{"a length of 2^64-1", full, allocStruct(1<<64-1, 0, fdFlags, 0, 24), []error{syscall.EINVAL, syscall.ENOMEM}},
		{"a descriptor that is not 0", full, allocStruct(4096, 1, fdFlags, 0, 24), []error{syscall.EINVAL}},
		{"unknown descriptor flags", full, allocStruct(4096, 0, ^uint32(0), 0, 24), []error{syscall.EINVAL}},
		{"unknown heap flags", full, allocStruct(4096, 0, fdFlags, 1<<63, 24), []error{syscall.EINVAL}},
		{"an unknown request", full + 99, allocStruct(4096, 0, fdFlags, 0, 24), []error{syscall.EINVAL, syscall.ENOTTY}},
		{"no argument at all", full, nil, []error{syscall.EFAULT}},
	}
	// Mainline's system heap sets out to find the pages of any length, and has
	// the OOM killer end whoever is in the way, heapctl first.
	if t.exp.Kind != heapcfg.System {
		calls = append(calls, wrongCall{"a length of 2^50", full, allocStruct(1<<50, 0, fdFlags, 0, 24), []error{syscall.EINVAL, syscall.ENOMEM}})
	}
	for _, bad := range calls {
		err := t.heap.Ioctl(bad.request, bad.arg)
		ok := false
		for _, want := range bad.want {
			ok = ok || errors.Is(err, want)
		}
		if ok {
			continue
		}
		if err == nil && bad.arg != nil {
			if b, err := t.heap.Adopt(binary.NativeEndian.Uint32(bad.arg[8:])); err == nil {
				b.Close()
			}
		}
		return fail("the kernel does not refuse %s as it must", bad.what).
			because(fmt.Sprint(bad.want[0]), errText(err), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()).
			advise("the heap's driver or a vendor patch to dma-heap.c is wrong: drivers/dma-buf/dma-heap.c of mainline refuses it")
	}
	return pass("%d wrong calls are refused", len(calls))
}

func errText(err error) string {
	if err == nil {
		return "success"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// structSize calls as programs do that were built from an older header,
// without heap_flags, and from a newer one, with fields of the future.
func (t *target) structSize() *outcome {
	for _, n := range []int{16, 40} {
		arg := allocStruct(t.unit(), 0, fdFlags, 0, n)
		if err := t.heap.Ioctl(dmaheap.AllocRequest(uintptr(n)), arg); err != nil {
			return fail("a struct of %d bytes is refused", n).
				because("a buffer: the kernel takes structs of other headers", errText(err), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()).
				advise("compare dma_heap_ioctl() of this kernel with mainline")
		}
		b, err := t.heap.Adopt(binary.NativeEndian.Uint32(arg[8:]))
		if err != nil {
			return fail("a struct of %d bytes brings no buffer: %v", n, err)
		}
		b.Close()
	}
	return pass("structs of 16 and 40 bytes work")
}

func (t *target) mmapRefused() *outcome {
	b, err := t.alloc(t.unit())
	if err != nil {
		return t.allocFailed(t.unit(), err)
	}
	defer b.Close()
	m, err := b.MapRange(0, b.Size(), dmaheap.Read)
	if err == nil {
		m.Close()
		return fail("the CPU can map memory that only devices may touch").
			because("mmap is refused", "a mapping", "mmap of the dma-buf").
			advise("the region lacks no-map, or the driver maps it all the same; see kernel-patches/README.md")
	}
	return pass("mmap is refused: %s", errText(err))
}

// withBuffer allocates, maps and cleans up around fn.
func (t *target) withBuffer(n uint64, fn func(b Buffer) *outcome) *outcome {
	b, err := t.alloc(n)
	if err != nil {
		return t.allocFailed(n, err)
	}
	defer b.Close()
	return fn(b)
}

func mapFailed(b Buffer, err error) *outcome {
	return fail("cannot map the buffer: %v", err).
		because("a mapping of "+size(b.Size()), errText(err), "mmap of the dma-buf").
		advise("state access: device-only in heaps.yaml if the CPU shall not see this memory; a no-map carveout has no mmap")
}

func (t *target) zeroed() *outcome {
	n := t.share()
	return t.withBuffer(n, func(b Buffer) *outcome {
		at, err := firstNonZero(b)
		switch {
		case err != nil:
			return mapFailed(b, err)
		case at >= 0:
			return t.dirty(uint64(at), "a new buffer")
		}
		return pass("%s of a new buffer are zero", size(b.Size()))
	})
}

// dirty is the failure every leak of memory between users ends in.
func (t *target) dirty(at uint64, what string) *outcome {
	return fail("%s holds old bytes, at offset %#x: memory leaks between programs", what, at).
		because("zeroes", "other bytes", "mmap of the dma-buf").
		advise("the heap's driver must clear memory before it hands it out; the carveout heap of kernel-patches/ does, several vendors' do not")
}

func (t *target) writeRead() *outcome {
	n := t.share()
	return t.withBuffer(n, func(b Buffer) *outcome {
		start := time.Now()
		if err := fill(b, 1); err != nil {
			return mapFailed(b, err)
		}
		bad, err := verify(b, 1)
		took := time.Since(start)
		switch {
		case err != nil:
			return mapFailed(b, err)
		case bad >= 0:
			return fail("what was written is not what is read, from offset %#x on", bad).
				because("the written pattern", "other bytes", "two mappings of the dma-buf").
				advise("the region may lie over memory that something else uses: compare /proc/iomem with the lock; or two heaps share it")
		}
		return pass("%s written and read back in %v", size(b.Size()), took.Round(time.Millisecond/10)).
			measure("throughput", 2*float64(b.Size())/took.Seconds(), "bytes/second")
	})
}

func (t *target) mmapPartial() *outcome {
	page := t.board.PageSize
	n := max(t.unit(), 4*page)
	return t.withBuffer(n, func(b Buffer) *outcome {
		if err := fill(b, 2); err != nil {
			return mapFailed(b, err)
		}
		for off := uint64(0); off < 4*page; off += page {
			if o := samePlace(b, off, page); o != nil {
				return o
			}
		}
		return pass("4 pages, mapped one by one")
	})
}

// samePlace maps one page and looks whether it is the one at that offset.
func samePlace(b Buffer, off, page uint64) (o *outcome) {
	m, err := b.MapRange(off, page, dmaheap.Read)
	if err != nil {
		return fail("cannot map one page at offset %#x: %v", off, err).
			because("a mapping of one page", errText(err), "mmap with an offset").
			advise("the driver ignores the offset of mmap; programs that map planes of a frame one by one need it")
	}
	defer m.Close()
	err = access(b, dmaheap.Read, func() error {
		if !samePage(m.Bytes(), 2, off/page, page) {
			o = fail("a mapping at offset %#x shows another part of the buffer", off).
				because("the page at that offset", "other bytes", "mmap with an offset").
				advise("the driver ignores vm_pgoff in its mmap")
		}
		return nil
	})
	if err != nil {
		return syncFailed(err)
	}
	return o
}

func (t *target) mmapBeyond() *outcome {
	page := t.board.PageSize
	return t.withBuffer(t.unit(), func(b Buffer) *outcome {
		for _, c := range []struct {
			what    string
			off, ln uint64
		}{
			{"one page more than the buffer", 0, b.Size() + page},
			{"a page behind the end", b.Size(), page},
			{"the last page and the one behind it", b.Size() - page, 2 * page},
		} {
			m, err := b.MapRange(c.off, c.ln, dmaheap.Read)
			if err == nil {
				m.Close()
				return fail("the kernel maps %s", c.what).
					because("mmap is refused", "a mapping", "mmap of the dma-buf").
					advise("the driver, or this kernel's dma-buf core, does not check the length: other buffers become visible")
			}
		}
		return pass("3 mappings past the end are refused")
	})
}

func (t *target) mmapReadOnly() *outcome {
	b, err := t.heap.AllocFlags(t.unit(), dmaheap.Read, 0)
	if err != nil {
		return t.allocFailed(t.unit(), err)
	}
	defer b.Close()
	m, err := b.MapRange(0, b.Size(), dmaheap.ReadWrite)
	if err == nil {
		m.Close()
		return fail("a buffer allocated read-only can be mapped for writing").
			because("mmap is refused", "a mapping", "mmap with PROT_WRITE").
			advise("the driver does not pass the descriptor flags on to dma_buf_export")
	}
	m, err = b.MapRange(0, b.Size(), dmaheap.Read)
	if err != nil {
		return mapFailed(b, err)
	}
	m.Close()
	return pass("writing is refused, reading works")
}

func (t *target) sync() *outcome {
	return t.withBuffer(t.unit(), func(b Buffer) *outcome {
		for _, a := range []dmaheap.Access{dmaheap.Read, dmaheap.Write, dmaheap.ReadWrite} {
			if err := access(b, a, func() error { return nil }); err != nil {
				return syncFailed(err)
			}
		}
		for _, a := range []dmaheap.Access{0, 1 << 7} {
			if err := b.Begin(a); err == nil {
				return fail("DMA_BUF_IOCTL_SYNC takes wrong flags").
					because("EINVAL", "success", fmt.Sprintf("DMA_BUF_IOCTL_SYNC with flags %#x", a)).
					advise("this kernel's dma-buf core differs from mainline")
			}
		}
		return pass("read, write and both; wrong flags are refused")
	})
}

func syncFailed(err error) *outcome {
	return fail("CPU access cannot begin or end: %v", err).
		because("success", errText(err), "DMA_BUF_IOCTL_SYNC").
		advise("the driver's begin_cpu_access or end_cpu_access fails; caches and devices may disagree")
}

// zeroedReuse dirties memory, gives it back and looks at what comes next.
func (t *target) zeroedReuse() *outcome {
	n := t.share()
	if t.o.Full {
		if l := t.usage.Largest; l.Known() && t.exp.Kind != heapcfg.System {
			n = max(n, l.Value-min(l.Value, t.alignSlack()))
			n -= n % t.unit()
		}
	}
	const rounds = 2
	for range rounds {
		b, err := t.alloc(n)
		if errors.Is(err, dmaheap.ErrNoMemory) && n > t.share() {
			n = t.share() // why the rest is not to be had is for alloc-largest to say
			b, err = t.alloc(n)
		}
		if err != nil {
			return t.allocFailed(n, err)
		}
		o := func() *outcome {
			defer b.Close() // also when the memory faults
			return t.use(b, 3, "a buffer in memory that was used before")
		}()
		if o != nil {
			return o
		}
	}
	// Small buffers take another way through most allocators.
	if o := t.smallReuse(); o != nil {
		return o
	}
	return pass("%s used, freed and used again", size(n))
}

func (t *target) smallReuse() *outcome {
	const many = 16
	for range 2 {
		if o := t.useSmall(int(min(many, t.share()/t.unit()))); o != nil {
			return o
		}
	}
	return nil
}

// useSmall takes several of the smallest buffers at once.
func (t *target) useSmall(count int) *outcome {
	var held []Buffer
	defer func() {
		for _, b := range held {
			b.Close()
		}
	}()
	for range count {
		b, err := t.alloc(t.unit())
		if err != nil {
			return nil // the share was an estimate
		}
		held = append(held, b)
		if o := t.use(b, 4, "a small buffer in memory that was used before"); o != nil {
			return o
		}
	}
	return nil
}

// use looks whether a buffer is zero, and then writes to all of it.
func (t *target) use(b Buffer, seed uint64, what string) *outcome {
	at, err := firstNonZero(b)
	if err == nil && at < 0 {
		err = fill(b, seed)
	}
	switch {
	case err != nil:
		return mapFailed(b, err)
	case at >= 0:
		return t.dirty(uint64(at), what)
	}
	return nil
}

// child runs fn on the buffer that a process left which is dead by now.
func (t *target) child(seed uint64, fn func(n uint64, b Buffer) *outcome) *outcome {
	n := t.share()
	b, err := t.dev.Child(t.exp.Name, n, seed)
	if errors.Is(err, errNoChild) {
		return skip("%v", err)
	}
	if err != nil && t.ctx.Err() != nil {
		return skip("interrupted")
	}
	if err != nil {
		return fail("another process cannot allocate: %v", err).
			because("a buffer of "+size(n), errText(err), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()+" in a child").
			advise("see dmesg; a child has the rights of its parent, so what works here must work there")
	}
	if b != nil {
		defer b.Close()
	}
	return fn(n, b)
}

func (t *target) exporterDeath() *outcome {
	const seed = 7
	return t.child(seed, func(n uint64, b Buffer) *outcome {
		if b == nil {
			return skip("this kernel has no unix sockets to pass a buffer through")
		}
		bad, err := verify(b, seed)
		switch {
		case err != nil:
			return mapFailed(b, err)
		case bad >= 0:
			return fail("the buffer lost its bytes when the program that allocated it was killed").
				because("the bytes that were written", fmt.Sprintf("other bytes from offset %#x on", bad), "mmap of the passed dma-buf").
				advise("the driver frees memory with its first user, not with the last descriptor")
		}
		return pass("%s intact after the program that allocated it was killed", size(b.Size()))
	})
}

func (t *target) zeroedProcess() *outcome {
	const seed = 8
	var left uint64
	o := t.child(seed, func(n uint64, _ Buffer) *outcome { left = n; return nil })
	if o != nil {
		return o
	}
	return t.withBuffer(left, func(b Buffer) *outcome {
		at, err := firstNonZero(b)
		switch {
		case err != nil:
			return mapFailed(b, err)
		case at >= 0:
			return t.dirty(uint64(at), "a buffer taken after another program died")
		}
		return pass("%s after a program that had filled as much was killed", size(b.Size()))
	})
}

// noAlias writes a pattern of its own into each of many live buffers, and only
// then looks at them.
func (t *target) noAlias() *outcome {
	const most = 16
	n := max(t.unit(), t.share()/most/t.unit()*t.unit())
	var held []Buffer
	defer func() {
		for _, b := range held {
			b.Close()
		}
	}()
	for uint64(len(held)+1)*n <= t.share() && len(held) < most {
		b, err := t.alloc(n)
		if err != nil {
			break
		}
		held = append(held, b)
		if err := fill(b, uint64(10+len(held))); err != nil {
			return mapFailed(b, err)
		}
	}
	if len(held) < 2 {
		return skip("the heap has no room for two buffers of %s", size(n))
	}
	for i, b := range held {
		bad, err := verify(b, uint64(11+i))
		if err != nil {
			return mapFailed(b, err)
		}
		if bad >= 0 {
			return fail("buffer %d of %d was overwritten at offset %#x while it was in use", i+1, len(held), bad).
				because("the pattern of this buffer", "other bytes", "mmap of the dma-bufs").
				advise("two buffers share memory, or the kernel or a device uses the region: look for OVERLAP in dmesg, compare /proc/iomem with the lock")
		}
	}
	return pass("%d live buffers of %s keep their bytes", len(held), size(n))
}

func (t *target) fdPass() *outcome {
	b, err := t.alloc(t.unit())
	if err != nil {
		return t.allocFailed(t.unit(), err)
	}
	mapped := t.exp.Access != heapcfg.DeviceOnly
	how, want := "passed through a unix socket", b.Size()
	var got Buffer
	var unmapped *outcome
	func() {
		defer b.Close() // also when the memory faults
		if mapped {
			if err := fill(b, 5); err != nil {
				unmapped = mapFailed(b, err)
				return
			}
		}
		if got, err = b.Pass(); errors.Is(err, errNoSockets) {
			how = "kept by a second descriptor (this kernel has no unix sockets)"
			got, err = b.Dup()
		}
	}()
	if unmapped != nil {
		return unmapped
	}
	if err != nil {
		return fail("the buffer cannot be passed on: %v", err).
			because("a second descriptor of the buffer", errText(err), "SCM_RIGHTS").
			advise("see dmesg; ulimit -n bounds the number of descriptors")
	}
	defer got.Close()
	if got.Size() != want {
		return fail("the passed buffer has %d bytes, not %d", got.Size(), want).because(size(want), size(got.Size()), "the size of the dma-buf").
			advise("the dma-buf core of this kernel differs from mainline")
	}
	if mapped {
		bad, err := verify(got, 5)
		if err != nil {
			return mapFailed(got, err)
		}
		if bad >= 0 {
			return fail("the buffer lost its bytes when its first owner closed it").
				because("the bytes that were written", "other bytes", "mmap of the passed dma-buf").
				advise("the driver frees memory with the first descriptor, not with the last")
		}
	}
	return pass("%s %s, intact after the first owner closed it", size(want), how)
}

func (t *target) fdLeak() *outcome {
	if t.files < 0 {
		return blocked("/proc/self/fd cannot be read")
	}
	if t.loose {
		return skip("a check that the kernel did not answer still has descriptors open")
	}
	now, err := t.dev.OpenFiles()
	if err != nil {
		return blocked("/proc/self/fd cannot be read: %v", err)
	}
	// The heap itself is still open.
	if now != t.files+1 {
		return fail("%d descriptors are open, %d were expected", now, t.files+1).
			because(fmt.Sprint(t.files+1), fmt.Sprint(now), "/proc/self/fd").
			advise("the kernel leaves a descriptor behind when an allocation fails half-way: compare dma_heap_ioctl_allocate() with mainline")
	}
	return pass("%d descriptors before and after", t.files)
}
