// SPDX-License-Identifier: MIT

// Package rig is what the demo and the virtual machine tests share: programs
// for the guest, the kernel, the overlay on its base tree, and the initramfs.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
)

// A Rig builds what a virtual machine needs, from the repository at Root.
type Rig struct {
	Root     string
	Machine  vmtest.Machine // what the guest runs on
	Progress io.Writer      // where builds say how far they are
}

// New finds the repository above the working directory. What the guest runs on
// is the machine of $ARCH, ARM64 if that is not set.
func New(progress io.Writer) (*Rig, error) {
	machine := vmtest.ARM64
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if arch := os.Getenv("ARCH"); arch != "" {
		if machine, err = vmtest.MachineOf(arch); err != nil {
			return nil, fmt.Errorf("ARCH: %w", err)
		}
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return &Rig{Root: dir, Machine: machine, Progress: progress}, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil, errors.New("no go.mod here or above: run this inside the repository")
		}
		dir = up
	}
}

// Example is the heap config of the demo for the guest's machine, from the
// repository's root.
func (r *Rig) Example() string {
	if r.Machine.Arch == vmtest.ARM64.Arch {
		return "examples/qemu-virt/heaps.yaml"
	}
	return "examples/qemu-virt-" + r.Machine.Arch + "/heaps.yaml"
}

// An ExitError is a program that ran and failed. What it said on its standard
// error is part of the message unless that went to Progress already.
type ExitError struct {
	Program string
	Code    int
	Stderr  string
}

// Error names the program and its exit code.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s ended with %d", e.Program, e.Code)
	if e.Stderr != "" {
		s += ": " + e.Stderr
	}
	return s
}

// output runs a program in Root and returns its standard output. A nil stderr
// makes what the program says there part of the error.
func (r *Rig) output(ctx context.Context, stderr io.Writer, env []string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A script gets a chance to end its own children.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = r.Root
	cmd.Env = append(os.Environ(), env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, stderr
	if stderr == nil {
		cmd.Stderr = &said
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = &ExitError{Program: filepath.Base(argv[0]), Code: exit.ExitCode(), Stderr: strings.TrimSpace(said.String())}
	}
	return strings.TrimSpace(out.String()), err
}

// Host builds a package of this module for this machine and returns the path
// of the program.
func (r *Rig) Host(ctx context.Context, pkg string) (string, error) {
	return r.build(ctx, pkg, "", "build")
}

// Guest builds a package of this module as a static, stripped program for the
// guest.
func (r *Rig) Guest(ctx context.Context, pkg string) (string, error) {
	return r.build(ctx, pkg, r.Machine.Arch, "build")
}

// GuestTest builds the test program of a package for the guest.
func (r *Rig) GuestTest(ctx context.Context, pkg string) (string, error) {
	return r.build(ctx, pkg, r.Machine.Arch, "test", "-c")
}

func (r *Rig) build(ctx context.Context, pkg, arch string, how ...string) (string, error) {
	env := []string{"CGO_ENABLED=0"}
	dir := filepath.Join(r.Root, "build", "bin")
	if arch != "" {
		env = append(env, "GOOS=linux", "GOARCH="+arch)
		dir = filepath.Join(dir, "linux-"+arch)
	}
	file := filepath.Join(dir, filepath.Base(pkg))
	if how[0] == "test" {
		file += ".test"
	}
	unlock, err := lock(filepath.Join(r.Root, "build", "bin"))
	if err != nil {
		return "", err
	}
	defer unlock()
	argv := append([]string{"go"}, how...)
	_, err = r.output(ctx, r.Progress, env, append(argv, "-trimpath", "-ldflags=-s -w", "-o", file, "./"+pkg)...)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	return file, nil
}

// lock keeps other processes from writing to a directory: tests of several
// packages and kernels build the same programs at the same time.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// A Kernel says which kernel to build. Kernel line, source and patches come
// from the environment that test/kernel.sh documents.
type Kernel struct {
	Fragments []string // config fragments the kernel must obey
	KeepGoing bool     // only warn when it cannot
	Debug     bool     // with the kernel's own checkers
	With      []string // names of more base configurations, such as 64k
	Cached    bool     // build nothing
	Env       []string // settings on top of this process's environment
}

// Image builds the kernel, or finds it in the cache, and returns its path.
func (r *Rig) Image(ctx context.Context, k Kernel) (string, error) {
	return r.kernelScript(ctx, k, "image")
}

// Selftest builds the kernel's own dmabuf-heaps selftest for the guest.
func (r *Rig) Selftest(ctx context.Context, k Kernel) (string, error) {
	return r.kernelScript(ctx, k, "selftest")
}

// Line returns the kernel line that the environment asks for, such as 6.12.
func (r *Rig) Line(ctx context.Context) (string, error) {
	return r.kernelScript(ctx, Kernel{}, "line")
}

// DefaultLine returns the line that is meant where the environment says nothing.
func (r *Rig) DefaultLine(ctx context.Context) (string, error) {
	return r.kernelScript(ctx, Kernel{Env: []string{"V=", "KERNEL_SRC="}}, "line")
}

func (r *Rig) kernelScript(ctx context.Context, k Kernel, what string) (string, error) {
	argv := []string{filepath.Join(r.Root, "test", "kernel.sh"), "--arch", r.Machine.Arch}
	for _, f := range k.Fragments {
		argv = append(argv, "--config", f)
	}
	for _, name := range k.With {
		argv = append(argv, "--with", name)
	}
	for _, flag := range []struct {
		name string
		on   bool
	}{{"--keep-going", k.KeepGoing}, {"--debug", k.Debug}, {"--cached", k.Cached}} {
		if flag.on {
			argv = append(argv, flag.name)
		}
	}
	return r.output(ctx, r.Progress, k.Env, append(argv, what)...)
}

// ApplyOverlay merges overlays into a base tree with the reference tool.
func (r *Rig) ApplyOverlay(ctx context.Context, base, out string, overlays ...string) error {
	argv := append([]string{"fdtoverlay", "-i", base, "-o", out}, overlays...)
	_, err := r.output(ctx, nil, nil, argv...)
	return err
}

// DumpDTB writes the device tree of the guest's machine.
func (r *Rig) DumpDTB(ctx context.Context, file string) error {
	dtb, err := vmtest.DumpDTB(ctx, r.Machine)
	if err != nil {
		return err
	}
	return os.WriteFile(file, dtb, 0o644)
}

// CachedSource returns the newest source of a line of kernels that
// kernel-patches/source.sh has unpacked, or "".
func CachedSource(line string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	found, err := filepath.Glob(filepath.Join(cache, "dmaheap", "source", "linux-"+line+"-*", "Kbuild"))
	if err != nil || len(found) == 0 {
		return ""
	}
	return filepath.Dir(found[len(found)-1])
}

// BoardTree compiles the device tree of an arm64 board, such as ti/k3-am625-sk,
// out of a kernel source as kbuild does, with symbols. Such trees are GPL and
// large, so the repository has none.
func BoardTree(ctx context.Context, src, board, dtb string) error {
	dir := filepath.Join(src, "arch", "arm64", "boot", "dts")
	plain := dtb + ".dts"
	for _, argv := range [][]string{
		{"cpp", "-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp",
			"-I", filepath.Join(src, "scripts", "dtc", "include-prefixes"), "-o", plain, filepath.Join(dir, board+".dts")},
		{"dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-i", filepath.Join(dir, filepath.Dir(board)), "-o", dtb, plain},
	} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s, device tree of %s: %w\n%s", argv[0], board, err, out)
		}
	}
	return os.Remove(plain)
}

// Products are the files that `heapctl compile` left in a directory.
type Products struct {
	Overlay, Config, Rules, Lock string
}

// FindProducts looks for the products in a directory that was empty before.
func FindProducts(dir string) (Products, error) {
	var p Products
	for _, product := range []struct {
		suffix string
		file   *string
	}{{".dtbo", &p.Overlay}, {".config", &p.Config}, {".rules", &p.Rules}, {".lock.json", &p.Lock}} {
		found, err := filepath.Glob(filepath.Join(dir, "*"+product.suffix))
		if err != nil {
			return Products{}, err
		}
		if len(found) != 1 {
			return Products{}, fmt.Errorf("%s: want one *%s, have %q", dir, product.suffix, found)
		}
		*product.file = found[0]
	}
	return p, nil
}

// Where a board of the tests keeps what heapctl compile made for it.
const (
	LockPath  = "/etc/dmaheap/heaps.lock.json"
	RulesPath = "/etc/udev/rules.d/60-heaps.rules"
)

// Files returns what a board with these products carries: heapctl, the lock
// file, and the rules with the accounts they name.
func (p Products) Files(heapctl string) ([]initramfs.File, error) {
	var files []initramfs.File
	for _, f := range []struct {
		name, file string
		mode       uint32
	}{{"/bin/heapctl", heapctl, 0o755}, {LockPath, p.Lock, 0o644}, {RulesPath, p.Rules, 0o644}} {
		file, err := HostFile(f.name, f.file, f.mode)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	accounts, err := initramfs.Accounts(files[len(files)-1].Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Rules, err)
	}
	return append(files, accounts...), nil
}

// Initramfs packs the guest's init, its plan and more files into a file.
func (r *Rig) Initramfs(ctx context.Context, file string, plan initramfs.Plan, more ...initramfs.File) error {
	initProgram, err := r.Guest(ctx, "test/guestinit")
	if err != nil {
		return err
	}
	initFile, err := HostFile("/init", initProgram, 0o755)
	if err != nil {
		return err
	}
	data, err := plan.Marshal()
	if err != nil {
		return err
	}
	img, err := initramfs.Archive(append([]initramfs.File{initFile, {Name: initramfs.PlanPath, Data: data}}, more...)...)
	if err != nil {
		return err
	}
	return os.WriteFile(file, img, 0o644)
}

// HostFile reads a file of the host into an entry of the initramfs.
func HostFile(name, file string, mode uint32) (initramfs.File, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return initramfs.File{}, err
	}
	return initramfs.File{Name: name, Mode: mode, Data: data}, nil
}
