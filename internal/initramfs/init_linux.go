// SPDX-License-Identifier: MIT

package initramfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// mounts are made in this order. An optional one that fails is said aloud and
// left to the checks: a kernel without debugfs is no broken harness.
var mounts = [...]struct {
	fstype, dir string
	optional    bool
}{
	{"devtmpfs", "/dev", false},
	{"proc", "/proc", false},
	{"sysfs", "/sys", false},
	{"tmpfs", "/tmp", false},
	{"debugfs", "/sys/kernel/debug", true},
	{"tracefs", "/sys/kernel/tracing", true},
}

// consoleErrors keeps kernel messages below "error" off the console while
// commands write to it, so that no line of theirs is torn. KERN_ERR is 3, and
// the console shows what is more urgent than its level.
const consoleErrors = 4

// syslog(2) actions, <linux/syslog.h>.
const (
	syslogConsoleOff   = 6
	syslogConsoleLevel = 8
)

// tcsbrk with a non-zero argument is tcdrain(3): it waits until the serial
// port has sent everything.
const tcsbrk = 0x5409

// Init is the life of process 1. It does not return: it powers the machine off
// when the plan is carried out, whatever came of it.
func Init() {
	code := ExitInit
	defer func() {
		if r := recover(); r != nil {
			fmt.Printf("init: panic: %v\n", r)
			code = ExitInit
		}
		finish(code)
	}()
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the init of a virtual machine; it powers off what it runs on")
		os.Exit(2)
	}
	var err error
	if code, err = run(os.Stdout); err != nil {
		fmt.Printf("init: %v\n", err)
		code = ExitInit
	}
}

// finish writes the one line that counts and powers off.
func finish(code int) {
	// From here on the line belongs to us: nothing may be printed into it.
	// A kernel without printk has no messages to hold back.
	_, _ = syscall.Klogctl(syslogConsoleOff, nil)
	fmt.Printf("\n%s %d\n", ExitMark, code)
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, os.Stdout.Fd(), tcsbrk, 1)
	syscall.Sync()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Printf("init: power off: %v\n", err)
	}
	// Process 1 must not end. The host has its line and stops waiting.
	time.Sleep(time.Hour)
}

func run(console io.Writer) (int, error) {
	for _, m := range mounts {
		if err := mount(m.fstype, m.dir); err != nil {
			if !m.optional {
				return 0, err
			}
			fmt.Fprintf(console, "init: %v\n", err)
		}
	}
	data, err := os.ReadFile(PlanPath)
	if err != nil {
		return 0, err
	}
	plan, err := ParsePlan(data)
	if err != nil {
		return 0, err
	}
	if plan.Rules != "" {
		if err := applyFile(console, plan.Rules); err != nil {
			return 0, err
		}
	}
	// For this action the length of the buffer is the argument.
	_, _ = syscall.Klogctl(syslogConsoleLevel, make([]byte, consoleErrors))
	code := 0
	for i, argv := range plan.Run {
		fmt.Fprintf(console, "\n%s %d %s\n", RunMark, i, strings.Join(argv, " "))
		n := command(console, argv)
		fmt.Fprintf(console, "\n%s %d %d\n", DoneMark, i, n)
		if n != 0 && code == 0 {
			code = n
		}
		if n != 0 && !plan.KeepGoing {
			break
		}
	}
	return code, nil
}

// mount mounts a filesystem that has no device. The kernel may have mounted
// /dev by itself already.
func mount(fstype, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", fstype, err)
	}
	err := syscall.Mount(fstype, dir, fstype, 0, "")
	if err != nil && !errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("mount %s on %s: %w", fstype, dir, err)
	}
	return nil
}

func applyFile(console io.Writer, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rules, err := ParseRules(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	// A missing table is an empty one; a name looked up in it is then unknown.
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	done, err := ApplyRules(rules, "/dev", "dma_heap", string(passwd), string(group))
	for _, line := range done {
		fmt.Fprintf(console, "init: %s %s\n", file, line)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// command runs one program and returns its exit code, as a shell does: 128 and
// the signal's number for one that was killed.
func command(console io.Writer, argv []string) int {
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdout, c.Stderr = console, console
	c.Env = []string{"PATH=/bin", "HOME=/", "TERM=dumb", "NO_COLOR=1"}
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			fmt.Fprintf(console, "init: %s was ended by %v\n", argv[0], ws.Signal())
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	default:
		fmt.Fprintf(console, "init: %v\n", err)
		return ExitInit
	}
}
