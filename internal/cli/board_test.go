// SPDX-License-Identifier: MIT

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// boardDir makes a copy of a board as somebody may send it: a device tree with
// one CMA region, and the files that tell of it. Device nodes cannot be made
// without root, so the heap itself is not in it.
func boardDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tree := "sys/firmware/devicetree/base/"
	for name, data := range map[string]string{
		"proc/sys/kernel/osrelease":                                   "6.12.117\n",
		"proc/cmdline":                                                "console=ttyAMA0 cma=16M\n",
		tree + "#address-cells":                                       "\x00\x00\x00\x02",
		tree + "#size-cells":                                          "\x00\x00\x00\x02",
		tree + "model":                                                "Test board\x00",
		tree + "compatible":                                           "test,board\x00",
		tree + "memory@40000000/device_type":                          "memory\x00",
		tree + "memory@40000000/reg":                                  "\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00",
		tree + "reserved-memory/#address-cells":                       "\x00\x00\x00\x02",
		tree + "reserved-memory/#size-cells":                          "\x00\x00\x00\x02",
		tree + "reserved-memory/ranges":                               "",
		tree + "reserved-memory/linux,cma@50000000/compatible":        "shared-dma-pool\x00",
		tree + "reserved-memory/linux,cma@50000000/reg":               "\x00\x00\x00\x00\x50\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00",
		tree + "reserved-memory/linux,cma@50000000/reusable":          "",
		tree + "reserved-memory/linux,cma@50000000/linux,cma-default": "",
		"dev/dma_heap/.keep":                                          "",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCheckCopiedBoard(t *testing.T) {
	dir := boardDir(t)
	code, out, stderr := heapctl(t, "check", "--root", dir)
	if code != ExitFailed {
		t.Errorf("exit %d, want 1\n%s%s", code, out, stderr)
	}
	for _, want := range []string{
		"Test board, Linux 6.12.117", "expected: the live device tree",
		"FAIL heap-present", "cma=16M on the kernel command line", "fix:     remove cma=16M",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the text lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b[") {
		t.Errorf("colour in what is no terminal:\n%s", out)
	}
}

// The exit code and the verdict of the JSON are one and the same.
func TestCheckJSON(t *testing.T) {
	code, out, _ := heapctl(t, "check", "--root", boardDir(t), "-o", "json")
	var got struct {
		Format  string
		Version int
		Summary struct {
			Exit  int
			First struct {
				ID   string `json:"id"`
				Heap string `json:"heap"`
			} `json:"first_failure"`
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if got.Format != "heapctl-report" || got.Version != 1 || got.Summary.Exit != code || code != ExitFailed ||
		got.Summary.First.ID != "heap-present" || got.Summary.First.Heap != "linux,cma@50000000" {
		t.Errorf("exit %d, JSON %+v", code, got)
	}
}

// Without a lock, a tree or heaps there is still an answer.
func TestCheckBareBoard(t *testing.T) {
	code, out, stderr := heapctl(t, "check", "--root", t.TempDir())
	if code != ExitUnsupported || !strings.Contains(out, "NOT SUPPORTED") || !strings.Contains(out, "no device tree") {
		t.Errorf("exit %d, want 4:\n%s%s", code, out, stderr)
	}
}

func TestCheckFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dmaheap.prom")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := heapctl(t, "check", "--root", boardDir(t), "-o", "prom", "--file", file); code != ExitFailed {
		t.Errorf("exit %d, want 1: %s", code, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(data), "# HELP dmaheap_check_exit_code") {
		t.Errorf("the file holds %q, %v", data, err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files beside the result, want none", len(entries)-1)
	}
}

func TestBoardUsage(t *testing.T) {
	dir := boardDir(t)
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want int
		says string
	}{
		{[]string{"check", "--root", dir, "-o", "yaml"}, ExitUsage, "unknown output format"},
		{[]string{"check", "--root", dir, broken}, ExitUsage, "not a heapctl lock file"},
		{[]string{"check", "--root", dir, filepath.Join(dir, "none")}, ExitUsage, "no such file"},
		{[]string{"check", "--root", dir, "--full", "--quick"}, ExitUsage, "full quick"},
		{[]string{"check", "--root", dir, "--heap", "vidoe"}, ExitUsage, `"vidoe" is neither expected nor there`},
		{[]string{"check", "a", "b"}, ExitUsage, "accepts at most 1"},
	} {
		code, _, stderr := heapctl(t, tt.args...)
		if code != tt.want || !strings.Contains(stderr, tt.says) {
			t.Errorf("heapctl %s: exit %d, %q; want %d with %q", strings.Join(tt.args, " "), code, stderr, tt.want, tt.says)
		}
	}
}

// A heaps.yaml is compiled against the live tree, which may have its overlay
// already.
func TestCheckConfig(t *testing.T) {
	dir := boardDir(t)
	for _, tt := range []struct {
		name   string
		config string
		args   []string
		exit   int
		says   []string // in what is printed
	}{
		{name: "where it is", config: "{name: \"linux,cma\", kind: cma, size: 64MiB, default: true}", exit: ExitFailed,
			says: []string{"heaps.yaml, against the live device tree\n", "PASS tree-matches", "PASS tree-rules", "FAIL heap-present       cma=16M on the kernel command line"}},
		{name: "another size", config: "{name: \"linux,cma\", kind: cma, size: 32MiB, default: true}", exit: ExitFailed,
			says: []string{"FAIL tree-matches       a region has another size than was meant: linux,cma@50000000: meant 32MiB, has 64MiB"}},
		{name: "another place", config: "{name: \"linux,cma\", kind: cma, size: 64MiB, base: 0x5400_0000, default: true}", exit: ExitFailed,
			says: []string{"FAIL tree-matches       the overlay was not applied"}},
		{name: "not there", config: "{name: video, kind: carveout, size: 8MiB}", exit: ExitFailed,
			says: []string{"FAIL tree-matches       the overlay was not applied"}},
		{name: "outside of RAM", config: "{name: video, kind: carveout, size: 8MiB, base: 0x9000_0000}", exit: ExitFailed,
			says: []string{"[outside-ram]", "--> ", "does not fit this board"}},
		{name: "a typing error", config: "{nmae: video}", exit: ExitFailed, says: []string{"nmae", "does not fit this board"}},
		{name: "no such base", config: "{name: video, kind: carveout, size: 8MiB}", args: []string{"--base", "/none.dtb"}, exit: ExitUsage, says: []string{"/none.dtb: no such file"}},
		{name: "a base of its own", config: "{name: video, kind: carveout, size: 8MiB}", args: []string{"--base", virtDTB(t)}, exit: ExitFailed,
			says: []string{"the overlay was not applied"}},
	} {
		config := writeTestFile(t, "heaps.yaml", []byte("version: 1\nheaps:\n  - "+tt.config+"\n"))
		code, stdout, stderr := heapctl(t, append([]string{"check", "--root", dir, config}, tt.args...)...)
		if code != tt.exit {
			t.Errorf("%s: exit %d, want %d\n%s%s", tt.name, code, tt.exit, stdout, stderr)
		}
		for _, want := range tt.says {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("%s: lacks %q:\n%s%s", tt.name, want, stdout, stderr)
			}
		}
	}
	lock := writeTestFile(t, "heaps.lock.json", []byte("{}"))
	if code, _, stderr := heapctl(t, "check", "--root", dir, lock, "--variant", "x"); code != ExitUsage || !strings.Contains(stderr, "for a heaps.yaml") {
		t.Errorf("--variant with a lock file: exit %d, %s", code, stderr)
	}
}
