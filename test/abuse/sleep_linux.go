// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// sleep suspends the system while freed memory is being cleaned and while a
// process waits for it, as far as the freezer and the devices go, and sees that
// everything goes on afterwards: the cleaner must neither stop the freezer nor
// be lost to it.
func (d *director) sleep() error {
	levels := []string{"freezer", "devices"}
	if err := os.WriteFile("/sys/power/pm_test", []byte("none"), 0); err != nil {
		d.say("sleep: skipped, this kernel cannot be put to sleep for a test: %v", sysinfo.Reason(err))
		return nil
	}
	_ = os.WriteFile("/sys/module/suspend/parameters/pm_test_delay", []byte("1"), 0)
	defer os.WriteFile("/sys/power/pm_test", []byte("none"), 0)
	w := &worker{job: job{Heaps: d.heaps}, page: uintptr(os.Getpagesize()), proc: 1}
	for i, h := range d.heaps {
		fd, err := unix.Open("/dev/dma_heap/"+h, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		w.heaps = append(w.heaps, fd)
		size := uint64(8 << 20)
		if u := d.before[h]; u.Largest.Known() {
			size = u.Largest.Value
		}
		for _, level := range levels {
			if size, err = w.dirtyMost(i, size); err != nil {
				return fmt.Errorf("%s: %w", h, err)
			}
			// All of it is free and dirty now, and somebody wants it.
			back := make(chan error, 1)
			go func() {
				fd, _, err := w.newBuffer(i, size, false)
				if err == nil {
					unix.Close(fd)
				}
				back <- err
			}()
			if err := os.WriteFile("/sys/power/pm_test", []byte(level), 0); err != nil {
				return err
			}
			if err := os.WriteFile("/sys/power/state", []byte("freeze"), 0); err != nil {
				return broken("%s: the system does not go to sleep (%s) while its memory is cleaned: %v", h, level, err)
			}
			d.slept++
			select {
			case err := <-back:
				if err != nil {
					return broken("%s: after a sleep (%s), all of its memory cannot be had again: %v", h, level, err)
				}
			case <-time.After(settle):
				return broken("%s: after a sleep (%s), whoever waited for its memory waits still", h, level)
			}
		}
		unix.Close(fd)
		if err := d.quiet("sleeping with " + h); err != nil {
			return err
		}
	}
	d.say("sleep: %d times, as deep as %s", d.slept, levels[len(levels)-1])
	return nil
}

// dirty takes a buffer, writes all of it and gives it back.
func (w *worker) dirty(heap int, size uint64) error {
	fd, buf, err := w.newBuffer(heap, size, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if buf.closed {
		return nil
	}
	return w.mapped(fd, 0, uintptr(buf.size), unix.PROT_READ|unix.PROT_WRITE, func(data []uint64) error {
		w.stamp(buf, data, 0)
		return nil
	})
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
