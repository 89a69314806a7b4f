// SPDX-License-Identifier: MIT

package check

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// A Device opens heaps. It is the one seam between the checks and the kernel:
// tests put a faulty kernel behind it.
type Device interface {
	Open(name string) (Heap, error)
	// Answers counts what the kernel has answered so far. While it grows, what
	// takes long does not hang.
	Answers() uint64
	// OpenFiles returns how many descriptors this process has open.
	OpenFiles() (int, error)
	// Physical returns the physical addresses of the pages of a mapping, or
	// an error that wraps errHidden where the kernel does not show them.
	Physical(m Mapping, page uint64) ([]uint64, error)
	// Child has another process allocate a buffer, fill it with the pattern
	// of the seed and die. It returns the buffer, which outlived it, or nil
	// on a kernel that cannot pass one on.
	Child(heap string, size, seed uint64) (Buffer, error)
	// FrameSize returns the bytes of a frame of a video device.
	FrameSize(path string) (uint64, error)
	// Reference returns a buffer of ordinary memory, which no heap gave.
	Reference(size uint64) (Buffer, error)
}

// A Heap is an open heap.
type Heap interface {
	AllocFlags(size uint64, mode dmaheap.Access, heapFlags uint64) (Buffer, error)
	Ioctl(request uint32, arg []byte) error
	// Adopt makes a Buffer of a descriptor that Ioctl brought.
	Adopt(fd uint32) (Buffer, error)
	Close() error
}

// A Buffer is an allocated dma-buf.
type Buffer interface {
	Size() uint64
	MapRange(offset, length uint64, access dmaheap.Access) (Mapping, error)
	Begin(access dmaheap.Access) error
	End(access dmaheap.Access) error
	// Pass sends the buffer through a unix socket and returns what came out
	// at the other end. The error wraps errNoSockets where the kernel has
	// none.
	Pass() (Buffer, error)
	// ImportDRM has a device below /dev/dri import the buffer for a moment.
	ImportDRM(path string) error
	// ImportV4L2 has a video device import it.
	ImportV4L2(path string) error
	// Dup returns the buffer behind a second descriptor.
	Dup() (Buffer, error)
	Close() error
}

// A Mapping is mapped memory of a buffer.
type Mapping interface {
	Bytes() []byte
	Close() error
}

// Kernel is the Device of the running kernel.
type Kernel struct {
	// Hold is the command line, without its last argument, by which this
	// program runs the function Hold. Without it there are no children.
	Hold []string
}

// answers counts for Answers: a process has one kernel.
var answers atomic.Uint64

// Answers counts allocations and mappings.
func (*Kernel) Answers() uint64 { return answers.Load() }

// Open opens a heap below /dev/dma_heap.
func (*Kernel) Open(name string) (Heap, error) {
	h, err := dmaheap.Open(name)
	if err != nil {
		return nil, err
	}
	return &kernelHeap{h}, nil
}

// OpenFiles counts /proc/self/fd, without the descriptor that reads it.
func (*Kernel) OpenFiles() (int, error) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return len(names) - 1, err
}

// FrameSize asks a video device.
func (*Kernel) FrameSize(path string) (uint64, error) { return dmaheap.V4L2FrameSize(path) }

// Reference makes a buffer through /dev/udmabuf.
func (*Kernel) Reference(size uint64) (Buffer, error) {
	b, err := dmaheap.FromMemory(size)
	if err != nil {
		return nil, err
	}
	return &kernelBuffer{b}, nil
}

// errHidden is returned by Physical where a kernel, or the caller's rights, do
// not let it see.
var errHidden = errors.New("this kernel does not show where the pages of a buffer lie")

// Physical reads /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst).
// A mapping made by page-frame number, as the heaps make theirs since 6.6, has
// no page structs and so no entries there.
func (*Kernel) Physical(m Mapping, page uint64) ([]uint64, error) {
	data := m.Bytes()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHidden, err)
	}
	defer f.Close()
	entries := make([]byte, 8*uint64(len(data))/page)
	at := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))) / page * 8
	if _, err := f.ReadAt(entries, int64(at)); err != nil {
		return nil, fmt.Errorf("%w: %w", errHidden, err)
	}
	var out []uint64
	for i := 0; i < len(entries); i += 8 {
		e := binary.NativeEndian.Uint64(entries[i:])
		const present, frame = 1 << 63, 1<<55 - 1
		if e&present == 0 || e&frame == 0 {
			return nil, fmt.Errorf("%w: no page frames in /proc/self/pagemap", errHidden)
		}
		out = append(out, e&frame*page)
	}
	return out, nil
}

// errNoChild is returned by Child where no command line for one is known.
var errNoChild = errors.New("this program cannot start itself")

// Child starts this program once more.
func (k *Kernel) Child(heap string, size, seed uint64) (Buffer, error) {
	if len(k.Hold) == 0 {
		return nil, errNoChild
	}
	mine, theirs, err := socketPair()
	sockets := err == nil
	if !sockets && !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.EAFNOSUPPORT) {
		return nil, err
	}
	files := []*os.File{nil, nil, os.Stderr}
	if sockets {
		defer mine.Close()
		files = append(files, theirs)
	}
	argv := append(append([]string{}, k.Hold...), fmt.Sprintf("%s:%d:%d", heap, size, seed))
	child, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{Files: files, Sys: apart()})
	if sockets {
		theirs.Close() // so that a child that died is the end of the stream
	}
	if err != nil {
		return nil, err
	}
	var b *dmaheap.Buffer
	var received error
	if sockets {
		b, received = dmaheap.Receive(mine)
		_ = child.Kill() // it waits for this, its buffer still open
	}
	state, err := child.Wait()
	switch {
	case received != nil:
		return nil, received
	case err != nil:
		return nil, err
	case !sockets && !state.Success():
		return nil, fmt.Errorf("the child ended with %v", state)
	case !sockets:
		return nil, nil
	}
	return &kernelBuffer{b}, nil
}

// Hold is what the child of Child does: "heap:size:seed" says which buffer to
// fill. It passes the buffer on through descriptor 3 where there is one, and
// waits to be killed.
func Hold(spec string) (err error) {
	defer faultInto(&err)()
	last := strings.LastIndexByte(spec, ':')
	middle := strings.LastIndexByte(spec[:max(last, 0)], ':')
	if middle < 0 {
		return fmt.Errorf("%q is not heap:size:seed", spec)
	}
	size, err1 := strconv.ParseUint(spec[middle+1:last], 10, 64)
	seed, err2 := strconv.ParseUint(spec[last+1:], 10, 64)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%q is not heap:size:seed", spec)
	}
	h, err := dmaheap.Open(spec[:middle])
	if err != nil {
		return err
	}
	defer h.Close()
	b, err := h.Alloc(size)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := fill(&kernelBuffer{b}, seed); err != nil {
		return err
	}
	socket := os.NewFile(3, "socket")
	fi, err := socket.Stat()
	if err != nil || fi.Mode()&os.ModeSocket == 0 {
		return nil
	}
	if err := dmaheap.Send(socket, b); err != nil {
		return err
	}
	// The parent kills this process. Should it die first, the read ends.
	_, _ = socket.Read(make([]byte, 1))
	return nil
}

type kernelHeap struct{ *dmaheap.Heap }

func (h *kernelHeap) AllocFlags(size uint64, mode dmaheap.Access, heapFlags uint64) (Buffer, error) {
	b, err := h.Heap.AllocFlags(size, mode, heapFlags)
	answers.Add(1)
	if err != nil {
		return nil, err
	}
	return &kernelBuffer{b}, nil
}

func (h *kernelHeap) Adopt(fd uint32) (Buffer, error) {
	f := os.NewFile(uintptr(fd), "dmabuf")
	b, err := dmaheap.Import(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &kernelBuffer{b}, nil
}

type kernelBuffer struct{ *dmaheap.Buffer }

func (b *kernelBuffer) MapRange(offset, length uint64, access dmaheap.Access) (Mapping, error) {
	m, err := b.Buffer.MapRange(offset, length, access)
	answers.Add(1)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (b *kernelBuffer) Pass() (Buffer, error) {
	from, to, err := socketPair()
	if errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EAFNOSUPPORT) {
		return nil, fmt.Errorf("%w: %w", errNoSockets, err)
	}
	if err != nil {
		return nil, err
	}
	defer from.Close()
	defer to.Close()
	if err := dmaheap.Send(from, b.Buffer); err != nil {
		return nil, err
	}
	got, err := dmaheap.Receive(to)
	if err != nil {
		return nil, err
	}
	return &kernelBuffer{got}, nil
}

func (b *kernelBuffer) Dup() (Buffer, error) {
	f, err := b.Buffer.Export()
	if err != nil {
		return nil, err
	}
	got, err := dmaheap.Import(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &kernelBuffer{got}, nil
}

// errNoSockets is returned by Pass on a kernel without unix sockets, as small
// test kernels are (CONFIG_NET, CONFIG_UNIX).
var errNoSockets = errors.New("the kernel has no unix sockets")
