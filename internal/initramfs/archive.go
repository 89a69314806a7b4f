// SPDX-License-Identifier: MIT

package initramfs

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// A File is one entry of an initramfs.
type File struct {
	Name string // path in the guest, with or without the first slash
	Mode uint32 // permission bits; 0 stands for 0644
	Data []byte
	Link string // makes the entry a symbolic link to this target
}

// File types of st_mode.
const (
	typeDir    = 0o040000
	typeDevice = 0o020000 // of characters
	typeFile   = 0o100000
	typeLink   = 0o120000
)

// Archive packs files into a newc archive that Linux unpacks as its first
// root filesystem. Parent directories come by themselves, and so do the two
// devices without which process 1 has neither output nor, for its children,
// input. The same files give the same bytes, and they are those of u-root's
// pkg/cpio, which would make heapctl a twentieth larger.
func Archive(files ...File) ([]byte, error) {
	w := writer{written: map[string]bool{".": true}}
	w.add(entry{name: "dev/console", mode: typeDevice | 0o600, major: 5, minor: 1})
	w.add(entry{name: "dev/null", mode: typeDevice | 0o666, major: 1, minor: 3})
	for _, f := range files {
		name := strings.TrimPrefix(path.Clean("/"+f.Name), "/")
		if name == "" {
			return nil, fmt.Errorf("initramfs: %q is no file name", f.Name)
		}
		e := entry{name: name, mode: typeFile | f.Mode, data: f.Data}
		if f.Mode == 0 {
			e.mode |= 0o644
		}
		if f.Link != "" {
			e.mode, e.data = typeLink|0o777, []byte(f.Link)
		}
		w.add(e)
	}
	w.record(entry{name: "TRAILER!!!"})
	return w.buf.Bytes(), w.err
}

type entry struct {
	name         string
	mode         uint32
	major, minor uint32
	data         []byte
}

// writer writes the format of Documentation/driver-api/early-userspace/
// buffer-format.rst. What would tell when and by whom an archive was made, or
// in which order a file system has its inodes, is zero.
type writer struct {
	buf     bytes.Buffer
	written map[string]bool
	err     error
}

// add writes an entry after its directories: the kernel makes no missing ones.
func (w *writer) add(e entry) {
	if dir := path.Dir(e.name); !w.written[dir] {
		w.add(entry{name: dir, mode: typeDir | 0o755})
	}
	if w.written[e.name] && w.err == nil {
		w.err = fmt.Errorf("initramfs: /%s is there twice", e.name)
	}
	w.written[e.name] = true
	w.record(e)
}

func (w *writer) record(e entry) {
	if uint64(len(e.data)) > 1<<32-1 && w.err == nil {
		w.err = fmt.Errorf("initramfs: /%s is larger than the format can say", e.name)
	}
	// inode, mode, uid, gid, links, mtime, size, device (2), what device it
	// is (2), length of the name with its end, checksum
	w.buf.WriteString("070701")
	for _, n := range []uint32{0, e.mode, 0, 0, 0, 0, uint32(len(e.data)), 0, 0, e.major, e.minor, uint32(len(e.name) + 1), 0} {
		fmt.Fprintf(&w.buf, "%08X", n)
	}
	w.buf.WriteString(e.name)
	w.buf.WriteByte(0)
	w.pad()
	w.buf.Write(e.data)
	w.pad()
}

func (w *writer) pad() {
	for w.buf.Len()%4 != 0 {
		w.buf.WriteByte(0)
	}
}
