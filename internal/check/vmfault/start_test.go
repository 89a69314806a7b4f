// SPDX-License-Identifier: MIT

package vmfault

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

// timeStarts runs in the guest: it starts the two programs in turn and prints
// the median of the time that each took to its first output.
//
//	start COUNT PROGRAM ARGUMENT... -- PROGRAM ARGUMENT...
func timeStarts(args []string) error {
	if len(args) < 4 {
		return errors.New("too few arguments")
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	end := slices.Index(args, "--")
	if end < 2 {
		return errors.New("no second program")
	}
	programs := [2][]string{args[1:end], args[end+1:]}
	var took [2][]time.Duration
	for range count {
		for i, argv := range programs {
			d, err := firstOutput(argv)
			if err != nil {
				return fmt.Errorf("%v: %w", argv, err)
			}
			took[i] = append(took[i], d)
		}
	}
	for i := range took {
		slices.Sort(took[i])
		fmt.Printf("START %d %d us\n", i, took[i][count/2].Microseconds())
	}
	return nil
}

func firstOutput(argv []string) (time.Duration, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer out.Close()
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdout = in
	start := time.Now()
	if err := c.Start(); err != nil {
		in.Close()
		return 0, err
	}
	in.Close()
	_, err = io.ReadFull(out, make([]byte, 1))
	took := time.Since(start)
	_ = c.Process.Kill()
	_ = c.Wait()
	return took, err
}

// heapctl is at work nearly as soon as a C program that does the same ioctl.
// Time in this machine goes by instructions, two nanoseconds each as on a slow
// core, so that what else the host does is no part of it.
func TestStart(t *testing.T) {
	b, ctx := bench.Setup(t)
	onDefaultLine(t, b)
	program := filepath.Join(t.TempDir(), "alloc")
	source := filepath.Join(b.Root, "internal", "check", "vmfault", "testdata", "alloc.c")
	if said, err := exec.CommandContext(ctx, "aarch64-linux-gnu-gcc", "-static", "-O2", "-Wall", "-o", program, source).CombinedOutput(); err != nil {
		bench.Lacking(t, fmt.Errorf("compile %s: %w\n%s", source, err, said))
	}
	faults, err := b.GuestTest(ctx, "internal/check/vmfault")
	if err != nil {
		t.Fatal(err)
	}
	start := []string{"/bin/faults", "start", "9", "/bin/alloc", "/dev/dma_heap/npu@54000000", "--", "/bin/heapctl"}
	plan := initramfs.Plan{Run: [][]string{append(slices.Clone(start), "check", "--heap", "npu"), append(slices.Clone(start), "list")}}
	files := append(b.Files(t, b.Example), bench.File(t, "/bin/faults", faults, 0o755), bench.File(t, "/bin/alloc", program, 0o755))
	vm := b.VM(ctx, t, plan, files...)
	vm.Devices = []string{"-icount", "shift=1"}
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	times := regexp.MustCompile(`START 0 (\d+) us\nSTART 1 (\d+) us`).FindAllStringSubmatch(res.Console, -1)
	if len(times) != 2 {
		t.Fatalf("no times:\n%s", res.Console)
	}
	for i, verb := range []string{"check", "list"} {
		c, _ := strconv.Atoi(times[i][1])
		heapctl, _ := strconv.Atoi(times[i][2])
		if most := c*3/2 + 25000; heapctl > most {
			t.Errorf("heapctl %s needs %d us to its first output, want at most %d: one and a half times the %d us of a C program, and 25 ms", verb, heapctl, most, c)
		}
		t.Logf("to the first output: heapctl %s %d us, a C program with the same ioctl %d us", verb, heapctl, c)
	}
}
