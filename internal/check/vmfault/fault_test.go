// SPDX-License-Identifier: MIT

package vmfault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// The test binary is also the program that makes the faults in the guest:
//
//	fault LABEL FAULT... -- COMMAND...
//
// runs the command with the faults made, between two lines that name the label
// and tell the command's exit code and the most memory it had, in KiB. Faults of files stay for what comes after;
// held memory is given back.
const (
	beginMark = "FAULT-BEGIN"
	endMark   = "FAULT-END"
)

// makeFaults is the main function in the guest.
func makeFaults(args []string) error {
	if len(args) == 0 {
		return errors.New("no label")
	}
	label, args := args[0], args[1:]
	attr := &syscall.SysProcAttr{}
	var held []*dmaheap.Buffer
	for len(args) > 0 && args[0] != "--" {
		f, ok := faultKinds[args[0]]
		if !ok || len(args) < 1+f.args {
			return fmt.Errorf("unknown fault %q", args)
		}
		more, err := f.make(args[1:1+f.args], attr)
		if err != nil {
			return fmt.Errorf("%v: %w", args[:1+f.args], err)
		}
		held = append(held, more...)
		args = args[1+f.args:]
	}
	if len(args) < 2 {
		return errors.New("no command")
	}
	fmt.Println(beginMark, label)
	c := exec.Command(args[1], args[2:]...)
	c.Stdout, c.SysProcAttr = os.Stdout, attr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	rss := int64(0)
	if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		rss = int64(usage.Maxrss)
	}
	fmt.Println(endMark, label, c.ProcessState.ExitCode(), rss)
	for _, b := range held {
		b.Close()
	}
	return nil
}

type faultKind struct {
	args int
	make func(args []string, attr *syscall.SysProcAttr) ([]*dmaheap.Buffer, error)
}

var faultKinds = map[string]faultKind{
	// hold HEAP BYTES: one buffer stays allocated.
	"hold": {2, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		return take(args[0], args[1], 1)
	}},
	// map HEAP BYTES: one buffer stays mapped, its descriptor closed.
	"map": {2, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		held, err := take(args[0], args[1], 1)
		if err != nil {
			return nil, err
		}
		if _, err := held[0].Map(dmaheap.Read); err != nil {
			return nil, err
		}
		return nil, held[0].Close() // the mapping lasts as long as the process
	}},
	// fragment HEAP BYTES: fill the heap with buffers, keep every fourth.
	"fragment": {2, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		all, err := take(args[0], args[1], 1<<20)
		if !errors.Is(err, dmaheap.ErrNoMemory) {
			return all, err
		}
		var kept []*dmaheap.Buffer
		for i, b := range all {
			if i%4 == 0 {
				kept = append(kept, b)
				continue
			}
			b.Close()
		}
		return kept, nil
	}},
	// user UID: the command runs without rights.
	"user": {1, func(args []string, attr *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		n, err := strconv.ParseUint(args[0], 10, 32)
		attr.Credential = &syscall.Credential{Uid: uint32(n), Gid: uint32(n)}
		return nil, err
	}},
	"chmod": {2, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		n, err := strconv.ParseUint(args[0], 8, 32)
		if err != nil {
			return nil, err
		}
		return nil, os.Chmod(args[1], os.FileMode(n))
	}},
	"chgrp": {2, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return nil, err
		}
		return nil, os.Chown(args[1], -1, n)
	}},
	"remove": {1, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		return nil, os.Remove(args[0])
	}},
	"touch": {1, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		return nil, os.WriteFile(args[0], nil, 0o644)
	}},
	// cover DIR: an empty directory takes its place, as in a container.
	"cover": {1, func(args []string, _ *syscall.SysProcAttr) ([]*dmaheap.Buffer, error) {
		return nil, syscall.Mount("none", args[0], "tmpfs", 0, "")
	}},
}

// take allocates buffers until there are enough, or none is left.
func take(heap, bytes string, count int) ([]*dmaheap.Buffer, error) {
	size, err := strconv.ParseUint(bytes, 0, 64)
	if err != nil {
		return nil, err
	}
	h, err := dmaheap.Open(heap)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var out []*dmaheap.Buffer
	for len(out) < count {
		b, err := h.Alloc(size)
		if err != nil {
			return out, err
		}
		out = append(out, b)
	}
	return out, nil
}
