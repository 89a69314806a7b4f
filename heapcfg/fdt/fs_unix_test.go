// SPDX-License-Identifier: MIT

//go:build unix

package fdt

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFromFSHost reads a directory of the file system, against dtc reading the
// same one, with what does not belong there beside the properties.
func TestFromFSHost(t *testing.T) {
	dir := t.TempDir()
	for name, f := range asFS(sorted(board(t))) {
		path := filepath.Join(dir, name)
		if f.Mode.IsDir() {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := mustParse(t, tool(t, nil, "dtc", "-q", "-I", "fs", "-O", "dtb", dir))
	if err := want.Walk(func(_ string, n *Node) error { n.Remove("name"); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(dir, "soc", "loop")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := FromFS(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(want), got); diff != "" {
		t.Errorf("FromFS: -dtc +got\n%s", diff)
	}
}
