// SPDX-License-Identifier: MIT

// Demo does the project's main job from end to end: it compiles a heap config
// against the device tree of QEMU's virt machine, boots a kernel with the
// result, and lets heapctl judge inside that machine.
//
// Its exit code is the one of the step that decided: of `heapctl compile` for
// a config it refuses, of `heapctl check` in the guest otherwise. A guest that
// gives no verdict is a failed check, 1. What could not be had for the run,
// such as QEMU or the kernel, is 3.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes of heapctl, as far as the demo has to know them.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitUntested = 3
	// exitUnsupported is the last of heapctl's codes.
	exitUnsupported = 4
)

type demo struct {
	*rig.Rig
	out     io.Writer
	dir     string
	config  string
	memMiB  int
	kernel  string
	append  string
	timeout time.Duration

	step  int
	start time.Time
}

// steps is how many headed steps there are.
const steps = 5

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	d := &demo{out: stdout, start: time.Now()}
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&d.config, "config", "", "heap config to compile (default the example for $ARCH)")
	fs.StringVar(&d.dir, "o", "", "empty or new `directory` for the results (default build/demo, made anew)")
	fs.IntVar(&d.memMiB, "mem", 0, "memory of the machine in `MiB` (default 512, or 1024 for arm)")
	fs.StringVar(&d.kernel, "kernel", os.Getenv("V"), "kernel `line` to compile for, over the config's own; also which one test/kernel.sh builds (default $V, or that of $KERNEL_SRC)")
	fs.StringVar(&d.append, "append", "", "more kernel `arguments`")
	fs.DurationVar(&d.timeout, "timeout", 5*time.Minute, "how long the guest may take")
	if err := fs.Parse(args); err != nil {
		return exitUsage
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "demo: unexpected argument %q\n", fs.Arg(0))
		return exitUsage
	}
	r, err := rig.New(stderr)
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return exitUsage
	}
	d.Rig = r
	if d.memMiB > 0 {
		d.Machine.MemMiB = d.memMiB
	}
	if d.config == "" {
		d.config = d.Example()
	}
	code, err := d.run(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "\ndemo: %v\n", err)
	}
	return code
}

// head starts a step.
func (d *demo) head(format string, args ...any) {
	d.step++
	if d.step > 1 {
		fmt.Fprintln(d.out)
	}
	fmt.Fprintf(d.out, "[%d/%d] %s\n", d.step, steps, fmt.Sprintf(format, args...))
}

// tell adds a line to the step.
func (d *demo) tell(since time.Time, format string, args ...any) {
	fmt.Fprintf(d.out, "      %s (%.1f s)\n", fmt.Sprintf(format, args...), time.Since(since).Seconds())
}

func (d *demo) run(ctx context.Context) (int, error) {
	if err := d.makeDir(); err != nil {
		return exitUsage, err
	}
	in := func(name string) string { return filepath.Join(d.dir, name) }

	d.head("heapctl, for this machine and for the guest")
	t := time.Now()
	heapctl, err := d.Host(ctx, "cmd/heapctl")
	if err != nil {
		return exitUntested, err
	}
	guestHeapctl, err := d.Guest(ctx, "cmd/heapctl")
	if err != nil {
		return exitUntested, err
	}
	if fi, err := os.Stat(guestHeapctl); err == nil {
		d.tell(t, "%s: static %s, %.1f MiB", d.short(guestHeapctl), d.Machine.Arch, float64(fi.Size())/(1<<20))
	}

	d.head("%s, compiled against QEMU's virt machine with %d MiB", d.config, d.Machine.Mem())
	t = time.Now()
	base := in("virt.dtb")
	if err := d.DumpDTB(ctx, base); err != nil {
		return exitUntested, err
	}
	products := in("heaps")
	compile := exec.CommandContext(ctx, heapctl, "compile", d.config, "--base", base, "-o", products)
	var env []string
	if d.kernel == "" && os.Getenv("KERNEL_SRC") != "" {
		if d.kernel, err = d.Line(ctx); err != nil {
			return exitUsage, err
		}
	}
	if d.kernel != "" {
		compile.Args = append(compile.Args, "--kernel", d.kernel)
		env = append(env, "V="+d.kernel)
	}
	compile.Stdout, compile.Stderr = d.out, d.Progress
	if err := compile.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			return exit.ExitCode(), fmt.Errorf("heapctl compile refuses %s: exit %d", d.config, exit.ExitCode())
		}
		return exitUntested, fmt.Errorf("heapctl compile: %w", err)
	}
	p, err := rig.FindProducts(products)
	if err != nil {
		return exitFailed, fmt.Errorf("heapctl compile succeeded, but: %w", err)
	}
	d.tell(t, "compiled")

	d.head("kernel with kernel-patches/ and %s", d.short(p.Config))
	t = time.Now()
	// A kernel that cannot have an option still boots, and then heapctl check
	// names the heap that is missing: that is the verdict wanted here.
	image, err := d.Image(ctx, rig.Kernel{Fragments: []string{p.Config}, KeepGoing: true, Env: env})
	if err != nil {
		var exit *rig.ExitError
		if errors.As(err, &exit) {
			return exit.Code, fmt.Errorf("no kernel: %w", err)
		}
		return exitUntested, fmt.Errorf("no kernel: %w", err)
	}
	d.tell(t, "%s", image)

	d.head("overlay on the base tree, and an initramfs with heapctl")
	t = time.Now()
	merged := in("merged.dtb")
	if err := d.ApplyOverlay(ctx, base, merged, p.Overlay); err != nil {
		return exitFailed, err
	}
	initrd := in("initramfs.cpio")
	if err := d.initramfs(ctx, initrd, guestHeapctl, p); err != nil {
		return exitUntested, err
	}
	d.tell(t, "%s, %s", d.short(merged), d.short(initrd))

	d.head("heapctl check in the booted machine")
	t = time.Now()
	vm := vmtest.VM{
		Machine: d.Machine, Kernel: image, Initrd: initrd, DTB: merged,
		Append: d.append, Timeout: d.timeout, Console: vmtest.CommandOutput(d.out),
	}
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		if errors.Is(err, vmtest.ErrNoResult) {
			return exitFailed, err
		}
		return exitUntested, err
	}
	if err := os.WriteFile(in("console.log"), []byte(res.Console), 0o644); err != nil {
		return exitUntested, err
	}
	d.tell(t, "boot, check, power off; all of it in %s", d.short(in("console.log")))
	if res.Exit != 0 {
		d.kernelHints(res.Console)
		fmt.Fprintf(d.out, "\nverdict: FAILED, heapctl check ended with %d (%.1f s)\n", res.Exit, time.Since(d.start).Seconds())
		fmt.Fprintf(d.out, "to see it again: %s\n", vm.Reproduce())
		if res.Exit > exitUnsupported {
			// Killed, or never started: no verdict of heapctl's, but no
			// working board either.
			return exitFailed, nil
		}
		return res.Exit, nil
	}
	fmt.Fprintf(d.out, "\nverdict: ok, the board shows what %s promises (%.1f s)\n", filepath.Base(p.Lock), time.Since(d.start).Seconds())
	return 0, nil
}

// makeDir makes an empty directory for the results, so that none of them can
// be left over from another run.
func (d *demo) makeDir() error {
	if d.dir == "" {
		d.dir = filepath.Join(d.Root, "build", "demo")
		if err := os.RemoveAll(d.dir); err != nil {
			return err
		}
		// Paths as a person would type them, for what prints them.
		if wd, err := os.Getwd(); err == nil && wd == d.Root {
			d.dir = filepath.Join("build", "demo")
		}
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty", d.dir)
	}
	return nil
}

func (d *demo) initramfs(ctx context.Context, file, heapctl string, p rig.Products) error {
	files, err := p.Files(heapctl)
	if err != nil {
		return err
	}
	plan := initramfs.Plan{Rules: rig.RulesPath, Run: [][]string{{"/bin/heapctl", "check", "--full", rig.LockPath}}}
	return d.Initramfs(ctx, file, plan, files...)
}

// aboutHeaps finds the kernel messages that explain most failed checks; the
// others would hide them.
var aboutHeaps = regexp.MustCompile(`(?i)reserved mem|dma[-_ ]heap|dma[-_]?buf|(carveout|chunk|cma)\w*: |out of memory|page allocation failure`)

func (d *demo) kernelHints(console string) {
	var hints []string
	for _, line := range strings.Split(console, "\n") {
		if strings.HasPrefix(line, "[") && aboutHeaps.MatchString(line) {
			hints = append(hints, line)
		}
	}
	if len(hints) > 0 {
		fmt.Fprintf(d.out, "\nwhat the kernel said about it:\n  %s\n", strings.Join(hints, "\n  "))
	}
}

// short returns a path as a person in the repository would type it.
func (d *demo) short(file string) string {
	if !filepath.IsAbs(file) {
		return file
	}
	if rel, err := filepath.Rel(d.Root, file); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return file
}
