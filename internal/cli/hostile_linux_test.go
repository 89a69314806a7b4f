// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

var built struct {
	once sync.Once
	dir  string
	err  error
}

// theProgram returns heapctl as it is built for users: static, so that it runs
// in a root directory that holds nothing else.
func theProgram(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "heapctl"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(built.dir, "heapctl"), "github.com/dmaheap/dmaheap/cmd/heapctl")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "heapctl")
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// ended is how a run of the program ended.
type ended struct {
	code           int // -1: by a signal
	stdout, stderr string
}

// runIn runs the program with a directory for its root, which it cannot leave.
// It must end soon, and say nothing that a terminal would obey.
func runIn(t *testing.T, root string, signal os.Signal, after time.Duration, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/heapctl", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Env = []string{"NO_COLOR=1"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if signal != nil {
		time.AfterFunc(after, func() { _ = cmd.Process.Signal(signal) })
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	e := ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	said := e.stdout + e.stderr
	if ctx.Err() != nil {
		t.Errorf("%v does not end", args)
	}
	if strings.Contains(said, "goroutine ") || strings.Contains(said, "panic:") {
		t.Errorf("%v crashed:\n%.2000s", args, e.stderr)
	}
	if i := unprintable(said); i >= 0 {
		t.Errorf("%v prints what a terminal would obey, %q", args, said[max(0, i-60):min(len(said), i+20)])
	}
	if cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); cpu > 10*time.Second {
		t.Errorf("%v took %v of processor time", args, cpu)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && usage.Maxrss > 256<<10 {
		t.Errorf("%v took %d KiB of memory", args, usage.Maxrss)
	}
	return e
}

// unprintable returns the place of the first thing that is no text, or -1.
func unprintable(s string) int {
	for i, r := range s {
		if r == utf8.RuneError || r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return i
		}
	}
	return -1
}

// inRoot makes a root directory with heapctl in it, or skips: only root may
// change its own.
func inRoot(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can give a program another root directory")
	}
	root := t.TempDir()
	data, err := os.ReadFile(theProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "heapctl"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

var boardVerbs = [][]string{
	{"list"}, {"list", "-o", "json"}, {"info"}, {"check"}, {"check", "--full"}, {"check", "-o", "junit"}, {"check", "-o", "ktap"},
	{"bench", "--count", "1"}, {"stress", "--count", "1"},
}

// A root without /proc and /sys is no board, but no reason to crash either.
func TestNoProcNoSys(t *testing.T) {
	root := inRoot(t)
	for _, args := range boardVerbs {
		if e := runIn(t, root, nil, 0, args...); e.code < ExitOK || e.code > ExitUnsupported {
			t.Errorf("%v: exit %d\n%s", args, e.code, e.stderr)
		} else if e.code == ExitOK && args[0] != "list" && args[0] != "info" {
			t.Errorf("%v has tested nothing and is content:\n%s%s", args, e.stdout, e.stderr)
		}
	}
}

// hostileFiles are what heapctl reads on a board.
var hostileFiles = []string{
	"proc/version", "proc/cmdline", "proc/iomem", "proc/meminfo", "proc/config.gz", "proc/cpuinfo", "proc/mounts", "proc/devices", "proc/self/status", "proc/self/cgroup", "proc/1/cgroup",
	"proc/sys/kernel/osrelease", "proc/kmsg", "dev/kmsg", "proc/412/comm", "proc/412/maps", "proc/412/fdinfo/5", "proc/412/status",
	"etc/group", "etc/passwd", "etc/dmaheap/heaps.lock.json", "usr/lib/udev/rules.d/60-heaps.rules", "etc/udev/rules.d/60-heaps.rules", "etc/mdev.conf",
	"sys/kernel/dma_heap/video@50000000/size", "sys/kernel/dma_heap/video@50000000/used", "sys/kernel/dma_heap/video@50000000/largest_free",
	"sys/kernel/debug/cma/video@50000000/count", "sys/kernel/mm/cma/video@50000000/total_pages", "sys/kernel/debug/dma_buf/bufinfo",
	"sys/class/dma_heap/video@50000000/dev", "sys/class/drm/renderD128/device/uevent", "sys/class/video4linux/video0/name", "sys/fs/selinux/enforce",
	"proc/device-tree/#address-cells", "proc/device-tree/#size-cells", "proc/device-tree/compatible", "proc/device-tree/model",
	"proc/device-tree/memory@40000000/reg", "proc/device-tree/memory@40000000/device_type", "proc/device-tree/chosen/bootargs",
	"proc/device-tree/reserved-memory/#address-cells", "proc/device-tree/reserved-memory/#size-cells", "proc/device-tree/reserved-memory/ranges",
	"proc/device-tree/reserved-memory/video@50000000/reg", "proc/device-tree/reserved-memory/video@50000000/compatible", "proc/device-tree/reserved-memory/video@50000000/reusable",
	"dev/dma_heap/video@50000000", "dev/dma_heap/system", "dev/dri/renderD128", "boot/config-6.12.0",
}

// sane is what some of these files hold on a board.
var sane = map[string]string{
	"proc/version": "Linux version 6.12.117 (x) #1 SMP\n", "proc/sys/kernel/osrelease": "6.12.117\n", "proc/cmdline": "console=ttyAMA0 cma=64M\n",
	"proc/iomem": "40000000-5fffffff : System RAM\n  50000000-51ffffff : reserved\n", "proc/meminfo": "MemTotal: 500000 kB\nMemAvailable: 400000 kB\n",
	"etc/group": "video:x:44:\n", "etc/passwd": "root:x:0:0::/:/bin/sh\n", "proc/device-tree/#address-cells": "\x00\x00\x00\x02", "proc/device-tree/#size-cells": "\x00\x00\x00\x02",
	"proc/device-tree/memory@40000000/reg": "\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00", "proc/device-tree/memory@40000000/device_type": "memory\x00",
	"proc/device-tree/reserved-memory/#address-cells": "\x00\x00\x00\x02", "proc/device-tree/reserved-memory/#size-cells": "\x00\x00\x00\x02", "proc/device-tree/reserved-memory/ranges": "",
	"proc/device-tree/reserved-memory/video@50000000/reg":        "\x00\x00\x00\x00\x50\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00",
	"proc/device-tree/reserved-memory/video@50000000/compatible": "shared-dma-pool\x00", "proc/device-tree/reserved-memory/video@50000000/reusable": "",
	"sys/kernel/dma_heap/video@50000000/size": "33554432\n", "sys/kernel/dma_heap/video@50000000/used": "0\n", "sys/kernel/dma_heap/video@50000000/largest_free": "33554432\n",
}

// spoilFile puts something there that no kernel would.
func spoilFile(rng *rand.Rand, file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	noise := make([]byte, rng.Intn(4000))
	rng.Read(noise)
	switch rng.Intn(14) {
	case 0:
		return os.WriteFile(file, noise, 0o644)
	case 1: // endless, and costs nothing
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
		return os.Truncate(file, 1<<40)
	case 2:
		if strings.HasSuffix(file, "/proc/self/cgroup") {
			return nil // newer runtimes of Go wait for it, before there is a main()
		}
		return syscall.Mkfifo(file, 0o644)
	case 3:
		return os.Symlink(filepath.Base(file), file)
	case 4:
		return os.Symlink("/../../../../../proc", file)
	case 5:
		return os.Mkdir(file, 0o755)
	case 6: // many entries, with names that no terminal should see
		for i := range 300 {
			name := fmt.Sprintf("%s/\x1b[31m\xff%d", file, i)
			if err := os.MkdirAll(name, 0o755); err != nil {
				return err
			}
		}
		return nil
	case 7:
		return os.WriteFile(file, bytes.Repeat([]byte("\x1b]0;x\a\xff\xfe\u202e 0-ffffffffffffffffffffffff : System RAM\n"), 2000), 0o644)
	case 8:
		return os.WriteFile(file, []byte(strings.Repeat("9", 1<<16)), 0o644)
	case 9:
		return os.WriteFile(file, []byte("-1\n"), 0o644)
	case 10:
		return os.WriteFile(file, []byte("18446744073709551615\n"), 0o644)
	case 11:
		return os.WriteFile(file, bytes.Repeat([]byte{0}, 1<<20), 0o644)
	case 12: // a device that ends never
		return syscall.Mknod(file, syscall.S_IFCHR|0o644, 1<<8|5)
	default:
		return os.WriteFile(file, bytes.Repeat([]byte("f: System RAM ["), 1<<15), 0o000)
	}
}

// Whatever /proc, /sys, /dev and the device tree hold, the board's verbs end,
// with one of the exit codes they promise and with text.
func TestHostileBoard(t *testing.T) {
	seeds := 10
	if n, err := strconv.Atoi(os.Getenv("HOSTILE_SEEDS")); err == nil {
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			root := inRoot(t)
			rng := rand.New(rand.NewSource(int64(seed)))
			for _, f := range hostileFiles {
				var err error
				switch file := filepath.Join(root, f); {
				case rng.Intn(3) == 0:
					err = spoilFile(rng, file)
				case rng.Intn(4) > 0:
					if err = os.MkdirAll(filepath.Dir(file), 0o755); err == nil {
						err = os.WriteFile(file, []byte(sane[f]), 0o644)
					}
				}
				// A file below what is no directory now cannot be.
				if err != nil && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.EEXIST) && !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENOENT) {
					t.Fatal(err)
				}
			}
			stop := churn(rng, root)
			defer stop()
			verb := boardVerbs[rng.Intn(len(boardVerbs))]
			for _, args := range [][]string{{"list"}, {"check"}, verb} {
				if e := runIn(t, root, nil, 0, args...); e.code < ExitOK || e.code > ExitUnsupported {
					t.Errorf("%v: exit %d\n%s", args, e.code, e.stderr)
				}
			}
		})
	}
}

// The lock file that nobody named is not waited for where it is a pipe.
func TestLockIsAPipe(t *testing.T) {
	root := t.TempDir()
	lock := filepath.Join(root, defaultLock)
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(lock, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := heapctl(t, "check", "--root", root); code != ExitUsage || !strings.Contains(stderr, "no regular file") {
		t.Errorf("exit %d, want %d: %s", code, ExitUsage, stderr)
	}
}

// churn changes files while they are read.
func churn(rng *rand.Rand, root string) (stop func()) {
	files := append([]string(nil), hostileFiles...)
	rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			case <-time.After(100 * time.Microsecond):
			}
			file := filepath.Join(root, files[i%4])
			if fi, err := os.Lstat(file); err != nil || !fi.Mode().IsRegular() {
				continue
			}
			switch i % 3 {
			case 0:
				_ = os.Truncate(file, int64(i%97))
			case 1:
				_ = os.WriteFile(file, bytes.Repeat([]byte("40000000-5fffffff : System RAM\n"), i%50), 0o644)
			case 2:
				_ = os.Rename(file, file+"~")
				_ = os.Rename(file+"~", file)
			}
		}
	}()
	return func() { close(quit); <-gone }
}

// A signal ends the program at once, wherever it is.
func TestSignals(t *testing.T) {
	root := inRoot(t)
	for _, f := range hostileFiles {
		file := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(sane[f]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewSource(1))
	for i := range 40 {
		sig := []os.Signal{syscall.SIGINT, syscall.SIGTERM}[i%2]
		args := boardVerbs[rng.Intn(len(boardVerbs))]
		start := time.Now()
		runIn(t, root, sig, time.Duration(rng.Intn(20))*time.Millisecond, args...)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%v took %v to end after %v", args, took, sig)
		}
	}
}

// What a device tree calls its board is no command to a terminal, and no line of
// a file that is read line by line.
func TestHostileModel(t *testing.T) {
	for _, odd := range []string{"x\x1b[2J", "x\nSUBSYSTEM==\"mem\", MODE=\"0666\"", "x\u202ey", "x\xff\x9b"} {
		for _, prop := range []string{"model", "compatible"} {
			board := virtWith(t, "board.dtb", func(root *fdt.Node) {
				root.Set("model", nil)
				root.Set(prop, fdt.StringList(odd))
			})
			dir := t.TempDir()
			config := writeTestFile(t, "heaps.yaml", []byte("version: 1\nheaps:\n- {name: video, kind: cma, size: 8MiB}\n"))
			for _, args := range [][]string{
				{"map", board}, {"map", board, "-o", "svg"}, {"map", board, "-o", "html"}, {"diff", virtDTB(t), board}, {"lint", board}, {"import", board},
				{"compile", config, "--base", board, "-o", dir}, {"compile", exampleConfig, "--base", board, "-o", dir},
			} {
				_, stdout, stderr := heapctl(t, args...)
				if i := unprintable(stdout + stderr); i >= 0 {
					t.Errorf("%s %q: %v prints %.80q", prop, odd, args, (stdout + stderr)[max(0, i-20):])
				}
			}
			for _, name := range entries(t, dir) {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if filepath.Ext(name) == ".dtbo" || filepath.Ext(name) == ".json" {
					continue
				}
				if i := unprintable(string(data)); i >= 0 || bytes.Contains(data, []byte("\nSUBSYSTEM==\"mem\"")) {
					t.Errorf("%s %q: %s holds\n%s", prop, odd, name, data)
				}
			}
		}
	}
}

// Ctrl-C ends what waits for its input, and for a lock file that is a pipe.
func TestInterruptWhileReading(t *testing.T) {
	program, pipe := theProgram(t), filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"lint", "-"}, {"compile", "-", "--base", "-"}, {"check", pipe}} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		cmd := exec.CommandContext(ctx, program, args...)
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(200*time.Millisecond, func() { _ = cmd.Process.Signal(os.Interrupt) })
		_ = cmd.Wait()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGINT {
			t.Errorf("%v ended with %v, want by the interrupt", args, cmd.ProcessState)
		}
		cancel()
	}
}

// Whatever ends a compile, each product is whole: the old one or the new one.
func TestCompileIsKilled(t *testing.T) {
	program, base := theProgram(t), virtDTB(t)
	compile := func(dir string, sizeMiB int) *exec.Cmd {
		config := filepath.Join(t.TempDir(), "heaps.yaml")
		text := fmt.Sprintf("version: 1\nheaps:\n- {name: video, kind: cma, size: %dMiB}\n- {name: npu, kind: carveout, size: 4MiB}\n", sizeMiB)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return exec.Command(program, "compile", config, "--base", base, "-o", dir)
	}
	products := func(dir string) map[string]string {
		files := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name()] = string(data)
		}
		return files
	}
	var want [2]map[string]string
	dir := t.TempDir()
	var took time.Duration
	for i := range want {
		start := time.Now()
		if out, err := compile(dir, 8<<i).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		took = time.Since(start)
		want[i] = products(dir)
	}
	rng := rand.New(rand.NewSource(1))
	cut := 0
	for i := range 60 {
		sig := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}[i%3]
		cmd := compile(dir, 8<<(i%2))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.Int63n(int64(took) + 1)))
		_ = cmd.Process.Signal(sig)
		if cmd.Wait() != nil {
			cut++
		}
		for name, data := range products(dir) {
			if strings.HasPrefix(name, ".") {
				// Only what cannot be caught may leave a file behind that
				// nobody looks at.
				if sig != syscall.SIGKILL {
					t.Errorf("%v left %s", sig, name)
				}
				os.Remove(filepath.Join(dir, name))
				continue
			}
			if data != want[0][name] && data != want[1][name] {
				t.Errorf("%v left %s with %d bytes, neither the old file nor the new one", sig, name, len(data))
			}
		}
	}
	t.Logf("%d of 60 runs were cut short", cut)
	if cut == 0 {
		t.Error("no run was cut short: the test saw nothing")
	}
}

// A full disk and one that cannot be written to: nothing is written, and one
// line says so.
func TestDiskFullAndReadOnly(t *testing.T) {
	program, base := theProgram(t), virtDTB(t)
	config := writeTestFile(t, "heaps.yaml", []byte("version: 1\nheaps:\n- {name: video, kind: cma, size: 8MiB}\n"))
	for _, tc := range []struct {
		name    string
		flags   uintptr
		options string
		says    string
	}{
		{"full", 0, "size=16k", "no space left"},
		{"no inode left", 0, "nr_inodes=4", "no space left"},
		{"read-only", syscall.MS_RDONLY, "", "read-only"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", tc.flags, tc.options); err != nil {
				t.Skipf("only root can mount a disk that is full: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
			out, err := exec.Command(program, "compile", config, "--base", base, "-o", dir).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != ExitCannotTest && exit.ExitCode() != ExitUsage {
				t.Errorf("ended with %v, want exit %d or %d\n%s", err, ExitUsage, ExitCannotTest, out)
			}
			if !strings.Contains(string(out), tc.says) {
				t.Errorf("does not say %q:\n%s", tc.says, out)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// What cannot be printed must not pass for printed.
func TestOutputIsFull(t *testing.T) {
	program, base := theProgram(t), virtDTB(t)
	for _, args := range [][]string{
		{"explain"}, {"explain", "over-kernel"}, {"schema"}, {"lint", base, "-o", "json"}, {"map", base}, {"map", base, "-o", "svg"}, {"list"}, {"list", "-o", "json"},
		{"diff", base, base, "-o", "json"}, {"import", base}, {"check", "-o", "json"}, {"check", "-o", "prom"}, {"--version"}, {"completion", "bash"}, {"help"},
		{"compile", exampleConfig, "--base", base, "--check"}, {"compile", exampleConfig, "--base", base, "--check", "-o", "json"}, {"initramfs", "-o", "-"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip(err)
		}
		cmd := exec.Command(program, args...)
		cmd.Stdout = full
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err = cmd.Run()
		full.Close()
		if err == nil {
			t.Errorf("%v prints to a full disk and is content", args)
		}
		// A machine without heaps has nothing to list.
		if code := cmd.ProcessState.ExitCode(); args[0] != "list" && (code != ExitCannotTest || stderr.String() != "heapctl: standard output: no space left on device\n") {
			t.Errorf("%v ends with %d, want %d: %s", args, code, ExitCannotTest, stderr.String())
		}
		if strings.Contains(stderr.String(), "goroutine ") {
			t.Errorf("%v crashed: %s", args, stderr.String())
		}
	}
}
