// SPDX-License-Identifier: MIT

package dmaheap

import (
	"errors"
	"fmt"
	"strings"
)

// Reasons a call fails. An error of this package wraps one of them where the
// kernel's answer is clear, and always the errno itself.
var (
	// ErrNoHeap is returned when no heap of that name exists.
	ErrNoHeap = errors.New("no such heap")
	// ErrNotHeap is returned for a file that does not answer as a heap does.
	ErrNotHeap = errors.New("not a dma-heap")
	// ErrNotBuffer is returned for a file descriptor that is no dma-buf.
	ErrNotBuffer = errors.New("not a dma-buf")
	// ErrPermission is returned when the device node does not let the
	// caller in.
	ErrPermission = errors.New("permission denied")
	// ErrNoMemory is returned when the heap has no block of that size left.
	ErrNoMemory = errors.New("not enough memory in the heap")
	// ErrInvalid is returned when the kernel refuses an argument.
	ErrInvalid = errors.New("refused by the kernel")
	// ErrUnsupported is returned when this kernel, or this operating system,
	// does not have what was asked for.
	ErrUnsupported = errors.New("not supported")
	// ErrBusy is returned when another program has the device.
	ErrBusy = errors.New("in use by another program")
	// ErrClosed is returned for a heap, buffer or mapping used after Close.
	ErrClosed = errors.New("already closed")
)

// Names of the operations an [Error] may carry.
const (
	OpOpen    = "open"
	OpAlloc   = "alloc"
	OpMap     = "map"
	OpUnmap   = "unmap"
	OpSync    = "sync"
	OpSetName = "set-name"
	OpName    = "name"
	OpSize    = "size"
	OpExport  = "export"
	OpImport  = "import"
	OpSend    = "send"
	OpRecv    = "receive"
	OpProbe   = "probe"
)

// An Error says which operation on which heap failed, for how many bytes.
// errors.Is finds both the sentinel and the errno in it.
type Error struct {
	Op     string // one of the names above
	Object string // the device of an import, the feature of a probe, or ""
	Heap   string // empty for a buffer that was imported
	Size   uint64 // 0 where no size is involved
	Kind   error  // one of the sentinels, or nil
	Err    error  // what the kernel said
}

// Error returns "alloc 67108864 bytes of linux,cma: not enough memory in the
// heap (cannot allocate memory)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	switch {
	case e.Object == "":
	case e.Op == OpImport:
		b.WriteString(" into " + e.Object)
	default:
		b.WriteString(" " + e.Object)
	}
	if e.Size > 0 {
		fmt.Fprintf(&b, " %d bytes", e.Size)
	}
	if e.Heap != "" {
		if e.Op == OpOpen {
			b.WriteString(" ")
		} else {
			b.WriteString(" of ")
		}
		b.WriteString(e.Heap)
	}
	b.WriteString(": ")
	switch {
	case e.Kind != nil && e.Err != nil && e.Kind.Error() != e.Err.Error():
		fmt.Fprintf(&b, "%v (%v)", e.Kind, e.Err)
	case e.Kind != nil:
		b.WriteString(e.Kind.Error())
	default:
		fmt.Fprintf(&b, "%v", e.Err)
	}
	return b.String()
}

// Unwrap returns the sentinel and the kernel's own error.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}
