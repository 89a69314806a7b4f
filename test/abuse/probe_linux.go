// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// probe takes a large buffer of each heap, sees that it is zero, writes all of it
// and gives it back. It prints a line for each heap: its name, the size of the
// heap, and "ok" or what went wrong.
func probe() error {
	board := sysinfo.New(sysinfo.DirFS("/"), sysinfo.Options{Live: true})
	nodes, err := board.Nodes()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	w := &worker{page: uintptr(os.Getpagesize()), proc: 1}
	for _, n := range nodes {
		if !n.Device {
			continue
		}
		u := board.Usage(n.Name)
		size := uint64(1 << 20) // of a heap that does not tell; less than any region that is a CMA area
		if u.Largest.Known() {
			size = u.Largest.Value
		}
		fd, err := unix.Open(n.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			w.heaps, w.Heaps = []int{fd}, []string{n.Name}
			_, err = w.dirtyMost(0, size)
			unix.Close(fd)
		}
		verdict := "ok"
		if err != nil {
			verdict = fmt.Sprintf("%d bytes: %v", size, err)
		}
		fmt.Printf("probe %s %d %s\n", n.Name, u.Size.Value, verdict)
	}
	return nil
}

// dirtyMost takes a buffer of size bytes, or of more than half of that, writes
// all of it and gives it back. It returns how much it was. CMA begins each buffer
// at a multiple of its own size, so that pages which the kernel took from an area
// for itself cost more room than they fill.
func (w *worker) dirtyMost(heap int, size uint64) (uint64, error) {
	for _, eighths := range []uint64{8, 7, 6, 5} {
		n := size / 8 * eighths
		if err := w.dirty(heap, n); !errors.Is(err, unix.ENOMEM) {
			return n, err
		}
	}
	return 0, unix.ENOMEM
}
