// SPDX-License-Identifier: MIT

package sysinfo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// A Holder is a process that has dma-bufs of a heap open.
type Holder struct {
	PID     int
	Comm    string
	Heap    string // exporter: the name of the heap
	Buffers int
	Bytes   uint64
}

// String returns "camera[412]: 3 buffers, 24MiB".
func (h Holder) String() string {
	return fmt.Sprintf("%s[%d]: %d buffers, %d bytes", h.Comm, h.PID, h.Buffers, h.Bytes)
}

// Holders returns who holds buffers of which heap, from the descriptors in
// /proc/PID/fd and their fdinfo. Processes of other users are seen by root
// only; hidden tells how many were not.
func (b *Board) Holders() (holders []Holder, hidden int, err error) {
	procs, err := readDir(b.FS, "proc")
	if err != nil {
		b.note("holders", "/proc", err)
		return nil, 0, err
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		dir := "proc/" + p.Name()
		fds, err := readDir(b.FS, dir+"/fd")
		if errors.Is(err, fs.ErrPermission) {
			hidden++
		}
		if err != nil {
			continue
		}
		byHeap := map[string]int{}
		for _, fd := range fds {
			link, err := b.FS.ReadLink(dir + "/fd/" + fd.Name())
			if err != nil || !strings.HasPrefix(link, "/dmabuf:") {
				continue
			}
			info, err := readFile(b.FS, dir+"/fdinfo/"+fd.Name(), 1<<16)
			if err != nil {
				continue
			}
			size, exporter := parseFdinfo(info)
			i, ok := byHeap[exporter]
			if !ok {
				i = len(holders)
				byHeap[exporter] = i
				comm, _ := readFile(b.FS, dir+"/comm", 256)
				holders = append(holders, Holder{PID: pid, Comm: strings.TrimSpace(string(comm)), Heap: exporter})
			}
			holders[i].Buffers++
			holders[i].Bytes += size
		}
	}
	if hidden > 0 {
		b.note("holders", "/proc", fmt.Errorf("the descriptors of %d processes of other users are hidden", hidden))
	} else {
		b.note("holders", "/proc", nil)
	}
	return holders, hidden, nil
}

// parseFdinfo reads the fields that dma_buf_show_fdinfo writes.
func parseFdinfo(data []byte) (size uint64, exporter string) {
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		k, v, _ := strings.Cut(s.Text(), ":")
		v = strings.TrimSpace(v)
		switch k {
		case "size":
			size, _ = strconv.ParseUint(v, 10, 64)
		case "exp_name":
			exporter = v
		}
	}
	return size, exporter
}
