// SPDX-License-Identifier: MIT

// Package bench is where every test that boots machines begins: programs for
// host and guest, the base tree, a compiled layout, the kernel.
//
// `make test` runs these tests with DMAHEAP_VM=require: then a missing QEMU or
// kernel is a failure. A plain `go test` runs them where the kernel of
// test/kernel.sh is in the cache, and says why it skips where it is not.
// DMAHEAP_VM=skip leaves them out, and DMAHEAP_VM_DEBUG=1 leaves those that a
// debug kernel has to pass. Which kernel it is, the environment says as
// for test/kernel.sh.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/rig"
)

// A Bench is what the tests of a package share. The first one builds it.
type Bench struct {
	*rig.Rig
	Line    heapcfg.Version // of kernels
	Host    string          // heapctl for this machine
	Heapctl string          // heapctl for the guest
	Base    string          // QEMU's own device tree
	Example Board
	All     Board // has a heap of each kind
	// Image is a kernel that can make all heaps of both boards, and has the
	// tests of the heaps in it.
	Image string
	// Debug tells that this kernel has the kernel's own checkers, which make
	// it slow.
	Debug bool
}

// A Board is a heap config on its way to the machine.
type Board struct {
	rig.Products
	Locked *heapcfg.Lock
	Merged string // device tree with the overlay applied
}

var shared struct {
	once  sync.Once
	dir   string
	bench Bench
	err   error
}

// Main runs the tests of a package that uses a bench, for its TestMain.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared.dir = dir
	return m.Run()
}

const (
	modeVar  = "DMAHEAP_VM"
	debugVar = "DMAHEAP_VM_DEBUG"
)

// Required tells whether what a test needs must be there, or be built.
func Required() bool { return os.Getenv(modeVar) == "require" }

// SkipIfAsked skips the test where machines are to be left out.
func SkipIfAsked(t *testing.T) {
	t.Helper()
	if os.Getenv(modeVar) == "skip" {
		t.Skip(modeVar + "=skip")
	}
}

// OnlyDefaultLine skips a test on any kernel but the one that is built without
// being asked for.
func OnlyDefaultLine(t *testing.T) {
	t.Helper()
	SkipIfAsked(t)
	if usual, is := DefaultLine(t); !is {
		t.Skipf("is tested on kernel %s alone", usual)
	}
}

// DefaultLine returns the line of kernels that is built without being asked for,
// and whether it is the one under test.
func DefaultLine(t *testing.T) (usual string, is bool) {
	t.Helper()
	r, err := rig.New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	line, err := r.Line(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if usual, err = r.DefaultLine(context.Background()); err != nil {
		t.Fatal(err)
	}
	return usual, line == usual && os.Getenv("KERNEL_SRC") == ""
}

// Lacking ends a test that lacks something: as failed where that is required,
// as skipped otherwise.
func Lacking(t *testing.T, err error) {
	t.Helper()
	if Required() {
		t.Fatalf("%s=require, but: %v", modeVar, err)
	}
	t.Skipf("%v; `make kernel` builds it", err)
}

// Setup returns the bench and a context that ends with the test. It skips the
// test where DMAHEAP_VM_DEBUG asks for a debug kernel.
func Setup(t *testing.T) (*Bench, context.Context) {
	t.Helper()
	if os.Getenv(debugVar) != "" {
		t.Skip(debugVar + " is set, and this test needs no debug kernel")
	}
	return SetupAny(t)
}

// SetupAny is Setup for tests that a debug kernel has to pass as well.
func SetupAny(t *testing.T) (*Bench, context.Context) {
	t.Helper()
	SkipIfAsked(t)
	// A slow machine may build a kernel for as long as go test lets it.
	shared.once.Do(func() { shared.err = shared.bench.build(context.Background()) })
	if shared.err != nil {
		Lacking(t, shared.err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	t.Cleanup(cancel)
	return &shared.bench, ctx
}

func (b *Bench) build(ctx context.Context) error {
	if shared.dir == "" {
		return errors.New("this package has no TestMain that calls bench.Main")
	}
	var err error
	if b.Rig, err = rig.New(os.Stderr); err != nil {
		return err
	}
	for _, tool := range []string{b.Machine.QEMU, "dtc", "fdtoverlay"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	line, err := b.Rig.Line(ctx)
	if err != nil {
		return err
	}
	if b.Line, err = heapcfg.ParseVersion(line); err != nil {
		return err
	}
	if b.Host, err = b.Rig.Host(ctx, "cmd/heapctl"); err != nil {
		return err
	}
	if b.Heapctl, err = b.Guest(ctx, "cmd/heapctl"); err != nil {
		return err
	}
	b.Base = filepath.Join(shared.dir, "virt.dtb")
	if err := b.DumpDTB(ctx, b.Base); err != nil {
		return err
	}
	if b.Example, err = b.compile(ctx, filepath.Join(b.Root, b.Rig.Example()), filepath.Join(shared.dir, "example")); err != nil {
		return err
	}
	all := "all.yaml"
	if arch := b.Machine.Arch; arch != vmtest.ARM64.Arch {
		all = "all-" + arch + ".yaml"
	}
	if b.All, err = b.compile(ctx, filepath.Join(b.Root, "test", "bench", "testdata", all), filepath.Join(shared.dir, "all")); err != nil {
		return err
	}
	b.Debug = os.Getenv(debugVar) != ""
	k := Cached()
	k.Debug = b.Debug
	k.Fragments = b.Fragments()
	b.Image, err = b.Rig.Image(ctx, k)
	return err
}

// Fragments are the config fragments of Image, for a kernel that has more.
func (b *Bench) Fragments() []string {
	configs := filepath.Join(b.Root, "kernel-patches", "configs")
	out := []string{b.Example.Config, b.All.Config, filepath.Join(configs, "test.config")}
	if b.HasKUnit() {
		out = append(out, filepath.Join(configs, "kunit.config"))
	}
	if b.HasPagePool() {
		out = append(out, filepath.Join(configs, "page-pool.config"))
	}
	return out
}

// Second is how to build the other kernel of a line. All that makes the compiler
// go over nearly everything once more is in one kernel, huge pages among it; it
// is built last, so that nothing has to come back from it.
func (b *Bench) Second() rig.Kernel {
	config := func(name string) string { return filepath.Join(b.Root, "test", "bench", "testdata", name) }
	switch {
	case b.HasModules():
		return rig.Kernel{Fragments: []string{config("modules.config")}}
	case b.Line == heapcfg.DefaultTarget().Kernel:
		return rig.Kernel{Fragments: append(b.Fragments(), config("media.config"))}
	}
	return rig.Kernel{Fragments: append(b.Fragments(), config("huge.config"))}
}

// HasModules tells whether mainline's heaps can be modules.
func (b *Bench) HasModules() bool { return !b.Line.Before(heapcfg.Version{Major: 7}) }

// HasKUnit tells whether this line of kernels has KUnit.
func (b *Bench) HasKUnit() bool { return !b.Line.Before(heapcfg.Version{Major: 5, Minor: 5}) }

// HasPagePool tells whether the patches of this line have the page pool of the
// system heap.
func (b *Bench) HasPagePool() bool {
	found, err := filepath.Glob(filepath.Join(b.Root, "kernel-patches", b.Line.String(), "*-keep-large-pages-*.patch"))
	return err == nil && len(found) > 0
}

// Cached returns a kernel that is built only where it is required.
func Cached() rig.Kernel { return rig.Kernel{Cached: !Required()} }

// On returns a bench for another machine, with its base tree; the kernel and
// the programs stay those of the bench, and so has the architecture.
func (b *Bench) On(ctx context.Context, t *testing.T, m vmtest.Machine) *Bench {
	t.Helper()
	on, r := *b, *b.Rig
	r.Machine, on.Rig = m, &r
	on.Base = filepath.Join(t.TempDir(), "virt.dtb")
	if err := on.DumpDTB(ctx, on.Base); err != nil {
		t.Fatal(err)
	}
	return &on
}

// tool runs a program that is silent when all goes well.
func tool(ctx context.Context, argv ...string) error {
	said, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(argv[0]), err, said)
	}
	return nil
}

func (b *Bench) compile(ctx context.Context, config, dir string) (Board, error) {
	var board Board
	heaps := filepath.Join(dir, "heaps")
	if err := tool(ctx, b.Host, "compile", config, "--base", b.Base, "--kernel", b.Line.String(), "-o", heaps); err != nil {
		return board, fmt.Errorf("%s: %w", config, err)
	}
	var err error
	if board.Products, err = rig.FindProducts(heaps); err != nil {
		return board, err
	}
	lock, err := os.ReadFile(board.Lock)
	if err != nil {
		return board, err
	}
	if board.Locked, err = heapcfg.ParseLock(lock); err != nil {
		return board, err
	}
	board.Merged = filepath.Join(dir, "merged.dtb")
	return board, b.ApplyOverlay(ctx, b.Base, board.Merged, board.Overlay)
}

// Compile turns a heap config into all that a machine needs.
func (b *Bench) Compile(ctx context.Context, t *testing.T, config string) Board {
	t.Helper()
	board, err := b.compile(ctx, config, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return board
}

// Heaps returns the names of the board's heaps, all or those of one kind.
func (b Board) Heaps(kind heapcfg.Kind) []string {
	var names []string
	for _, h := range b.Locked.Heaps {
		if kind == "" || h.Kind == kind {
			names = append(names, h.Name)
		}
	}
	return names
}

// Kernel builds a kernel, where it is required, or finds it in the cache.
func (b *Bench) Kernel(ctx context.Context, t *testing.T, k rig.Kernel) string {
	t.Helper()
	k.Cached = !Required()
	image, err := b.Rig.Image(ctx, k)
	if err != nil {
		Lacking(t, err)
	}
	return image
}

// selftestLine is the line of kernels whose selftest judges all kernels.
const selftestLine = "7.3"

// Selftest builds mainline's selftest, where it is required, or finds it in the
// cache.
func (b *Bench) Selftest(ctx context.Context, t *testing.T) string {
	t.Helper()
	k := Cached()
	k.Env = []string{"V=" + selftestLine, "KERNEL_SRC="}
	program, err := b.Rig.Selftest(ctx, k)
	if err != nil {
		Lacking(t, err)
	}
	return program
}

// Boot runs a machine to its end. Its console is printed if the test fails.
func Boot(ctx context.Context, t *testing.T, vm vmtest.VM) *vmtest.Result {
	t.Helper()
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(res.Console)
		}
	})
	return res
}

// ReadTree reads a device tree of the host.
func ReadTree(t *testing.T, file string) *fdt.Tree {
	t.Helper()
	blob, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(blob)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return tree
}

// WriteTree writes a device tree to a file that goes with the test.
func WriteTree(t *testing.T, tree *fdt.Tree) string {
	t.Helper()
	blob, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "board.dtb")
	if err := os.WriteFile(file, blob, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// WithRegions returns the base tree with these children of /reserved-memory, given
// as device tree source.
func (b *Bench) WithRegions(ctx context.Context, t *testing.T, nodes string) string {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	source := fmt.Sprintf("/dts-v1/;\n/plugin/;\n&{/} { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; %s }; };\n", nodes)
	if err := os.WriteFile(in("o.dts"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tool(ctx, "dtc", "-q", "-@", "-O", "dtb", "-o", in("o.dtbo"), in("o.dts")); err != nil {
		t.Fatal(err)
	}
	if err := b.ApplyOverlay(ctx, b.Base, in("merged.dtb"), in("o.dtbo")); err != nil {
		t.Fatal(err)
	}
	return in("merged.dtb")
}

// VM packs a plan with its files and returns the machine that carries it out,
// with the kernel of the bench and the device tree of the example.
func (b *Bench) VM(ctx context.Context, t *testing.T, plan initramfs.Plan, files ...initramfs.File) vmtest.VM {
	t.Helper()
	initrd := filepath.Join(t.TempDir(), "initramfs.cpio")
	if err := b.Initramfs(ctx, initrd, plan, files...); err != nil {
		t.Fatal(err)
	}
	return vmtest.VM{Machine: b.Machine, Kernel: b.Image, Initrd: initrd, DTB: b.Example.Merged, Timeout: 5 * time.Minute}
}

// File reads a file of the host into an entry of the initramfs.
func File(t *testing.T, name, file string, mode uint32) initramfs.File {
	t.Helper()
	f, err := rig.HostFile(name, file, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Files returns what the board carries: heapctl, lock file, rules, accounts.
func (b *Bench) Files(t *testing.T, board Board) []initramfs.File {
	t.Helper()
	files, err := board.Products.Files(b.Heapctl)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
