// SPDX-License-Identifier: MIT

package dmaheap

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The structs of include/uapi/linux/videodev2.h, as far as one buffer needs
// them. Their sizes are in the ioctl numbers, and differ between 32 and 64 bit
// because of pointers and times in them.

type v4l2Capability struct {
	driver                           [16]byte
	card, bus                        [32]byte
	version                          uint32
	capabilities, deviceCapabilities uint32
	_                                [3]uint32
}

// v4l2Format has the format in a union that holds pointers in one of its
// forms, and so is aligned as they are.
type v4l2Format struct {
	kind uint32
	_    [0]uintptr
	data [200]byte
}

type v4l2RequestBuffers struct {
	count, kind, memory, capabilities uint32
	_                                 uint32
}

type v4l2Buffer struct {
	index, kind, used, flags, field uint32
	timestamp                       [2]uintptr
	timecode                        [16]byte
	sequence, memory                uint32
	m                               uintptr // holds the descriptor
	length                          uint32
	_                               [2]uint32
}

// v4l2PlanesBuffer is the same struct where the frame has several planes.
type v4l2PlanesBuffer struct {
	index, kind, used, flags, field uint32
	timestamp                       [2]uintptr
	timecode                        [16]byte
	sequence, memory                uint32
	planes                          *[maxPlanes]v4l2Plane
	length                          uint32 // their number
	_                               [2]uint32
}

type v4l2Plane struct {
	used, length uint32
	m            uintptr
	_            [12]uint32 // the first is data_offset
}

const word = unsafe.Sizeof(uintptr(0))

// As in uapi_linux.go: what has not the kernel's size does not compile. On a
// 32 bit kernel the first time stamp of struct v4l2_buffer has 32 bits too, and
// is read by every kernel that has COMPAT_32BIT_TIME.
var (
	_ [104 - unsafe.Sizeof(v4l2Capability{})]byte
	_ [unsafe.Sizeof(v4l2Capability{}) - 104]byte
	_ [200 + word - unsafe.Sizeof(v4l2Format{})]byte
	_ [unsafe.Sizeof(v4l2Format{}) - 200 - word]byte
	_ [20 - unsafe.Sizeof(v4l2RequestBuffers{})]byte
	_ [unsafe.Sizeof(v4l2RequestBuffers{}) - 20]byte
	_ [48 + word*5 - unsafe.Sizeof(v4l2Buffer{})]byte
	_ [unsafe.Sizeof(v4l2Buffer{}) - 48 - word*5]byte
	_ [unsafe.Sizeof(v4l2PlanesBuffer{}) - unsafe.Sizeof(v4l2Buffer{})]byte
	_ [unsafe.Sizeof(v4l2Buffer{}) - unsafe.Sizeof(v4l2PlanesBuffer{})]byte
	_ [56 + word - unsafe.Sizeof(v4l2Plane{})]byte
	_ [unsafe.Sizeof(v4l2Plane{}) - 56 - word]byte
)

func ioctlQueryCap() uint32 { return ioc(iocRead, 'V', 0, unsafe.Sizeof(v4l2Capability{})) }
func ioctlGetFmt() uint32   { return iowr('V', 4, unsafe.Sizeof(v4l2Format{})) }
func ioctlReqBufs() uint32  { return iowr('V', 8, unsafe.Sizeof(v4l2RequestBuffers{})) }
func ioctlQBuf() uint32     { return iowr('V', 15, unsafe.Sizeof(v4l2Buffer{})) }

// Constants of the same header.
const (
	capCapture       = 1 << 0
	capOutput        = 1 << 1
	capCaptureMPlane = 1 << 12
	capOutputMPlane  = 1 << 13
	capM2MMPlane     = 1 << 14
	capM2M           = 1 << 15
	capStreaming     = 1 << 26
	capDeviceCaps    = 1 << 31

	typeCapture       = 1
	typeOutput        = 2
	typeCaptureMPlane = 9
	typeOutputMPlane  = 10

	memoryDMABUF = 4
	maxPlanes    = 8
)

// video is an open video device with the queue that a buffer would go to.
type video struct {
	file   *os.File
	kind   uint32
	planes []uint32 // their sizes
}

func (v *video) multi() bool { return v.kind == typeCaptureMPlane || v.kind == typeOutputMPlane }

func (v *video) ioctl(request uint32, arg unsafe.Pointer) error {
	return control(v.file, func(fd uintptr) error { return ioctl(fd, request, arg) })
}

// openVideo opens a device and asks for the frame of its current format. The
// error is an errno, or one of the sentinels.
func openVideo(path string) (*video, error) {
	// Without O_NONBLOCK some drivers wait until another user is done. It
	// must not stay: package os polls a file that has it, and who polls a
	// camera for a frame has it stream into buffers of its own, as read(2)
	// does (drivers/media/common/videobuf2, vb2_core_poll). From then on it
	// takes none of ours.
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, ErrPermission
	case err != nil:
		return nil, err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, err
	}
	v := &video{file: os.NewFile(uintptr(fd), path)}
	if err := v.ask(); err != nil {
		v.file.Close()
		return nil, err
	}
	return v, nil
}

func (v *video) ask() error {
	var c v4l2Capability
	if err := v.ioctl(ioctlQueryCap(), unsafe.Pointer(&c)); err != nil {
		return err
	}
	caps := c.capabilities
	if caps&capDeviceCaps != 0 {
		caps = c.deviceCapabilities
	}
	switch {
	case caps&capStreaming == 0:
		return ErrUnsupported
	case caps&(capCapture|capM2M) != 0:
		v.kind = typeCapture
	case caps&(capCaptureMPlane|capM2MMPlane) != 0:
		v.kind = typeCaptureMPlane
	case caps&capOutput != 0:
		v.kind = typeOutput
	case caps&capOutputMPlane != 0:
		v.kind = typeOutputMPlane
	default:
		return ErrUnsupported
	}
	f := v4l2Format{kind: v.kind}
	if err := v.ioctl(ioctlGetFmt(), unsafe.Pointer(&f)); err != nil {
		return err
	}
	at := func(off int) uint32 { return *(*uint32)(unsafe.Pointer(&f.data[off])) }
	if !v.multi() {
		v.planes = []uint32{at(20)} // v4l2_pix_format.sizeimage
		return nil
	}
	// v4l2_pix_format_mplane: five words, then planes of 20 bytes, packed.
	n := min(int(f.data[20+maxPlanes*20]), maxPlanes)
	for i := range n {
		b := f.data[20+i*20:]
		v.planes = append(v.planes, *(*uint32)(unsafe.Pointer(&b[0])))
	}
	return nil
}

// frame is the largest plane of a frame; each is a buffer of its own.
func (v *video) frame() uint64 {
	var n uint32
	for _, p := range v.planes {
		n = max(n, p)
	}
	return uint64(n)
}

func v4l2FrameSize(path string) (uint64, error) {
	v, err := openVideo(path)
	if err != nil {
		return 0, videoError(path, "", 0, err)
	}
	defer v.file.Close()
	return v.frame(), nil
}

func (b *Buffer) importV4L2(path string) error {
	v, err := openVideo(path)
	if err != nil {
		return videoError(path, b.heap, b.size, err)
	}
	defer v.file.Close()
	if err := v.take(b); err != nil {
		return videoError(path, b.heap, b.size, err)
	}
	return nil
}

// take queues the buffer once. Nothing streams, so the hardware is not told;
// but the driver attaches and maps the buffer at this point, which is what can
// fail.
func (v *video) take(b *Buffer) error {
	if v.frame() == 0 || len(v.planes) == 0 {
		return ErrUnsupported // a codec that has not seen its stream yet
	}
	if b.size < v.frame() {
		return ErrInvalid
	}
	req := v4l2RequestBuffers{count: 1, kind: v.kind, memory: memoryDMABUF}
	switch err := v.ioctl(ioctlReqBufs(), unsafe.Pointer(&req)); {
	case errors.Is(err, unix.EINVAL):
		return ErrUnsupported
	case err != nil:
		return err
	}
	free := v4l2RequestBuffers{kind: v.kind, memory: memoryDMABUF}
	defer func() { _ = v.ioctl(ioctlReqBufs(), unsafe.Pointer(&free)) }()
	return control(b.file, func(fd uintptr) error {
		length := uint32(min(b.size, 1<<31))
		if !v.multi() {
			buf := v4l2Buffer{kind: v.kind, memory: memoryDMABUF, m: fd, length: length}
			if v.kind == typeOutput {
				buf.used = v.planes[0]
			}
			return v.ioctl(ioctlQBuf(), unsafe.Pointer(&buf))
		}
		buf := v4l2PlanesBuffer{kind: v.kind, memory: memoryDMABUF, planes: new([maxPlanes]v4l2Plane), length: uint32(len(v.planes))}
		for i, n := range v.planes {
			buf.planes[i] = v4l2Plane{m: fd, length: length}
			if v.kind == typeOutputMPlane {
				buf.planes[i].used = n
			}
		}
		return v.ioctl(ioctlQBuf(), unsafe.Pointer(&buf))
	})
}

func videoError(path, heap string, size uint64, err error) error {
	e := &Error{Op: OpImport, Object: path, Heap: heap, Size: size, Err: err}
	switch {
	case errors.Is(err, ErrPermission), errors.Is(err, ErrUnsupported), errors.Is(err, ErrInvalid):
		e.Kind, e.Err = err, nil
	case errors.Is(err, unix.EBUSY):
		e.Kind = ErrBusy
	case errors.Is(err, unix.ENOTTY):
		e.Kind = ErrUnsupported
	}
	return e
}

// udmabufCreate is struct udmabuf_create of include/uapi/linux/udmabuf.h.
type udmabufCreate struct {
	memfd, flags uint32
	offset, size uint64
}

var (
	_ [24 - unsafe.Sizeof(udmabufCreate{})]byte
	_ [unsafe.Sizeof(udmabufCreate{}) - 24]byte
)

// fromMemory follows Documentation of the driver: the memory of a memfd that
// cannot shrink, in whole pages.
func fromMemory(size uint64) (*Buffer, error) {
	const heap = "/dev/udmabuf"
	fail := func(err error) (*Buffer, error) {
		e := &Error{Op: OpAlloc, Heap: heap, Size: size, Err: err}
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENODEV):
			e.Kind = ErrUnsupported
		case errors.Is(err, os.ErrPermission):
			e.Kind = ErrPermission
		case errors.Is(err, unix.ENOMEM):
			e.Kind = ErrNoMemory
		case errors.Is(err, unix.EINVAL):
			e.Kind = ErrInvalid
		}
		return nil, e
	}
	dev, err := os.OpenFile(heap, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer dev.Close()
	memfd, err := unix.MemfdCreate("dmaheap", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(memfd)
	page := uint64(os.Getpagesize())
	if size == 0 || size > 1<<40 {
		return fail(unix.EINVAL)
	}
	size = (size + page - 1) / page * page
	if err := unix.Ftruncate(memfd, int64(size)); err != nil {
		return fail(err)
	}
	if _, err := unix.FcntlInt(uintptr(memfd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK); err != nil {
		return fail(err)
	}
	arg := udmabufCreate{memfd: uint32(memfd), flags: 1 /* UDMABUF_FLAGS_CLOEXEC */, size: size}
	fd := -1
	err = control(dev, func(d uintptr) error {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, d, uintptr(iow('u', 0x42, unsafe.Sizeof(arg))), uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			return errno
		}
		fd = int(n)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return &Buffer{heap: heap, file: os.NewFile(uintptr(fd), "dmabuf"), size: size}, nil
}
