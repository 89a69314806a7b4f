// SPDX-License-Identifier: MIT

//go:build linux && (mips || mipsle || mips64 || mips64le || ppc64 || ppc64le || sparc64)

package dmaheap

// Layout of an ioctl number where it differs from the generic one:
// arch/{mips,powerpc,sparc}/include/uapi/asm/ioctl.h.
const (
	iocWrite    = 4
	iocRead     = 2
	iocDirShift = 29
)
