// SPDX-License-Identifier: MIT

package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What is no file is written to, and stays what it is: a rename over /dev/null
// took it from the whole machine. A pipe stands for it, since making a device
// needs root.
func TestOutputIsNoFile(t *testing.T) {
	base := virtDTB(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	got := make(chan []byte)
	go func() {
		f, err := os.Open(pipe)
		if err != nil {
			got <- nil
			return
		}
		defer f.Close()
		data, _ := io.ReadAll(f)
		got <- data
	}()
	if code, _, stderr := heapctl(t, "import", base, "-o", pipe); code != ExitOK {
		t.Fatalf("import into a pipe: exit %d\n%s", code, stderr)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Fatalf("the pipe is now %v (%v)", info.Mode(), err)
	}
	if data := <-got; !strings.Contains(string(data), "version: 1") {
		t.Errorf("through the pipe came %q", data)
	}

	// The products of a compile go to a directory, where a pipe is a mistake.
	if err := os.Rename(pipe, filepath.Join(dir, "heaps.dtbo")); err != nil {
		t.Fatal(err)
	}
	config := writeTestFile(t, "heaps.yaml", []byte("version: 1\nheaps:\n- {name: video, kind: cma, size: 64MiB}\n"))
	code, _, stderr := heapctl(t, "compile", config, "--base", base, "-o", dir, "-q")
	if code != ExitCannotTest || !strings.Contains(stderr, "heaps.dtbo: is no regular file; nothing was written") {
		t.Errorf("compile over a pipe: exit %d\n%s", code, stderr)
	}
}

// A link to a file leads to the new one, and stays a link.
func TestOutputIsLink(t *testing.T) {
	dir := t.TempDir()
	link, file := filepath.Join(dir, "heaps.yaml"), filepath.Join(dir, "board.yaml")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("board.yaml", link); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "board.yaml" {
		t.Errorf("the link is gone: %q, %v", to, err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "new" {
		t.Errorf("the file has %q, %v", data, err)
	}
}
