// SPDX-License-Identifier: MIT

// Package dmaheap allocates DMA memory from the kernel's /dev/dma_heap and
// works with the dma-buf that comes of it.
//
// A buffer of a heap is memory that devices can reach: a camera fills it, an
// encoder reads it, and the CPU may map it between the two. What is allocated
// here is taken from a region that is often small and never swapped, so each
// [Buffer] must be closed; one that is forgotten is given back only when the
// garbage collector finds it or the process ends. A [Mapping] holds the memory as
// well, and nothing but its Close or the end of the process gives that back.
//
//	heap, err := dmaheap.Open("linux,cma")
//	defer heap.Close()
//	buf, err := heap.Alloc(1920 * 1080 * 2)
//	defer buf.Close()
//	m, err := buf.Map(dmaheap.ReadWrite)
//	defer m.Close()
//	err = buf.Sync(dmaheap.Write, func() error {
//		copy(m.Bytes(), frame)
//		return nil
//	})
//
// The package speaks to Linux only. It builds on every other system, where
// each call returns an error that wraps [ErrUnsupported] and names the system.
package dmaheap
