// SPDX-License-Identifier: MIT

package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/internal/tinyjson"
)

// writeFiles writes all files into dir, or none: each goes to a temporary name
// beside its place first, and only when all are on the disk are they renamed.
// What stood there before stays until then, also when the power fails. A signal
// waits for it, so that no temporary file is left behind.
func writeFiles(dir string, files []emit.File) error {
	_, stop := interruptible(context.Background())
	defer stop()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s: %v", dir, reason(err))
	}
	var temps []*os.File
	defer func() {
		for _, t := range temps {
			t.Close()
			os.Remove(t.Name())
		}
	}()
	for _, f := range files {
		// A rename onto a directory fails when others have succeeded, and one
		// onto a device takes it from every program.
		switch info, err := os.Stat(filepath.Join(dir, f.Name)); {
		case err != nil || info.Mode().IsRegular():
		case info.IsDir():
			return fmt.Errorf("%s: is a directory; nothing was written", filepath.Join(dir, f.Name))
		default:
			return fmt.Errorf("%s: is no regular file; nothing was written", filepath.Join(dir, f.Name))
		}
		t, err := writeTemp(dir, f)
		if t != nil {
			temps = append(temps, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %v; nothing was written", filepath.Join(dir, f.Name), reason(err))
		}
	}
	if i, err := settle(temps); err != nil {
		return fmt.Errorf("%s: %v; nothing was written", filepath.Join(dir, files[i].Name), reason(err))
	}
	for i, f := range files {
		if err := os.Rename(temps[i].Name(), filepath.Join(dir, f.Name)); err != nil {
			return fmt.Errorf("%s: %v", filepath.Join(dir, f.Name), reason(err))
		}
	}
	temps = nil
	syncDir(dir)
	return nil
}

// writeTemp writes a file under a hidden name in dir. The file it returns is
// open still, also when it failed half-way.
func writeTemp(dir string, f emit.File) (*os.File, error) {
	t, err := os.CreateTemp(dir, "."+f.Name+".*")
	if err != nil {
		return nil, err
	}
	if _, err = t.Write(f.Data); err == nil {
		err = t.Chmod(0o644)
	}
	return t, err
}

// settle waits until files are on the disk and closes them. On an error it tells
// which file it was.
func settle(files []*os.File) (int, error) {
	for i, f := range files {
		if err := f.Sync(); err != nil {
			return i, err
		}
		if err := f.Close(); err != nil {
			return i, err
		}
	}
	return 0, nil
}

// syncDir makes the new names in a directory last, and the directory itself if
// it is new. Some file systems cannot, and what is there is whole in any case.
func syncDir(dir string) {
	for _, name := range []string{dir, filepath.Dir(dir)} {
		if d, err := os.Open(name); err == nil {
			_ = d.Sync()
			d.Close()
		}
	}
}

// replaceFile writes one file in one step: a reader sees the old content or the
// new one, never a part. Its directory must be there. A device or a pipe is
// written to, as a shell would: root's rename over /dev/null would be its end, for
// every program of the machine. A link stays one.
func replaceFile(name string, data []byte) error {
	switch info, err := os.Stat(name); {
	case err != nil || info.Mode().IsRegular():
	case info.IsDir():
		return fmt.Errorf("%s: is a directory", name)
	default:
		return writeInto(name, data)
	}
	if to, err := filepath.EvalSymlinks(name); err == nil {
		name = to
	}
	_, stop := interruptible(context.Background())
	defer stop()
	t, err := writeTemp(filepath.Dir(name), emit.File{Name: filepath.Base(name), Data: data})
	if err == nil {
		_, err = settle([]*os.File{t})
	}
	if err == nil {
		err = os.Rename(t.Name(), name)
	}
	if err != nil {
		if t != nil {
			t.Close()
			os.Remove(t.Name())
		}
		return fmt.Errorf("%s: %v", name, reason(err))
	}
	syncDir(filepath.Dir(name))
	return nil
}

// writeInto writes to what is there and is no file.
func writeInto(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(data)
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %v", name, reason(err))
	}
	return nil
}

// writeJSON writes a document.
func writeJSON(w io.Writer, v any) error {
	data, err := tinyjson.Marshal(v)
	if err != nil {
		return &ExitError{ExitCannotTest, err}
	}
	_, err = w.Write(data)
	return err
}
