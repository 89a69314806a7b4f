// SPDX-License-Identifier: MIT

// Package buildroot checks the external tree in buildroot-ext without
// Buildroot: what a real Kconfig, make, shell, patch and Go compiler say of it.
// What only Buildroot itself can tell is in run.sh.
package buildroot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/internal/cli"
	"github.com/dmaheap/dmaheap/test/rig"
)

// need skips the test where a tool is missing, and fails it in CI, which
// installs the Debian package that has it.
func need(t *testing.T, tool, debian string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		missing(t, tool, debian)
	}
	return path
}

func missing(t *testing.T, what, debian string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s: install Debian's %s", what, debian)
	}
	t.Skipf("no %s: install Debian's %s", what, debian)
}

// top returns the root of the repository.
func top(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// ext returns the external tree. It opens all of it, since the go command shows
// cached results unless the test itself, not make or a shell, has looked at the
// files that changed.
func ext(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(top(t), "buildroot-ext")
	for _, d := range []string{dir, "testdata"} {
		err := filepath.WalkDir(d, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs a program and returns what it printed on both outputs.
func command(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := command(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func defconfigs(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(ext(t), "configs", "*_defconfig"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no defconfigs (%v)", err)
	}
	return list
}

// --- Kconfig -----------------------------------------------------------------

// python finds an interpreter with kconfiglib; the first one in PATH may be
// another than Debian's.
func python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import kconfiglib").Run() == nil {
			return p
		}
	}
	missing(t, "kconfiglib", "python3-kconfiglib")
	return ""
}

func kconfig(t *testing.T, args ...string) string {
	t.Helper()
	env := []string{"BR2_EXTERNAL_DMAHEAP_PATH=" + ext(t)}
	return mustRun(t, env, python(t), append([]string{"testdata/kconfig.py", "testdata/Kconfig"}, args...)...)
}

func TestKconfig(t *testing.T) {
	arch := "BR2_PACKAGE_HOST_GO_TARGET_ARCH_SUPPORTS=y\nBR2_PACKAGE_HOST_GO_HOST_ARCH_SUPPORTS=y\n"
	for _, c := range []struct{ name, set, want string }{
		{"nothing ticked", "BR2_PACKAGE_HOST_GO=n", arch},
		{"one box", "BR2_LINUX_KERNEL_EXT_DMAHEAP=y",
			arch + "BR2_PACKAGE_HOST_GO=y\nBR2_LINUX_KERNEL_EXT_DMAHEAP=y\nBR2_PACKAGE_DMAHEAP=y\nBR2_PACKAGE_HEAPCTL=y\n"},
		{"no Go for the target", "BR2_PACKAGE_HOST_GO_TARGET_ARCH_SUPPORTS=n BR2_LINUX_KERNEL_EXT_DMAHEAP=y BR2_PACKAGE_HEAPCTL=y",
			"BR2_PACKAGE_HOST_GO_HOST_ARCH_SUPPORTS=y\n"},
		{"overlay applied at build time", "BR2_LINUX_KERNEL_DTS_SUPPORT=y BR2_PACKAGE_DMAHEAP=y BR2_PACKAGE_DMAHEAP_APPLY=y",
			arch + "BR2_PACKAGE_HOST_GO=y\nBR2_PACKAGE_HOST_DTC=y\nBR2_LINUX_KERNEL_DTS_SUPPORT=y\nBR2_PACKAGE_DMAHEAP=y\nBR2_PACKAGE_DMAHEAP_APPLY=y\nBR2_PACKAGE_HEAPCTL=y\n"},
		{"not onto a tree of one's own", "BR2_LINUX_KERNEL_DTS_SUPPORT=y BR2_PACKAGE_DMAHEAP=y BR2_PACKAGE_DMAHEAP_BASE_DTB=x.dtb BR2_PACKAGE_DMAHEAP_APPLY=y",
			arch + "BR2_PACKAGE_HOST_GO=y\nBR2_LINUX_KERNEL_DTS_SUPPORT=y\nBR2_PACKAGE_DMAHEAP=y\nBR2_PACKAGE_DMAHEAP_BASE_DTB=x.dtb\nBR2_PACKAGE_HEAPCTL=y\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Split(kconfig(t, strings.Fields(c.set)...), "\n")
			want := strings.Split(c.want, "\n")
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s gives %q, want %q", c.set, got, want)
			}
		})
	}
}

// What a defconfig says of the external tree must be possible, and said in
// full: a value that Kconfig drops shows here.
func TestDefconfigsResolve(t *testing.T) {
	ours := regexp.MustCompile(`(?m)^(BR2_PACKAGE_(?:DMAHEAP|HEAPCTL|HOST_HEAPCTL)\w*|BR2_LINUX_KERNEL_EXT_DMAHEAP)=(.*)$`)
	for _, f := range defconfigs(t) {
		got := kconfig(t, f)
		for _, m := range ours.FindAllStringSubmatch(read(t, f), -1) {
			if line := m[1] + "=" + strings.Trim(m[2], `"`); !strings.Contains(got, line+"\n") {
				t.Errorf("%s: %s does not come out", filepath.Base(f), m[0])
			}
		}
	}
}

// --- make --------------------------------------------------------------------

// evaluate reads the Makefiles of the external tree with variables set, and
// returns the values of others.
func evaluate(t *testing.T, set []string, vars ...string) map[string]string {
	t.Helper()
	out, err := tryEvaluate(t, set, vars...)
	if err != nil {
		t.Fatalf("make %v: %v\n%s", set, err, out)
	}
	values := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			values[name] = value
		}
	}
	return values
}

func tryEvaluate(t *testing.T, set []string, vars ...string) (string, error) {
	t.Helper()
	need(t, "make", "make")
	args := append([]string{"-s", "--no-print-directory", "--warn-undefined-variables", "-f", "testdata/stub.mk",
		"BR2_EXTERNAL_DMAHEAP_PATH=" + ext(t), "VARS=" + strings.Join(vars, " ")}, set...)
	return command(t, []string{"MAKEFLAGS=", "MAKELEVEL="}, "make", args...)
}

func TestPackages(t *testing.T) {
	v := evaluate(t, nil, "PACKAGES")
	if got, want := v["PACKAGES"], "generic:dmaheap golang:heapctl host-golang:heapctl"; got != want {
		t.Errorf("packages %q, want %q", got, want)
	}
}

func TestHeapctlPackage(t *testing.T) {
	v := evaluate(t, nil, "HEAPCTL_SITE", "HEAPCTL_SITE_METHOD", "HEAPCTL_VERSION", "HEAPCTL_GOMOD", "HEAPCTL_BUILD_TARGETS",
		"HEAPCTL_LICENSE_FILES", "HEAPCTL_LDFLAGS", "HOST_HEAPCTL_GOMOD", "HOST_HEAPCTL_BUILD_TARGETS", "HOST_HEAPCTL_LDFLAGS",
		"HEAPCTL_INSTALL_BINS", "HOST_HEAPCTL_INSTALL_BINS")
	if v["HEAPCTL_SITE_METHOD"] != "local" || v["HEAPCTL_VERSION"] == "" {
		t.Errorf("site method %q, version %q: without a version a local package is missing from legal-info", v["HEAPCTL_SITE_METHOD"], v["HEAPCTL_VERSION"])
	}
	mod, _, _ := strings.Cut(strings.TrimPrefix(read(t, filepath.Join(v["HEAPCTL_SITE"], "go.mod")), "module "), "\n")
	for _, p := range []string{"HEAPCTL", "HOST_HEAPCTL"} {
		if got := v[p+"_GOMOD"]; got != mod {
			t.Errorf("%s_GOMOD is %q, go.mod says %q", p, got, mod)
		}
		// Buildroot 2025.02 installs the name of the package, later
		// ones that of the directory; and INSTALL_BINS is an error
		// since 2025.11.
		target := v[p+"_BUILD_TARGETS"]
		if filepath.Base(target) != "heapctl" {
			t.Errorf("%s_BUILD_TARGETS %q does not end in the name of the package", p, target)
		}
		if src := read(t, filepath.Join(v["HEAPCTL_SITE"], target, "main.go")); !strings.Contains(src, "\npackage main\n") {
			t.Errorf("%s is no program", target)
		}
		if bins := v[p+"_INSTALL_BINS"]; bins != "" {
			t.Errorf("%s_INSTALL_BINS is %q, must not be set", p, bins)
		}
		name, _, _ := strings.Cut(v[p+"_LDFLAGS"][strings.Index(v[p+"_LDFLAGS"], "-X ")+3:], "=")
		pkg, variable := name[:strings.LastIndex(name, ".")], name[strings.LastIndex(name, ".")+1:]
		src := read(t, filepath.Join(top(t), strings.TrimPrefix(pkg, mod+"/"), "root.go"))
		if !strings.Contains(src, "var "+variable+" string") {
			t.Errorf("%s_LDFLAGS sets %s, which there is not", p, name)
		}
	}
	hashes := read(t, filepath.Join(ext(t), "package", "heapctl", "heapctl.hash"))
	if want := fmt.Sprintf("sha256  %x  LICENSE\n", sha256.Sum256([]byte(read(t, filepath.Join(top(t), "LICENSE"))))); !strings.Contains(hashes, want) {
		t.Errorf("heapctl.hash lacks %q", want)
	}
	for _, f := range strings.Fields(v["HEAPCTL_LICENSE_FILES"]) {
		if !strings.Contains(hashes, "  "+f+"\n") {
			t.Errorf("heapctl.hash has no line for %s", f)
		}
	}
}

var dmaheapOn = []string{"BR2_PACKAGE_DMAHEAP=y", "BR2_LINUX_KERNEL=y", "BR_BUILDING=y"}

func TestDmaheapPackage(t *testing.T) {
	qemu := filepath.Join(ext(t), "board", "qemu", "aarch64-virt")
	config := `BR2_PACKAGE_DMAHEAP_CONFIG="` + filepath.Join(qemu, "heaps.yaml") + `"`
	vars := []string{"DMAHEAP_BASE_DTB", "DMAHEAP_DEPENDENCIES", "DMAHEAP_LINUX_CONFIG_FIXUPS", "DMAHEAP_TARGET_FINALIZE_HOOKS",
		"DMAHEAP_APPLY_OVERLAY", "LINUX_KCONFIG_DEPENDENCIES", "LINUX_PRE_PATCH_HOOKS", "DMAHEAP_INSTALL_INIT_SYSV"}

	t.Run("inert", func(t *testing.T) {
		v := evaluate(t, nil, "LINUX_KCONFIG_DEPENDENCIES", "LINUX_PRE_PATCH_HOOKS", "LINUX_EXTENSIONS", "DMAHEAP_TARGET_FINALIZE_HOOKS", "DMAHEAP_INSTALL_INIT_SYSV", "DMAHEAP_INSTALL_INIT_SYSTEMD")
		for name, value := range v {
			if value != "" {
				t.Errorf("nothing is ticked, and %s is %q", name, value)
			}
		}
	})
	t.Run("tree of the kernel", func(t *testing.T) {
		v := evaluate(t, append(slices.Clone(dmaheapOn), config, "BR2_LINUX_KERNEL_DTS_SUPPORT=y", "LINUX_DTS_NAME=ti/a ti/b",
			"BR2_LINUX_KERNEL_EXT_DMAHEAP=y", "BR2_PACKAGE_DMAHEAP_APPLY=y", "BR2_LINUX_KERNEL_INSTALL_TARGET=y"), vars...)
		for name, want := range map[string]string{
			"DMAHEAP_BASE_DTB":           "/build/linux-custom/arch/arm64/boot/dts/ti/a.dtb",
			"DMAHEAP_DEPENDENCIES":       "host-heapctl linux host-dtc",
			"LINUX_KCONFIG_DEPENDENCIES": "host-heapctl",
			"LINUX_PRE_PATCH_HOOKS":      "DMAHEAP_PREPARE_KERNEL",
		} {
			if v[name] != want {
				t.Errorf("%s = %q, want %q", name, v[name], want)
			}
		}
		for _, want := range []string{"-o /images/a.dtb", "-o /target/boot/a.dtb"} {
			if !strings.Contains(v["DMAHEAP_APPLY_OVERLAY"], want) {
				t.Errorf("no %q in %q", want, v["DMAHEAP_APPLY_OVERLAY"])
			}
		}
	})
	t.Run("source of one's own", func(t *testing.T) {
		v := evaluate(t, append(slices.Clone(dmaheapOn), config, `BR2_PACKAGE_DMAHEAP_BASE_DTB="`+filepath.Join(qemu, "virt.dts")+`"`,
			"BR2_ROOTFS_DEVICE_CREATION_DYNAMIC_MDEV=y", "BR2_LINUX_KERNEL_INSTALL_TARGET=y"), append(vars, "DMAHEAP_INSTALL_TARGET_CMDS")...)
		for name, want := range map[string]string{
			"DMAHEAP_BASE_DTB":              "/build/.dmaheap-base.dtb",
			"DMAHEAP_DEPENDENCIES":          "host-heapctl host-dtc linux",
			"LINUX_KCONFIG_DEPENDENCIES":    "host-heapctl host-dtc",
			"LINUX_PRE_PATCH_HOOKS":         "", // the extension is off
			"DMAHEAP_TARGET_FINALIZE_HOOKS": "DMAHEAP_INSTALL_MDEV_CONF",
		} {
			if v[name] != want {
				t.Errorf("%s = %q, want %q", name, v[name], want)
			}
		}
		if f := v["DMAHEAP_LINUX_CONFIG_FIXUPS"]; !strings.Contains(f, "/linux-custom/.dmaheap/heaps.config") {
			t.Errorf("the fragment is not merged: %q", f)
		}
		if c := v["DMAHEAP_INSTALL_TARGET_CMDS"]; !strings.Contains(c, "/target/boot/heaps.dtbo") {
			t.Errorf("the overlay does not lie beside the kernel's device tree: %q", c)
		}
	})
	for _, c := range []struct {
		name, want string
		set        []string
	}{
		{"no config", "BR2_PACKAGE_DMAHEAP_CONFIG is empty", nil},
		{"config not there", "there is no file /nowhere/heaps.yaml", []string{`BR2_PACKAGE_DMAHEAP_CONFIG="/nowhere/heaps.yaml"`}},
		{"tree not there", "there is no file /nowhere/board.dtb", []string{config, `BR2_PACKAGE_DMAHEAP_BASE_DTB="/nowhere/board.dtb"`}},
		{"no tree", "dmaheap needs the device tree of the board", []string{config}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := tryEvaluate(t, append(slices.Clone(dmaheapOn), c.set...), "PACKAGES")
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("make said %q (%v), want an error with %q", out, err, c.want)
			}
		})
	}
}

// The series is that of the kernel in the tree, whatever Buildroot calls it; and
// a kernel without one stops the build with the names of those there are.
func TestKernelExtension(t *testing.T) {
	need(t, "make", "make")
	prepare := func(t *testing.T, makefile string) (string, error) {
		t.Helper()
		dir := filepath.Dir(write(t, filepath.Join(t.TempDir(), "Makefile"), makefile))
		return command(t, []string{"MAKEFLAGS=", "MAKELEVEL="}, "make", "-s", "--no-print-directory", "-f", "testdata/stub.mk",
			"BR2_EXTERNAL_DMAHEAP_PATH="+ext(t), "BR2_LINUX_KERNEL=y", "LINUX_DIR="+dir, "APPLY_PATCHES=echo apply", "prepare-kernel")
	}
	lists, err := filepath.Glob(filepath.Join(top(t), "kernel-patches", "*", "series"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("no series (%v)", err)
	}
	var names []string
	for _, list := range lists {
		line := filepath.Base(filepath.Dir(list))
		names = append(names, line)
		major, minor, _ := strings.Cut(line, ".")
		out, err := prepare(t, "VERSION = "+major+"\nPATCHLEVEL = "+minor+"\nSUBLEVEL = 95\nEXTRAVERSION =\nNAME = x\n")
		if err != nil || !strings.HasSuffix(out, "/kernel-patches/"+line+" *.patch\n") {
			t.Errorf("Linux %s: make said %q (%v)", line, out, err)
		}
	}
	out, err := prepare(t, "VERSION = 4\nPATCHLEVEL = 4\nSUBLEVEL = 1\nNAME = x\n")
	if err == nil || strings.Contains(out, "apply ") || !strings.HasPrefix(out, "ERROR: dmaheap has no patches for Linux 4.4, only for:\n") {
		t.Errorf("Linux 4.4: make said %q (%v)", out, err)
	}
	for _, line := range names {
		if !strings.Contains(out, "\n"+line+"\n") {
			t.Errorf("the error does not name %s: %q", line, out)
		}
	}
}

// Where the kernel is configured before its device tree exists, all options
// that any heap may need are turned on. That list, and the one of the files
// that are installed, must keep up with heapctl.
func TestListsKeepUp(t *testing.T) {
	need(t, "dtc", "device-tree-compiler")
	dir := t.TempDir()
	dtb := filepath.Join(dir, "base.dtb")
	mustRun(t, nil, "dtc", "-q", "-o", dtb, filepath.Join(ext(t), "board", "qemu", "aarch64-virt", "virt.dts"))
	yaml := write(t, filepath.Join(dir, "all.yaml"), `version: 1
target: {kernel: "6.12"}
heaps:
  - {name: c, kind: cma, size: 16MiB}
  - {name: d, kind: carveout, size: 1MiB}
  - {name: e, kind: chunk, size: 1MiB, chunk-size: 64KiB}
  - {name: system, kind: system}
`)
	heapctl(t, "compile", yaml, "--base", dtb, "-o", dir)
	v := evaluate(t, []string{"BR2_PACKAGE_DMAHEAP_CONFIG=" + yaml}, "DMAHEAP_LINUX_CONFIG_FIXUPS", "DMAHEAP_PRODUCTS", "DMAHEAP_STEM")
	fixups := v["DMAHEAP_LINUX_CONFIG_FIXUPS"] + " "
	options := regexp.MustCompile(`(?m)^(CONFIG_\w+)=y`).FindAllStringSubmatch(read(t, filepath.Join(dir, "all.config")), -1)
	if len(options) < 6 {
		t.Fatalf("heapctl asks for %d options only", len(options))
	}
	for _, m := range options {
		if !strings.Contains(fixups, "enable "+m[1]+" ") {
			t.Errorf("heapctl may ask for %s, which dmaheap.mk does not turn on", m[1])
		}
	}

	// What is installed must be what is written; only the overlay's source,
	// and what has a place of its own, stay behind.
	products := append(strings.Fields(v["DMAHEAP_PRODUCTS"]), v["DMAHEAP_STEM"]+".dtbo", v["DMAHEAP_STEM"]+".dtso")
	for _, e := range dirNames(t, dir) {
		if e != "base.dtb" && e != "all.yaml" && !slices.Contains(products, e) {
			t.Errorf("heapctl compile writes %s, which dmaheap.mk does not install", e)
		}
	}
	for _, p := range products {
		if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
			t.Errorf("dmaheap.mk installs %s, which heapctl compile does not write", p)
		}
	}
}

func dirNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// heapctl runs the program in-process and fails unless it ends with 0.
func heapctl(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	env := &cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
	if code := cli.Run(context.Background(), env, args); code != cli.ExitOK {
		t.Fatalf("heapctl %s: exit code %d\n%s", strings.Join(args, " "), code, out.Bytes())
	}
}

// --- the Go build ------------------------------------------------------------

// The package is built from what the rsync whitelist lets through, with vendored
// modules, without network, by the command line of Buildroot's infrastructure.
func TestGoBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds heapctl four times")
	}
	need(t, "rsync", "rsync")
	v := evaluate(t, nil, "HEAPCTL_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS", "HEAPCTL_SITE", "HEAPCTL_GOMOD", "HEAPCTL_BUILD_TARGETS", "HEAPCTL_LDFLAGS", "HEAPCTL_LICENSE_FILES", "HEAPCTL_GO_ENV", "HOST_HEAPCTL_GO_ENV")
	for _, p := range []string{"HEAPCTL", "HOST_HEAPCTL"} {
		if got := v[p+"_GO_ENV"]; got != "CGO_ENABLED=0" {
			t.Errorf("%s_GO_ENV is %q; with cgo the program is linked to the C library", p, got)
		}
	}
	dir := t.TempDir()
	args := append(strings.Fields(v["HEAPCTL_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS"]), "-au", v["HEAPCTL_SITE"]+"/", dir)
	mustRun(t, nil, "rsync", args...)
	if m, _ := filepath.Glob(filepath.Join(dir, "*")); len(m) > 8 {
		t.Errorf("the whitelist lets through %q", m)
	}
	goIn := func(env []string, args ...string) {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(append(os.Environ(), "GO111MODULE=on"), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v go %s: %v\n%s", env, strings.Join(args, " "), err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "vendor")); err != nil {
		goIn([]string{"GOFLAGS=-mod=mod"}, "mod", "vendor")
	}

	hashes := read(t, filepath.Join(ext(t), "package", "heapctl", "heapctl.hash"))
	for _, f := range strings.Fields(v["HEAPCTL_LICENSE_FILES"]) {
		if want := fmt.Sprintf("sha256  %x  %s\n", sha256.Sum256([]byte(read(t, filepath.Join(dir, f)))), f); !strings.Contains(hashes, want) {
			t.Errorf("heapctl.hash lacks %q", want)
		}
	}

	for _, env := range [][]string{
		{"GOOS=", "GOARCH="},
		{"GOOS=linux", "GOARCH=arm64"},
		{"GOOS=linux", "GOARCH=arm", "GOARM=7"},
		{"GOOS=linux", "GOARCH=riscv64"},
	} {
		env = append(env, "GOFLAGS=-mod=vendor", "GOPROXY=off", "GOTOOLCHAIN=local", v["HEAPCTL_GO_ENV"])
		goIn(env, "build", "-v", "-ldflags", v["HEAPCTL_LDFLAGS"], "-modcacherw", "-tags", "", "-trimpath", "-p", "2", "-buildvcs=false",
			"-o", "bin/heapctl", v["HEAPCTL_GOMOD"]+"/"+v["HEAPCTL_BUILD_TARGETS"])
		if env[1] == "GOARCH=" {
			out := mustRun(t, nil, filepath.Join(dir, "bin", "heapctl"), "--version")
			if want := strings.TrimSpace(mustRun(t, nil, filepath.Join(top(t), "release", "version.sh"))); !strings.Contains(out, want) {
				t.Errorf("heapctl --version says %q, want %s", out, want)
			}
		}
	}

	linked := mustRun(t, nil, "go", "-C", dir, "list", "-mod=vendor", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./"+v["HEAPCTL_BUILD_TARGETS"])
	for _, mod := range strings.Fields(linked) {
		if mod != v["HEAPCTL_GOMOD"] && !strings.Contains(v["HEAPCTL_LICENSE_FILES"], "vendor/"+mod+"/") {
			t.Errorf("heapctl is linked from %s, whose license is not in HEAPCTL_LICENSE_FILES", mod)
		}
	}
}

// --- defconfigs --------------------------------------------------------------

func TestDefconfigs(t *testing.T) {
	known := read(t, filepath.Join("testdata", "symbols.txt"))
	hashes := read(t, filepath.Join(ext(t), "patches", "linux", "linux.hash"))
	used := map[string]bool{}
	for _, f := range defconfigs(t) {
		name, text := filepath.Base(f), read(t, f)
		for _, want := range []string{"BR2_DOWNLOAD_FORCE_CHECK_HASHES=y\n", "BR2_LINUX_KERNEL_EXT_DMAHEAP=y\n", "BR2_TOOLCHAIN_EXTERNAL_BOOTLIN=y\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		for _, m := range regexp.MustCompile(`\$\(BR2_EXTERNAL_DMAHEAP_PATH\)([^" ]*)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(ext(t), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:# )?(BR2_\w+)(?:=| is not set)`).FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
			if !strings.Contains(known, "\n"+m[1]+"\n") {
				t.Errorf("%s: %s is not in testdata/symbols.txt", name, m[1])
			}
		}
		if m := regexp.MustCompile(`CUSTOM_VERSION_VALUE="(\d+\.\d+)(\.\d+)?"`).FindStringSubmatch(kernelLines(text)); m != nil {
			if _, err := os.Stat(filepath.Join(top(t), "kernel-patches", m[1], "series")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !strings.Contains(hashes, "  linux-"+m[1]+m[2]+".tar.xz\n") {
				t.Errorf("%s: no hash for Linux %s%s", name, m[1], m[2])
			}
		} else if m := regexp.MustCompile(`CUSTOM_TARBALL_LOCATION=".*/(.*)"`).FindStringSubmatch(kernelLines(text)); m == nil || !strings.Contains(hashes, "  "+m[1]+"\n") {
			t.Errorf("%s: no hash for its kernel %v", name, m)
		}
	}
	for _, s := range strings.Fields(known) {
		if strings.HasPrefix(s, "BR2_") && !used[s] {
			t.Errorf("testdata/symbols.txt: no defconfig uses %s", s)
		}
	}
	readme := read(t, filepath.Join(ext(t), "board", "qemu", "aarch64-virt", "readme.txt"))
	if !regexp.MustCompile(`(?m)^  qemu-system-aarch64 .* # dmaheap_qemu_aarch64_virt_defconfig$`).MatchString(readme) {
		t.Error("readme.txt: no QEMU line that ends in the name of the defconfig")
	}
}

func kernelLines(defconfig string) string {
	return strings.Join(regexp.MustCompile(`(?m)^BR2_LINUX_KERNEL_.*$`).FindAllString(defconfig, -1), "\n")
}

// --- boards ------------------------------------------------------------------

// Every heaps.yaml is clean, warnings included, on the device tree of its board.
func TestBoards(t *testing.T) {
	need(t, "dtc", "device-tree-compiler")
	for _, b := range []struct{ config, own, dts, memory string }{
		{"buildroot-ext/board/qemu/aarch64-virt", "board/qemu/aarch64-virt/virt.dts", "", ""},
		{"examples/rpi4", "board/raspberrypi/rpi4/memory.dts", "", ""},
		// The firmware fills in the memory: 4 GiB here, as on most boards.
		{"examples/rpi4", "", "broadcom/bcm2711-rpi-4-b", "0 0 39c00000 0 40000000 bc000000"},
		{"examples/ti-am62x", "", "ti/k3-am625-sk", ""},
		{"examples/imx8mp", "", "freescale/imx8mp-evk", ""},
	} {
		t.Run(b.config+" "+b.own+b.dts, func(t *testing.T) {
			dtb := filepath.Join(t.TempDir(), "base.dtb")
			if b.own != "" {
				mustRun(t, nil, "dtc", "-q", "-o", dtb, filepath.Join(ext(t), b.own))
			} else {
				need(t, "cpp", "cpp")
				if err := rig.BoardTree(context.Background(), kernelSource(t, "6.12"), b.dts, dtb); err != nil {
					t.Fatal(err)
				}
			}
			if b.memory != "" {
				mustRun(t, nil, "fdtput", append([]string{"-t", "x", dtb, "/memory@0", "reg"}, strings.Fields(b.memory)...)...)
			}
			heapctl(t, "compile", filepath.Join(top(t), b.config, "heaps.yaml"), "--base", dtb, "--check", "--strict")
		})
	}
}

// kernelSource returns the tree that the test kernel of that version is built
// from, where it has been unpacked; of the versions in KERNEL_SOURCES it must be.
func kernelSource(t *testing.T, version string) string {
	t.Helper()
	src := rig.CachedSource(version)
	if src == "" {
		// Unpacking takes a minute, and `make check` is to be short:
		// `make corpus`, which needs the sources, asks for these tests.
		if slices.Contains(strings.Fields(os.Getenv("KERNEL_SOURCES")), version) {
			t.Fatalf("no source of Linux %s in the cache", version)
		}
		t.Skipf("no source of Linux %[1]s in the cache: run kernel-patches/source.sh %[1]s first", version)
	}
	return src
}

// What the demo's kernel configuration says, the kernel must take: Kconfig drops
// a line without a word when something it depends on is otherwise.
func TestLinuxConfig(t *testing.T) {
	src, out := kernelSource(t, "6.12"), t.TempDir()
	config := filepath.Join(ext(t), "board", "qemu", "aarch64-virt", "linux.config")
	write(t, filepath.Join(out, ".config"), read(t, config))
	mustRun(t, []string{"MAKEFLAGS=", "MAKELEVEL="}, "make", "-s", "-C", src, "O="+out, "ARCH=arm64", "CROSS_COMPILE=", "olddefconfig")
	if said, err := command(t, nil, filepath.Join(ext(t), "support", "check-kernel-config.sh"), filepath.Join(out, ".config"), config); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// --- patches -----------------------------------------------------------------

// Buildroot applies patches with no fuzz at all, and refuses two of one name.
func TestPatchesApply(t *testing.T) {
	need(t, "patch", "patch")
	lists, err := filepath.Glob(filepath.Join(top(t), "kernel-patches", "*", "series"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("no series (%v)", err)
	}
	for _, list := range lists {
		version := filepath.Base(filepath.Dir(list))
		t.Run(version, func(t *testing.T) { patchesApply(t, version, list) })
	}
}

func patchesApply(t *testing.T, version, list string) {
	names := regexp.MustCompile(`(?m)^[^#\s].*$`).FindAllString(read(t, list), -1)
	if len(names) == 0 {
		t.Fatal("the series is empty")
	}
	for i, n := range names {
		if !regexp.MustCompile(`^\d{4}-.*\.patch$`).MatchString(n) || slices.Contains(names[:i], n) {
			t.Errorf("%s: not a name of its own like 0001-subject.patch", n)
		}
	}
	src, dir := kernelSource(t, version), t.TempDir()
	touched := regexp.MustCompile(`(?m)^--- a/(\S+)`)
	for _, n := range names {
		patch := filepath.Join(filepath.Dir(list), n)
		for _, m := range touched.FindAllStringSubmatch(read(t, patch), -1) {
			to := filepath.Join(dir, m[1])
			if _, err := os.Stat(to); err == nil {
				continue // maybe patched already
			}
			if data, err := os.ReadFile(filepath.Join(src, m[1])); err == nil {
				write(t, to, string(data))
			}
		}
		mustRun(t, nil, "patch", "-F0", "-g0", "-p1", "-t", "-N", "-d", dir, "-i", patch)
	}
}

// --- scripts -----------------------------------------------------------------

func TestShell(t *testing.T) {
	need(t, "shellcheck", "shellcheck")
	var scripts []string
	err := filepath.WalkDir(ext(t), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		init := regexp.MustCompile(`^S\d\d`).MatchString(d.Name())
		if !init && filepath.Ext(path) != ".sh" {
			return nil
		}
		scripts = append(scripts, path)
		info, err := d.Info()
		// check-package wants init scripts without it; make runs the others.
		if err == nil && (info.Mode()&0o111 != 0) == init {
			t.Errorf("%s: mode %v", path, info.Mode())
		}
		if daemon := `DAEMON="` + regexp.MustCompile(`^S\d\d`).ReplaceAllString(d.Name(), "") + `"`; init && !strings.Contains(read(t, path), daemon) {
			t.Errorf("%s: no %s", path, daemon)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(scripts) < 4 {
		t.Fatalf("only %d scripts found", len(scripts))
	}
	mustRun(t, nil, "shellcheck", scripts...)
}

// The unit is read by systemd itself, between stand-ins for what it refers to.
func TestUnit(t *testing.T) {
	analyze := need(t, "systemd-analyze", "systemd")
	root := t.TempDir()
	unit := read(t, filepath.Join(ext(t), "package", "dmaheap", "dmaheap-check.service"))
	units := filepath.Join(root, "usr", "lib", "systemd", "system")
	write(t, filepath.Join(units, "dmaheap-check.service"), unit)
	for _, u := range []string{"sysinit.target", "basic.target", "shutdown.target", "multi-user.target"} {
		write(t, filepath.Join(units, u), "[Unit]\nDescription=stand-in\nDefaultDependencies=no\n")
	}
	for _, p := range []string{"heapctl", "udevadm"} {
		if err := os.Chmod(write(t, filepath.Join(root, "usr", "bin", p), "#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out := mustRun(t, nil, analyze, "verify", "--root="+root, "dmaheap-check.service")
	if out != "" {
		t.Errorf("systemd-analyze verify says %s", out)
	}

	// Both ways of starting it do the same thing, and keep it in one place.
	script := read(t, filepath.Join(ext(t), "package", "dmaheap", "S95dmaheap-check"))
	const kept = "/run/dmaheap/check.json"
	if !strings.Contains(unit, "heapctl check --quick -o json --file "+kept+"\n") ||
		!strings.Contains(script, "heapctl check --quick -o json --file \"$RESULT\"\n") || !strings.Contains(script, `RESULT="`+kept+`"`) {
		t.Errorf("unit and init script do not do the same:\n%s\n%s", unit, script)
	}
}

func TestCheckKernelConfig(t *testing.T) {
	const fragment = "# Generated.\n\n# /dev/dma_heap\nCONFIG_DMABUF_HEAPS=y\n\n# stated under target.kconfig\nCONFIG_CMA_AREAS=12\n\n# CONFIG_FOO is not set\n"
	for _, c := range []struct {
		name, config string
		code         int
		want         []string
	}{
		{"all there", "CONFIG_CMA_AREAS=12\nCONFIG_DMABUF_HEAPS=y\n", 0, []string{"all 3 options"}},
		{"nothing there", "# CONFIG_DMABUF_HEAPS is not set\n", 1, []string{
			"CONFIG_DMABUF_HEAPS=y, but it is n (/dev/dma_heap)", "CONFIG_CMA_AREAS=12, but it is n (stated under target.kconfig)"}},
		{"other number", "CONFIG_CMA_AREAS=7\nCONFIG_DMABUF_HEAPS=y\n", 1, []string{"CONFIG_CMA_AREAS=12, but it is 7"}},
		{"longer name", "CONFIG_CMA_AREAS=12\nCONFIG_DMABUF_HEAPS_SYSTEM=y\n", 1, []string{"CONFIG_DMABUF_HEAPS=y, but it is n"}},
		{"must be off", "CONFIG_CMA_AREAS=12\nCONFIG_DMABUF_HEAPS=y\nCONFIG_FOO=m\n", 1, []string{"CONFIG_FOO=n, but it is m"}},
		{"empty", "", 1, []string{"CONFIG_DMABUF_HEAPS=y, but it is n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			out, err := command(t, nil, filepath.Join(ext(t), "support", "check-kernel-config.sh"),
				write(t, filepath.Join(dir, "config"), c.config), write(t, filepath.Join(dir, "heaps.config"), fragment))
			code := 0
			if exit, ok := err.(*exec.ExitError); ok {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("said %q, want %q in it", out, want)
				}
			}
		})
	}
}

// The scripts that run after the images are made, on what dmaheap.mk installs.
func TestPostImage(t *testing.T) {
	need(t, "dtc", "device-tree-compiler")
	overlay := need(t, "fdtoverlay", "device-tree-compiler")
	images, host := t.TempDir(), t.TempDir()
	board := filepath.Join(ext(t), "board", "qemu", "aarch64-virt")
	base := write(t, filepath.Join(images, "dmaheap", "base.dtb"), "")
	mustRun(t, nil, "dtc", "-q", "-o", base, filepath.Join(board, "virt.dts"))
	heapctl(t, "compile", filepath.Join(board, "heaps.yaml"), "--base", base, "-o", images)
	if err := os.MkdirAll(filepath.Join(host, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(overlay, filepath.Join(host, "bin", "fdtoverlay")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, []string{"HOST_DIR=" + host, "BUILD_DIR=" + t.TempDir()}, filepath.Join(board, "post-image.sh"), images)
	if nodes := mustRun(t, nil, "fdtget", "-l", filepath.Join(images, "virt-heaps.dtb"), "/reserved-memory"); len(strings.Fields(nodes)) != 3 {
		t.Errorf("heaps in virt-heaps.dtb: %q, want 3", nodes)
	}
	if out, err := command(t, []string{"HOST_DIR=" + t.TempDir(), "BUILD_DIR=" + t.TempDir()}, filepath.Join(board, "post-image.sh"), images); err == nil || !strings.Contains(out, "BR2_PACKAGE_HOST_DTC") {
		t.Errorf("without fdtoverlay: %q (%v)", out, err)
	}

	config := write(t, filepath.Join(images, "rpi-firmware", "config.txt"), "kernel=Image\n[pi4]\narm_boost=1\n")
	for range 2 { // every make runs it
		mustRun(t, nil, filepath.Join(ext(t), "board", "raspberrypi", "rpi4", "post-image.sh"), images)
	}
	if got := read(t, config); strings.Count(got, "\n[all]\ndtoverlay=heaps\n") != 1 {
		t.Errorf("config.txt is %q", got)
	}
	if read(t, filepath.Join(images, "rpi-firmware", "overlays", "heaps.dtbo")) != read(t, filepath.Join(images, "heaps.dtbo")) {
		t.Error("the overlay did not arrive")
	}
}
