// SPDX-License-Identifier: MIT

package sysinfo

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const nonblock = unix.O_NONBLOCK

// ownerOf returns who owns a file, and the number of its device.
func ownerOf(fi fs.FileInfo) (o Owner, ok bool) {
	switch sys := fi.Sys().(type) {
	case *syscall.Stat_t:
		return Owner{sys.Uid, sys.Gid, unix.Major(uint64(sys.Rdev)), unix.Minor(uint64(sys.Rdev))}, true
	case *Owner:
		return *sys, true
	}
	return Owner{}, false
}

// kernelLog reads the whole kernel log, as dmesg does.
func kernelLog() ([]byte, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	buf := make([]byte, min(max(size, 1<<16), maxFile))
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	return buf[:n], nil
}
