// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// virtDTB writes a blob with the memory of QEMU's virt board and returns its
// name.
func virtDTB(t *testing.T) string {
	t.Helper()
	return virtWith(t, "virt.dtb", func(*fdt.Node) {})
}

// virtWith writes the same board with what edit does to its root.
func virtWith(t *testing.T, name string, edit func(root *fdt.Node)) string {
	t.Helper()
	root := &fdt.Node{}
	root.Set("compatible", fdt.StringList("linux,dummy-virt"))
	root.Set("#address-cells", fdt.U32s(2))
	root.Set("#size-cells", fdt.U32s(2))
	mem := root.AddChild(&fdt.Node{Name: "memory@40000000"})
	mem.Set("device_type", fdt.StringList("memory"))
	mem.Set("reg", fdt.U32s(0, 0x40000000, 0, 0x20000000))
	edit(root)
	blob, err := (&fdt.Tree{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return writeTestFile(t, name, blob)
}

// reserved adds a /reserved-memory with one child.
func reserved(root *fdt.Node, name string) *fdt.Node {
	n := root.AddChild(&fdt.Node{Name: "reserved-memory"})
	n.Set("#address-cells", fdt.U32s(2))
	n.Set("#size-cells", fdt.U32s(2))
	n.Set("ranges", nil)
	return n.AddChild(&fdt.Node{Name: name})
}

func writeTestFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// heapctl runs the program in-process.
func heapctl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	env := &Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Getenv: func(string) string { return "" }}
	code = Run(context.Background(), env, args)
	return code, out.String(), errOut.String()
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

const exampleConfig = "../../examples/qemu-virt/heaps.yaml"

func TestCompileWritesAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "out")
	code, stdout, stderr := heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "-o", dir)
	if code != ExitOK || stderr != "" {
		t.Fatalf("exit %d, stderr:\n%s", code, stderr)
	}
	want := []string{"60-heaps.rules", "heaps.config", "heaps.dtbo", "heaps.dtso", "heaps.lock.json", "heaps.map.txt", "heaps.mdev.conf"}
	if diff := cmp.Diff(want, entries(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, part := range []string{"npu (carveout heap", "written", filepath.Join(dir, "heaps.dtbo")} {
		if !strings.Contains(stdout, part) {
			t.Errorf("output lacks %q:\n%s", part, stdout)
		}
	}
}

// TestCompileBroken holds each file of examples/broken against the finding
// that it says must come first, and proves that nothing is written.
func TestCompileBroken(t *testing.T) {
	files, err := filepath.Glob("../../examples/broken/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no broken examples: %v", err)
	}
	base := virtDTB(t)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, want, ok := strings.Cut(strings.SplitN(string(data), "\n", 4)[2], "# want ")
			pos, id, ok2 := strings.Cut(want, " ")
			if !ok || !ok2 {
				t.Fatal("its third line is no \"# want LINE:COLUMN RULE\"")
			}
			dir := t.TempDir()
			code, _, stderr := heapctl(t, "compile", name, "--base", base, "-o", dir, "--raw")
			if code != ExitFailed {
				t.Errorf("exit %d, want %d", code, ExitFailed)
			}
			first, _, _ := strings.Cut(stderr, "\n")
			if !strings.HasPrefix(first, name+":"+pos+": error: ") || !strings.HasSuffix(first, " ["+id+"]") {
				t.Errorf("first finding is %q, want %s %s", first, pos, id)
			}
			if got := entries(t, dir); got != nil {
				t.Errorf("files were written: %v", got)
			}
			code, _, stderr = heapctl(t, "compile", name, "--base", base, "-o", dir)
			if code != ExitFailed || !strings.Contains(stderr, name+":"+pos) || !strings.Contains(stderr, "^") {
				t.Errorf("exit %d; the report for people lacks place or underline:\n%s", code, stderr)
			}
		})
	}
}

func TestCompileBadInput(t *testing.T) {
	base := virtDTB(t)
	notDTB := writeTestFile(t, "x.dtb", []byte("this is no device tree, though it is long enough to be one\n"))
	whole, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	cut := writeTestFile(t, "cut.dtb", whole[:len(whole)-20])
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no base", []string{"compile", exampleConfig}, "--base FILE, the device tree of its board"},
		{"no config", []string{"compile", "--base", base}, "compile needs a heaps.yaml\nRun \"heapctl compile --help\""},
		{"two configs", []string{"compile", "a.yaml", "b.yaml", "--base", base}, "\"b.yaml\" is too much"},
		{"missing config", []string{"compile", "nowhere.yaml", "--base", base}, "nowhere.yaml: no such file or directory"},
		{"missing base", []string{"compile", exampleConfig, "--base", "nowhere.dtb"}, "nowhere.dtb: no such file or directory"},
		{"directory", []string{"compile", t.TempDir(), "--base", base}, "is a directory"},
		{"no dtb", []string{"compile", exampleConfig, "--base", notDTB}, "x.dtb: "},
		{"cut dtb", []string{"compile", exampleConfig, "--base", cut}, "cut.dtb: "},
		{"bad kernel", []string{"compile", exampleConfig, "--base", base, "--kernel", "new"}, "--kernel: "},
		{"unknown verb", []string{"complie"}, "unknown command"},
		{"unknown flag", []string{"compile", "--bsae"}, "unknown flag"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			code, stdout, stderr := heapctl(t, append(tc.args, "-o", dir)...)
			if tc.name == "unknown verb" {
				code, stdout, stderr = heapctl(t, tc.args...)
			}
			if code != ExitUsage || stdout != "" || !strings.HasPrefix(stderr, "heapctl: ") || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit %d and %q", code, stdout, stderr, ExitUsage, tc.want)
			}
			if got := entries(t, dir); got != nil {
				t.Errorf("files were written: %v", got)
			}
		})
	}
}

func TestCompileKeepsOldFilesOnFailure(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "over-kernel.dtbo")
	if err := os.WriteFile(old, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := heapctl(t, "compile", "../../examples/broken/over-kernel.yaml", "--base", virtDTB(t), "-o", dir); code != ExitFailed {
		t.Errorf("exit %d, want %d", code, ExitFailed)
	}
	if data, err := os.ReadFile(old); err != nil || string(data) != "old" {
		t.Errorf("the old file is %q, %v", data, err)
	}
}

func TestCompileWriteFailure(t *testing.T) {
	file := writeTestFile(t, "file", nil)
	code, _, stderr := heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "-o", filepath.Join(file, "out"))
	if code != ExitCannotTest || !strings.Contains(stderr, "not a directory") {
		t.Errorf("exit %d, stderr %q; want exit %d", code, stderr, ExitCannotTest)
	}
	// A directory in the place of one product: the others must not appear.
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "heaps.dtbo", "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "-o", dir)
	if code != ExitCannotTest || stderr == "" {
		t.Errorf("exit %d, stderr %q; want exit %d", code, stderr, ExitCannotTest)
	}
	if diff := cmp.Diff([]string{"heaps.dtbo"}, entries(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestCompileStrictAndCheck(t *testing.T) {
	base := virtDTB(t)
	warn := writeTestFile(t, "w.yaml", []byte("version: 1\nkeep-clear: [{what: kernel, base: 0x4020_0000, size: 32MiB}]\nheaps:\n- {name: a, kind: cma, size: 4MiB, mode: \"0666\"}\n"))
	dir := t.TempDir()
	if code, _, _ := heapctl(t, "compile", warn, "--base", base, "-o", dir, "--check"); code != ExitOK {
		t.Errorf("exit %d with a warning, want %d", code, ExitOK)
	}
	if code, _, _ := heapctl(t, "compile", warn, "--base", base, "-o", dir, "--strict"); code != ExitFailed {
		t.Errorf("exit %d with a warning under --strict, want %d", code, ExitFailed)
	}
	if got := entries(t, dir); got != nil {
		t.Errorf("files were written: %v", got)
	}
}

func TestCompileJSON(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := heapctl(t, "compile", "../../examples/broken/overlap.yaml", "--base", virtDTB(t), "-o", dir, "-o", "json")
	if code != ExitFailed || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	var got struct {
		Version  int
		OK       bool
		Findings []struct {
			ID    string
			Level string
			Place heapcfg.Place
		}
		Files []string
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if got.Version != 1 || got.OK || len(got.Findings) != 1 || got.Findings[0].ID != "region-overlap" || got.Findings[0].Place.Line != 20 || len(got.Files) != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestCompileVariant compiles a variant beside the file itself.
func TestCompileVariant(t *testing.T) {
	config := writeTestFile(t, "cam.yaml", []byte("version: 1\nkeep-clear: [{what: kernel, base: 0x4020_0000, size: 32MiB}]\nheaps:\n- {name: a, kind: cma, size: 64MiB}\nvariants:\n  small:\n    heaps:\n      a: {size: 4MiB}\n"))
	base, dir := virtDTB(t), t.TempDir()
	for _, args := range [][]string{nil, {"--variant", "small"}} {
		if code, _, stderr := heapctl(t, append([]string{"compile", config, "--base", base, "-o", dir}, args...)...); code != ExitOK {
			t.Fatalf("exit %d: %s", code, stderr)
		}
	}
	for name, size := range map[string]string{"cam.dtso": "64MiB", "cam-small.dtso": "4MiB"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(data), "heap a, cma, "+size) || !strings.Contains(string(data), "from cam.yaml") {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
	}
	if code, _, stderr := heapctl(t, "compile", config, "--base", base, "-o", dir, "--variant", "smal", "--raw"); code != ExitFailed || !strings.Contains(stderr, "[variant-unknown]") {
		t.Errorf("unknown variant: exit %d, %s", code, stderr)
	}
}
