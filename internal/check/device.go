// SPDX-License-Identifier: MIT

package check

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// A Device opens heaps. It is the one seam between the checks and the kernel:
// tests put a faulty kernel behind it.
type Device interface {
	Open(name string) (Heap, error)
	// OpenFiles returns how many descriptors this process has open.
	OpenFiles() (int, error)
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
type Kernel struct{}

// Open opens a heap below /dev/dma_heap.
func (Kernel) Open(name string) (Heap, error) {
	h, err := dmaheap.Open(name)
	if err != nil {
		return nil, err
	}
	return kernelHeap{h}, nil
}

// OpenFiles counts /proc/self/fd, without the descriptor that reads it.
func (Kernel) OpenFiles() (int, error) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return len(names) - 1, err
}

type kernelHeap struct{ *dmaheap.Heap }

func (h kernelHeap) AllocFlags(size uint64, mode dmaheap.Access, heapFlags uint64) (Buffer, error) {
	b, err := h.Heap.AllocFlags(size, mode, heapFlags)
	if err != nil {
		return nil, err
	}
	return kernelBuffer{b}, nil
}

func (h kernelHeap) Adopt(fd uint32) (Buffer, error) {
	f := os.NewFile(uintptr(fd), "dmabuf")
	b, err := dmaheap.Import(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return kernelBuffer{b}, nil
}

type kernelBuffer struct{ *dmaheap.Buffer }

func (b kernelBuffer) MapRange(offset, length uint64, access dmaheap.Access) (Mapping, error) {
	m, err := b.Buffer.MapRange(offset, length, access)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (b kernelBuffer) Pass() (Buffer, error) {
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
	return kernelBuffer{got}, nil
}

func (b kernelBuffer) Dup() (Buffer, error) {
	f, err := b.Buffer.Export()
	if err != nil {
		return nil, err
	}
	got, err := dmaheap.Import(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return kernelBuffer{got}, nil
}

// errNoSockets is returned by Pass on a kernel without unix sockets, as small
// test kernels are (CONFIG_NET, CONFIG_UNIX).
var errNoSockets = errors.New("the kernel has no unix sockets")
