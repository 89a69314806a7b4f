// SPDX-License-Identifier: MIT

// Package failnth makes the kernel's allocations of memory fail one by one in the
// calls of a program, the first, the second, and so on, on a kernel that was
// built with CONFIG_FAULT_INJECTION.
package failnth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// file says which allocation of the thread that writes to it is to fail.
const file = "/proc/thread-self/fail-nth"

var (
	// ErrUnsupported says that this kernel cannot do it.
	ErrUnsupported = errors.New("this kernel injects no faults")
	// ErrEndless says that a walk came to its limit.
	ErrEndless = errors.New("it allocates without end, or no fault is injected")
)

// A Walker makes the allocations of its thread fail.
type Walker struct{ fd int }

// New makes the calling goroutine stay on its thread, until Close.
func New() (*Walker, error) {
	runtime.LockOSThread()
	fd, err := syscall.Open(file, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err == nil {
		return &Walker{fd}, nil
	}
	runtime.UnlockOSThread()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrUnsupported
	}
	return nil, &os.PathError{Op: "open", Path: file, Err: err}
}

// Close ends what New began.
func (w *Walker) Close() {
	syscall.Close(w.fd)
	runtime.UnlockOSThread()
}

// Walk calls fn until it is through without a fault, and returns how many times
// an allocation failed before. After each call it calls after, where that is not
// nil, with what fn returned; an error of its own ends the walk. So does the
// limit: no call allocates memory without end.
//
// In fn are raw calls alone, with all they need at hand: what the runtime asks
// of the kernel meanwhile fails as well, and it may not survive that.
func (w *Walker) Walk(limit int, fn func() error, after func(hit bool, err error) error) (int, error) {
	for n := 1; n <= limit; n++ {
		hit, callErr, err := w.try(n, fn)
		if err != nil {
			return n - 1, err
		}
		if after != nil {
			if err := after(hit, callErr); err != nil {
				return n - 1, err
			}
		}
		if !hit {
			return n - 1, nil
		}
	}
	return limit, fmt.Errorf("after %d faults: %w", limit, ErrEndless)
}

func (w *Walker) try(n int, fn func() error) (hit bool, callErr, err error) {
	var number, left [16]byte
	if _, err := syscall.Pwrite(w.fd, strconv.AppendInt(number[:0], int64(n), 10), 0); err != nil {
		return false, nil, fmt.Errorf("fail-nth: %w", err)
	}
	callErr = fn()
	k, err := syscall.Pread(w.fd, left[:], 0)
	if err == nil {
		_, err = syscall.Pwrite(w.fd, []byte("0"), 0)
	}
	if err != nil {
		return false, callErr, fmt.Errorf("fail-nth: %w", err)
	}
	return strings.TrimSpace(string(left[:k])) == "0", callErr, nil
}
