// SPDX-License-Identifier: MIT

package main

import (
	"syscall"
	"unsafe"
)

// forkReader forks without an exec and has the child read one word of each page
// of a mapping. The child has no Go runtime to speak of, one thread out of
// several, so it makes system calls and nothing else; a fault ends it.
//
//go:norace
//go:nosplit
func forkReader(addr, bytes, page uintptr) (int, error) {
	var none [8]uintptr // a struct sigaction of SIG_DFL, on every architecture
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid != 0 {
		return int(pid), nil
	}
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGBUS), uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
	sum := uintptr(0)
	for at := addr; at < addr+bytes; at += page {
		sum += **(**uintptr)(unsafe.Pointer(&at))
	}
	for {
		// The sum is an argument that the call does not have: it must be used.
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, sum, 0)
	}
}
