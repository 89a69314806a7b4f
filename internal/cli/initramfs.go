// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/internal/initramfs"
)

type initramfsFlags struct {
	output  string
	program string
	then    string
	root    string
	init    string
	modules []string
	add     []string
}

func newInitramfs(env *Env) *cobra.Command {
	var f initramfsFlags
	c := &cobra.Command{
		Use:   "initramfs [heaps.lock.json] [flags] [-- CHECK FLAGS]",
		Short: "Pack heapctl as a first root filesystem that checks the board",
		Long: `Pack an initramfs whose init is heapctl: netboot it, or put it beside the
kernel, and "heapctl check" runs on the serial console before anything else,
without touching the root filesystem. Good for a board that has none yet.

The last line of the result is "` + initramfs.ExitMark + ` CODE", with the exit code of the
check; without that line the run did not end. What stands behind -- goes to the
check. Without a lock file the board is held against its own device tree.

What comes then is for --then to say:
  poweroff  the machine goes off (the default)
  reboot    it starts again
  shell     a prompt on the console, where every line is a command of heapctl;
            or a shell, if --add put one to /bin/sh
  init      the root filesystem is mounted and its init started, as the kernel
            would have done; the exit code is in DMAHEAP_EXIT of its environment

The program is this heapctl itself; --program names that of another machine. It
must be linked statically. The same files give the same bytes.

On the board, /proc, /sys, a devtmpfs on /dev, a tmpfs on /tmp, debugfs and
tracefs are mounted, as far as the kernel has them, modules are loaded, and the
heaps get the modes, groups and short names of the lock file, as udev would do
it. The kernel needs CONFIG_BLK_DEV_INITRD, CONFIG_BINFMT_ELF, CONFIG_DEVTMPFS,
CONFIG_PROC_FS, CONFIG_SYSFS, CONFIG_PRINTK and a driver of its console, named
by console= on its command line; for the numbers of CMA heaps CONFIG_DEBUG_FS
and CONFIG_CMA_DEBUGFS, for reasons CONFIG_IKCONFIG_PROC.`,
		Example: `  heapctl initramfs heaps.lock.json --program heapctl-arm64 -o heapctl.cpio
  heapctl initramfs heaps.lock.json --then init -- --full -o lava
  heapctl initramfs --then shell -o - | gzip -9 > heapctl.cpio.gz`,
		RunE: func(c *cobra.Command, args []string) error {
			rest := []string{}
			if n := c.ArgsLenAtDash(); n >= 0 {
				args, rest = args[:n], args[n:]
			}
			if len(args) > 1 {
				return usagef("one lock file at most, not %q; flags of the check go behind --", args)
			}
			return f.run(env, args, rest)
		},
	}
	fl := c.Flags()
	fl.StringVarP(&f.output, "output", "o", "heapctl.cpio", "the file to write; - is standard output")
	fl.StringVar(&f.program, "program", "", "static heapctl for the board (default: this program)")
	fl.StringVar(&f.then, "then", initramfs.PowerOff, "what comes after the check: "+strings.Join(initramfs.Thens(), ", "))
	fl.StringVar(&f.root, "root", "", "device of the root filesystem for --then init (default: root= of the kernel command line)")
	fl.StringVar(&f.init, "init", "", "program to start for --then init (default: init= of the kernel command line, or /sbin/init)")
	fl.Var((*words)(&f.modules), "module", "kernel module to load before the check, uncompressed (may be repeated, in the order of loading)")
	fl.Var((*words)(&f.add), "add", "FILE:PATH, a file of this machine and its place in the archive (may be repeated)")
	return c
}

func (f *initramfsFlags) run(env *Env, args, check []string) error {
	if !slices.Contains(initramfs.Thens(), f.then) {
		return usagef("--then %s: use one of %s", f.then, strings.Join(initramfs.Thens(), ", "))
	}
	if f.then != initramfs.RealInit && (f.root != "" || f.init != "") {
		return usagef("--root and --init are for --then init")
	}
	for _, p := range []string{f.root, f.init} {
		if p != "" && !filepath.IsAbs(p) {
			return usagef("%s: not an absolute path", p)
		}
	}
	if err := checkArgs(env, check); err != nil {
		return usagef("flags of the check: %v", err)
	}
	plan := initramfs.Plan{Run: [][]string{append([]string{initramfs.Program, "check"}, check...)}, Then: f.then, Root: f.root, Init: f.init}
	files, machine, err := f.programFiles(env)
	if err != nil {
		return err
	}
	about := "the board's own device tree"
	if len(args) == 1 {
		more, err := lockFiles(env, args[0])
		if err != nil {
			return err
		}
		plan.Rules = rulesPath
		files = append(files, more...)
		about = args[0]
	}
	for i, m := range f.modules {
		data, err := readFile(env, m, maxPacked)
		if err != nil {
			return err
		}
		// Loading order is in the plan; the number keeps names apart.
		name := fmt.Sprintf("/lib/modules/%02d-%s", i, filepath.Base(m))
		if !bytes.HasPrefix(data, []byte("\x7fELF")) {
			return usagef("%s: no kernel module; decompress it first", m)
		}
		plan.Modules = append(plan.Modules, name)
		files = append(files, initramfs.File{Name: name, Data: data})
	}
	for _, a := range f.add {
		from, to, ok := strings.Cut(a, ":")
		if !ok || !filepath.IsAbs(to) {
			return usagef("--add %s: write FILE:/PATH", a)
		}
		data, err := readFile(env, from, maxPacked)
		if err != nil {
			return err
		}
		mode := uint32(0o644)
		if fi, err := os.Stat(from); err == nil && fi.Mode()&0o111 != 0 {
			mode = 0o755
		}
		files = append(files, initramfs.File{Name: to, Mode: mode, Data: data})
	}
	data, err := plan.Marshal()
	if err != nil {
		return err
	}
	archive, err := initramfs.Archive(append(files, initramfs.File{Name: initramfs.PlanPath, Data: data})...)
	if err != nil {
		return usagef("%v", err)
	}
	if f.output == "-" {
		_, err := env.Stdout.Write(archive)
		return err
	}
	if err := replaceFile(f.output, archive); err != nil {
		return &ExitError{ExitCannotTest, err}
	}
	fmt.Fprintf(env.Stdout, "%s: %.1f MiB, for %s\n", f.output, float64(len(archive))/(1<<20), machine)
	fmt.Fprintf(env.Stdout, "it runs: heapctl %s\nagainst: %s\nthen:    %s\n", strings.Join(plan.Run[0][1:], " "), about, f.then)
	return nil
}

// checkArgs reads the arguments of the check as it would itself. What it does not
// take would show on the board, at night.
func checkArgs(env *Env, args []string) error {
	var f checkFlags
	c := f.command(env)
	if err := c.ParseFlags(args); err != nil {
		return err
	}
	if err := c.ValidateFlagGroups(); err != nil {
		return err
	}
	if rest := c.Flags().Args(); len(rest) > 0 {
		return fmt.Errorf("%q is none; a lock file stands before --", rest[0])
	}
	return f.valid()
}

// maxPacked bounds a file of the archive: no program or module for it is as
// large.
const maxPacked = 64 << 20

// rulesPath is where the rules are in the archive, as on a board with udev, so
// that the advice of the check names the right file.
const rulesPath = "/etc/udev/rules.d/60-heaps.rules"

// programFiles returns heapctl and the link to it that the kernel starts.
func (f *initramfsFlags) programFiles(env *Env) (files []initramfs.File, machine string, err error) {
	name := f.program
	if name == "" {
		if name, err = os.Executable(); err != nil {
			return nil, "", usagef("this program cannot find itself; use --program")
		}
	}
	data, err := readFile(env, name, maxPacked)
	if err != nil {
		return nil, "", err
	}
	machine, static, ok := elfProgram(data)
	switch {
	case !ok:
		return nil, "", usagef("%s: no Linux program", name)
	case !static:
		return nil, "", usagef("%s: not linked statically, and an initramfs has no libraries; build it with CGO_ENABLED=0", name)
	}
	return []initramfs.File{
		{Name: initramfs.Program, Mode: 0o755, Data: data},
		{Name: "/init", Link: strings.TrimPrefix(initramfs.Program, "/")},
	}, machine, nil
}

// lockFiles returns the lock, the rules that follow from it, and the accounts
// that these name.
func lockFiles(env *Env, name string) ([]initramfs.File, error) {
	data, err := readFile(env, name, 4<<20)
	if err != nil {
		return nil, err
	}
	lock, err := heapcfg.ParseLock(data)
	if err != nil {
		return nil, usagef("%s: %v; \"heapctl compile\" writes it beside the overlay", name, err)
	}
	var rules bytes.Buffer
	for _, e := range lock.Heaps {
		if rule := emit.UdevRule(e); rule != "" {
			fmt.Fprintln(&rules, rule)
		}
	}
	accounts, err := initramfs.Accounts(rules.Bytes())
	if err != nil {
		return nil, usagef("%s: %v", name, err)
	}
	return append([]initramfs.File{{Name: defaultLock, Data: data}, {Name: rulesPath, Data: rules.Bytes()}}, accounts...), nil
}

// machines are the e_machine numbers of elf(5) that boards with heaps have.
var machines = map[uint16]string{3: "x86", 8: "mips", 20: "ppc", 21: "ppc64", 40: "arm", 62: "x86-64", 183: "arm64", 243: "riscv", 258: "loongarch"}

// elfProgram tells for which machine an ELF program is, and whether it runs
// without an interpreter. Package debug/elf would do it at ten times the size.
func elfProgram(data []byte) (machine string, static, ok bool) {
	if len(data) < 64 || !bytes.HasPrefix(data, []byte("\x7fELF")) {
		return "", false, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if data[5] == 2 {
		order = binary.BigEndian
	}
	// Offset, size and number of the program headers.
	at, size, n := uint64(order.Uint32(data[28:])), uint64(order.Uint16(data[42:])), int(order.Uint16(data[44:]))
	if data[4] == 2 {
		at, size, n = order.Uint64(data[32:]), uint64(order.Uint16(data[54:])), int(order.Uint16(data[56:]))
	}
	kind, number := order.Uint16(data[16:]), order.Uint16(data[18:])
	if kind != 2 && kind != 3 { // ET_EXEC, ET_DYN
		return "", false, false
	}
	if machine = machines[number]; machine == "" {
		machine = fmt.Sprintf("machine %d", number)
	}
	for i := range n {
		off := at + uint64(i)*size
		if size < 4 || off > uint64(len(data))-4 {
			return "", false, false
		}
		if order.Uint32(data[off:]) == 3 { // PT_INTERP
			return machine, false, true
		}
	}
	return machine, true, true
}
