// SPDX-License-Identifier: MIT

//go:build linux && !(mips || mipsle || mips64 || mips64le || ppc64 || ppc64le || sparc64)

package dmaheap

// Layout of an ioctl number, include/uapi/asm-generic/ioctl.h.
const (
	iocWrite    = 1
	iocRead     = 2
	iocDirShift = 30
)
