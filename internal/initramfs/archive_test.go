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
