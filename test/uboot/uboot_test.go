// SPDX-License-Identifier: MIT

// Package uboot has a real boot loader hand the heaps to the kernel, as
// docs/guide.md shows it: Debian's U-Boot on QEMU's Raspberry Pi 3, with the
// device tree of the kernel for that board. This U-Boot knows no FIT images.
package uboot

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// TestBuild builds what the tests boot. U-Boot is fetched by the test itself: where
// it cannot be had, nothing else must fail.
func TestBuild(t *testing.T) {
	bench.OnlyDefaultLine(t)
	b, ctx := bench.Setup(t)
	b.Kernel(ctx, t, b.Second())
}

// pi is the one board of QEMU that Debian has a U-Boot with overlays for. It has
// four processors or does not start.
var pi = vmtest.Machine{Arch: "arm64", QEMU: "qemu-system-aarch64", Type: "raspi3b", CPU: "cortex-a53", Console: "ttyAMA0", CPUs: 4, MemMiB: 1024}

// arguments are those of the kernel. The tree of the board names another serial
// port for messages, which this kernel has no driver for.
const arguments = "console=ttyAMA0 earlycon=pl011,0x3f201000 panic=-1 oops=panic"

// overlayAddr is half a MiB above the tree, as the guide says. The environment of
// this board has no address for overlays.
const overlayAddr = "0x02680000"

func TestUBoot(t *testing.T) {
	bench.OnlyDefaultLine(t)
	b, ctx := bench.Setup(t)
	image := b.Kernel(ctx, t, b.Second())
	program := loader(t)
	for _, tool := range []string{"mkimage", "mke2fs", "cpp"} {
		if _, err := exec.LookPath(tool); err != nil {
			bench.Lacking(t, err)
		}
	}
	on, base := *b, filepath.Join(t.TempDir(), "board.dtb")
	if err := rig.BoardTree(ctx, rig.CachedSource(b.Line.String()), "broadcom/bcm2837-rpi-3-b", base); err != nil {
		t.Fatal(err)
	}
	on.Base = base
	board := on.Compile(ctx, t, "testdata/heaps.yaml")
	plan := initramfs.Plan{Rules: rig.RulesPath, Run: [][]string{{"/bin/heapctl", "check", rig.LockPath}}}
	vm := b.VM(ctx, t, plan, b.Files(t, board)...)
	vm.Machine, vm.Kernel, vm.DTB = pi, program, base

	byHand := shown(t, "../../docs/guide.md", "\n**U-Boot, by hand or in a script.**")
	extlinux := shown(t, "../../docs/guide.md", "\n**U-Boot, extlinux.conf.**")
	_, overlays, _ := strings.Cut(shown(t, "../../docs/yocto.md", "\n* extlinux"), ` = "`)
	const load = "load mmc 1:1 ${kernel_addr_r} Image\nload mmc 1:1 ${ramdisk_addr_r} initrd\nsetenv initrd ${ramdisk_addr_r}:${filesize}\n"
	const sysboot = "sysboot mmc 1:1 any ${pxefile_addr_r} "
	const addr = "setenv fdtoverlay_addr_r " + overlayAddr + "\n"
	files := map[string]string{
		"Image": image, "initrd": vm.Initrd, "board.dtb": base, "heaps.dtbo": board.Overlay, "boot/devicetree/heaps.dtbo": board.Overlay,
	}
	conf := map[string]string{
		"linux.conf": replace(t, extlinux, "append console=ttyS2,115200 root=/dev/mmcblk1p2", "initrd /initrd\n    append "+arguments),
		// As oe-core writes it, and where.
		"boot/extlinux/yocto.conf": "LABEL Yocto\n\tKERNEL ../../Image\n\tFDT ../../board.dtb\n\tFDTOVERLAYS " + strings.Trim(overlays, "\"\n") +
			"\n\tINITRD ../../initrd\n\tAPPEND " + arguments + "\n",
	}
	for _, c := range []struct {
		name, script string
		exit         int
		says         string // heapctl
	}{
		{"by hand", load + addr + replace(t, byHand, " - ", " ${initrd} "), 0, "verdict: PASS"},
		{"extlinux", addr + sysboot + "/linux.conf\n", 0, "verdict: PASS"},
		{"extlinux without an address", sysboot + "/linux.conf\n", 1, "FAIL heap-present"},
		{"extlinux of Yocto", addr + sysboot + "/boot/extlinux/yocto.conf\n", 0, "verdict: PASS"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			vm, said := vm, filepath.Join(t.TempDir(), "uboot")
			vm.Timeout = 5 * time.Minute
			script := "setenv bootargs " + arguments + "\n" + strings.ReplaceAll(c.script, "mmc 1:1", "mmc 0:1")
			vm.Devices = []string{"-serial", "file:" + said, "-drive", "if=sd,format=raw,file=" + card(ctx, t, files, conf, script)}
			t.Cleanup(func() {
				if t.Failed() {
					text, _ := os.ReadFile(said)
					t.Logf("U-Boot said:\n%s", text)
				}
			})
			res := bench.Boot(ctx, t, vm)
			if res.Exit != c.exit || !strings.Contains(res.Console, c.says) {
				t.Errorf("heapctl check ended with %d, want %d and %q", res.Exit, c.exit, c.says)
			}
		})
	}
}

// loader returns U-Boot for the board.
func loader(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("./fetch.sh")
	if !bench.Required() {
		cmd.Args = append(cmd.Args, "--cached")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		bench.Lacking(t, err)
	}
	return strings.TrimSpace(string(out))
}

// shown returns the first indented lines that a document has below a text.
func shown(t *testing.T, document, below string) string {
	t.Helper()
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(data), below)
	text := regexp.MustCompile(`(?m)^    .*\n(    .*\n)*`).FindString(after)
	if !ok || text == "" {
		t.Fatalf("%s shows nothing below %q", document, below)
	}
	return regexp.MustCompile(`(?m)^    `).ReplaceAllString(text, "")
}

// replace puts what the board needs in the place of the guide's.
func replace(t *testing.T, text, old, new string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("the guide does not say %q any more:\n%s", old, text)
	}
	return strings.ReplaceAll(text, old, new)
}

// card makes a card with files, by name or by content, and a script that U-Boot
// runs by itself.
func card(ctx context.Context, t *testing.T, files, text map[string]string, script string) string {
	t.Helper()
	dir, img := t.TempDir(), filepath.Join(t.TempDir(), "card.img")
	content := map[string][]byte{"boot.cmd": []byte(script)}
	for name, text := range text {
		content[name] = []byte(text)
	}
	for name, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content[name] = data
	}
	for name, data := range content {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(ctx, "./card.sh", dir, img).CombinedOutput(); err != nil {
		t.Fatalf("card.sh: %v\n%s", err, out)
	}
	return img
}
