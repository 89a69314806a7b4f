// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// A director starts the workers, kills some, and looks at the kernel between
// the rounds.
type director struct {
	out      io.Writer
	seed     int64
	duration time.Duration
	first    int
	rounds   int
	workers  int
	threads  int
	steps    int
	heaps    []string

	board    *sysinfo.Board
	before   map[string]sysinfo.Usage
	counts   *counters
	shared   *os.File
	log      kernelLog
	starve   bool // the kernel can make allocations fail
	killed   int
	starved  int
	injected int
	slept    int
}

func (d *director) say(format string, args ...any) {
	fmt.Fprintf(d.out, "abuse: "+format+"\n", args...)
}

func (d *director) run(parts []string) error {
	if err := d.prepare(); err != nil {
		return err
	}
	start := time.Now()
	d.say("seed %d, %d heaps: %s", d.seed, len(d.heaps), strings.Join(d.heaps, " "))
	for _, part := range parts {
		var err error
		switch part {
		case "rounds":
			err = d.play(start)
		case "faults":
			err = d.faults()
		case "sleep":
			err = d.sleep()
		default:
			err = errUsage
		}
		if err == nil {
			err = d.quiet(part)
		}
		if err == nil {
			err = d.leaks(part)
		}
		if err != nil {
			d.summary(start)
			d.say("to see it again: abuse -seed %d, with the other flags as they were", d.seed)
			return err
		}
	}
	d.summary(start)
	return nil
}

func (d *director) prepare() error {
	d.board = sysinfo.New(sysinfo.DirFS("/"), sysinfo.Options{Live: true})
	if len(d.heaps) == 0 {
		nodes, err := d.board.Nodes()
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Device {
				d.heaps = append(d.heaps, n.Name)
			}
		}
	}
	if len(d.heaps) == 0 {
		return errors.New("this kernel has no heaps")
	}
	// Orphans of killed workers come to the director, who waits for them.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	var err error
	if d.counts, d.shared, err = newCounters(); err != nil {
		return err
	}
	if err := d.log.open(); err != nil {
		return err
	}
	for _, f := range []string{"failslab", "fail_page_alloc"} {
		dir := filepath.Join("/sys/kernel/debug", f)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		d.starve = true
		// Only of the tasks that ask for it, any size, sleeping or not, and
		// without a stack trace for each.
		for name, value := range map[string]string{"task-filter": "Y", "ignore-gfp-wait": "N", "ignore-gfp-highmem": "N", "min-order": "0", "verbose": "0", "times": "-1", "probability": "0"} {
			file := filepath.Join(dir, name)
			if _, err := os.Stat(file); err == nil {
				if err := os.WriteFile(file, []byte(value), 0); err != nil {
					return err
				}
			}
		}
	}
	// What the kernel itself has of a heap, such as the atomic pool in the
	// default CMA area, was there before. The cleaner needs a moment.
	d.before = map[string]sysinfo.Usage{}
	for _, h := range d.heaps {
		d.before[h] = d.board.Usage(h)
	}
	return nil
}

func (d *director) summary(start time.Time) {
	s := d.counts.sum()
	d.say("%d steps done, %d refused, %d without anything to do; %d processes killed, %d starved rounds, %d failed allocations injected one by one, %d sleeps; %.0f s",
		s[done], s[refused], s[skipped], d.killed, d.starved, d.injected, d.slept, time.Since(start).Seconds())
	var list []string
	for o := range opCount {
		list = append(list, fmt.Sprintf("%v %d/%d", o, d.counts.ops[o][done].Load(), d.counts.ops[o][refused].Load()))
	}
	d.say("done/refused: %s", strings.Join(list, ", "))
}

// --- rounds -----------------------------------------------------------------

func (d *director) play(start time.Time) error {
	for n := 0; ; n++ {
		if d.rounds > 0 && n >= d.rounds || d.rounds == 0 && time.Since(start) > d.duration {
			return nil
		}
		p := planRound(d.seed, d.first+n, d.workers, d.starve)
		before := d.counts.sum()
		t := time.Now()
		if err := d.round(p); err != nil {
			return err
		}
		after := d.counts.sum()
		what := ""
		if p.Starve {
			what = ", starved"
			d.starved++
		}
		d.say("round %d: %d steps, %d killed%s, %.1f s", p.Round, after[done]+after[refused]-before[done]-before[refused], len(p.Kills), what, time.Since(t).Seconds())
	}
}

// patience is how long no step of a round may come to an end before the round
// counts as stuck. On a busy host, emulated and with all checkers on, a step can
// take long.
const patience = 4 * time.Minute

func (d *director) round(p plan) error {
	if p.Starve {
		d.probability("failslab", "4")
		d.probability("fail_page_alloc", "4")
		defer d.probability("failslab", "0")
		defer d.probability("fail_page_alloc", "0")
	}
	type ended struct {
		worker int
		err    error
		said   string
	}
	ends := make(chan ended, d.workers)
	cmds := make([]*exec.Cmd, d.workers)
	for i := range cmds {
		j, err := json.Marshal(job{Run: d.seed, Round: p.Round, Worker: i, Threads: d.threads, Steps: d.steps, Starve: p.Starve, Heaps: d.heaps})
		if err != nil {
			return err
		}
		c := exec.Command("/proc/self/exe", "worker", string(j))
		c.ExtraFiles = []*os.File{d.shared}
		c.Env = []string{"GOTRACEBACK=none"}
		c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		var said bytes.Buffer
		c.Stderr = &said
		c.WaitDelay = time.Second
		if err := c.Start(); err != nil {
			return err
		}
		cmds[i] = c
		go func() {
			err := c.Wait()
			ends <- ended{i, err, said.String()}
		}()
	}
	for _, k := range p.Kills {
		time.AfterFunc(time.Duration(k.AfterMs)*time.Millisecond, func() { _ = cmds[k.Worker].Process.Kill() })
		d.killed++
	}
	var first error
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	moved, seen := time.Now(), d.counts.sum()
	for left := len(cmds); left > 0; {
		select {
		case e := <-ends:
			left--
			if err := d.judge(p, e.worker, e.err, e.said); err != nil && first == nil {
				first = err
			}
		case <-tick.C:
			if now := d.counts.sum(); now != seen {
				moved, seen = time.Now(), now
			}
			if time.Since(moved) > patience {
				return d.stuck(cmds)
			}
		}
	}
	for _, c := range cmds {
		_ = unix.Kill(-c.Process.Pid, unix.SIGKILL) // programs that hold buffers
	}
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.EINTR && pid <= 0 {
			break
		}
	}
	if first != nil {
		return first
	}
	return d.quiet(fmt.Sprintf("round %d", p.Round))
}

// judge tells a worker that was killed from one that found something.
func (d *director) judge(p plan, worker int, err error, said string) error {
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if exit.ExitCode() == exitBroken {
		return broken("%s", strings.TrimPrefix(strings.TrimSpace(said), "BROKEN: "))
	}
	ws := exit.Sys().(syscall.WaitStatus)
	if ws.Signaled() && ws.Signal() == unix.SIGKILL && slices.ContainsFunc(p.Kills, func(k kill) bool { return k.Worker == worker }) {
		return nil
	}
	if p.Starve {
		return nil // the Go runtime gives up when the kernel gives it no memory
	}
	lines := strings.SplitN(strings.TrimSpace(said), "\n", 20)
	return fmt.Errorf("worker %d of round %d: %w: %s", worker, p.Round, err, strings.Join(lines[:min(len(lines), 19)], "\n"))
}

func (d *director) probability(what, percent string) {
	_ = os.WriteFile(filepath.Join("/sys/kernel/debug", what, "probability"), []byte(percent), 0)
}

// stuck says where the processes are that do not end.
func (d *director) stuck(cmds []*exec.Cmd) error {
	var where []string
	for i, c := range cmds {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", c.Process.Pid))
		for _, t := range tasks {
			stack, _ := os.ReadFile(filepath.Join(t, "stack"))
			call, _ := os.ReadFile(filepath.Join(t, "syscall"))
			where = append(where, fmt.Sprintf("worker %d %s: %s %s", i, filepath.Base(t), bytes.TrimSpace(call), bytes.ReplaceAll(bytes.TrimSpace(stack), []byte("\n"), []byte(" < "))))
		}
		_ = c.Process.Kill()
	}
	return broken("a round does not end:\n%s", strings.Join(where, "\n"))
}

// --- between the rounds -----------------------------------------------------

// settle is how long freed memory may take to be cleaned and counted.
const settle = 20 * time.Second

// quiet sees that every heap is as it was at the start, and that the kernel has
// said nothing.
func (d *director) quiet(when string) error {
	end := time.Now().Add(settle)
	for _, h := range d.heaps {
		for {
			was, now := d.before[h], d.board.Usage(h)
			problem := ""
			switch {
			case was.Used.Known() && now.Used.Value != was.Used.Value:
				problem = fmt.Sprintf("%s: %d bytes are in use after %s, %d were before", h, now.Used.Value, when, was.Used.Value)
			case was.Largest.Known() && now.Largest.Value != was.Largest.Value:
				problem = fmt.Sprintf("%s: the largest free block has %d bytes after %s, it had %d", h, now.Largest.Value, when, was.Largest.Value)
			case was.Buffers.Known() && now.Buffers.Value != was.Buffers.Value:
				problem = fmt.Sprintf("%s: %d buffers exist after %s, %d did before", h, now.Buffers.Value, when, was.Buffers.Value)
			}
			if problem == "" {
				break
			}
			if time.Now().After(end) {
				return &errBroken{problem}
			}
			collectSockets()
			time.Sleep(50 * time.Millisecond)
		}
	}
	reports, err := d.log.reports()
	if err != nil {
		return err
	}
	if len(reports) > 0 {
		return broken("the kernel reports after %s:\n%s", when, strings.Join(reports, "\n"))
	}
	return nil
}

// collectSockets has the kernel look for sockets that nobody holds but their own
// queues, and the buffers in them: it does so when a socket is closed, and the
// last of the garbage may have come after the last close.
func collectSockets() {
	if p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		unix.Close(p[0])
		unix.Close(p[1])
	}
}

// leaks has kmemleak look, where the kernel has it.
func (d *director) leaks(when string) error {
	const file = "/sys/kernel/debug/kmemleak"
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// What is on its way somewhere is seen as lost by the first scan only. An
	// object has to be some seconds old to count.
	time.Sleep(6 * time.Second)
	for range 2 {
		if _, err := f.WriteString("scan"); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
			d.say("kmemleak has turned itself off")
			return nil
		} else if err != nil {
			return fmt.Errorf("kmemleak: %w", err)
		}
	}
	found, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return broken("kmemleak after %s:\n%s", when, found)
	}
	return nil
}

// A kernelLog follows /dev/kmsg.
type kernelLog struct{ fd int }

func (l *kernelLog) open() (err error) {
	if l.fd, err = unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("/dev/kmsg: %w", err)
	}
	_, err = unix.Seek(l.fd, 0, 2)
	return err
}

// report finds the first lines of what the kernel's checkers say, and of what
// must not happen either.
var report = regexp.MustCompile(`BUG:|WARNING:|Oops|KASAN|UBSAN|DMA-API: |INFO: (possible|task|rcu|trying)|Bad page|Internal error|possible recursive locking|` +
	`(blocked|stall)ed? (for more|on CPU)|Out of memory|lost until the next boot|Freezing .* failed|heap_importer: `)

// harmless are lines that say how the checkers are: the one of the DMA API turns
// itself off when it is its own allocation that is made to fail. Mainline's heaps
// pay no attention to what a device takes in one go, and mainline's dma_buf_vmap()
// warns whenever a heap has no memory for a mapping. What the importer has written,
// another thread may have written over before it looks again, through another
// mapping or when a device has let go.
var harmless = regexp.MustCompile(`DMA-API: (preallocated|debugging|dma-debug|dma_debug|cacheline tracking ENOMEM)|` +
	`heap_importer: (entry \d+ has|mapped at|the second mapping|what the CPU wrote)|WARNING: .*dma_buf_vmap\+`)

func (l *kernelLog) reports() ([]string, error) {
	var found []string
	buf := make([]byte, 8192)
	more := 0
	for {
		n, err := unix.Read(l.fd, buf)
		switch err {
		case nil:
		case unix.EINTR, unix.EPIPE: // EPIPE: some were overwritten
			continue
		case unix.EAGAIN:
			return found, nil
		default:
			return nil, fmt.Errorf("/dev/kmsg: %w", err)
		}
		_, text, _ := strings.Cut(string(buf[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		switch {
		case report.MatchString(text) && !harmless.MatchString(text):
			more = 24 // the stack below it
			found = append(found, text)
		case more > 0:
			more--
			found = append(found, text)
		}
	}
}
