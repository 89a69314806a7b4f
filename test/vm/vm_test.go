// SPDX-License-Identifier: MIT

// Package vm holds the tests that boot kernels in QEMU: the programme that each
// has to pass, device trees that are broken, and whether the machines report
// what happens in them.
package vm

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// A pool of reusable memory behind the end of RAM is a layout that dtc and
// fdtoverlay accept and that no kernel survives.
func TestFatalLayoutIsSeen(t *testing.T) {
	b, ctx := bench.Setup(t)
	vm := b.VM(ctx, t, initramfs.Plan{Run: [][]string{{"/bin/heapctl", "--version"}}}, bench.File(t, "/bin/heapctl", b.Heapctl, 0o755))
	vm.DTB = b.WithRegions(ctx, t, `pool@80000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x80000000 0x0 0x4000000>; };`)
	_, err := vmtest.Run(ctx, vm)
	var none *vmtest.NoResultError
	if !errors.As(err, &none) {
		t.Fatalf("boot with a pool outside of RAM: %v, want no result", err)
	}
	if none.Fault == "" {
		t.Errorf("no sign of the crash in the error:\n%v", err)
	}
}

// The guest's init carries exit codes out as they are, the first that is not 0
// for the whole machine.
func TestGuestExitCodes(t *testing.T) {
	b, ctx := bench.Setup(t)
	heapctl := bench.File(t, "/bin/heapctl", b.Heapctl, 0o755)
	good := []string{"/bin/heapctl", "--version"}
	usage := []string{"/bin/heapctl", "no-such-verb"}
	missing := []string{"/bin/no-such-program"}
	tests := []struct {
		name  string
		plan  initramfs.Plan
		exit  int
		exits []int
	}{
		{"all good", initramfs.Plan{Run: [][]string{good, good}}, 0, []int{0, 0}},
		{"stop at the first failure", initramfs.Plan{Run: [][]string{usage, good}}, 2, []int{2}},
		{"keep going", initramfs.Plan{Run: [][]string{good, usage, missing, good}, KeepGoing: true}, 2, []int{0, 2, initramfs.ExitInit, 0}},
		{"rules that cannot be read", initramfs.Plan{Rules: "/nowhere", Run: [][]string{good}}, initramfs.ExitInit, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := vmtest.Run(ctx, b.VM(ctx, t, tt.plan, heapctl))
			if err != nil {
				t.Fatal(err)
			}
			var exits []int
			for _, c := range res.Commands {
				exits = append(exits, c.Exit)
			}
			if res.Exit != tt.exit || !slices.Equal(exits, tt.exits) {
				t.Errorf("machine %d, commands %v; want %d, %v\n%s", res.Exit, exits, tt.exit, tt.exits, res.Console)
			}
		})
	}
}
