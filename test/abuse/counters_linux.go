// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

type outcome int

const (
	done outcome = iota
	refused
	skipped
	outcomes
)

// The most workers, and threads of each, that there is room to count for.
const (
	maxWorkers = 16
	maxThreads = 8
)

// counters are shared by all processes, so that what was done counts even when
// the one that did it was killed.
type counters struct {
	ops  [opCount][outcomes]atomic.Uint64
	step [maxWorkers][maxThreads]atomic.Int64
}

// countersFile is where they are; a worker finds them as descriptor 3.
const countersFD = 3

func newCounters() (*counters, *os.File, error) {
	f, err := os.CreateTemp("", "abuse")
	if err != nil {
		return nil, nil, err
	}
	os.Remove(f.Name())
	if err := f.Truncate(int64(unsafe.Sizeof(counters{}))); err != nil {
		return nil, nil, err
	}
	c, err := mapCounters(int(f.Fd()))
	return c, f, err
}

func mapCounters(fd int) (*counters, error) {
	b, err := unix.Mmap(fd, 0, int(unsafe.Sizeof(counters{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	return (*counters)(unsafe.Pointer(&b[0])), nil
}

func (c *counters) add(o op, out outcome) { c.ops[o][out].Add(1) }

func (c *counters) at(worker, thread, step int) { c.step[worker][thread].Store(int64(step)) }

// sum returns how many steps came to which end.
func (c *counters) sum() (s [outcomes]uint64) {
	for o := range c.ops {
		for i := range s {
			s[i] += c.ops[o][i].Load()
		}
	}
	return s
}
