// SPDX-License-Identifier: MIT

//go:build linux && (386 || arm || mips || mipsle)

package main

import "golang.org/x/sys/unix"

// mmap2 counts its offset in units of 4096 bytes.
const (
	sysMmap  = unix.SYS_MMAP2
	mmapUnit = 4096
)
