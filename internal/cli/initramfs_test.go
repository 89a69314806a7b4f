// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/internal/initramfs"
)

// elf makes a 64-bit ELF program with one program header.
func elf(machine uint16, segment uint32) []byte {
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], 2)
	binary.LittleEndian.PutUint16(b[18:], machine)
	binary.LittleEndian.PutUint64(b[32:], 64)
	binary.LittleEndian.PutUint16(b[54:], 56)
	binary.LittleEndian.PutUint16(b[56:], 1)
	binary.LittleEndian.PutUint32(b[64:], segment)
	return b
}

func TestELFProgram(t *testing.T) {
	short := elf(183, 1)
	binary.LittleEndian.PutUint16(short[56:], 200)
	for _, tt := range []struct {
		name        string
		data        []byte
		machine     string
		static, isP bool
	}{
		{"static", elf(183, 1), "arm64", true, true},
		{"dynamic", elf(62, 3), "x86-64", false, true},
		{"unknown machine", elf(9999, 1), "machine 9999", true, true},
		{"cut", elf(183, 1)[:40], "", false, false},
		{"headers past the end", short, "", false, false},
		{"script", []byte("#!/bin/sh\n"), "", false, false},
	} {
		machine, static, ok := elfProgram(tt.data)
		if machine != tt.machine || static != tt.static || ok != tt.isP {
			t.Errorf("%s: %q, static %v, %v", tt.name, machine, static, ok)
		}
	}
}

func FuzzELFProgram(f *testing.F) {
	f.Add(elf(183, 1))
	f.Add([]byte("\x7fELF\x01\x02"))
	f.Fuzz(func(t *testing.T, data []byte) { elfProgram(data) })
}

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	if code, stdout, stderr := heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "-o", dir); code != ExitOK {
		t.Fatalf("compile: exit %d\n%s%s", code, stdout, stderr)
	}
	write := func(name string, data []byte, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	program := write("heapctl-arm64", elf(183, 1), 0o755)
	dynamic := write("dynamic", elf(183, 3), 0o755)
	module := write("cma_heap.ko", elf(183, 1), 0o644)
	busybox := write("busybox", elf(183, 1), 0o755)
	lock := filepath.Join(dir, "heaps.lock.json")
	out := filepath.Join(dir, "out.cpio")

	pack := func(args ...string) (int, string, string) {
		return heapctl(t, append([]string{"initramfs", "--program", program, "-o", out}, args...)...)
	}
	args := []string{lock, "--then", "init", "--root", "/dev/mmcblk0p2", "--module", module, "--add", busybox + ":/bin/sh", "--", "--full", "-o", "lava"}
	code, stdout, stderr := pack(args...)
	if code != ExitOK || stderr != "" || !strings.Contains(stdout, "for arm64") || !strings.Contains(stdout, "check --full -o lava") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	first, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bin/heapctl\x00", "init\x00", "lib/modules/00-cma_heap.ko\x00", "bin/sh\x00", "etc/group\x00",
		`"then": "init"`, `"root": "/dev/mmcblk0p2"`, `"lava"`, `SYMLINK+="dma_heap/video"`, "video:x:44:"} {
		if !bytes.Contains(first, []byte(want)) {
			t.Errorf("the archive lacks %q", want)
		}
	}
	if code, _, stderr := pack(args...); code != ExitOK {
		t.Fatalf("again: exit %d, %s", code, stderr)
	}
	if again, err := os.ReadFile(out); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the same files give another archive (%v)", err)
	}
	if code, stdout, _ := heapctl(t, "initramfs", "--program", program, "-o", "-"); code != ExitOK || !strings.Contains(stdout, "TRAILER!!!") || strings.Contains(stdout, "for arm64") {
		t.Errorf("to standard output: exit %d, %d bytes", code, len(stdout))
	}

	for _, tt := range []struct {
		says string
		args []string
	}{
		{"--then explode: use one of poweroff, reboot, shell, init", []string{"--then", "explode"}},
		{"flags of the check: unknown flag: --fulll", []string{"--", "--fulll"}},
		{"flags of the check: unknown output format \"yaml\"", []string{"--", "-o", "yaml"}},
		{"flags of the check: no such profile: \"gstramer\"", []string{"--", "--profile", "gstramer"}},
		{"[full quick]", []string{"--", "--full", "--quick"}},
		{"a lock file stands before --", []string{"--", "--full", lock}},
		{"not linked statically", []string{"--program", dynamic}},
		{"no Linux program", []string{"--program", lock}},
		{"no such file", []string{"--program", filepath.Join(dir, "none")}},
		{"not a heapctl lock file", []string{program}},
		{"one lock file at most", []string{lock, lock}},
		{"write FILE:/PATH", []string{"--add", busybox}},
		{"/bin/heapctl is there twice", []string{"--add", busybox + ":/bin/heapctl"}},
		{"no kernel module", []string{"--module", lock}},
		{"--root and --init are for --then init", []string{"--root", "/dev/sda"}},
		{"not an absolute path", []string{"--then", "init", "--init", "sbin/init"}},
	} {
		code, stdout, stderr := pack(tt.args...)
		if code != ExitUsage || !strings.Contains(stderr, tt.says) {
			t.Errorf("%q: exit %d, %q, want 2 and %q", tt.args, code, stdout+stderr, tt.says)
		}
	}
}

// The plan that the verb writes is one that the init reads.
func TestInitramfsPlan(t *testing.T) {
	p := initramfs.Plan{Modules: []string{"/lib/modules/00-a.ko"}, Run: [][]string{{initramfs.Program, "check"}}, Then: initramfs.Reboot}
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := initramfs.ParsePlan(data); err != nil || got.Then != p.Then || len(got.Modules) != 1 {
		t.Errorf("ParsePlan = %+v, %v", got, err)
	}
	for _, bad := range []initramfs.Plan{{Run: p.Run, Then: "explode"}, {Run: p.Run, Modules: []string{"a.ko"}}, {Run: p.Run, Root: "sda"}} {
		data, _ := bad.Marshal()
		if _, err := initramfs.ParsePlan(data); err == nil {
			t.Errorf("ParsePlan takes %s", data)
		}
	}
}
