// SPDX-License-Identifier: MIT

package dmaheap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func open(name string) (*Heap, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return nil, &Error{Op: OpOpen, Heap: name, Kind: ErrNoHeap, Err: unix.EINVAL}
	}
	return openPath(name, Dir+"/"+name)
}

func openPath(name, path string) (*Heap, error) {
	fail := func(kind, err error) (*Heap, error) {
		return nil, &Error{Op: OpOpen, Heap: name, Kind: kind, Err: err}
	}
	var fd int
	err := retry(func() (err error) {
		// O_NONBLOCK keeps a FIFO that somebody put there from blocking
		// us for ever; a heap ignores it.
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return fail(ErrNoHeap, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fail(ErrPermission, err)
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return fail(ErrNotHeap, err)
	case err != nil:
		return fail(nil, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fail(nil, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		unix.Close(fd)
		return fail(ErrNotHeap, unix.ENOTTY)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return fail(nil, err)
	}
	return &Heap{name: name, file: os.NewFile(uintptr(fd), path)}, nil
}

func (h *Heap) alloc(size uint64, mode Access, heapFlags uint64) (*Buffer, error) {
	fail := func(kind, err error) (*Buffer, error) {
		return nil, &Error{Op: OpAlloc, Heap: h.name, Size: size, Kind: kind, Err: err}
	}
	flags := uint32(unix.O_CLOEXEC)
	switch mode {
	case Read:
		flags |= unix.O_RDONLY
	case Write:
		flags |= unix.O_WRONLY
	case ReadWrite:
		flags |= unix.O_RDWR
	default:
		return fail(ErrInvalid, unix.EINVAL)
	}
	arg := allocationData{len: size, fdFlags: flags, heapFlags: heapFlags}
	err := control(h.file, func(fd uintptr) error {
		return ioctl(fd, ioctlAlloc(), unsafe.Pointer(&arg))
	})
	switch {
	case errors.Is(err, unix.ENOMEM):
		return fail(ErrNoMemory, err)
	case errors.Is(err, unix.ENOTTY):
		return fail(ErrNotHeap, err)
	case errors.Is(err, unix.EINVAL):
		return fail(ErrInvalid, err)
	case errors.Is(err, ErrClosed):
		return fail(ErrClosed, nil)
	case err != nil:
		return fail(nil, err)
	}
	b := &Buffer{heap: h.name, file: os.NewFile(uintptr(arg.fd), "dmabuf")}
	if b.size, err = b.seekSize(); err != nil {
		b.Close()
		return fail(nil, err)
	}
	return b, nil
}

func (h *Heap) ioctl(request uint32, arg []byte) error {
	// _IOC_SIZE: so much the kernel reads and writes, whoever owns it.
	if size := request >> 16 & (1<<(iocDirShift-16) - 1); arg != nil && uint64(len(arg)) < uint64(size) {
		return &Error{Op: OpProbe, Heap: h.name, Kind: ErrInvalid, Err: unix.EINVAL}
	}
	err := control(h.file, func(fd uintptr) error {
		return ioctl(fd, request, unsafe.Pointer(unsafe.SliceData(arg)))
	})
	if err != nil {
		return &Error{Op: OpProbe, Heap: h.name, Err: err}
	}
	return nil
}

func importFile(f *os.File) (*Buffer, error) {
	// An invalid flag makes a dma-buf answer EINVAL and touch nothing, and
	// every other kind of file ENOTTY.
	arg := syncData{flags: ^syncValid}
	err := control(f, func(fd uintptr) error { return ioctl(fd, ioctlSync(), unsafe.Pointer(&arg)) })
	switch {
	case errors.Is(err, unix.EINVAL):
	case errors.Is(err, ErrClosed):
		return nil, &Error{Op: OpImport, Kind: ErrClosed}
	default:
		return nil, &Error{Op: OpImport, Kind: ErrNotBuffer, Err: err}
	}
	b := &Buffer{file: f}
	if b.size, err = b.seekSize(); err != nil {
		return nil, &Error{Op: OpSize, Err: err}
	}
	return b, nil
}

// seekSize asks for the size the way the kernel documents it: a dma-buf can
// seek to its end and its start, and nowhere else.
func (b *Buffer) seekSize() (uint64, error) {
	var end int64
	err := control(b.file, func(fd uintptr) (err error) {
		if end, err = unix.Seek(int(fd), 0, io.SeekEnd); err != nil {
			return err
		}
		_, err = unix.Seek(int(fd), 0, io.SeekStart)
		return err
	})
	return uint64(end), err
}

func (b *Buffer) export() (*os.File, error) {
	var dup int
	err := control(b.file, func(fd uintptr) (err error) {
		dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, b.fail(OpExport, err)
	}
	return os.NewFile(uintptr(dup), "dmabuf"), nil
}

func (b *Buffer) setName(name string) error {
	p, err := unix.BytePtrFromString(name) // EINVAL for a NUL in it
	if len(name) >= maxName {
		err = unix.EINVAL
	}
	if err != nil {
		return b.fail(OpSetName, err)
	}
	err = control(b.file, func(fd uintptr) error { return ioctl(fd, ioctlSetName(), unsafe.Pointer(p)) })
	if err != nil {
		return b.fail(OpSetName, err)
	}
	return nil
}

// name reads the fdinfo of the buffer, Documentation/filesystems/proc.rst
// section 3.8. A dma-buf without a name has no name line.
func (b *Buffer) name() (string, error) {
	var f *os.File
	err := control(b.file, func(fd uintptr) (err error) {
		f, err = os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
		return err
	})
	if err != nil {
		return "", b.fail(OpName, err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "name:\t"); ok {
			return name, nil
		}
	}
	return "", nil
}

func (b *Buffer) mapRange(offset, length uint64, access Access) (*Mapping, error) {
	fail := func(kind, err error) (*Mapping, error) {
		return nil, &Error{Op: OpMap, Heap: b.heap, Size: length, Kind: kind, Err: err}
	}
	if offset > math.MaxInt64 || length > math.MaxInt || access&^ReadWrite != 0 {
		return fail(ErrInvalid, unix.EINVAL)
	}
	prot := 0
	if access&Read != 0 {
		prot |= unix.PROT_READ
	}
	if access&Write != 0 {
		prot |= unix.PROT_WRITE
	}
	var data []byte
	err := control(b.file, func(fd uintptr) (err error) {
		data, err = unix.Mmap(int(fd), int64(offset), int(length), prot, unix.MAP_SHARED)
		return err
	})
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fail(ErrPermission, err)
	case errors.Is(err, unix.EINVAL):
		return fail(ErrInvalid, err)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EOPNOTSUPP):
		return fail(ErrUnsupported, err)
	case errors.Is(err, ErrClosed):
		return fail(ErrClosed, nil)
	case err != nil:
		return fail(nil, err)
	}
	return &Mapping{data: data, heap: b.heap}, nil
}

func unmap(data []byte) error { return unix.Munmap(data) }

func (b *Buffer) sync(access Access, end uint64) error {
	arg := syncData{flags: uint64(access) | end}
	err := control(b.file, func(fd uintptr) error { return ioctl(fd, ioctlSync(), unsafe.Pointer(&arg)) })
	if err != nil {
		return b.fail(OpSync, err)
	}
	return nil
}

func (b *Buffer) probe(f Feature) error {
	fail := func(err error) error {
		e := b.fail(OpProbe, err)
		e.Object = f.String()
		return e
	}
	var err, has error
	switch f {
	case FeatureSetName:
		// A bad address answers EFAULT before the name is touched.
		has = unix.EFAULT
		err = control(b.file, func(fd uintptr) error { return ioctl(fd, ioctlSetName(), nil) })
	case FeatureSyncFile:
		// Flags outside read and write answer EINVAL before any fence.
		has = unix.EINVAL
		arg := exportSyncFileData{flags: ^uint32(ReadWrite)}
		err = control(b.file, func(fd uintptr) error {
			return ioctl(fd, ioctlExportSyncFile(), unsafe.Pointer(&arg))
		})
	default:
		return fail(unix.EINVAL)
	}
	switch {
	case errors.Is(err, has):
		return nil
	case err == nil:
		return fail(errors.New("the kernel takes a wrong request"))
	}
	return fail(err)
}

func (b *Buffer) importDRM(path string) error {
	fail := func(kind, err error) error {
		return &Error{Op: OpImport, Object: path, Heap: b.heap, Size: b.size, Kind: kind, Err: err}
	}
	dev, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) {
		return fail(ErrPermission, unix.EACCES)
	}
	if err != nil {
		return fail(nil, err)
	}
	defer dev.Close()
	var prime primeHandle
	err = control(b.file, func(fd uintptr) error {
		prime.fd = int32(fd)
		return control(dev, func(d uintptr) error { return ioctl(d, ioctlPrimeImport(), unsafe.Pointer(&prime)) })
	})
	switch {
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return fail(ErrUnsupported, err)
	case errors.Is(err, ErrClosed):
		return fail(ErrClosed, nil)
	case err != nil:
		return fail(nil, err)
	}
	shut := gemClose{handle: prime.handle}
	err = control(dev, func(d uintptr) error { return ioctl(d, ioctlGEMClose(), unsafe.Pointer(&shut)) })
	if err != nil {
		return fail(nil, err)
	}
	return nil
}

func (b *Buffer) fail(op string, err error) *Error {
	e := &Error{Op: op, Heap: b.heap, Err: err}
	switch {
	case errors.Is(err, ErrClosed):
		e.Kind, e.Err = ErrClosed, nil
	case errors.Is(err, unix.ENOTTY):
		e.Kind = ErrUnsupported
	case errors.Is(err, unix.EINVAL):
		e.Kind = ErrInvalid
	}
	return e
}

func sendFile(socket syscall.Conn, b *Buffer) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return b.fail(OpSend, err)
	}
	// The kernel passes descriptors only beside at least one byte of data.
	var sent error
	err = control(b.file, func(fd uintptr) error {
		rights := unix.UnixRights(int(fd))
		return raw.Write(func(s uintptr) bool {
			sent = retry(func() error { return unix.Sendmsg(int(s), []byte{0}, rights, nil, unix.MSG_NOSIGNAL) })
			return !errors.Is(sent, unix.EAGAIN)
		})
	})
	if err == nil {
		err = sent
	}
	if err != nil {
		return b.fail(OpSend, err)
	}
	return nil
}

func receiveFile(socket syscall.Conn) (*Buffer, error) {
	fail := func(err error) (*Buffer, error) { return nil, &Error{Op: OpRecv, Err: err} }
	raw, err := socket.SyscallConn()
	if err != nil {
		return fail(err)
	}
	var n, oobn, flags int
	var got error
	data, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	err = raw.Read(func(s uintptr) bool {
		got = retry(func() (err error) {
			n, oobn, flags, _, err = unix.Recvmsg(int(s), data, oob, unix.MSG_CMSG_CLOEXEC)
			return err
		})
		return !errors.Is(got, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return fail(err)
	case got != nil:
		return fail(got)
	case n == 0 && oobn == 0:
		return fail(io.EOF)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return fail(err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil || len(fds) == 0 {
			continue
		}
		// Alignment leaves room for one more than was asked for.
		for _, fd := range fds[1:] {
			unix.Close(fd)
		}
		f := os.NewFile(uintptr(fds[0]), "dmabuf")
		b, err := importFile(f)
		if err != nil {
			f.Close()
			return nil, err
		}
		return b, nil
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return fail(errors.New("the kernel kept the descriptor back: too many are open, or a security module forbids it"))
	}
	return nil, &Error{Op: OpRecv, Kind: ErrNotBuffer, Err: errors.New("the message carried no descriptor")}
}

// control runs fn with the descriptor of f, which cannot be closed, and so
// cannot become another file, before fn returns.
func control(f *os.File, fn func(fd uintptr) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return ErrClosed // the only reason os has
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = fn(fd) }); err != nil {
		return ErrClosed // as above: Control itself calls no kernel
	}
	return inner
}

func closeFile(f *os.File) error {
	err := f.Close()
	if errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrInvalid) {
		return ErrClosed
	}
	return err
}

// ioctl is one request, begun again when a signal cut it short. The dma-buf
// documentation asks for the same on EAGAIN: it means that the lock of the
// buffer must be taken anew.
func ioctl(fd uintptr, request uint32, arg unsafe.Pointer) error {
	err := retry(func() error {
		for {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
			if errno == 0 {
				return nil
			}
			if errno != unix.EAGAIN {
				return errno
			}
		}
	})
	runtime.KeepAlive(arg)
	return err
}

func retry(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
