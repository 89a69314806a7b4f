// SPDX-License-Identifier: MIT

//go:build !linux

package sysinfo

import (
	"fmt"
	"io/fs"
	"runtime"
)

const nonblock = 0

func ownerOf(fi fs.FileInfo) (o Owner, ok bool) {
	if sys, isOwner := fi.Sys().(*Owner); isOwner {
		return *sys, true
	}
	return Owner{}, false
}

func kernelLog() ([]byte, error) {
	return nil, fmt.Errorf("the kernel log is read on Linux only, this is %s", runtime.GOOS)
}
