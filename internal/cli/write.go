// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/dmaheap/dmaheap/heapcfg/emit"
)

// writeFiles writes all files into dir, or none: each goes to a temporary name
// beside its place first, and only when all are written are they renamed. What
// stood there before stays until then.
func writeFiles(dir string, files []emit.File) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s: %v", dir, reason(err))
	}
	var temps []string
	defer func() {
		for _, t := range temps {
			os.Remove(t)
		}
	}()
	for _, f := range files {
		// The one way in which a rename beside its own file still fails.
		if info, err := os.Lstat(filepath.Join(dir, f.Name)); err == nil && info.IsDir() {
			return fmt.Errorf("%s: is a directory; nothing was written", filepath.Join(dir, f.Name))
		}
		t, err := writeTemp(dir, f)
		if t != "" {
			temps = append(temps, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %v; nothing was written", filepath.Join(dir, f.Name), reason(err))
		}
	}
	for i, f := range files {
		if err := os.Rename(temps[i], filepath.Join(dir, f.Name)); err != nil {
			return fmt.Errorf("%s: %v", filepath.Join(dir, f.Name), reason(err))
		}
	}
	temps = nil
	return nil
}

// writeTemp writes a file under a hidden name in dir and returns that name,
// also when it failed half-way.
func writeTemp(dir string, f emit.File) (string, error) {
	t, err := os.CreateTemp(dir, "."+f.Name+".*")
	if err != nil {
		return "", err
	}
	_, err = t.Write(f.Data)
	if err == nil {
		err = t.Chmod(0o644)
	}
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	return t.Name(), err
}

// replaceFile writes one file in one step: a reader sees the old content or the
// new one, never a part. Its directory must be there.
func replaceFile(name string, data []byte) error {
	t, err := writeTemp(filepath.Dir(name), emit.File{Name: filepath.Base(name), Data: data})
	if err == nil {
		err = os.Rename(t, name)
	}
	if err != nil {
		if t != "" {
			os.Remove(t)
		}
		return fmt.Errorf("%s: %v", name, reason(err))
	}
	return nil
}

// splitPath divides a path into its directory and its file.
func splitPath(path string) (dir, file string) {
	return filepath.Dir(path), filepath.Base(path)
}
