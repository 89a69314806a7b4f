// SPDX-License-Identifier: MIT

package check

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// faults are the ways a fake kernel can be wrong. Each must be found by the
// check that is about it.
type faults struct {
	dirty        bool   // memory is not zeroed
	dirtySmall   bool   // only buffers of one page are not zeroed
	leakFree     bool   // freed memory does not come back
	wrongErrno   bool   // exhaustion gives EAGAIN
	ignoreOffset bool   // mmap ignores its offset
	mapBeyond    bool   // mmap does not check the length
	mapReadOnly  bool   // a read-only buffer maps for writing
	mapAnyway    bool   // device-only memory maps
	noMap        bool   // memory does not map
	anySync      bool   // DMA_BUF_IOCTL_SYNC takes all flags
	badSync      bool   // and this one refuses all
	alias        bool   // all buffers share their memory
	lostWrites   bool   // reading gives something else than was written
	oddSize      bool   // sizes are not rounded to pages
	takeAll      bool   // wrong arguments are taken
	oneStruct    bool   // only structs of 24 bytes are taken
	freeOnClose  bool   // memory is lost with the first descriptor
	leakFD       bool   // a descriptor stays open
	noMemory     bool   // no allocation succeeds
	openErr      error  // open fails
	small        uint64 // the largest block, 0: all
	noSockets    bool
	fault        bool // touching mapped memory faults
	openHangs    bool
	hang         bool          // sync never returns
	late         chan struct{} // the second allocation waits for it
	mapTime      time.Duration // what one mapping of a large buffer takes
	child        func() error  // how another process ends
	hidden       bool          // the page frames are not to be seen
	scattered    bool          // pages do not follow each other
	importErr    map[string]error
	noReference  bool  // no /dev/udmabuf
	referenceErr error // what importers say to ordinary memory
	frame        uint64
}

// fakeKernel is a Device whose heap has its memory in a slice.
type fakeKernel struct {
	mu       sync.Mutex
	f        faults
	page     uint64
	base     uint64 // where the memory lies
	unit     uint64
	memory   []byte
	used     []bool // by unit
	files    int
	deviceOK bool // memory may be mapped
	fds      map[uint32]*fakeBuffer
	allocs   int // requests
	returned int // answers to them
	answers  atomic.Uint64
}

func newFakeKernel(size uint64, f faults) *fakeKernel {
	k := &fakeKernel{f: f, page: 4096, base: 0x54000000, unit: 4096, memory: make([]byte, size), deviceOK: true, files: 3, fds: map[uint32]*fakeBuffer{}}
	k.used = make([]bool, size/k.unit)
	return k
}

func (k *fakeKernel) Open(name string) (Heap, error) {
	if k.f.openHangs {
		select {}
	}
	if k.f.openErr != nil {
		return nil, &dmaheap.Error{Op: dmaheap.OpOpen, Heap: name, Kind: k.f.openErr, Err: syscall.EACCES}
	}
	k.files++
	return &fakeHeap{k}, nil
}

func (k *fakeKernel) OpenFiles() (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.files, nil
}

func (k *fakeKernel) Answers() uint64 { return k.answers.Load() }

func (k *fakeKernel) Physical(m Mapping, page uint64) ([]uint64, error) {
	if k.f.hidden {
		return nil, errHidden
	}
	var out []uint64
	for i := uint64(0); i < uint64(len(m.Bytes())); i += page {
		at := k.base + i
		if k.f.scattered {
			at = k.base + i*2
		}
		out = append(out, at)
	}
	return out, nil
}

func (k *fakeKernel) Child(heap string, size, seed uint64) (Buffer, error) {
	if k.f.child != nil {
		return nil, k.f.child()
	}
	h, err := k.Open(heap)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	b, err := h.AllocFlags(size, dmaheap.ReadWrite, 0)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if err := fill(b, seed); err != nil {
		return nil, err
	}
	if k.f.noSockets {
		return nil, nil
	}
	return b.Dup()
}

func (k *fakeKernel) FrameSize(path string) (uint64, error) { return k.f.frame, nil }

func (k *fakeKernel) Reference(size uint64) (Buffer, error) {
	if k.f.noReference {
		return nil, &dmaheap.Error{Op: dmaheap.OpAlloc, Kind: dmaheap.ErrUnsupported}
	}
	k.files++
	refs := 2 // it is not the heap's to free
	return &fakeBuffer{k: k, data: make([]byte, size), refs: &refs, reference: true}, nil
}

type fakeHeap struct{ k *fakeKernel }

func (h *fakeHeap) Close() error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.files--
	return nil
}

// take finds room by first fit.
func (k *fakeKernel) take(n uint64) (uint64, bool) {
	units := (n + k.unit - 1) / k.unit
	run := uint64(0)
	for i := range k.used {
		if k.used[i] {
			run = 0
			continue
		}
		if run++; run == units {
			from := uint64(i) + 1 - units
			for j := from; j <= uint64(i); j++ {
				k.used[j] = true
			}
			return from * k.unit, true
		}
	}
	return 0, false
}

func (h *fakeHeap) AllocFlags(n uint64, mode dmaheap.Access, heapFlags uint64) (Buffer, error) {
	k := h.k
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.returned++ }()
	if k.allocs++; k.f.late != nil && k.allocs == 2 {
		k.mu.Unlock()
		<-k.f.late
		k.mu.Lock()
	}
	failed := func(errno syscall.Errno, kind error) error {
		return &dmaheap.Error{Op: dmaheap.OpAlloc, Heap: "fake", Size: n, Kind: kind, Err: errno}
	}
	if heapFlags != 0 && !k.f.takeAll || n == 0 {
		return nil, failed(syscall.EINVAL, dmaheap.ErrInvalid)
	}
	size := (n + k.unit - 1) / k.unit * k.unit
	if k.f.oddSize {
		size = n
	}
	if n > uint64(len(k.memory)) || k.f.noMemory || k.f.small > 0 && n > k.f.small {
		return nil, failed(syscall.ENOMEM, dmaheap.ErrNoMemory)
	}
	off, ok := k.take(n)
	if !ok {
		if k.f.wrongErrno {
			return nil, failed(syscall.EBUSY, nil)
		}
		return nil, failed(syscall.ENOMEM, dmaheap.ErrNoMemory)
	}
	if k.f.alias {
		for i := range k.used {
			k.used[i] = false
		}
		off = 0
	}
	data := k.memory[off : off+size : off+size]
	if !k.f.dirty && !(k.f.dirtySmall && n <= k.unit) {
		clear(data)
	}
	k.files++
	refs := 1
	return &fakeBuffer{k: k, data: data, off: off, mode: mode, refs: &refs}, nil
}

func (h *fakeHeap) Ioctl(request uint32, arg []byte) error {
	k := h.k
	size := request >> 16 & 0x3fff
	errno := func(e syscall.Errno) error { return &dmaheap.Error{Op: dmaheap.OpProbe, Err: e} }
	switch {
	case arg == nil:
		return errno(syscall.EFAULT)
	case k.f.oneStruct && size != 24:
		return errno(syscall.EINVAL)
	case !k.f.takeAll && request&0xff != 0:
		return errno(syscall.ENOTTY)
	}
	n := binary.NativeEndian.Uint64(arg)
	fd, flags := binary.NativeEndian.Uint32(arg[8:]), binary.NativeEndian.Uint32(arg[12:])
	var heapFlags uint64
	if len(arg) >= 24 {
		heapFlags = binary.NativeEndian.Uint64(arg[16:])
	}
	if !k.f.takeAll && (fd != 0 || flags != fdFlags || heapFlags != 0) {
		return errno(syscall.EINVAL)
	}
	if n+k.page < n {
		return errno(syscall.EINVAL)
	}
	b, err := h.AllocFlags(n, dmaheap.ReadWrite, 0)
	if err != nil {
		return err
	}
	num := uint32(100 + len(k.fds))
	k.fds[num] = b.(*fakeBuffer)
	binary.NativeEndian.PutUint32(arg[8:], num)
	return nil
}

func (h *fakeHeap) Adopt(fd uint32) (Buffer, error) {
	b := h.k.fds[fd]
	if b == nil {
		return nil, fmt.Errorf("descriptor %d was never given", fd)
	}
	return b, nil
}

type fakeBuffer struct {
	k    *fakeKernel
	data []byte
	off  uint64
	mode dmaheap.Access
	refs *int
	// reference marks a buffer that is not of the heap.
	reference bool
}

func (b *fakeBuffer) Size() uint64 { return uint64(len(b.data)) }

func (b *fakeBuffer) Begin(a dmaheap.Access) error {
	if b.k.f.hang {
		select {}
	}
	if b.k.f.badSync || !b.k.f.anySync && (a == 0 || a&^dmaheap.ReadWrite != 0) {
		return &dmaheap.Error{Op: dmaheap.OpSync, Kind: dmaheap.ErrInvalid, Err: syscall.EINVAL}
	}
	return nil
}

func (b *fakeBuffer) End(a dmaheap.Access) error { return nil }

func (b *fakeBuffer) MapRange(off, n uint64, a dmaheap.Access) (Mapping, error) {
	if b.Size() > quickMost {
		time.Sleep(b.k.f.mapTime)
	}
	b.k.answers.Add(1)
	refuse := &dmaheap.Error{Op: dmaheap.OpMap, Kind: dmaheap.ErrInvalid, Err: syscall.EINVAL}
	if b.k.f.noMap || !b.k.deviceOK && !b.k.f.mapAnyway {
		return nil, refuse
	}
	if a&dmaheap.Write != 0 && b.mode&dmaheap.Write == 0 && !b.k.f.mapReadOnly {
		return nil, &dmaheap.Error{Op: dmaheap.OpMap, Kind: dmaheap.ErrPermission, Err: syscall.EACCES}
	}
	if off+n > b.Size() {
		if !b.k.f.mapBeyond {
			return nil, refuse
		}
		return &fakeMapping{data: make([]byte, n)}, nil
	}
	if b.k.f.ignoreOffset {
		off = 0
	}
	if b.k.f.fault {
		// The same kind of panic that SetPanicOnFault makes of SIGSEGV.
		return &fakeMapping{fault: true}, nil
	}
	if b.k.f.lostWrites && a == dmaheap.Read {
		c := append([]byte(nil), b.data[off:off+n]...)
		for i := range c {
			if c[i] != 0 {
				c[i] ^= 0x10
			}
		}
		return &fakeMapping{data: c}, nil
	}
	return &fakeMapping{data: b.data[off : off+n]}, nil
}

func (b *fakeBuffer) Close() error {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	if !b.k.f.leakFD || *b.refs > 1 {
		b.k.files--
	}
	*b.refs--
	if *b.refs == 0 || b.k.f.freeOnClose {
		if b.k.f.freeOnClose {
			for i := range b.data {
				b.data[i] = 0xee
			}
		}
		if !b.k.f.leakFree {
			for u := b.off / b.k.unit; u < (b.off+b.Size()+b.k.unit-1)/b.k.unit; u++ {
				b.k.used[u] = false
			}
		}
	}
	return nil
}

func (b *fakeBuffer) Dup() (Buffer, error) {
	*b.refs++
	b.k.files++
	c := *b
	return &c, nil
}

func (b *fakeBuffer) Pass() (Buffer, error) {
	if b.k.f.noSockets {
		return nil, errNoSockets
	}
	return b.Dup()
}

func (b *fakeBuffer) ImportDRM(path string) error {
	if b.reference {
		return b.k.f.referenceErr
	}
	if err := b.k.f.importErr[path]; err != nil {
		return err
	}
	return nil
}

func (b *fakeBuffer) ImportV4L2(path string) error { return b.ImportDRM(path) }

type fakeMapping struct {
	data  []byte
	fault bool
}

func (m *fakeMapping) Bytes() []byte {
	if m.fault {
		panic(memoryFault{})
	}
	return m.data
}
func (m *fakeMapping) Close() error { return nil }

type memoryFault struct{}

func (memoryFault) Error() string { return "unexpected fault address" }
func (memoryFault) Addr() uintptr { return 0xdead000 }
