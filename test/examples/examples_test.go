// SPDX-License-Identifier: MIT

// Package examples compiles every config of examples/ against the tree of its
// board, holds the result against every rule, and boots those of QEMU's machines.
package examples

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/internal/cli"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

const top = "../.."

// boards says which tree each example, and each variant of it, is for.
var boards = []struct {
	example, variant string
	qemu             string // system emulator and memory, whose own tree it is
	dts              string // board of the kernel source
	source           string // the tree itself
	args             []string
}{
	{example: "qemu-virt", qemu: "qemu-system-aarch64 512"},
	{example: "qemu-virt-arm", qemu: "qemu-system-arm 1024"},
	{example: "qemu-virt-riscv64", source: riscv},
	{example: "npu", qemu: "qemu-system-aarch64 1024"},
	{example: "ram-variants", qemu: "qemu-system-aarch64 512"},
	{example: "ram-variants", variant: "ram-1g", qemu: "qemu-system-aarch64 1024"},
	{example: "ram-variants", variant: "ram-2g", qemu: "qemu-system-aarch64 2048"},
	{example: "ti-am62x", dts: "ti/k3-am625-sk"},
	{example: "imx8mp", dts: "freescale/imx8mp-evk"},
	{example: "rpi4", dts: "broadcom/bcm2711-rpi-4-b", args: []string{"--ram", "0+924MiB"}},
}

// riscv is as much of QEMU's riscv64 tree as matters here; the emulator itself
// is large, and only make test-arch needs it.
const riscv = `/dts-v1/;
/ {
	compatible = "riscv-virtio";
	#address-cells = <2>;
	#size-cells = <2>;
	cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { device_type = "cpu"; compatible = "riscv"; reg = <0>; }; };
	memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x20000000>; };
};
`

func heapctl(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	env := &cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
	if code := cli.Run(context.Background(), env, args); code != cli.ExitOK {
		t.Errorf("heapctl %s: exit code %d\n%s", strings.Join(args, " "), code, out.Bytes())
	}
}

// Each example is clean, warnings included: what it compiles to, and the tree
// with the overlay in it, by our own hand and by the reference tool.
func TestExamples(t *testing.T) {
	used := map[string]bool{}
	for _, b := range boards {
		used[b.example] = true
		t.Run(strings.Trim(b.example+" "+b.variant, " "), func(t *testing.T) {
			base := tree(t, b.qemu, b.dts, b.source)
			out := t.TempDir()
			config := filepath.Join(top, "examples", b.example, "heaps.yaml")
			if _, err := os.Stat(config); err != nil { // a cached result must know of it
				t.Fatal(err)
			}
			name := "heaps"
			args := []string{"compile", config, "--base", base, "--strict", "--merge", "-o", out}
			if b.variant != "" {
				name += "-" + b.variant
				args = append(args, "--variant", b.variant)
			}
			heapctl(t, args...)
			merged := filepath.Join(out, name+".merged.dtb")
			heapctl(t, append([]string{"lint", merged, "--strict"}, b.args...)...)
			heapctl(t, "lint", filepath.Join(out, name+".lock.json"), "--strict")
			heapctl(t, "map", filepath.Join(out, name+".lock.json"))

			applied := filepath.Join(out, "applied.dtb")
			if said, err := exec.Command("fdtoverlay", "-i", base, "-o", applied, filepath.Join(out, name+".dtbo")).CombinedOutput(); err != nil {
				t.Fatalf("fdtoverlay: %v\n%s", err, said)
			}
			heapctl(t, "diff", merged, applied)
		})
	}
	dirs, err := os.ReadDir(filepath.Join(top, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		_, err := os.Stat(filepath.Join(top, "examples", d.Name(), "heaps.yaml"))
		if err == nil && !used[d.Name()] {
			t.Errorf("examples/%s: which board is it for?", d.Name())
		}
	}
}

// What is for QEMU's arm64 machine boots, and heapctl finds there what it
// compiled. The demo has booted the first one.
func TestExamplesBoot(t *testing.T) {
	b, ctx := bench.Setup(t)
	if b.Machine.QEMU != "qemu-system-aarch64" {
		t.Skipf("the examples are for arm64, and this is %s", b.Machine.QEMU)
	}
	for _, e := range boards {
		program, memory, _ := strings.Cut(e.qemu, " ")
		if program != b.Machine.QEMU || e.example == "qemu-virt" {
			continue
		}
		t.Run(strings.Trim(e.example+" "+e.variant, " "), func(t *testing.T) {
			mib, err := strconv.Atoi(memory)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			base, merged, heaps := filepath.Join(dir, "base.dtb"), filepath.Join(dir, "merged.dtb"), filepath.Join(dir, "heaps")
			// Without QEMU's megabyte of padding, of which the kernel takes
			// only so much.
			padded := tree(t, e.qemu, "", "")
			if out, err := exec.CommandContext(ctx, "dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", base, padded).CombinedOutput(); err != nil {
				t.Fatalf("dtc: %v\n%s", err, out)
			}
			heapctl(t, "compile", filepath.Join(top, "examples", e.example, "heaps.yaml"), "--base", base,
				"--variant", e.variant, "--kernel", b.Line.String(), "-o", heaps)
			var board bench.Board
			if board.Products, err = rig.FindProducts(heaps); err != nil {
				t.Fatal(err)
			}
			if err := b.ApplyOverlay(ctx, base, merged, board.Overlay); err != nil {
				t.Fatal(err)
			}
			// A quick check: a full one of hundreds of MiB takes minutes in
			// an emulated machine, and the demo makes one of each kind.
			plan := initramfs.Plan{Rules: rig.RulesPath, Run: [][]string{{"/bin/heapctl", "check", rig.LockPath}}}
			vm := b.VM(ctx, t, plan, b.Files(t, board)...)
			vm.Machine.MemMiB, vm.DTB, vm.Timeout = mib, merged, 5*time.Minute
			res, err := vmtest.Run(ctx, vm)
			if err != nil {
				t.Fatal(err)
			}
			if res.Exit != 0 {
				t.Errorf("heapctl check ended with %d\n%s", res.Exit, res.Console)
			}
		})
	}
}

// The README of the examples speaks of each.
func TestReadme(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(top, "examples", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boards {
		if !strings.Contains(string(data), "("+b.example+"/heaps.yaml)") {
			t.Errorf("examples/README.md does not link to %s/heaps.yaml", b.example)
		}
	}
}

func need(t *testing.T, tool, debian string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no %s: install Debian's %s", tool, debian)
		}
		t.Skipf("no %s: install Debian's %s", tool, debian)
	}
}

// tree makes the device tree of a board.
func tree(t *testing.T, qemu, dts, source string) string {
	t.Helper()
	need(t, "dtc", "device-tree-compiler")
	dtb := filepath.Join(t.TempDir(), "board.dtb")
	if qemu != "" {
		program, memory, _ := strings.Cut(qemu, " ")
		need(t, program, "qemu-system-arm")
		args := []string{"-M", "virt,dumpdtb=" + dtb, "-nic", "none", "-m", memory}
		if program == "qemu-system-aarch64" {
			args = append(args, "-cpu", "cortex-a53")
		}
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return dtb
	}
	if source != "" {
		cmd := exec.Command("dtc", "-q", "-@", "-o", dtb, "-")
		cmd.Stdin = strings.NewReader(source)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("dtc: %v\n%s", err, out)
		}
		return dtb
	}
	need(t, "cpp", "cpp")
	if err := rig.BoardTree(context.Background(), kernelSource(t), dts, dtb); err != nil {
		t.Fatal(err)
	}
	return dtb
}

// kernelSource returns a 6.12 source: KERNEL_SRC, or the one that the kernel of
// the virtual machines is built from.
func kernelSource(t *testing.T) string {
	t.Helper()
	if src := os.Getenv("KERNEL_SRC"); src != "" {
		return src
	}
	src := rig.CachedSource("6.12")
	if src == "" {
		if bench.Required() {
			t.Fatal("no source of Linux 6.12 in the cache; make kernel unpacks it")
		}
		t.Skip("no source of Linux 6.12 in the cache: run make kernel first, or set KERNEL_SRC")
	}
	return src
}
