// SPDX-License-Identifier: MIT

// Package vmtest boots a kernel and an initramfs in QEMU and brings back what
// the guest said.
//
// QEMU's own exit status says nothing: it is 0 after a clean power off and
// after a panic alike. What counts is the line that package initramfs prints last,
// and a run without it is a failure, whatever else was on the console.
package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
	"github.com/dmaheap/dmaheap/internal/initramfs"
)

// Defaults of a [VM].
const (
	DefaultMemMiB  = 512
	DefaultTimeout = 2 * time.Minute
)

// A Machine is a kind of computer that QEMU emulates. It is emulated in
// software, where one plain core is both the fastest and the most repeatable.
type Machine struct {
	Arch    string // architecture, as Go calls it
	QEMU    string // program
	Type    string // QEMU's -M
	CPU     string // QEMU's -cpu
	Console string // Linux's name of the serial port
	CPUs    int    // 1 by default
	MemMiB  int    // DefaultMemMiB by default
}

// ARM64 is the machine of a [VM] that names none.
var ARM64 = Machine{Arch: "arm64", QEMU: "qemu-system-aarch64", Type: "virt,dtb-randomness=off", CPU: "cortex-a57", Console: "ttyAMA0"}

// ARM is a 32-bit machine. Its kernel maps the first 768 MiB of RAM at most, so
// it has more.
var ARM = Machine{Arch: "arm", QEMU: "qemu-system-arm", Type: "virt,dtb-randomness=off", CPU: "cortex-a15", Console: "ttyAMA0", MemMiB: 1024}

// RISCV64 is a machine whose firmware, OpenSBI, comes with QEMU.
var RISCV64 = Machine{Arch: "riscv64", QEMU: "qemu-system-riscv64", Type: "virt", CPU: "rv64", Console: "ttyS0"}

// AMD64 is a PC, which has no device tree. It is none of [MachineOf]: nothing can
// be compiled for it.
var AMD64 = Machine{Arch: "amd64", QEMU: "qemu-system-x86_64", Type: "pc", CPU: "qemu64", Console: "ttyS0"}

// MachineOf returns the machine of an architecture, as Go calls it.
func MachineOf(arch string) (Machine, error) {
	for _, m := range []Machine{ARM64, ARM, RISCV64} {
		if m.Arch == arch {
			return m, nil
		}
	}
	return Machine{}, fmt.Errorf("no machine of architecture %q (arm64, arm or riscv64)", arch)
}

// Mem returns how many MiB of RAM the machine has.
func (m Machine) Mem() int {
	if m.MemMiB == 0 {
		return DefaultMemMiB
	}
	return m.MemMiB
}

// bootArgs is what every guest gets beside its console. Without earlycon all
// messages of the reserved-memory code are lost when an early fault ends the
// boot, and without oops=panic a fault inside an ioctl leaves a machine that
// hangs.
const bootArgs = "earlycon panic=-1 oops=panic"

// maxConsole bounds what one run may print; a kernel that panics before it
// has read "panic=-1" repeats itself for ever.
const maxConsole = 16 << 20

// tailLines is how much of the console an error shows.
const tailLines = 30

// powerOffGrace is how long a guest that has given its result may take to
// power off.
const powerOffGrace = 10 * time.Second

// A VM is what to boot. Kernel and Initrd are paths on the host and needed,
// the rest has defaults.
type VM struct {
	Machine Machine // ARM64 by default
	Kernel  string
	Initrd  string
	DTB     string // "" leaves the device tree to QEMU
	Append  string // more kernel arguments
	// Timeout is how long the machine may take, without the time that it
	// only waited for a processor of a busy host.
	Timeout time.Duration
	// Devices are more arguments of QEMU, such as "-device".
	Devices []string
	// Console, where set, receives the console while the guest runs, and
	// Input is what is typed there.
	Console io.Writer
	Input   io.Reader
	// Grace is how long a guest that has given its result may go on; by
	// default as long as it takes to power off.
	Grace time.Duration
}

// Args returns the QEMU command line, program first.
func (vm VM) Args() []string {
	m := vm.machine()
	args := []string{
		m.QEMU, "-M", m.Type, "-cpu", m.CPU, "-smp", m.cpus(),
		"-m", strconv.Itoa(m.Mem()),
		"-accel", "tcg",
		"-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", vm.Kernel,
		"-initrd", vm.Initrd,
	}
	if vm.DTB != "" {
		args = append(args, "-dtb", vm.DTB)
	}
	args = append(args, vm.Devices...)
	return append(args, "-append", strings.TrimSpace("console="+m.Console+" "+bootArgs+" "+vm.Append))
}

// Reproduce returns the command line to paste into a shell.
func (vm VM) Reproduce() string {
	var b strings.Builder
	for i, a := range vm.Args() {
		if i > 0 {
			b.WriteByte(' ')
		}
		if strings.ContainsAny(a, " \t\"'\\$&;()<>|*?#~`") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		b.WriteString(a)
	}
	return b.String()
}

func (m Machine) cpus() string { return strconv.Itoa(max(m.CPUs, 1)) }

func (vm VM) machine() Machine {
	if vm.Machine == (Machine{}) {
		return ARM64
	}
	return vm.Machine
}

// A Result is a run that was completed.
type Result struct {
	Exit     int       // from the guest's last line
	Commands []Command // in the order of the plan, as far as they were run
	Console  string    // everything, with plain line ends
	Duration time.Duration
}

// A Command is what one command of the plan did.
type Command struct {
	Line   string // the command as the guest printed it
	Exit   int
	Output string // its console lines, without those of the kernel
	Done   bool   // false for one that the machine did not survive
}

// ErrNoResult is what every error of a run without a result line matches.
var ErrNoResult = errors.New("the guest gave no result")

// A NoResultError says how a run without a result line ended.
type NoResultError struct {
	Reason    string   // one sentence
	Fault     string   // the first line of the kernel's that tells of a crash, or ""
	Tail      []string // the last lines of the console
	Stderr    string   // what QEMU itself had to say
	Reproduce string
}

// Error returns the reason and the first sign of a crash, then the end of the
// console below it.
func (e *NoResultError) Error() string {
	var b strings.Builder
	b.WriteString(ErrNoResult.Error())
	b.WriteString(": ")
	b.WriteString(e.Reason)
	if e.Fault != "" {
		b.WriteString("\nthe kernel crashed: " + e.Fault)
	}
	if e.Stderr != "" {
		b.WriteString("\nqemu said: " + e.Stderr)
	}
	if len(e.Tail) == 0 {
		b.WriteString("\nthe console stayed empty")
	} else {
		fmt.Fprintf(&b, "\nlast %d lines of the console:", len(e.Tail))
		for _, l := range e.Tail {
			b.WriteString("\n  | " + l)
		}
	}
	b.WriteString("\nto see it again: " + e.Reproduce)
	return b.String()
}

// Is makes errors.Is(err, ErrNoResult) true.
func (e *NoResultError) Is(target error) bool { return target == ErrNoResult }

// faultLine finds the lines with which Linux reports that it crashed or is
// about to.
var faultLine = regexp.MustCompile(`Kernel panic - not syncing|Unable to handle kernel|Internal error: |kernel BUG at|Kernel BUG at|BUG: KASAN|Attempted to kill init|Out of memory: Killed process 1 `)

var exitLine = regexp.MustCompile(`(?m)^` + initramfs.ExitMark + ` (\d+)$`)

// Run boots the VM and waits for its end, the deadline or ctx.
func Run(ctx context.Context, vm VM) (*Result, error) {
	timeout := vm.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()

	args := vm.Args()
	cmd := exec.CommandContext(runCtx, args[0], args[1:]...)
	var stderr bytes.Buffer
	console := &console{tee: vm.Console, stop: cancel, grace: vm.Grace}
	if console.grace == 0 {
		console.grace = powerOffGrace
	}
	cmd.Stdout, cmd.Stderr = console, &stderr
	if vm.Input != nil {
		typed, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		// Whoever types may be waiting for a line that never comes.
		go func() { _, _ = io.Copy(typed, vm.Input) }()
	}
	cmd.WaitDelay = 5 * time.Second
	start := time.Now()
	var late atomic.Bool
	waitErr := cmd.Start()
	if waitErr == nil {
		go func() {
			if outlasts(runCtx, cmd.Process.Pid, timeout) {
				late.Store(true)
				cancel()
			}
		}()
		waitErr = cmd.Wait()
	}
	took := time.Since(start)
	text := console.text()

	if m := exitLine.FindAllStringSubmatch(text, -1); m != nil {
		code, err := strconv.Atoi(m[len(m)-1][1])
		if err != nil {
			return nil, fmt.Errorf("exit line: %w", err)
		}
		return &Result{Exit: code, Commands: commands(text), Console: text, Duration: took}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fail := &NoResultError{
		Fault:     firstFault(text),
		Tail:      tail(text, tailLines),
		Stderr:    strings.TrimSpace(stderr.String()),
		Reproduce: vm.Reproduce(),
	}
	switch {
	case console.full():
		fail.Reason = fmt.Sprintf("stopped after %d MiB of console output", maxConsole>>20)
	case console.atDeadEnd():
		fail.Reason = fmt.Sprintf("the kernel gave up after %v and could not reboot", took.Round(time.Millisecond))
	case late.Load():
		fail.Reason = fmt.Sprintf("stopped after %v", timeout)
		if waited := took - timeout; waited > time.Minute {
			fail.Reason += fmt.Sprintf(", and %v more in which it waited for a processor", waited.Round(time.Second))
		}
	case cmd.ProcessState == nil:
		return nil, waitErr // QEMU could not be started at all
	case waitErr != nil:
		fail.Reason = fmt.Sprintf("qemu ended with %v after %v", waitErr, took.Round(time.Millisecond))
	default:
		fail.Reason = fmt.Sprintf("the machine went off or rebooted after %v", took.Round(time.Millisecond))
	}
	return nil, fail
}

// outlasts waits until a process has lived for so long, or ctx ends. What does
// not count is the time that it was ready to run and had no processor: on a
// host with ten times too much to do, a machine that takes a minute is slow and
// does not hang.
func outlasts(ctx context.Context, pid int, limit time.Duration) bool {
	start := time.Now()
	for {
		left := limit - (time.Since(start) - starved(pid))
		if left <= 0 {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(min(left, time.Second)):
		}
	}
}

// starved tells how long a process was kept waiting for a processor: as long as
// that of its threads which waited most. It is 0 where the kernel does not tell.
func starved(pid int) time.Duration {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0
	}
	var longest time.Duration
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		// Time on a processor, time ready to run, number of turns; in nanoseconds.
		if fields := strings.Fields(string(data)); len(fields) == 3 {
			if ns, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				longest = max(longest, time.Duration(ns))
			}
		}
	}
	return longest
}

// deadEnd is the last that a kernel says which crashed and cannot reboot, since
// it has not read "panic=-1" yet, or has not found the firmware.
var deadEnd = regexp.MustCompile(`---\[ end Kernel panic|Reboot failed -- System halted`)

// console collects the guest's output and ends the run when there is too much
// of it, when the kernel gave up, or when the guest has given its result and
// does not go away.
type console struct {
	tee   io.Writer
	stop  context.CancelFunc
	grace time.Duration

	mu       sync.Mutex
	buf      bytes.Buffer
	overflow bool
	leaving  bool
	dead     bool
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tee != nil {
		// A listener that fails must not end the run.
		_, _ = c.tee.Write(p)
	}
	if c.buf.Len()+len(p) > maxConsole {
		c.overflow = true
		c.stop()
		return len(p), nil
	}
	from := max(0, c.buf.Len()-64) // a mark may come in pieces
	c.buf.Write(p)
	if !c.dead && deadEnd.Match(c.buf.Bytes()[from:]) {
		c.dead = true
		time.AfterFunc(time.Second, c.stop) // the rest of the line
	}
	if !c.leaving && bytes.Contains(c.buf.Bytes()[from:], []byte(initramfs.ExitMark)) {
		c.leaving = true
		time.AfterFunc(c.grace, c.stop)
	}
	return len(p), nil
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(strings.ReplaceAll(c.buf.String(), "\r\n", "\n"), "\r", "")
}

func (c *console) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overflow
}

func (c *console) atDeadEnd() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

var (
	runLine    = regexp.MustCompile(`^` + initramfs.RunMark + ` (\d+) (.*)$`)
	doneLine   = regexp.MustCompile(`^` + initramfs.DoneMark + ` (\d+) (\d+)$`)
	kernelLine = regexp.MustCompile(`^\[ *\d+\.\d{6}\]`)
)

// splitter follows the console line by line and tells apart what the commands
// of the plan print, what the kernel prints and what frames them.
type splitter struct {
	run  func(line string)
	out  func(line string)
	done func(exit int)
	open bool
}

func (s *splitter) line(line string) {
	if m := runLine.FindStringSubmatch(line); m != nil {
		s.open = true
		s.run(m[2])
	} else if m := doneLine.FindStringSubmatch(line); m != nil && s.open {
		s.open = false
		code, _ := strconv.Atoi(m[2])
		s.done(code)
	} else if s.open && !kernelLine.MatchString(line) {
		s.out(line)
	}
}

// commands cuts the console into the commands of the plan.
func commands(text string) []Command {
	var list []Command
	last := func() *Command { return &list[len(list)-1] }
	s := splitter{
		run:  func(line string) { list = append(list, Command{Line: line}) },
		out:  func(line string) { last().Output += line + "\n" },
		done: func(exit int) { last().Exit, last().Done = exit, true },
	}
	for _, line := range strings.Split(text, "\n") {
		s.line(line)
	}
	for i := range list {
		if out := strings.TrimRight(list[i].Output, "\n"); out != "" {
			list[i].Output = out + "\n"
		} else {
			list[i].Output = ""
		}
	}
	return list
}

// CommandOutput returns a writer for [VM].Console that passes on to w, while
// the guest runs, what its commands print and nothing else.
func CommandOutput(w io.Writer) io.Writer {
	return Follow(w, func(string) {})
}

// Follow is CommandOutput, and calls began with each command that the guest
// starts, before it prints anything.
func Follow(w io.Writer, began func(line string)) io.Writer {
	blank := 0
	// A blank line is held back until another line follows: the one that
	// guest prints before DoneMark is none of the command's.
	s := &splitter{
		run: func(line string) {
			blank = 0
			began(line)
		},
		out: func(line string) {
			if line == "" {
				blank++
				return
			}
			fmt.Fprintf(w, "%s%s\n", strings.Repeat("\n", blank), line)
			blank = 0
		},
		done: func(int) {},
	}
	return &lines{each: s.line}
}

// lines cuts what is written to it into lines with plain ends.
type lines struct {
	each func(string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.each(strings.ReplaceAll(string(l.rest[:i]), "\r", ""))
		l.rest = l.rest[i+1:]
	}
}

func firstFault(text string) string {
	for _, line := range strings.Split(text, "\n") {
		if faultLine.MatchString(line) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// tail returns the last n lines that are not blank at the end.
func tail(text string, n int) []string {
	text = strings.TrimRight(text, "\n ")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-n):]
}

// DumpDTB returns the device tree that QEMU makes for a machine, as the kernel
// would get it, but without the random seeds, so that the same machine gives
// the same bytes, and without padding: QEMU doubles the size of a blob it is
// given, and the kernel takes 2 MiB at most.
func DumpDTB(ctx context.Context, m Machine) ([]byte, error) {
	dir, err := os.MkdirTemp("", "dumpdtb")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "machine.dtb")
	cmd := exec.CommandContext(ctx, m.QEMU,
		"-M", m.Type+",dumpdtb="+file,
		"-cpu", m.CPU, "-smp", m.cpus(), "-m", strconv.Itoa(m.Mem()),
		"-accel", "tcg", "-nodefaults", "-display", "none")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("dump the device tree of %s: %w: %s", m.Type, err, bytes.TrimSpace(out))
	}
	dtb, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	tree, err := fdt.Parse(dtb)
	if err != nil {
		return nil, fmt.Errorf("device tree of %s: %w", m.Type, err)
	}
	if chosen := tree.Root.Child("chosen"); chosen != nil {
		chosen.Remove("rng-seed")
	}
	return tree.Marshal()
}
