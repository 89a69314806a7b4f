// SPDX-License-Identifier: MIT

// Package sysinfo reads the state of a board: its heaps and who may open them,
// its memory and who holds it, and what the kernel was built with and said.
//
// Everything comes through an [FS], so that a test, or a copy of /proc and
// /sys that a customer sent, is read as the live board is. Kernels differ in
// what they show, so each fact has a chain of sources; a source that did not
// answer is remembered with its reason, because what could not be seen is part
// of a verdict. Nothing read here is trusted to be short, sane or printable.
package sysinfo

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// An Owner is who a file belongs to and, for a device node, its number.
type Owner struct {
	UID, GID     uint32
	Major, Minor uint32
}

// A Caller is the process that looks.
type Caller struct {
	UID    int
	Groups []int // the effective one first
}

// A Source is one place that was asked, and why it did not answer.
type Source struct {
	Name string // what was wanted from it
	Path string
	Err  error
}

// Options say how a board is to be read.
type Options struct {
	// Live says that the FS is the root of this machine, and so its kernel
	// is the running one.
	Live bool
	// Log returns the kernel log; nil takes the running kernel's when Live.
	Log func() ([]byte, error)
	// Caller is who asks; nil takes this process.
	Caller *Caller
	// PageSize is the kernel's; 0 takes this machine's.
	PageSize uint64
}

// A Board is a machine with its kernel. Its methods read on demand, and what
// they read they keep; a Board is not for concurrent use.
type Board struct {
	FS       FS
	Live     bool
	Release  string // as in uname -r; empty if unknown
	Kernel   heapcfg.Version
	PageSize uint64
	Cmdline  string
	Caller   Caller

	readLog func() ([]byte, error)
	sources []Source
	tree    memo[*fdt.Tree]
	config  memo[Config]
	log     memo[[]string]
	iomem   memo[[]Resource]
	groups  memo[[]Group]
	rules   memo[[]Rule]
}

// memo keeps the first answer.
type memo[T any] struct {
	done bool
	val  T
	err  error
}

func (m *memo[T]) get(fn func() (T, error)) (T, error) {
	if !m.done {
		m.val, m.err = fn()
		m.done = true
	}
	return m.val, m.err
}

// New reads what a board says about itself at no cost, and nothing else yet.
func New(fsys FS, o Options) *Board {
	b := &Board{FS: fsys, Live: o.Live, PageSize: o.PageSize, readLog: o.Log}
	if b.PageSize == 0 {
		b.PageSize = uint64(os.Getpagesize())
	}
	switch {
	case o.Caller != nil:
		b.Caller = *o.Caller
	default:
		b.Caller.UID = os.Geteuid()
		b.Caller.Groups = append(b.Caller.Groups, os.Getegid())
		if more, err := os.Getgroups(); err == nil {
			b.Caller.Groups = append(b.Caller.Groups, more...)
		}
	}
	if b.readLog == nil && b.Live {
		b.readLog = kernelLog
	}
	b.Release = b.release()
	b.Kernel, _ = heapcfg.ParseVersion(b.Release)
	if data, err := b.read("command line", "proc/cmdline"); err == nil {
		b.Cmdline = strings.TrimSpace(string(data))
	}
	return b
}

// release returns the kernel release. Kernels without CONFIG_PROC_SYSCTL tell
// it in /proc/version only: "Linux version 6.12.117 (builder@host) ...".
func (b *Board) release() string {
	if data, err := readFile(b.FS, "proc/sys/kernel/osrelease", 256); err == nil {
		return strings.TrimSpace(string(data))
	}
	data, err := b.read("kernel release", "proc/version")
	if err != nil {
		return ""
	}
	words := strings.Fields(strings.TrimPrefix(string(data), "Linux version "))
	if len(words) == 0 || !strings.HasPrefix(string(data), "Linux version ") {
		return ""
	}
	return words[0]
}

// Sources returns every place that was asked so far, in the order of asking.
func (b *Board) Sources() []Source { return b.sources }

// note remembers that a source was asked. The last answer counts.
func (b *Board) note(name, path string, err error) {
	for i := range b.sources {
		if s := &b.sources[i]; s.Name == name && s.Path == path {
			s.Err = err
			return
		}
	}
	b.sources = append(b.sources, Source{name, path, err})
}

// read reads a file and notes how that went.
func (b *Board) read(what, path string) ([]byte, error) {
	data, err := readFile(b.FS, path, maxFile)
	b.note(what, "/"+path, err)
	return data, err
}

// Param returns the value of a kernel parameter. Of several the last counts,
// as it does for the parameters that matter here.
func (b *Board) Param(name string) (value string, ok bool) {
	for _, word := range strings.Fields(b.Cmdline) {
		k, v, _ := strings.Cut(word, "=")
		if k == name {
			value, ok = strings.Trim(v, `"`), true
		}
	}
	return value, ok
}

// treeDir is where the kernel shows the device tree it was booted with.
// /proc/device-tree is a link to it.
const treeDir = "sys/firmware/devicetree/base"

// TreePath is treeDir as evidence names it.
const TreePath = "/proc/device-tree"

// Tree returns the live device tree, as far as memory goes: the root's own
// properties, the memory nodes, /reserved-memory, /chosen and the names. The
// rest of a large tree takes longer to read than all checks together.
func (b *Board) Tree() (*fdt.Tree, error) {
	return b.tree.get(func() (*fdt.Tree, error) {
		t, err := b.readTree(func(tree fs.FS) fs.FS { return memoryOnly{tree} })
		b.note("device tree", TreePath, err)
		return t, err
	})
}

// Layout returns what the live device tree asks the kernel for, so that the
// rules of the compiler can be asked about the board. The error says why there
// is none: no tree, or one that cannot be used.
func (b *Board) Layout() (*heapcfg.Layout, error) { return b.layoutFor(b.Target()) }

func (b *Board) layoutFor(t heapcfg.Target) (*heapcfg.Layout, error) {
	tree, err := b.Tree()
	if err != nil {
		return nil, err
	}
	l, findings := heapcfg.FromTree(TreePath, tree, t)
	if l == nil {
		return nil, errors.New(findings[0].Place.Path + ": " + findings[0].Message)
	}
	return l, nil
}

// Model returns what the device tree calls the board, "" without a tree. It
// reads no more than that: it is for the first line that people see.
func (b *Board) Model() string {
	for _, file := range []string{"model", "compatible"} {
		for _, dir := range []string{treeDir, "proc/device-tree"} {
			data, err := readFile(b.FS, dir+"/"+file, 4096)
			if name, _, _ := strings.Cut(string(data), "\x00"); err == nil && name != "" {
				return name
			}
		}
	}
	return ""
}

// WholeTree returns all of the live device tree.
func (b *Board) WholeTree() (*fdt.Tree, error) {
	return b.readTree(func(tree fs.FS) fs.FS { return tree })
}

func (b *Board) readTree(part func(fs.FS) fs.FS) (*fdt.Tree, error) {
	dir := treeDir
	if !exists(b.FS, dir) {
		dir = "proc/device-tree"
	}
	sub, err := fs.Sub(b.FS, dir)
	if err != nil {
		return nil, err
	}
	t, err := fdt.FromFS(part(sub))
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		err = errors.New("this machine was not booted with a device tree")
	}
	return t, err
}

// memoryOnly hides the nodes of a device tree that say nothing about memory.
type memoryOnly struct{ fs.FS }

func (m memoryOnly) Open(name string) (fs.File, error) {
	f, err := m.FS.Open(name)
	if err != nil || name != "." {
		return f, err
	}
	if d, ok := f.(fs.ReadDirFile); ok {
		return memoryDir{d}, nil
	}
	return f, nil
}

type memoryDir struct{ fs.ReadDirFile }

func (d memoryDir) ReadDir(n int) ([]fs.DirEntry, error) {
	for {
		entries, err := d.ReadDirFile.ReadDir(n)
		kept := entries[:0]
		for _, e := range entries {
			base, _, _ := strings.Cut(e.Name(), "@")
			switch {
			case !e.IsDir(), base == "memory", strings.HasPrefix(base, "reserved"),
				base == "chosen", base == "aliases", base == "__symbols__":
				kept = append(kept, e)
			}
		}
		if len(kept) > 0 || err != nil || n <= 0 || len(entries) == 0 {
			return kept, err
		}
	}
}

// plainTarget is Target without what only the kernel's configuration tells:
// unpacking that takes longer than all else that a list of heaps needs.
func (b *Board) plainTarget() heapcfg.Target {
	t := heapcfg.Target{Kernel: b.Kernel, PageSize: b.PageSize, Patched: exists(b.FS, "sys/kernel/dma_heap")}
	if t.Kernel.IsZero() {
		t.Kernel = heapcfg.DefaultTarget().Kernel
	}
	return t
}

// Target returns the kernel as the rules need to know it. Patched says that
// the heaps of the project's patches are seen or built in.
func (b *Board) Target() heapcfg.Target {
	t := b.plainTarget()
	if c, err := b.Config(); err == nil {
		t.Configure(c.Value)
		t.Patched = t.Patched || c.Has("DMABUF_HEAPS_CARVEOUT")
	}
	return t
}
