// SPDX-License-Identifier: MIT

package initramfs

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"
)

func TestArchive(t *testing.T) {
	files := []File{
		{Name: "/init", Mode: 0o755, Data: []byte("program")},
		{Name: "etc/dmaheap/init.json", Data: []byte("{}")},
		{Name: "bin/sh", Link: "busybox"},
	}
	img, err := Archive(files...)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Archive(files...)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(img, again) {
		t.Error("the same files gave two different archives")
	}

	format, err := cpio.Format("newc")
	if err != nil {
		t.Fatal(err)
	}
	records, err := cpio.ReadAllRecords(cpio.EOFReader{RecordReader: format.Reader(bytes.NewReader(img))})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		got = append(got, r.Name)
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
			t.Errorf("%s has mtime %d, owner %d:%d; want zeros", r.Name, r.MTime, r.UID, r.GID)
		}
	}
	// Directories come before what is in them: the kernel makes none itself.
	want := []string{"dev", "dev/console", "dev/null", "init", "etc", "etc/dmaheap", "etc/dmaheap/init.json", "bin", "bin/sh"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
}

// u-root's pkg/cpio is the judge: it makes the same archive of the same files,
// byte for byte.
func TestArchiveAsURoot(t *testing.T) {
	got, err := Archive(File{Name: "/init", Link: "bin/heapctl"}, File{Name: "/bin/heapctl", Mode: 0o755, Data: []byte("program")},
		File{Name: "/etc/empty"}, File{Name: "/etc/dmaheap/init.json", Data: []byte("{}\n")})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	format, err := cpio.Format("newc")
	if err != nil {
		t.Fatal(err)
	}
	w := format.Writer(&want)
	for _, r := range []cpio.Record{
		cpio.Directory("dev", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.Symlink("init", "bin/heapctl"), cpio.Directory("bin", 0o755), cpio.StaticFile("bin/heapctl", "program", 0o755),
		cpio.Directory("etc", 0o755), cpio.StaticFile("etc/empty", "", 0o644),
		cpio.Directory("etc/dmaheap", 0o755), cpio.StaticFile("etc/dmaheap/init.json", "{}\n", 0o644),
	} {
		if err := w.WriteRecord(cpio.MakeReproducible(r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.String(), string(got)); d != "" {
		t.Errorf("the archive is not the one of pkg/cpio (-pkg/cpio +ours):\n%s", d)
	}
}

func TestArchiveRefuses(t *testing.T) {
	for _, files := range [][]File{
		{{Name: "/"}},
		{{Name: "a"}, {Name: "/a"}},
		{{Name: "a/b"}, {Name: "a"}},
		{{Name: "dev/console"}},
	} {
		if _, err := Archive(files...); err == nil {
			t.Errorf("Archive(%v) gave no error", files)
		}
	}
}
