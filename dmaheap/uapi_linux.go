// SPDX-License-Identifier: MIT

package dmaheap

import "unsafe"

// allocationData is struct dma_heap_allocation_data of
// include/uapi/linux/dma-heap.h.
type allocationData struct {
	len       uint64
	fd        uint32
	fdFlags   uint32
	heapFlags uint64
}

// syncData is struct dma_buf_sync of include/uapi/linux/dma-buf.h.
type syncData struct {
	flags uint64
}

// exportSyncFileData is struct dma_buf_export_sync_file of the same header.
type exportSyncFileData struct {
	flags uint32
	fd    int32
}

// primeHandle is struct drm_prime_handle, and gemClose struct drm_gem_close,
// of include/uapi/drm/drm.h.
type primeHandle struct {
	handle uint32
	flags  uint32
	fd     int32
}

type gemClose struct {
	handle uint32
	pad    uint32
}

// The kernel reads these structs by offset, so a compiler that laid them out
// otherwise must not get past here: an array of negative length, or one of
// another length than 0, does not compile.
var (
	_ [24 - unsafe.Sizeof(allocationData{})]byte
	_ [unsafe.Sizeof(allocationData{}) - 24]byte
	_ [unsafe.Offsetof(allocationData{}.fd) - 8]byte
	_ [8 - unsafe.Offsetof(allocationData{}.fd)]byte
	_ [unsafe.Offsetof(allocationData{}.fdFlags) - 12]byte
	_ [12 - unsafe.Offsetof(allocationData{}.fdFlags)]byte
	_ [unsafe.Offsetof(allocationData{}.heapFlags) - 16]byte
	_ [16 - unsafe.Offsetof(allocationData{}.heapFlags)]byte
	_ [8 - unsafe.Sizeof(syncData{})]byte
	_ [unsafe.Sizeof(syncData{}) - 8]byte
	_ [8 - unsafe.Sizeof(exportSyncFileData{})]byte
	_ [unsafe.Sizeof(exportSyncFileData{}) - 8]byte
	_ [12 - unsafe.Sizeof(primeHandle{})]byte
	_ [unsafe.Sizeof(primeHandle{}) - 12]byte
	_ [8 - unsafe.Sizeof(gemClose{})]byte
	_ [unsafe.Sizeof(gemClose{}) - 8]byte
)

// iow and iowr build an ioctl number as _IOW and _IOWR do.
func iow(kind byte, nr, size uintptr) uint32  { return ioc(iocWrite, kind, nr, size) }
func iowr(kind byte, nr, size uintptr) uint32 { return ioc(iocRead|iocWrite, kind, nr, size) }

func ioc(dir uint32, kind byte, nr, size uintptr) uint32 {
	return dir<<iocDirShift | uint32(size)<<16 | uint32(kind)<<8 | uint32(nr)
}

func ioctlAlloc() uint32          { return allocRequest(unsafe.Sizeof(allocationData{})) }
func ioctlSync() uint32           { return iow('b', 0, unsafe.Sizeof(syncData{})) }
func ioctlSetName() uint32        { return iow('b', 1, unsafe.Sizeof(uintptr(0))) }
func ioctlExportSyncFile() uint32 { return iowr('b', 2, unsafe.Sizeof(exportSyncFileData{})) }

func ioctlPrimeImport() uint32 { return iowr('d', 0x2e, unsafe.Sizeof(primeHandle{})) }
func ioctlGEMClose() uint32    { return iow('d', 0x09, unsafe.Sizeof(gemClose{})) }

// Flags of struct dma_buf_sync. The bits for read and write are those of
// Access.
const (
	syncStart = 0 << 2
	syncEnd   = 1 << 2
	syncValid = uint64(ReadWrite) | syncEnd
)

// maxName is DMA_BUF_NAME_LEN, its terminating NUL included.
const maxName = 32

func allocRequest(size uintptr) uint32 { return iowr('H', 0, size) }
