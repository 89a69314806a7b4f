// SPDX-License-Identifier: MIT

//go:build linux && !(386 || arm || mips || mipsle)

package main

import "golang.org/x/sys/unix"

// mmap counts its offset in bytes where a register holds any.
const (
	sysMmap  = unix.SYS_MMAP
	mmapUnit = 1
)
