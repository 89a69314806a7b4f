// SPDX-License-Identifier: MIT

package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shell gives the console to a person and returns what comes after: PowerOff or
// Reboot. It ends with its input, so that a board without a person goes off.
func shell() string {
	tty := consoleTTY()
	if tty == nil {
		fmt.Println("init: no terminal behind the console")
		return PowerOff
	}
	defer func() { tty.Close() }()
	if _, err := os.Stat("/bin/sh"); err == nil {
		command(tty, []string{"/bin/sh"}, tty)
		return PowerOff
	}
	fmt.Fprint(tty, "\nEvery line is a command of heapctl, such as \"list\" or \"check --full\"; beside\nthem there are dmesg, cat FILE, reboot and poweroff.\n")
	in := bufio.NewScanner(tty)
	for {
		fmt.Fprint(tty, "heapctl> ")
		if !in.Scan() {
			return PowerOff
		}
		words := strings.Fields(in.Text())
		if len(words) > 0 && words[0] == "heapctl" {
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case PowerOff, Reboot:
			return words[0]
		case "exit", "quit":
			return PowerOff
		case "dmesg":
			buf := make([]byte, 1<<20)
			n, err := syscall.Klogctl(syslogReadAll, buf)
			if err != nil {
				fmt.Fprintln(tty, err)
				continue
			}
			_, _ = tty.Write(buf[:n])
		case "cat":
			for _, name := range words[1:] {
				data, err := os.ReadFile(name)
				if err != nil {
					fmt.Fprintln(tty, err)
				}
				_, _ = tty.Write(data)
			}
		default:
			code := command(tty, append([]string{Program}, words...), tty)
			// The end of a session hangs its terminal up for all who
			// have it open, so that it must be opened anew.
			tty.Close()
			if tty = consoleTTY(); tty == nil {
				return PowerOff
			}
			in = bufio.NewScanner(tty)
			if code != 0 {
				fmt.Fprintf(tty, "exit code %d\n", code)
			}
		}
	}
}

// consoleTTY opens the terminal behind /dev/console, which itself can be no
// controlling terminal: the last that the kernel lists is the one that
// /dev/console leads to.
func consoleTTY() *os.File {
	active, err := os.ReadFile("/sys/class/tty/console/active")
	names := strings.Fields(string(active))
	if err == nil && len(names) > 0 {
		if f, err := os.OpenFile("/dev/"+names[len(names)-1], os.O_RDWR|syscall.O_NOCTTY, 0); err == nil {
			return f
		}
	}
	f, err := os.OpenFile("/dev/console", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return f
}

// newRoot is where the root file system is mounted before it becomes /.
const newRoot = "/newroot"

// rootPatience is how long the device of the root file system may take to
// appear; an SD card needs a second or two.
const rootPatience = 30 * time.Second

// chain does what the kernel would have done without an initramfs: it mounts
// the root file system and starts its init, with the exit code of the plan in
// DMAHEAP_EXIT. It returns only when that failed.
func chain(plan Plan, code int) error {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	b := bootParameters(string(cmdline))
	if plan.Root != "" {
		b.root = plan.Root
	}
	if plan.Init != "" {
		b.init = plan.Init
	}
	dev, err := findRoot(b.root)
	if err != nil {
		return err
	}
	if err := mountRoot(dev, b); err != nil {
		return err
	}
	program, err := findInit(b.init)
	if err != nil {
		_ = syscall.Unmount(newRoot, syscall.MNT_DETACH)
		return err
	}
	for _, dir := range []string{"/sys/kernel/debug", "/sys/kernel/tracing", "/tmp"} {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH) // the real init has its own
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if syscall.Mount(dir, newRoot+dir, "", syscall.MS_MOVE, "") != nil {
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	}
	freeInitramfs()
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := syscall.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if console, err := os.OpenFile("/dev/console", os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			_ = syscall.Dup3(int(console.Fd()), fd, 0)
		}
	}
	env := []string{"HOME=/", "TERM=linux", "DMAHEAP_EXIT=" + strconv.Itoa(code)}
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, []string{program}, env))
}

// boot is what the kernel command line says about the root file system.
type boot struct {
	root, fstype, flags, init string
	write                     bool
}

// bootParameters reads the kernel's own parameters
// (Documentation/admin-guide/kernel-parameters.txt).
func bootParameters(cmdline string) boot {
	var b boot
	for _, word := range strings.Fields(cmdline) {
		key, val, _ := strings.Cut(word, "=")
		switch key {
		case "root":
			b.root = strings.Trim(val, `"`)
		case "rootfstype":
			b.fstype = val
		case "rootflags":
			b.flags = val
		case "init":
			b.init = val
		case "rw":
			b.write = true
		case "ro":
			b.write = false
		}
	}
	return b
}

// findRoot waits for the device of the root file system.
func findRoot(root string) (string, error) {
	if root == "" {
		return "", errors.New("the kernel command line has no root=, and heapctl initramfs had no --root")
	}
	end := time.Now().Add(rootPatience)
	for {
		dev, err := rootDevice(root)
		if err != nil || dev != "" {
			return dev, err
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("root=%s did not appear within %v", root, rootPatience)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// rootDevice returns the device of a root= parameter, "" while it is not
// there.
func rootDevice(root string) (string, error) {
	key, val, tagged := strings.Cut(root, "=")
	switch {
	case strings.HasPrefix(root, "/dev/") && root != "/dev/nfs":
		if _, err := os.Stat(root); err != nil {
			return "", nil
		}
		return root, nil
	case tagged && (key == "PARTUUID" || key == "PARTLABEL"):
		property := map[string]string{"PARTUUID": "PARTUUID", "PARTLABEL": "PARTNAME"}[key]
		found, _ := filepath.Glob("/sys/class/block/*/uevent")
		for _, f := range found {
			data, _ := os.ReadFile(f)
			for _, line := range strings.Split(string(data), "\n") {
				if k, v, _ := strings.Cut(line, "="); k == property && strings.EqualFold(v, val) {
					return "/dev/" + filepath.Base(filepath.Dir(f)), nil
				}
			}
		}
		return "", nil
	}
	return "", fmt.Errorf("root=%s: heapctl's init knows /dev/NAME, PARTUUID= and PARTLABEL=", root)
}

// mountRoot tries the stated type, or all types of the kernel that have a
// device.
func mountRoot(dev string, b boot) error {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	types := []string{b.fstype}
	if b.fstype == "" {
		data, err := os.ReadFile("/proc/filesystems")
		if err != nil {
			return err
		}
		types = blockTypes(string(data))
	}
	flags := uintptr(syscall.MS_RDONLY)
	if b.write {
		flags = 0
	}
	var errs []error
	for _, fstype := range types {
		err := syscall.Mount(dev, newRoot, fstype, flags, b.flags)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("mount %s: %w", dev, refusal(errs))
}

// refusal picks from what the file systems said to a device: one that is not its
// own has EINVAL, so that any other error is of the one that knows it.
func refusal(errs []error) error {
	for _, err := range errs {
		if !errors.Is(err, syscall.EINVAL) {
			return err
		}
	}
	switch len(errs) {
	case 0:
		return errors.New("the kernel has no file system for devices")
	case 1:
		return errs[0]
	}
	return errors.New("no file system of this kernel is on it")
}

// blockTypes picks the types from /proc/filesystems that need a device.
func blockTypes(filesystems string) []string {
	var out []string
	for _, line := range strings.Split(filesystems, "\n") {
		if name, ok := strings.CutPrefix(line, "\t"); ok && name != "" {
			out = append(out, name)
		}
	}
	return out
}

// findInit looks for the init program below the new root, in the kernel's own
// order (init/main.c).
func findInit(stated string) (string, error) {
	tried := []string{"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"}
	if stated != "" {
		tried = []string{stated}
	}
	for _, name := range tried {
		// A link may lead to a path that only exists once the root is moved.
		if _, err := os.Lstat(newRoot + name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("the root file system has no %s", strings.Join(tried, ", "))
}

// freeInitramfs removes the files of the initramfs, whose memory nothing else
// would give back. What is mounted is another device and stays.
func freeInitramfs() {
	var top, st syscall.Stat_t
	if syscall.Stat("/", &top) != nil {
		return
	}
	entries, _ := os.ReadDir("/")
	for _, e := range entries {
		name := "/" + e.Name()
		if syscall.Lstat(name, &st) == nil && st.Dev == top.Dev && name != newRoot {
			_ = os.RemoveAll(name)
		}
	}
}
