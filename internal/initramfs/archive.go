// SPDX-License-Identifier: MIT

package initramfs

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
)

// A File is one entry of an initramfs.
type File struct {
	Name string // path in the guest, with or without the first slash
	Mode uint32 // permission bits; 0 stands for 0644
	Data []byte
	Link string // makes the entry a symbolic link to this target
}

// Archive packs files into a newc archive that Linux unpacks as its first
// root filesystem. Parent directories come by themselves, and so do the two
// devices without which process 1 has neither output nor, for its children,
// input. The same files give the same bytes.
func Archive(files ...File) ([]byte, error) {
	records := []cpio.Record{
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
	}
	for _, f := range files {
		name := strings.TrimPrefix(path.Clean("/"+f.Name), "/")
		if name == "" {
			return nil, fmt.Errorf("initramfs: %q is no file name", f.Name)
		}
		mode := uint64(f.Mode)
		if mode == 0 {
			mode = 0o644
		}
		if f.Link != "" {
			records = append(records, cpio.Symlink(name, f.Link))
		} else {
			records = append(records, cpio.StaticFile(name, string(f.Data), mode))
		}
	}

	var buf bytes.Buffer
	format, err := cpio.Format("newc")
	if err != nil {
		return nil, err
	}
	w := format.Writer(&buf)
	// The kernel does not make missing directories: each has to precede what
	// is in it.
	written := map[string]bool{".": true}
	var parents func(dir string) error
	parents = func(dir string) error {
		if written[dir] {
			return nil
		}
		if err := parents(path.Dir(dir)); err != nil {
			return err
		}
		written[dir] = true
		return w.WriteRecord(cpio.MakeReproducible(cpio.Directory(dir, 0o755)))
	}
	for _, r := range records {
		if err := parents(path.Dir(r.Name)); err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
		if written[r.Name] {
			return nil, fmt.Errorf("initramfs: /%s is there twice", r.Name)
		}
		written[r.Name] = true
		if err := w.WriteRecord(cpio.MakeReproducible(r)); err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return buf.Bytes(), nil
}
