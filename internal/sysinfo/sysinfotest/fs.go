// SPDX-License-Identifier: MIT

// Package sysinfotest has an in-memory board for tests.
package sysinfotest

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing/fstest"

	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// FS is the root of a board in memory. Unlike fstest.MapFS it has symlinks on
// every Go release, and files that may not be read.
type FS map[string]*fstest.MapFile

// File adds a regular file.
func (m FS) File(name, content string) { m[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644} }

// Link adds a symlink.
func (m FS) Link(name, to string) {
	m[name] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
}

// Device adds a character device.
func (m FS) Device(name string, mode fs.FileMode, o sysinfo.Owner) {
	m[name] = &fstest.MapFile{Mode: fs.ModeDevice | fs.ModeCharDevice | mode, Sys: &o}
}

// Forbid makes a file one that only root may read.
func (m FS) Forbid(name string) { m[name] = &fstest.MapFile{Sys: fs.ErrPermission} }

func (m FS) plain() fstest.MapFS {
	out := fstest.MapFS{}
	for name, f := range m {
		out[name] = f
	}
	return out
}

// Open follows links, also those in the middle of a path.
func (m FS) Open(name string) (fs.File, error) {
	real, err := m.follow(name, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if f := m[real]; f != nil && f.Sys == fs.ErrPermission {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return m.plain().Open(real)
}

func (m FS) follow(name string, depth int) (string, error) {
	if depth > 8 {
		return "", errors.New("too many links")
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		p := path.Join(parts[:i+1]...)
		f := m[p]
		if f == nil || f.Mode&fs.ModeSymlink == 0 {
			continue
		}
		to := string(f.Data)
		if path.IsAbs(to) {
			to = strings.TrimPrefix(to, "/")
		} else {
			to = path.Join(path.Dir(p), to)
		}
		return m.follow(path.Join(append([]string{to}, parts[i+1:]...)...), depth+1)
	}
	return name, nil
}

// Lstat does not follow a link at the end of the path.
func (m FS) Lstat(name string) (fs.FileInfo, error) {
	entries, err := fs.ReadDir(m.plain(), path.Dir(name))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == path.Base(name) {
			return e.Info()
		}
	}
	return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
}

// ReadLink returns where a link points to.
func (m FS) ReadLink(name string) (string, error) {
	if f := m[name]; f != nil && f.Mode&fs.ModeSymlink != 0 {
		return string(f.Data), nil
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
}
