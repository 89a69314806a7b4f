// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever is done to the mappings of a buffer, the worker knows of each that is
// left: one that it forgot would hold memory for as long as the process lives,
// unseen. A file in memory has to do for the buffer.
func TestNoMappingIsForgotten(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	const name = "abuse-buffer"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(fd)
	w := &worker{page: uintptr(os.Getpagesize()), proc: 1}
	buf := &buffer{ino: 77, size: 32 * uint64(w.page)}
	if err := unix.Ftruncate(fd, int64(buf.size)); err != nil {
		t.Fatal(err)
	}
	sl := &slot{fd: fd, buf: buf}
	done := map[op]int{}
	for i, s := range steps(1, 4000) {
		var how func(window, step) ([]window, error)
		switch s.Op {
		case opMap:
			err = w.keepMap(sl, s)
		case opFill:
			err = w.fill(sl, s)
		case opUnmap:
			how = w.unmap
		case opRemap:
			how = w.remap
		case opProtect:
			how = w.protect
		default:
			continue
		}
		if how != nil {
			err = w.change(sl, s, how)
		}
		var bad *errBroken
		if errors.As(err, &bad) {
			t.Fatalf("step %d (%v): %v", i, s, err)
		}
		if err == nil {
			done[s.Op]++
		}
		want := uintptr(0)
		for _, m := range sl.maps {
			want += m.bytes
		}
		if got := mappedBytes(t, name); got != want {
			t.Fatalf("step %d (%v): %d bytes are mapped, the worker knows of %d: %+v", i, s, got, want, sl.maps)
		}
	}
	for _, o := range []op{opMap, opFill, opUnmap, opRemap, opProtect} {
		if done[o] < 20 {
			t.Errorf("%v was done %d times only", o, done[o])
		}
	}
	t.Log(done)
}

// mappedBytes adds up what /proc/self/maps has of a file.
func mappedBytes(t *testing.T, name string) (sum uintptr) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(maps), "\n") {
		var from, to uintptr
		if !strings.Contains(line, name) {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x ", &from, &to); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += to - from
	}
	return sum
}
