// SPDX-License-Identifier: MIT

package cli

import (
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
	}{
		{"empty", nil, true},
		{"binary", bytes.Repeat([]byte{0, 1, 2, 0xff}, 1<<16), true},
		{"more than 1 MiB", bytes.Repeat([]byte("# comment\n"), 1<<18), true},
		{"1 MiB of one scalar", append([]byte("version: 1\nheaps: "), bytes.Repeat([]byte("a"), 1<<20-100)...), true},
		{"1 MiB of brackets", bytes.Repeat([]byte("["), 1<<20), true},
		{"1 MiB of dashes", bytes.Repeat([]byte("- "), 1<<19), true},
		{"deep", []byte("version: 1\nheaps: " + strings.Repeat("[", 9999)), true},
		{"deep mappings", []byte("version: 1\nheaps: " + strings.Repeat("{a: ", 9000)), true},
		{"many keys", []byte("version: 1\n" + strings.Repeat("k: 1\n", 15000)), true},
		{"many items", []byte("version: 1\nheaps:\n" + strings.Repeat("- {a: 1}\n", 9000)), true},
		{"many variants", []byte(variants()), true},
		{"alias bomb", []byte("version: 1\na: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nheaps: [*c,*c,*c]\n"), true},
		{"cut blob", blob[:len(blob)/2], false},
		{"total size of 4 GiB", patched(4, 0xffffffff), false},
		{"structure offset", patched(8, 0xfffffff0), false},
		{"strings of 4 GiB", patched(32, 0xffffffff), false},
		{"structure of 4 GiB", patched(36, 0xffffffff), false},
		{"16 MiB of nothing", make([]byte, 16<<20), false},
		{"64 MiB of nothing", make([]byte, 64<<20), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := writeTestFile(t, "input.dtb", tc.data)
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
