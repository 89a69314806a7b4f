// SPDX-License-Identifier: MIT

package sysinfo

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// HeapDir is where the device nodes of heaps are.
const HeapDir = "/dev/dma_heap"

// A Node is an entry of /dev/dma_heap.
type Node struct {
	Name string
	// Link is the name of the heap that a symlink leads to, "" for the
	// device node itself. Broken says that it leads nowhere.
	Link   string
	Broken bool
	Device bool // a character device
	Mode   fs.FileMode
	Owner  Owner
	Owned  bool // Owner is known
}

// Path returns the path of the node.
func (n Node) Path() string { return HeapDir + "/" + n.Name }

// Perm returns the permission bits.
func (n Node) Perm() uint32 { return uint32(n.Mode.Perm()) }

// Nodes returns the entries of /dev/dma_heap, links among them, by name.
func (b *Board) Nodes() ([]Node, error) {
	dir := strings.TrimPrefix(HeapDir, "/")
	entries, err := readDir(b.FS, dir)
	b.note("heaps", HeapDir, err)
	if err != nil {
		return nil, err
	}
	var out []Node
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		fi, err := b.FS.Lstat(p)
		if err != nil {
			continue // gone since the directory was read
		}
		n := Node{Name: e.Name(), Mode: fi.Mode(), Device: fi.Mode()&fs.ModeCharDevice != 0}
		if fi.Mode()&fs.ModeSymlink != 0 {
			to, err := resolve(b.FS, p)
			n.Broken = err != nil
			if err == nil {
				n.Link = strings.TrimPrefix(to, dir+"/")
			} else if n.Link, err = b.FS.ReadLink(p); err != nil {
				n.Link = "?"
			}
		}
		n.Owner, n.Owned = ownerOf(fi)
		out = append(out, n)
	}
	return out, nil
}

// classDir lists the heaps that the kernel registered, whatever became of
// their device nodes.
const classDir = "sys/class/dma_heap"

// Registered returns the names of the heaps that the kernel has, from
// /sys/class/dma_heap. In a container it tells a missing device node from a
// missing heap.
func (b *Board) Registered() ([]string, error) {
	entries, err := readDir(b.FS, classDir)
	b.note("registered heaps", "/"+classDir, err)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, nil
}

// Container returns what the process is contained in, "" if in nothing that
// shows itself.
func (b *Board) Container() string {
	for _, c := range []struct{ file, name string }{
		{".dockerenv", "docker"}, {"run/.containerenv", "podman"},
	} {
		if exists(b.FS, c.file) {
			return c.name
		}
	}
	if env, err := readFile(b.FS, "proc/1/environ", 1<<16); err == nil {
		for _, kv := range strings.Split(string(env), "\x00") {
			if name, ok := strings.CutPrefix(kv, "container="); ok && name != "" {
				return name
			}
		}
	}
	if cg, err := readFile(b.FS, "proc/1/cgroup", 1<<16); err == nil {
		for _, name := range []string{"docker", "kubepods", "lxc", "libpod"} {
			if strings.Contains(string(cg), "/"+name) {
				return name
			}
		}
	}
	return ""
}

// A Quantity is a number and the file it came from. It is unknown while From
// is empty.
type Quantity struct {
	Value uint64
	From  string
}

// Known reports whether any source told the number.
func (q Quantity) Known() bool { return q.From != "" }

// Usage is the memory behind a heap, in bytes, as far as this kernel tells.
type Usage struct {
	Base    Quantity // physical address
	Size    Quantity
	Used    Quantity
	Largest Quantity // largest free block
	Buffers Quantity
	Failed  Quantity // allocations that failed
}

// Usage asks for the memory behind a heap: first the files our heaps have,
// then those of the CMA area. The area usually has the name of the heap, but
// not always; its names are tried in turn.
func (b *Board) Usage(heap string, areas ...string) Usage {
	var u Usage
	take := func(q *Quantity, file string, scale uint64) error {
		if q.Known() {
			return nil
		}
		v, err := readUint(b.FS, file)
		if err != nil {
			return err
		}
		if scale > 1 && v > ^uint64(0)/scale {
			return errTooLarge
		}
		*q = Quantity{v * scale, "/" + file}
		return nil
	}
	own := "sys/kernel/dma_heap/" + heap
	ownErr := take(&u.Size, own+"/size", 1)
	if ownErr == nil {
		_ = take(&u.Used, own+"/used", 1)
		_ = take(&u.Largest, own+"/largest_free", 1)
		_ = take(&u.Buffers, own+"/buffers", 1)
		_ = take(&u.Failed, own+"/alloc_failures", 1)
	}
	for _, area := range append([]string{heap}, areas...) {
		if area == "" || strings.Contains(area, "/") {
			continue
		}
		for _, dir := range cmaDirs(area) {
			err := take(&u.Size, dir+"/count", b.PageSize)
			_ = take(&u.Largest, dir+"/maxchunk", b.PageSize)
			_ = take(&u.Used, dir+"/used", b.PageSize)
			if take(&u.Base, dir+"/base_pfn", b.PageSize) != nil {
				_ = take(&u.Base, dir+"/ranges/0/base_pfn", b.PageSize) // since 6.15
			}
			if err == nil {
				break
			}
		}
		sys := "sys/kernel/mm/cma/" + area
		if take(&u.Size, sys+"/total_pages", b.PageSize) == nil {
			if !u.Used.Known() {
				var avail Quantity
				if take(&avail, sys+"/available_pages", b.PageSize) == nil && avail.Value <= u.Size.Value {
					u.Used = Quantity{u.Size.Value - avail.Value, avail.From}
				}
			}
		}
		_ = take(&u.Failed, sys+"/alloc_pages_fail", 1)
	}
	switch entries, err := readDir(b.FS, "sys/kernel/debug"); {
	case u.Size.Known():
		ownErr = nil // another source told
	case err == nil && len(entries) == 0:
		ownErr = errors.New("debugfs is not mounted on /sys/kernel/debug")
	case errors.Is(err, fs.ErrPermission):
		ownErr = errors.New("only root may read debugfs")
	}
	b.note("numbers of "+heap, "/"+own+", /sys/kernel/debug/cma, /sys/kernel/mm/cma", ownErr)
	return u
}

// cmaDirs returns where debugfs shows a CMA area: before 6.1 the name has a
// prefix and is cut to 15 characters (mm/cma_debug.c).
func cmaDirs(area string) []string {
	old := "cma-" + area
	return []string{"sys/kernel/debug/cma/" + area, "sys/kernel/debug/cma/" + old[:min(len(old), 15)]}
}
