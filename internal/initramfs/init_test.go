// SPDX-License-Identifier: MIT

package initramfs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlanRoundTrip(t *testing.T) {
	want := Plan{Rules: "/etc/x.rules", Run: [][]string{{"/bin/a", "b c"}, {"/bin/d"}}, KeepGoing: true}
	data, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePlan(data)
	if err != nil {
		t.Fatalf("ParsePlan(%s): %v", data, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("plan after a round trip (-want +got):\n%s", d)
	}
}

// A plan that is only half understood would leave out a test in silence.
func TestParsePlanRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":         ``,
		"no commands":   `{"run": []}`,
		"empty command": `{"run": [[]]}`,
		"relative":      `{"run": [["bin/a"]]}`,
		"unknown key":   `{"run": [["/bin/a"]], "keepgoing": true}`,
		"two documents": `{"run": [["/bin/a"]]} {}`,
		"rules":         `{"run": [["/bin/a"]], "rules": "x"}`,
	} {
		if p, err := ParsePlan([]byte(in)); err == nil {
			t.Errorf("%s: ParsePlan(%s) = %+v, want an error", name, in, p)
		}
	}
}

const rulesText = `# SPDX-License-Identifier: MIT
SUBSYSTEM=="dma_heap", KERNEL=="linux,cma@50000000", MODE="0660", GROUP="video", SYMLINK+="dma_heap/default"

SUBSYSTEM=="dma_heap", KERNEL=="system", MODE="0444", OWNER="root"
`

func TestParseRules(t *testing.T) {
	got, err := ParseRules([]byte(rulesText))
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Line: 2, Subsystem: "dma_heap", Kernel: "linux,cma@50000000", Mode: 0o660, HasMode: true, Group: "video",
			Symlinks: []string{"dma_heap/default"}},
		{Line: 4, Subsystem: "dma_heap", Kernel: "system", Mode: 0o444, HasMode: true, Owner: "root"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ParseRules (-want +got):\n%s", d)
	}
}

func TestParseRulesRefuses(t *testing.T) {
	for _, in := range []string{
		`KERNEL=="x", MODE="0660"`,
		`SUBSYSTEM=="dma_heap", MODE="0660"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x", MODE=0660`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x", MODE="rw"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x", MODE:="0660"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x|y"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="[x"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x", RUN+="/bin/true"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x", SYMLINK+="../etc/x"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x", SYMLINK+="heap-%k"`,
		`SUBSYSTEM=="dma_heap", KERNEL=="x",`,
	} {
		if r, err := ParseRules([]byte("\n" + in)); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("ParseRules(%s) = %+v, %v; want an error about line 2", in, r, err)
		}
	}
}

func TestApplyRules(t *testing.T) {
	dev := t.TempDir()
	heaps := filepath.Join(dev, "dma_heap")
	if err := os.Mkdir(heaps, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"linux,cma@50000000", "system"} {
		if err := os.WriteFile(filepath.Join(heaps, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The test need not be root to give its own file to its own group.
	group := "video:x:" + strconv.Itoa(os.Getgid()) + ":\n"
	rules, err := ParseRules([]byte(`
SUBSYSTEM=="dma_heap", KERNEL=="linux,cma@*", MODE="0660", GROUP="video", SYMLINK+="dma_heap/default"
SUBSYSTEM=="dma_heap", KERNEL=="video@54000000", MODE="0660"
SUBSYSTEM=="dma_heap", KERNEL=="*", MODE="0640"
SUBSYSTEM=="block", KERNEL=="system", MODE="0777"
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ApplyRules(rules, dev, "dma_heap", "", group)
	if err != nil {
		t.Fatal(err)
	}
	want := Applied{
		"line 2 applied to dma_heap/linux,cma@50000000",
		`line 3: no device matches KERNEL=="video@54000000"`,
		"line 4 applied to dma_heap/linux,cma@50000000",
		"line 4 applied to dma_heap/system",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ApplyRules (-want +got):\n%s", d)
	}
	for name, mode := range map[string]os.FileMode{"linux,cma@50000000": 0o640, "system": 0o640} {
		fi, err := os.Lstat(filepath.Join(heaps, name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode() != mode {
			t.Errorf("mode of %s is %v, want %v", name, fi.Mode(), mode)
		}
	}
	if target, err := os.Readlink(filepath.Join(heaps, "default")); err != nil || target != "linux,cma@50000000" {
		t.Errorf("link default is %q, %v; want linux,cma@50000000", target, err)
	}
}

func TestApplyRulesUnknownGroup(t *testing.T) {
	dev := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dev, "dma_heap", "system"), 0o755); err != nil {
		t.Fatal(err)
	}
	rules := []Rule{{Line: 7, Subsystem: "dma_heap", Kernel: "system", Group: "video"}}
	_, err := ApplyRules(rules, dev, "dma_heap", "", "root:x:0:\n")
	if err == nil || !strings.Contains(err.Error(), "line 7") || !strings.Contains(err.Error(), "video") {
		t.Errorf("ApplyRules with an unknown group: %v, want line 7 and the name", err)
	}
}

// A kernel without heaps has no directory; the checks report that, not init.
func TestApplyRulesWithoutDirectory(t *testing.T) {
	rules := []Rule{{Line: 1, Subsystem: "dma_heap", Kernel: "system"}}
	got, err := ApplyRules(rules, t.TempDir(), "dma_heap", "", "")
	if err != nil || len(got) != 1 {
		t.Errorf("ApplyRules without /dev/dma_heap = %q, %v; want one line and no error", got, err)
	}
}
