// SPDX-License-Identifier: MIT

package check

import (
	"os"
	"syscall"
)

// socketPair returns two connected unix sockets. Package net would do it too,
// at twice the size of heapctl.
func socketPair() (a, b *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket"), nil
}

// apart gives a child a process group of its own: Ctrl-C is for its parent, who
// would take the death of the child for a fault of the kernel.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
