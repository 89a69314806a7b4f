// SPDX-License-Identifier: MIT

package cli

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// TestLimits gives the program, as it is built for users, input that is meant
// to hurt. Each must end in a clear error, within a second of processor time
// and 64 MiB of memory.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "heapctl")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/dmaheap/dmaheap/cmd/heapctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	base := virtDTB(t)
	blob, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	patched := func(at int, value uint32) []byte {
		b := bytes.Clone(blob)
		binary.BigEndian.PutUint32(b[at:], value)
		return b
	}
	variants := func() string {
		var b strings.Builder
		b.WriteString("version: 1\nheaps:\n")
		for i := range 128 {
			fmt.Fprintf(&b, "- {name: h%d, kind: cma, size: 4MiB}\n", i)
		}
		b.WriteString("variants:\n")
		for v := range 32 {
			fmt.Fprintf(&b, "  v%d:\n    heaps:\n", v)
			for i := range 60 {
				fmt.Fprintf(&b, "      h%d: {size: 1, x: 2}\n", i)
			}
		}
		return b.String()
	}
	for _, tc := range []struct {
		name string
		data []byte
		yaml bool
		tree string // the structure block of a blob, instead of data
		size int    // so many of them
	}{
		{name: "empty", data: nil, yaml: true},
		{name: "binary", data: bytes.Repeat([]byte{0, 1, 2, 0xff}, 1<<16), yaml: true},
		{name: "more than 1 MiB", data: bytes.Repeat([]byte("# comment\n"), 1<<18), yaml: true},
		{name: "1 MiB of one scalar", data: append([]byte("version: 1\nheaps: "), bytes.Repeat([]byte("a"), 1<<20-100)...), yaml: true},
		{name: "1 MiB of brackets", data: bytes.Repeat([]byte("["), 1<<20), yaml: true},
		{name: "1 MiB of dashes", data: bytes.Repeat([]byte("- "), 1<<19), yaml: true},
		{name: "deep", data: []byte("version: 1\nheaps: " + strings.Repeat("[", 9999)), yaml: true},
		{name: "deep mappings", data: []byte("version: 1\nheaps: " + strings.Repeat("{a: ", 9000)), yaml: true},
		{name: "many keys", data: []byte("version: 1\n" + strings.Repeat("k: 1\n", 15000)), yaml: true},
		{name: "many items", data: []byte("version: 1\nheaps:\n" + strings.Repeat("- {a: 1}\n", 9000)), yaml: true},
		{name: "many variants", data: []byte(variants()), yaml: true},
		{name: "alias bomb", data: []byte("version: 1\na: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nheaps: [*c,*c,*c]\n"), yaml: true},
		{name: "cut blob", data: blob[:len(blob)/2]},
		{name: "total size of 4 GiB", data: patched(4, 0xffffffff)},
		{name: "structure offset", data: patched(8, 0xfffffff0)},
		{name: "strings of 4 GiB", data: patched(32, 0xffffffff)},
		{name: "structure of 4 GiB", data: patched(36, 0xffffffff)},
		{name: "16 MiB of nothing", data: make([]byte, 16<<20)},
		{name: "64 MiB of nothing", data: make([]byte, 64<<20)},
		{name: "a million levels", tree: beginNode, size: 1_000_000},
		{name: "a name of 4 MiB", tree: "\x00\x00\x00\x01nnnn", size: 1 << 19},
		{name: "12 MiB of properties", tree: "\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00", size: 1 << 20},
		{name: "12 MiB of nodes", tree: "\x00\x00\x00\x01n\x00\x00\x00\x00\x00\x00\x02", size: 1 << 20},
		{name: "a value of 4 GiB", tree: "\x00\x00\x00\x03\xff\xff\xff\xf0\x00\x00\x00\x00", size: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := writeTestFile(t, "input.dtb", tc.data)
			if tc.size > 0 {
				writeRawDTB(t, name, tc.tree, tc.size)
			}
			args := []string{"lint", name}
			if tc.yaml {
				name = writeTestFile(t, "input.yaml", tc.data)
				args = []string{"compile", name, "--base", base, "--raw", "-o", t.TempDir()}
			}
			var stderr bytes.Buffer
			cmd := exec.Command(program, args...)
			cmd.Stderr = &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != ExitFailed && exit.ExitCode() != ExitUsage {
				t.Errorf("ended with %v, want exit %d or %d", err, ExitFailed, ExitUsage)
			}
			if stderr.Len() == 0 || strings.Contains(stderr.String(), "goroutine ") || !strings.Contains(stderr.String(), "input.") {
				t.Errorf("said %.300q", stderr.String())
			}
			state := cmd.ProcessState
			if cpu := state.UserTime() + state.SystemTime(); cpu > time.Second {
				t.Errorf("took %v of processor time", cpu)
			}
			if usage, ok := state.SysUsage().(*syscall.Rusage); ok && usage.Maxrss > 64<<10 {
				t.Errorf("took %d KiB of memory", usage.Maxrss)
			}
		})
	}
}

// beginNode is the token that begins the node without a name.
const beginNode = "\x00\x00\x00\x01\x00\x00\x00\x00"

// writeRawDTB writes a blob whose structure block is the begin of the root and
// this piece, n times. It goes to the file by the piece: a child's peak of
// memory starts with that of its parent.
func writeRawDTB(t *testing.T, name, piece string, n int) {
	t.Helper()
	const head, reserve, names = 40, 16, "reg\x00"
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	size := uint32(len(beginNode) + n*len(piece))
	for _, v := range []uint32{0xd00dfeed, head + reserve + size + uint32(len(names)), head + reserve, head + reserve + size, head, 17, 16, 0, uint32(len(names)), size, 0, 0, 0, 0} {
		_ = binary.Write(w, binary.BigEndian, v)
	}
	w.WriteString(beginNode)
	for range n {
		w.WriteString(piece)
	}
	w.WriteString(names)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestLimitsOfATree gives the program the largest tree that it takes: each
// count at its limit. It must not need more than a hostile one may cost.
func TestLimitsOfATree(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "heapctl")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/dmaheap/dmaheap/cmd/heapctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Made by another process, for a child's peak starts with its parent's.
	name := filepath.Join(dir, "input.dtb")
	make := exec.Command(os.Args[0], "-test.run=^TestMakeLargestTree$")
	make.Env = append(os.Environ(), "LARGEST_TREE="+name)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"lint", name, "--raw"}, {"map", name}, {"import", name}} {
		cmd := exec.Command(program, args...)
		_ = cmd.Run() // what it finds is another matter
		state := cmd.ProcessState
		if state.ExitCode() == ExitUsage {
			t.Errorf("%s does not take the tree", args[0])
		}
		usage, _ := state.SysUsage().(*syscall.Rusage)
		t.Logf("%s: %v, %d KiB", args[0], state.UserTime()+state.SystemTime(), usage.Maxrss)
		if cpu := state.UserTime() + state.SystemTime(); cpu > time.Second {
			t.Errorf("%s took %v of processor time", args[0], cpu)
		}
		if usage.Maxrss > 64<<10 {
			t.Errorf("%s took %d KiB of memory", args[0], usage.Maxrss)
		}
	}
}

// TestMakeLargestTree is the helper of TestLimitsOfATree.
func TestMakeLargestTree(t *testing.T) {
	name := os.Getenv("LARGEST_TREE")
	if name == "" {
		t.Skip("this is the helper of TestLimitsOfATree")
	}
	root := &fdt.Node{}
	root.Set("#address-cells", fdt.U32s(2))
	root.Set("#size-cells", fdt.U32s(2))
	root.AddChild(&fdt.Node{Name: "memory@40000000"}).Set("device_type", fdt.StringList("memory"))
	root.Children[0].Set("reg", append(fdt.Cells(0x40000000, 2), fdt.Cells(1<<30, 2)...))
	rm := root.AddChild(&fdt.Node{Name: "reserved-memory"})
	rm.Set("#address-cells", fdt.U32s(2))
	rm.Set("#size-cells", fdt.U32s(2))
	rm.Set("ranges", nil)
	for i := range uint64(2000) {
		base := 0x4800_0000 + i<<12
		n := rm.AddChild(&fdt.Node{Name: fmt.Sprintf("r@%x", base)})
		n.Set("reg", append(fdt.Cells(base, 2), fdt.Cells(0x1000, 2)...))
	}
	ion := root.AddChild(&fdt.Node{Name: "ion"})
	ion.Set("compatible", fdt.StringList("qcom,msm-ion"))
	for i := range 2000 {
		n := ion.AddChild(&fdt.Node{Name: fmt.Sprintf("qcom,ion-heap@%x", i)})
		n.Set("qcom,ion-heap-type", fdt.StringList("CARVEOUT"))
		n.Set("memory-region", fdt.U32s(uint32(i)))
	}
	for i := range fdt.MaxNodes - 4100 {
		n := root.AddChild(&fdt.Node{Name: fmt.Sprintf("d@%x", i)})
		n.Set("memory-region", fdt.U32s(uint32(i), 7))
		if i < fdt.MaxNodes-10000 {
			n.Set("dma-ranges", append(append(fdt.Cells(0, 2), fdt.Cells(0x40000000, 2)...), fdt.Cells(1<<28, 2)...))
		}
	}
	blob, err := (&fdt.Tree{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, blob, 0o644); err != nil {
		t.Fatal(err)
	}
}
