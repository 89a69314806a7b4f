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

// Holders returns who holds buffers of which heap, from the descriptors in
// /proc/PID/fd and their fdinfo, and from the mappings in /proc/PID/maps: a
// program may close the descriptor and go on using the memory. Processes of
// other users are seen by root only; hidden tells how many were not.
func (b *Board) Holders() (holders []Holder, hidden int, err error) {
	procs, err := readDir(b.FS, "proc")
	if err != nil {
		b.note("holders", "/proc", err)
		return nil, 0, err
	}
	// A mapping names only the inode of its buffer; debugfs knows the heap.
	exporters := map[string]string{}
	if bufs, err := b.DMABufs(); err == nil {
		for _, d := range bufs {
			exporters[strings.TrimLeft(d.Inode, "0")] = d.Exporter
		}
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
		add := func(exporter string, size uint64) {
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
		open := map[string]bool{} // inodes
		for _, fd := range fds {
			link, err := b.FS.ReadLink(dir + "/fd/" + fd.Name())
			if err != nil || !strings.HasPrefix(link, "/dmabuf:") {
				continue
			}
			info, err := readFile(b.FS, dir+"/fdinfo/"+fd.Name(), 1<<16)
			if err != nil {
				continue
			}
			size, exporter, inode := parseFdinfo(info)
			if inode != "" && open[inode] {
				continue // a second descriptor of the same buffer
			}
			open[inode] = true
			add(exporter, size)
		}
		maps, err := readFile(b.FS, dir+"/maps", maxFile)
		if err != nil {
			continue
		}
		for inode, size := range parseMaps(maps) {
			if exporter := exporters[inode]; exporter != "" && !open[inode] {
				add(exporter, size)
			}
		}
	}
	if hidden > 0 {
		b.note("holders", "/proc", fmt.Errorf("the descriptors of %d processes of other users are hidden", hidden))
	} else {
		b.note("holders", "/proc", nil)
	}
	return holders, hidden, nil
}

// parseFdinfo reads the fields that dma_buf_show_fdinfo and, since 5.14, the
// core of fdinfo write.
func parseFdinfo(data []byte) (size uint64, exporter, inode string) {
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		k, v, _ := strings.Cut(s.Text(), ":")
		v = strings.TrimSpace(v)
		switch k {
		case "size":
			size, _ = strconv.ParseUint(v, 10, 64)
		case "exp_name":
			exporter = v
		case "ino":
			inode = v
		}
	}
	return size, exporter, inode
}

// parseMaps returns the mapped bytes of each dma-buf by its inode, from lines
// such as "ffff8000-ffff9000 rw-s 00000000 00:0b 33 /dmabuf:frame".
func parseMaps(data []byte) map[string]uint64 {
	out := map[string]uint64{}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan() && len(out) < maxEntries; {
		f := strings.Fields(s.Text())
		if len(f) < 6 || !strings.HasPrefix(f[5], "/dmabuf:") {
			continue
		}
		lo, hi, _ := strings.Cut(f[0], "-")
		first, err1 := strconv.ParseUint(lo, 16, 64)
		end, err2 := strconv.ParseUint(hi, 16, 64)
		if err1 == nil && err2 == nil && end > first {
			out[f[4]] += end - first
		}
	}
	return out
}
