// SPDX-License-Identifier: MIT

package initramfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// mounts are made in this order. One that fails is said aloud and left to the
// checks, which know what its absence means; without /proc or /dev they say so
// in their first lines.
var mounts = [...]struct{ fstype, dir string }{
	{"devtmpfs", "/dev"},
	{"proc", "/proc"},
	{"sysfs", "/sys"},
	{"tmpfs", "/tmp"},
	{"debugfs", "/sys/kernel/debug"},
	{"tracefs", "/sys/kernel/tracing"},
}

// consoleErrors keeps kernel messages below "error" off the console while
// commands write to it, so that no line of theirs is torn. KERN_ERR is 3, and
// the console shows what is more urgent than its level.
const consoleErrors = 4

// syslog(2) actions, <linux/syslog.h>.
const (
	syslogReadAll      = 3
	syslogConsoleOff   = 6
	syslogConsoleOn    = 7
	syslogConsoleLevel = 8
)

// tcsbrk with a non-zero argument is tcdrain(3): it waits until the serial
// port has sent everything.
const tcsbrk = 0x5409

// IsInit reports whether this process is the init of an initramfs, and not
// process 1 of a container that runs something else.
func IsInit() bool { return os.Getpid() == 1 && filepath.Base(os.Args[0]) == "init" }

// Init is the life of process 1. It does not return.
func Init() {
	plan, code := Plan{}, ExitInit
	defer func() {
		if r := recover(); r != nil {
			fmt.Printf("init: panic: %v\n", r)
			code = ExitInit
		}
		finish(plan, code)
	}()
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the init of an initramfs; it powers off what it runs on")
		os.Exit(2)
	}
	var err error
	if plan, code, err = run(os.Stdout); err != nil {
		fmt.Printf("init: %v\n", err)
		code = ExitInit
	}
}

// finish writes the one line that counts, and does what the plan ends with.
func finish(plan Plan, code int) {
	// From here on the line belongs to us: nothing may be printed into it.
	// A kernel without printk has no messages to hold back.
	_, _ = syscall.Klogctl(syslogConsoleOff, nil)
	fmt.Printf("\n%s %d\n", ExitMark, code)
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, os.Stdout.Fd(), tcsbrk, 1)
	then := plan.Then
	if then == RealInit {
		_, _ = syscall.Klogctl(syslogConsoleOn, nil)
		err := chain(plan, code)
		fmt.Printf("init: cannot start the real init: %v\n", err)
		then = Shell // somebody may be there; if not, the input ends
	}
	if then == Shell {
		_, _ = syscall.Klogctl(syslogConsoleOn, nil)
		then = shell()
	}
	end(then)
}

// end powers off or reboots.
func end(then string) {
	syscall.Sync()
	cmd := syscall.LINUX_REBOOT_CMD_POWER_OFF
	if then == Reboot {
		cmd = syscall.LINUX_REBOOT_CMD_RESTART
	}
	if err := syscall.Reboot(cmd); err != nil {
		fmt.Printf("init: %s: %v\n", then, err)
	}
	// Process 1 must not end. Whoever watches has the line and stops waiting.
	for {
		time.Sleep(time.Hour)
	}
}

func run(console io.Writer) (Plan, int, error) {
	for _, m := range mounts {
		if err := mount(m.fstype, m.dir); err != nil {
			fmt.Fprintf(console, "init: %v\n", err)
		}
	}
	data, err := os.ReadFile(PlanPath)
	if err != nil {
		return Plan{}, 0, err
	}
	plan, err := ParsePlan(data)
	if err != nil {
		return Plan{}, 0, err
	}
	for _, m := range plan.Modules {
		// The checks say what is missing without it.
		if err := loadModule(m); err != nil {
			fmt.Fprintf(console, "init: module %s: %v\n", m, err)
		}
	}
	if plan.Rules != "" {
		if err := applyFile(console, plan.Rules); err != nil {
			return plan, 0, err
		}
	}
	// For this action the length of the buffer is the argument.
	_, _ = syscall.Klogctl(syslogConsoleLevel, make([]byte, consoleErrors))
	code := 0
	for i, argv := range plan.Run {
		fmt.Fprintf(console, "\n%s %d %s\n", RunMark, i, strings.Join(argv, " "))
		n := command(console, argv, nil)
		fmt.Fprintf(console, "\n%s %d %d\n", DoneMark, i, n)
		if n != 0 && code == 0 {
			code = n
		}
		if n != 0 && !plan.KeepGoing {
			break
		}
	}
	return plan, code, nil
}

// mount mounts a filesystem that has no device. The kernel may have mounted
// /dev by itself already.
func mount(fstype, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", fstype, err)
	}
	err := syscall.Mount(fstype, dir, fstype, 0, "")
	if errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("this kernel has no %s", fstype)
	}
	if err != nil && !errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("mount %s on %s: %w", fstype, dir, err)
	}
	return nil
}

// loadModule gives a module to the kernel, uncompressed as it is in the
// archive.
func loadModule(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errors.New("an empty file")
	}
	none := [1]byte{}
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&none[0])))
	switch errno {
	case 0, syscall.EEXIST:
		return nil
	case syscall.ENOSYS:
		return errors.New("this kernel has no modules")
	case syscall.ENOEXEC:
		return errors.New("it was built for another kernel; dmesg says how they differ")
	case syscall.ENOENT:
		return errors.New("it needs a symbol that nothing has loaded: see dmesg, and pack the modules in their order")
	}
	return errno
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

// plainEnv is the environment of the commands: a log is read by programs, so
// nothing colours or moves in it.
var plainEnv = []string{"PATH=/bin", "HOME=/", "TERM=dumb", "NO_COLOR=1"}

// command runs one program and returns its exit code, as a shell does: 128 and
// the signal's number for one that was killed. With a terminal it runs in a
// session of its own there, so that Ctrl-C reaches it.
func command(console io.Writer, argv []string, tty *os.File) int {
	attr := &os.ProcAttr{Env: plainEnv, Dir: "/"}
	if tty != nil {
		attr.Files = []*os.File{tty, tty, tty}
		attr.Env = []string{"PATH=/bin", "HOME=/", "TERM=vt100"}
		attr.Sys = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	} else {
		null, err := os.Open(os.DevNull)
		if err != nil {
			fmt.Fprintf(console, "init: %v\n", err)
			return ExitInit
		}
		defer null.Close()
		out, ok := console.(*os.File)
		if !ok {
			out = os.Stdout
		}
		attr.Files = []*os.File{null, out, out}
	}
	p, err := os.StartProcess(argv[0], argv, attr)
	if err != nil {
		fmt.Fprintf(console, "init: %v\n", err)
		return ExitInit
	}
	return wait(console, argv[0], p.Pid)
}

// wait waits for a child and, as process 1 must, for every orphan that ends
// meanwhile.
func wait(console io.Writer, name string, pid int) int {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintf(console, "init: waiting for %s: %v\n", name, err)
			return ExitInit
		case got != pid:
		case ws.Signaled():
			fmt.Fprintf(console, "init: %s was ended by %v\n", name, ws.Signal())
			return 128 + int(ws.Signal())
		case ws.Exited():
			return ws.ExitStatus()
		}
	}
}
