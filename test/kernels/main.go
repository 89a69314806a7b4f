// SPDX-License-Identifier: MIT

// Kernels builds kernels and runs the tests that boot them:
//
//	kernels 5.10 6.1 6.12 6.12-debug
//
// A line of kernels stands for the tests on it, with "-debug" behind it for the
// programme under the kernel's own checkers. The tests are those of every
// package that uses test/bench; their TestBuild builds what they boot. The kernels are built one after
// the other with all processors, before anything else runs; then the tests run
// side by side, one machine on each processor. A kernel that fails does not
// keep the others from being tried. The last lines are a table of what came of
// each, and how long it took.
//
// With no argument it is the kernel that the environment asks for by V or
// KERNEL_SRC and DMAHEAP_VM_DEBUG.
//
// Exit codes: 0 all passed, 1 something failed, 2 usage, 3 could not start.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A job is a kernel with its tests.
type job struct {
	name  string
	line  string // "" leaves it to the environment
	debug bool

	built, tested time.Duration
	result        string
	log           string // file
}

var nameOf = regexp.MustCompile(`^(\d+\.\d+)(-debug)?$`)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	r, err := rig.New(stderr)
	if err != nil {
		fmt.Fprintf(stderr, "kernels: %v\n", err)
		return 2
	}
	var jobs []*job
	for _, name := range args {
		m := nameOf.FindStringSubmatch(name)
		if m == nil {
			fmt.Fprintf(stderr, "kernels: %q is no line of kernels such as 6.12 or 6.12-debug\n", name)
			return 2
		}
		jobs = append(jobs, &job{name: name, line: m[1], debug: m[2] != ""})
	}
	if len(jobs) == 0 {
		line, err := r.Line(ctx)
		if err != nil {
			fmt.Fprintf(stderr, "kernels: %v\n", err)
			return 2
		}
		j := &job{name: line, debug: os.Getenv("DMAHEAP_VM_DEBUG") != ""}
		if j.debug {
			j.name += "-debug"
		}
		jobs = []*job{j}
	}
	dir := filepath.Join(r.Root, "build", "kernels")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fmt.Fprintf(stderr, "kernels: %v\n", err)
		return 3
	}
	for _, j := range jobs {
		j.log = filepath.Join(dir, j.name+".log")
	}
	packages, err := machinePackages(ctx, r.Root)
	if err != nil {
		fmt.Fprintf(stderr, "kernels: %v\n", err)
		return 3
	}
	goTest := func(ctx context.Context, j *job, out io.Writer, how ...string) error {
		return j.goTest(ctx, r.Root, packages, out, how...)
	}
	return carryOut(ctx, jobs, stdout, goTest)
}

// machinePackages finds the packages with tests that boot machines: those that
// use the bench.
func machinePackages(ctx context.Context, root string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-f", `{{.ImportPath}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}`, "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var list []string
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) > 1 && slices.ContainsFunc(f[1:], func(p string) bool { return strings.HasSuffix(p, "/test/bench") }) {
			list = append(list, f[0])
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no package has tests that boot machines")
	}
	return list, nil
}

// carryOut builds the kernels, tests them and prints the table. It returns the
// exit code.
func carryOut(ctx context.Context, jobs []*job, stdout io.Writer, goTest func(ctx context.Context, j *job, out io.Writer, how ...string) error) int {
	var ready []*job
	for _, j := range jobs {
		fmt.Fprintf(stdout, "== kernel %s: build\n", j.name)
		start := time.Now()
		err := goTest(ctx, j, stdout, "-v", "-run", "^TestBuild$")
		if j.built = time.Since(start); err != nil {
			j.result = "FAILED to build: " + err.Error()
			continue
		}
		ready = append(ready, j)
	}

	var print sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan bool, runtime.NumCPU())
	for _, j := range ready {
		slots <- true
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			var out bytes.Buffer
			start := time.Now()
			err := goTest(ctx, j, io.MultiWriter(&out, &packageLines{name: j.name, to: stdout, mu: &print}))
			if j.tested, j.result = time.Since(start), "ok"; err != nil {
				j.result = "FAILED, see " + j.log
			}
			print.Lock()
			defer print.Unlock()
			// What passed has been told, package by package.
			if err != nil {
				fmt.Fprintf(stdout, "== kernel %s: tests\n%s", j.name, out.Bytes())
			}
			if err := os.WriteFile(j.log, out.Bytes(), 0o644); err != nil {
				fmt.Fprintf(stdout, "%v\n", err)
			}
		}()
	}
	wg.Wait()

	code := 0
	fmt.Fprintf(stdout, "\n%-12s %8s %8s  result\n", "kernel", "build", "tests")
	for _, j := range jobs {
		fmt.Fprintf(stdout, "%-12s %8s %8s  %s\n", j.name, j.built.Round(time.Second), j.tested.Round(time.Second), j.result)
		if j.result != "ok" {
			code = 1
		}
	}
	return code
}

// packageLines passes on, while tests run side by side, what go test says of a
// whole package, with the kernel's name in front of it.
type packageLines struct {
	name string
	to   io.Writer
	mu   *sync.Mutex
	rest []byte
}

func (p *packageLines) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(data), nil
		}
		if bytes.HasPrefix(line, []byte("ok  \t")) || bytes.HasPrefix(line, []byte("FAIL\t")) {
			p.mu.Lock()
			fmt.Fprintf(p.to, "kernel %s: %s\n", p.name, line)
			p.mu.Unlock()
		}
		p.rest = rest
	}
}

// goTest runs tests with the job's kernel.
func (j *job) goTest(ctx context.Context, root string, packages []string, out io.Writer, how ...string) error {
	argv := append([]string{"test", "-count=1", "-p", "1", "-timeout", "60m"}, how...)
	cmd := exec.CommandContext(ctx, "go", append(argv, packages...)...)
	// go test passes an interrupt on to its tests, and they to what they run.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "DMAHEAP_VM=require", "DMAHEAP_VM_DEBUG=")
	if j.line != "" {
		cmd.Env = append(cmd.Env, "V="+j.line, "KERNEL_SRC=")
	}
	if j.debug {
		cmd.Env = append(cmd.Env, "DMAHEAP_VM_DEBUG=1")
	}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}
