// SPDX-License-Identifier: MIT

package sysinfo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// An FS is the root file system of a board: the live one, or a copy that
// somebody sent. Beside fs.FS it tells a link from what it points to.
type FS interface {
	fs.FS
	Lstat(name string) (fs.FileInfo, error)
	ReadLink(name string) (string, error)
}

// Bounds of what is read from a board. Files of a sane board stay far below;
// nothing behind them is trusted to end.
const (
	maxFile    = 4 << 20
	maxEntries = 1 << 14
)

var errTooLarge = errors.New("larger than anything a kernel writes there")

// DirFS returns the FS below a directory.
func DirFS(dir string) FS { return &dirFS{dir} }

type dirFS struct{ dir string }

func (d *dirFS) path(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(d.dir, filepath.FromSlash(name)), nil
}

// Open opens a file. It does not wait for the other end of a pipe.
func (d *dirFS) Open(name string) (fs.File, error) {
	p, err := d.path("open", name)
	if err != nil {
		return nil, err
	}
	return os.OpenFile(p, os.O_RDONLY|nonblock, 0)
}

// Stat follows links.
func (d *dirFS) Stat(name string) (fs.FileInfo, error) {
	p, err := d.path("stat", name)
	if err != nil {
		return nil, err
	}
	return os.Stat(p)
}

// Lstat does not follow a link.
func (d *dirFS) Lstat(name string) (fs.FileInfo, error) {
	p, err := d.path("lstat", name)
	if err != nil {
		return nil, err
	}
	return os.Lstat(p)
}

// ReadLink returns where a link points to.
func (d *dirFS) ReadLink(name string) (string, error) {
	p, err := d.path("readlink", name)
	if err != nil {
		return "", err
	}
	return os.Readlink(p)
}

// readFile reads a whole file of at most limit bytes. The size that a file of
// proc or sysfs claims means nothing, so it is not asked for.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errTooLarge}
	}
	return data, nil
}

// readUint reads a file that holds one number, decimal or 0x hexadecimal.
func readUint(fsys fs.FS, name string) (uint64, error) {
	data, err := readFile(fsys, name, 64)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 0, 64)
	if err != nil {
		return 0, fmt.Errorf("/%s holds %q, not a number", name, data)
	}
	return n, nil
}

// readDir returns the sorted entries of a directory, as far as a board may
// have any.
func readDir(fsys fs.FS, name string) ([]fs.DirEntry, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries, err := d.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	return entries, nil
}

func exists(fsys FS, name string) bool {
	_, err := fsys.Lstat(name)
	return err == nil
}

// Reason drops the operation and the path from an error, where both stand
// beside it anyway.
func Reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// resolve returns the path a link leads to, with links between removed by
// following at most a few. It works on the FS alone, so that a link of a
// copied board never leads into this machine.
func resolve(fsys FS, name string) (string, error) {
	for range 8 {
		fi, err := fsys.Lstat(name)
		if err != nil {
			return "", err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			return name, nil
		}
		to, err := fsys.ReadLink(name)
		if err != nil {
			return "", err
		}
		if path.IsAbs(to) {
			name = strings.TrimPrefix(path.Clean(to), "/")
		} else {
			name = path.Join(path.Dir(name), to)
		}
		if !fs.ValidPath(name) {
			return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
		}
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: errors.New("too many links")}
}
