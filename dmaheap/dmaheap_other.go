// SPDX-License-Identifier: MIT

//go:build !linux

package dmaheap

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

const (
	syncStart = 0
	syncEnd   = 1 << 2
)

// unsupported is what every call returns where there is no Linux kernel.
func unsupported(op, heap string) error {
	return &Error{Op: op, Heap: heap, Kind: ErrUnsupported,
		Err: fmt.Errorf("DMA-BUF heaps are a Linux interface, this is %s", runtime.GOOS)}
}

func open(name string) (*Heap, error)           { return nil, unsupported(OpOpen, name) }
func openPath(name, path string) (*Heap, error) { return nil, unsupported(OpOpen, name) }
func importFile(*os.File) (*Buffer, error)      { return nil, unsupported(OpImport, "") }

func (h *Heap) alloc(uint64, Access, uint64) (*Buffer, error) {
	return nil, unsupported(OpAlloc, h.name)
}
func (h *Heap) ioctl(uint32, []byte) error { return unsupported(OpProbe, h.name) }

func (b *Buffer) export() (*os.File, error) { return nil, unsupported(OpExport, b.heap) }
func (b *Buffer) setName(string) error      { return unsupported(OpSetName, b.heap) }
func (b *Buffer) name() (string, error)     { return "", unsupported(OpName, b.heap) }
func (b *Buffer) sync(Access, uint64) error { return unsupported(OpSync, b.heap) }
func (b *Buffer) importDRM(string) error    { return unsupported(OpImport, b.heap) }
func (b *Buffer) importV4L2(string) error   { return unsupported(OpImport, b.heap) }
func (b *Buffer) probe(Feature) error       { return unsupported(OpProbe, b.heap) }
func (b *Buffer) mapRange(_, _ uint64, _ Access) (*Mapping, error) {
	return nil, unsupported(OpMap, b.heap)
}

func v4l2FrameSize(string) (uint64, error) { return 0, unsupported(OpImport, "") }
func fromMemory(uint64) (*Buffer, error)   { return nil, unsupported(OpAlloc, "") }

func allocRequest(uintptr) uint32 { return 0 }

func unmap([]byte) error                        { return unsupported(OpUnmap, "") }
func closeFile(f *os.File) error                { return f.Close() }
func sendFile(syscall.Conn, *Buffer) error      { return unsupported(OpSend, "") }
func receiveFile(syscall.Conn) (*Buffer, error) { return nil, unsupported(OpRecv, "") }
