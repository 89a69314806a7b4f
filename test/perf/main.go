// SPDX-License-Identifier: MIT

// Perf is `make bench`: it boots one machine that has every kind of heap,
// measures them side by side in it, and writes the figures into
// docs/performance.md and docs/performance.svg.
//
// All figures that are compared come from the same boot. The machine is
// emulated, so a single time says nothing about a board, and the ratios are
// what counts.
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

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const memMiB = 2048

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var dir, docs, image, only string
	var quick bool
	fs := flag.NewFlagSet("perf", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&dir, "o", "build/bench", "`directory` for console and figures")
	fs.StringVar(&docs, "docs", "", "`directory` in which to renew performance.md and performance.svg")
	fs.StringVar(&image, "image", "", "`kernel` to boot instead of building one; it needs every heap of heaps.yaml and the page pool")
	fs.StringVar(&only, "only", "", "run the commands of the guest that match this `pattern`, to look into one; not for -docs")
	fs.BoolVar(&quick, "quick", false, "a tenth of the rounds: to see that it works, not to quote")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "perf: unexpected argument %q\n", fs.Arg(0))
		return 2
	}
	pattern, err := regexp.Compile(only)
	if err != nil || only != "" && docs != "" {
		fmt.Fprintf(stderr, "perf: -only %s: not a pattern, or -docs is there too\n", only)
		return 2
	}
	r, err := rig.New(stderr)
	if err != nil {
		fmt.Fprintf(stderr, "perf: %v\n", err)
		return 2
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fmt.Fprintf(stderr, "perf: %v\n", err)
		return 2
	}
	f, err := measure(ctx, r, dir, image, pattern, quick, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "perf: %v\n", err)
		return 3
	}
	// Once the machine is off, as it would take the processor from them.
	if only == "" {
		if f.tools, err = measureTools(ctx, r); err != nil {
			fmt.Fprintf(stderr, "perf: %v\n", err)
			return 3
		}
	}
	text := f.markdown()
	fmt.Fprint(stdout, text)
	for _, out := range []struct {
		name string
		data []byte
	}{{"figures.md", []byte(text)}, {"latency.svg", f.plot}} {
		if err := os.WriteFile(filepath.Join(dir, out.name), out.data, 0o644); err != nil {
			fmt.Fprintf(stderr, "perf: %v\n", err)
			return 3
		}
	}
	if f.failed != nil {
		fmt.Fprintf(stderr, "perf: %v\n", f.failed)
		return 3
	}
	if docs == "" {
		return 0
	}
	if err := renew(docs, text, f.plot); err != nil {
		fmt.Fprintf(stderr, "perf: %v\n", err)
		return 3
	}
	return 0
}

// The heaps of heaps.yaml by their short names, which the guest knows as well.
const (
	cma, system, big, tight, tiles = "linux,cma", "system", "big", "tight", "tiles"
)

const (
	kib = uint64(1) << 10
	mib = uint64(1) << 20
)

// sizes of the latency table. After each buffer the heap gets pause to clean
// what was freed, so that the next one finds clean memory.
var sizes = []uint64{4 * kib, 64 * kib, mib, 8 * mib, 64 * mib, 256 * mib}

const (
	rounds = 30
	pause  = "300ms"
)

// commands is what the guest runs, with the real names of the heaps.
func commands(name map[string]string, lent heapcfg.Range, quick bool) [][]string {
	times := func(n int) string {
		if quick {
			n = max(10, n/10)
		}
		return fmt.Sprint(n)
	}
	latency := []string{"/bin/heapctl", "bench", "-o", "json", "--count", times(rounds), "--time", "10m", "--pause", pause}
	for _, s := range sizes {
		latency = append(latency, "--size", fmt.Sprintf("%dKiB", s/kib))
	}
	for _, h := range []string{cma, system, big, tiles} {
		latency = append(latency, "--heap", name[h])
	}
	// The system heap is mainline's until its page pool has its turn.
	all := [][]string{{"/bin/perf", "pool-limit", "-count", "0"}, latency}
	// The cost of a chunk: 1, 10, 100 and 1000 of them.
	chunks := []string{"/bin/heapctl", "bench", "-o", "json", "--heap", name[tiles], "--count", times(rounds), "--time", "10m", "--pause", pause}
	for _, n := range []uint64{1, 10, 100, 1000} {
		chunks = append(chunks, "--size", fmt.Sprintf("%dKiB", n*chunkSize/kib))
	}
	all = append(all, chunks)
	perf := func(what string, argv ...string) { all = append(all, append([]string{"/bin/perf", what}, argv...)) }
	bytes := func(n uint64) string { return fmt.Sprint(n) }
	perf("clear", "-size", bytes(64*mib), "-count", times(30), "-heap", name[tight])
	perf("cycle", "-count", times(200), "-size", bytes(64*mib), "-heap", name[cma], "-heap", name[system], "-heap", name[tight])
	perf("map", "-count", times(10), "-size", bytes(512*mib), "-heap", name[cma], "-heap", name[big])
	area := fmt.Sprintf("%#x+%#x", uint64(lent.Base), lent.Size)
	perf("churn", "-count", times(100000), "-heap", name[tight])
	perf("churn", "-count", times(5000), "-heap", name[cma], "-area", area)
	perf("cycle", "-count", times(5000), "-size", bytes(4*kib), "-size", bytes(mib), "-size", bytes(8*mib), "-size", bytes(32*mib),
		"-heap", name[cma], "-heap", name[system], "-heap", name[big])
	perf("pool", "-count", times(300), "-size", bytes(4*kib), "-size", bytes(mib), "-size", bytes(8*mib), "-heap", name[system])
	// Last, as the machine is not what it was after it.
	perf("pressure", "-count", times(100), "-area", area, "-size", bytes(mib), "-size", bytes(8*mib), "-heap", name[cma], "-heap", name[system], "-heap", name[big])
	return all
}

// measure boots the machine and returns what came out of it.
func measure(ctx context.Context, r *rig.Rig, dir, image string, only *regexp.Regexp, quick bool, progress io.Writer) (*figures, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	host, err := r.Host(ctx, "cmd/heapctl")
	if err != nil {
		return nil, err
	}
	base := filepath.Join(abs, "virt.dtb")
	r.Machine.MemMiB = memMiB
	if err := r.DumpDTB(ctx, base); err != nil {
		return nil, err
	}
	heaps := filepath.Join(abs, "heaps")
	if err := os.RemoveAll(heaps); err != nil {
		return nil, err
	}
	argv := []string{"compile", filepath.Join(r.Root, "test", "perf", "heaps.yaml"), "--base", base, "-o", heaps}
	if v := os.Getenv("V"); v != "" {
		argv = append(argv, "--kernel", v)
	}
	if said, err := exec.CommandContext(ctx, host, argv...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("heapctl compile: %w\n%s", err, said)
	}
	p, err := rig.FindProducts(heaps)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(p.Lock)
	if err != nil {
		return nil, err
	}
	lock, err := heapcfg.ParseLock(data)
	if err != nil {
		return nil, err
	}
	name := map[string]string{}
	var lent heapcfg.Range
	for _, h := range lock.Heaps {
		short, _, _ := strings.Cut(h.Name, "@")
		name[short] = h.Name
		if short == cma {
			lent = h.Range
		}
	}
	for _, h := range []string{cma, system, big, tight, tiles} {
		if name[h] == "" {
			return nil, fmt.Errorf("the lock file of heaps.yaml has no heap %s", h)
		}
	}
	if image == "" {
		// The page pool, and the importer that measures clear_page.
		configs := filepath.Join(r.Root, "kernel-patches", "configs")
		fragments := []string{p.Config, filepath.Join(configs, "page-pool.config"), filepath.Join(configs, "test.config"),
			filepath.Join(r.Root, "test", "perf", "kernel.config")}
		if image, err = r.Image(ctx, rig.Kernel{Fragments: fragments}); err != nil {
			return nil, err
		}
	}
	merged := filepath.Join(abs, "merged.dtb")
	if err := r.ApplyOverlay(ctx, base, merged, p.Overlay); err != nil {
		return nil, err
	}
	var files []initramfs.File
	for _, program := range []struct{ path, pkg string }{{"/bin/heapctl", "cmd/heapctl"}, {"/bin/perf", "test/perf/guest"}} {
		built, err := r.Guest(ctx, program.pkg)
		if err != nil {
			return nil, err
		}
		f, err := rig.HostFile(program.path, built, 0o755)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	initrd := in("initramfs.cpio")
	plan := initramfs.Plan{KeepGoing: true}
	for _, argv := range commands(name, lent, quick) {
		if only.MatchString(strings.Join(argv, " ")) {
			plan.Run = append(plan.Run, argv)
		}
	}
	if err := r.Initramfs(ctx, initrd, plan, files...); err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "perf: booting; with all rounds this takes about a quarter of an hour\n")
	vm := vmtest.VM{Machine: r.Machine, Kernel: image, Initrd: initrd, DTB: merged, Timeout: time.Hour, Console: vmtest.Follow(io.Discard, steps(progress, len(plan.Run)))}
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(in("console.log"), []byte(res.Console), 0o644); err != nil {
		return nil, err
	}
	f := &figures{quick: quick, name: name, machine: machine(ctx, r.Machine)}
	for _, c := range res.Commands {
		err := f.add(c.Output)
		if c.Exit != 0 {
			err = fmt.Errorf("it ended with %d; see %s", c.Exit, in("console.log"))
		}
		if err != nil && f.failed == nil {
			f.failed = fmt.Errorf("in the guest, %s: %w", c.Line, err)
		}
	}
	return f, f.draw()
}

// steps says which command of the guest is running, and how long after the boot.
func steps(w io.Writer, of int) func(string) {
	n, start := 0, time.Now()
	return func(line string) {
		n++
		words := strings.Fields(line)
		fmt.Fprintf(w, "perf: %v: part %d of %d, %s\n", time.Since(start).Round(time.Second), n, of, words[1])
	}
}

// machine says what the figures were measured on.
func machine(ctx context.Context, m vmtest.Machine) string {
	model := "unknown processor"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(data), "\n") {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	version := "unknown QEMU"
	if out, err := exec.CommandContext(ctx, m.QEMU, "--version").Output(); err == nil {
		line, _, _ := strings.Cut(string(out), "\n")
		line, _, _ = strings.Cut(line, "(")
		version = strings.TrimSpace(strings.Replace(line, "QEMU emulator version", "QEMU", 1))
	}
	return fmt.Sprintf("%s, software emulation of one %s with %d MiB on %s", version, m.CPU, m.MemMiB, model)
}

// renew replaces the generated part of performance.md and the plot beside it.
func renew(docs, text string, plot []byte) error {
	file := filepath.Join(docs, "performance.md")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return errors.New(file + " has no place for the figures: " + begin + " to " + end)
	}
	if err := os.WriteFile(file, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(docs, "performance.svg"), plot, 0o644)
}

const (
	begin = "<!-- figures: written by `make bench`, do not edit -->"
	end   = "<!-- end of figures -->"
)
