// SPDX-License-Identifier: MIT

package dmaheap

import (
	"os"
	"sync"
	"syscall"
)

// Dir is where the kernel and udev put the device nodes of heaps.
const Dir = "/dev/dma_heap"

// Access says what the CPU is going to do with a buffer.
type Access uint32

// The ways of access, for Map and Sync.
const (
	Read      Access = 1
	Write     Access = 2
	ReadWrite Access = Read | Write
)

// A Heap is an open device node below /dev/dma_heap. Its methods may be called
// from several goroutines at once.
type Heap struct {
	name string
	file *os.File
}

// Open opens the heap of that name below /dev/dma_heap. The node is opened
// read-only, which is all that allocation needs.
func Open(name string) (*Heap, error) { return open(name) }

// OpenPath opens a heap by the path of its device node.
func OpenPath(path string) (*Heap, error) { return openPath(path, path) }

// Name returns the name, or the path, that the heap was opened by.
func (h *Heap) Name() string { return h.name }

// Alloc takes a buffer of at least size bytes from the heap; the kernel rounds
// up to whole pages. The buffer may be mapped for reading and writing, and its
// descriptor does not survive an exec.
func (h *Heap) Alloc(size uint64) (*Buffer, error) {
	return h.AllocFlags(size, ReadWrite, 0)
}

// AllocFlags is Alloc with the access mode of the descriptor stated, and with
// heap flags, of which mainline defines none. A buffer allocated for Read only
// can be handed to a process that must not write to it. One for Write only cannot
// be mapped at all: Linux maps no file that may not be read.
func (h *Heap) AllocFlags(size uint64, mode Access, heapFlags uint64) (*Buffer, error) {
	return h.alloc(size, mode, heapFlags)
}

// Ioctl sends one request with arg as its argument, in which the kernel writes
// its answer. A nil arg is a null pointer; any other is as long as the request
// says, or the error wraps ErrInvalid. It is there to test the interface itself;
// everything else has a method of its own.
func (h *Heap) Ioctl(request uint32, arg []byte) error { return h.ioctl(request, arg) }

// AllocRequest returns the number of DMA_HEAP_IOCTL_ALLOC for an argument of
// size bytes. The kernel takes shorter and longer ones than its own, so that
// programs built from older and newer headers keep working; together with
// Ioctl this lets a test see that it does. It is 0 where there is no Linux.
func AllocRequest(size uintptr) uint32 { return allocRequest(size) }

// Close closes the device node. Buffers allocated from the heap stay valid.
func (h *Heap) Close() error { return closeFile(h.file) }

// A Buffer is a dma-buf: memory with a file descriptor, which devices and
// other processes can import. Its methods may be called from several goroutines
// at once; what they do to the bytes is theirs to keep apart.
type Buffer struct {
	heap string
	file *os.File
	size uint64
}

// Import takes over an open dma-buf, for instance one that came from a video
// device. The Buffer owns the file from then on, except when Import fails.
func Import(f *os.File) (*Buffer, error) { return importFile(f) }

// Heap returns the name of the heap the buffer was allocated from. It is empty
// for an imported buffer.
func (b *Buffer) Heap() string { return b.heap }

// Size returns the number of bytes in the buffer, a multiple of the page size.
func (b *Buffer) Size() uint64 { return b.size }

// FD returns the descriptor of the buffer, to be passed to an ioctl. It stays
// owned by the Buffer and is valid until Close, or until the garbage collector
// finds that the Buffer is not used any more: a deferred Close prevents that.
func (b *Buffer) FD() uintptr { return b.file.Fd() }

// Export returns a second descriptor of the same buffer. The memory is given
// back when all descriptors and all mappings of it are gone.
func (b *Buffer) Export() (*os.File, error) { return b.export() }

// SetName gives the buffer a name that /sys/kernel/debug/dma_buf/bufinfo and
// /proc/PID/fdinfo show. The kernel takes at most 31 bytes.
func (b *Buffer) SetName(name string) error { return b.setName(name) }

// Name returns the name that SetName gave, as the kernel tells it.
func (b *Buffer) Name() (string, error) { return b.name() }

// Map maps the whole buffer into the process.
func (b *Buffer) Map(access Access) (*Mapping, error) {
	return b.MapRange(0, b.size, access)
}

// MapRange maps length bytes from offset on. The offset must be a multiple of
// the page size.
func (b *Buffer) MapRange(offset, length uint64, access Access) (*Mapping, error) {
	return b.mapRange(offset, length, access)
}

// Sync calls fn between a begin and an end of CPU access, which is when caches
// are made to agree with what devices see. The end is sent whatever fn
// returns; its error counts only if fn had none.
func (b *Buffer) Sync(access Access, fn func() error) (err error) {
	if err := b.Begin(access); err != nil {
		return err
	}
	defer func() {
		if end := b.End(access); err == nil {
			err = end
		}
	}()
	return fn()
}

// Begin opens a time of CPU access. Each Begin needs an End with the same
// access; Sync cannot forget it.
func (b *Buffer) Begin(access Access) error { return b.sync(access, syncStart) }

// End closes what Begin opened.
func (b *Buffer) End(access Access) error { return b.sync(access, syncEnd) }

// ImportDRM has a DRM device, a node below /dev/dri, import the buffer and let
// go of it at once. That tells whether the device can use memory of the heap;
// a driver without an IOMMU refuses what is scattered. Opening a card node, and
// not a render node, takes the device's mastership for that moment.
func (b *Buffer) ImportDRM(path string) error { return b.importDRM(path) }

// ImportV4L2 has a video device, such as /dev/video0, import the buffer and let
// go of it before anything streams; its format stays as it is. The buffer must
// be as large as [V4L2FrameSize] says. It wraps ErrBusy while another program
// has the device, and ErrUnsupported where it imports nothing.
func (b *Buffer) ImportV4L2(path string) error { return b.importV4L2(path) }

// V4L2FrameSize returns how many bytes a buffer needs for a frame, or the
// largest plane of one, in the format a video device has now. A codec that was
// not set up yet answers 0.
func V4L2FrameSize(path string) (uint64, error) { return v4l2FrameSize(path) }

// FromMemory makes a buffer of ordinary memory through /dev/udmabuf: whole
// pages from anywhere, which a device without an IOMMU cannot use. Programs
// take it where no heap is to be had; it wraps ErrUnsupported on kernels
// without CONFIG_UDMABUF.
func FromMemory(size uint64) (*Buffer, error) { return fromMemory(size) }

// Close gives up the descriptor. The memory returns to the heap when nothing
// else holds the buffer: no exported descriptor, mapping or device.
func (b *Buffer) Close() error { return closeFile(b.file) }

// A Mapping is a part of a buffer in the address space of the process.
type Mapping struct {
	mu   sync.Mutex
	data []byte
	heap string
}

// Bytes returns the mapped memory, or nil after Close. Reading memory that was
// mapped for Write only, or writing what was mapped for Read only, faults.
func (m *Mapping) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data
}

// Close unmaps the memory. Slices that Bytes returned must not be used after
// it: touching them faults.
func (m *Mapping) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		return &Error{Op: OpUnmap, Heap: m.heap, Kind: ErrClosed}
	}
	err := unmap(m.data)
	if err != nil {
		return &Error{Op: OpUnmap, Heap: m.heap, Err: err}
	}
	m.data = nil
	return nil
}

// Send passes the buffer to the process at the other end of a unix socket,
// such as a *net.UnixConn. The receiver gets a descriptor of its own.
func Send(socket syscall.Conn, b *Buffer) error { return sendFile(socket, b) }

// Receive takes a buffer that Send passed through a unix socket.
func Receive(socket syscall.Conn) (*Buffer, error) { return receiveFile(socket) }

// A Feature is something that newer kernels can do with a dma-buf.
type Feature int

// The features there are probes for, with the release that brought them.
const (
	FeatureSetName  Feature = iota // DMA_BUF_SET_NAME, 5.3
	FeatureSyncFile                // DMA_BUF_IOCTL_EXPORT_SYNC_FILE, 6.0
)

// String returns the name of the request behind the feature and the release
// that brought it.
func (f Feature) String() string {
	switch f {
	case FeatureSetName:
		return "DMA_BUF_SET_NAME (requires >= 5.3)"
	case FeatureSyncFile:
		return "DMA_BUF_IOCTL_EXPORT_SYNC_FILE (requires >= 6.0)"
	}
	return "unknown feature"
}

// Probe asks the kernel, with a request that changes nothing, whether it has
// the feature. It returns nil if so, an error that wraps ErrUnsupported if
// not, and any other error when the answer says neither.
func (b *Buffer) Probe(f Feature) error { return b.probe(f) }
