// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strings"
)

// FromFS reads a device tree from a directory as the kernel shows it at
// /proc/device-tree (os.DirFS("/sys/firmware/devicetree/base")): a directory
// per node, a file per property.
//
// The kernel keeps no order there, so nodes and properties are sorted by name.
// It also gives each node a property "name" that no blob has; it is left out,
// so that the tree can be compared with one that was parsed. Memory
// reservations and the boot CPU are not shown there at all.
//
// What vanishes while it is read (an overlay being removed) is skipped, and so
// are the "security-" properties, which only root may read. Anything that is
// neither directory nor regular file is not followed or opened: a device tree
// has no links and no pipes.
func FromFS(fsys fs.FS) (*Tree, error) {
	r := fsReader{fsys: fsys}
	root, err := r.node(".", "", 1)
	if err != nil {
		return nil, err
	}
	t := &Tree{Root: root}
	if err := t.Check(); err != nil {
		return nil, err
	}
	return t, nil
}

// fsReader holds what is counted over the whole directory tree.
type fsReader struct {
	fsys  fs.FS
	c     counts
	bytes int64
}

// node reads one directory. Errors of the file system already name the path.
func (r *fsReader) node(dir, name string, depth int) (*Node, error) {
	if err := r.c.node(depth); err != nil {
		return nil, fmt.Errorf("%w, at %s", err, dir)
	}
	entries, err := r.list(dir)
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name}
	for _, e := range entries {
		path := e.Name()
		if dir != "." {
			path = dir + "/" + path
		}
		switch {
		case e.IsDir():
			if msg := badNodeName(e.Name()); msg != "" {
				return nil, fmt.Errorf("%w: node %q in %s: %s", ErrMalformed, e.Name(), dir, msg)
			}
			c, err := r.node(path, e.Name(), depth+1)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			n.Children = append(n.Children, c)
		case e.Type().IsRegular():
			if msg := badPropName(e.Name()); msg != "" {
				return nil, fmt.Errorf("%w: property %q in %s: %s", ErrMalformed, e.Name(), dir, msg)
			}
			v, err := r.value(path)
			if errors.Is(err, fs.ErrNotExist) ||
				errors.Is(err, fs.ErrPermission) && strings.HasPrefix(e.Name(), "security-") {
				continue
			}
			if err != nil {
				return nil, err
			}
			if e.Name() == "name" && string(v) == baseName(name)+"\x00" {
				continue
			}
			if err := r.c.prop(len(e.Name())); err != nil {
				return nil, fmt.Errorf("%w, at %s", err, path)
			}
			p := Prop{Name: e.Name()}
			if len(v) > 0 {
				p.Value = v
			}
			n.Props = append(n.Props, p)
		}
	}
	return n, nil
}

// list reads a directory in portions, so that one with a million entries is
// refused before it is in memory, and sorts it.
func (r *fsReader) list(dir string) ([]fs.DirEntry, error) {
	f, err := r.fsys.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: errors.New("not a directory")}
	}
	var all []fs.DirEntry
	for {
		part, err := d.ReadDir(1024)
		all = append(all, part...)
		if r.c.nodes+r.c.props+len(all) > MaxNodes+MaxProps {
			return nil, fmt.Errorf("%w: %s has more than %d entries", ErrTooLarge, dir, len(all)-1)
		}
		if errors.Is(err, io.EOF) || err == nil && len(part) == 0 {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name() < all[j].Name() })
	return all, nil
}

// value reads one property. The size a file claims is not asked for: sysfs
// claims a page for all of them.
func (r *fsReader) value(path string) ([]byte, error) {
	f, err := r.fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	left := MaxSize - r.bytes
	v, err := io.ReadAll(io.LimitReader(f, left+1))
	if err != nil {
		return nil, err
	}
	if int64(len(v)) > left {
		return nil, fmt.Errorf("%w: the properties add up to more than %d bytes, at %s", ErrTooLarge, MaxSize, path)
	}
	r.bytes += int64(len(v))
	return v, nil
}
