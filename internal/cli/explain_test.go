// SPDX-License-Identifier: MIT

package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/check"
)

// TestGeneratedDocuments holds docs/ against the tables of rules and checks.
func TestGeneratedDocuments(t *testing.T) {
	for name, args := range map[string][]string{
		"rules.md":  {"explain", "--all", "-o", "markdown"},
		"checks.md": {"explain", "--checks", "--all", "-o", "markdown"},
	} {
		path := "../../docs/" + name
		code, stdout, stderr := heapctl(t, args...)
		if code != ExitOK || stderr != "" {
			t.Fatalf("exit %d, stderr %q", code, stderr)
		}
		if *update {
			if err := os.WriteFile(path, []byte(stdout), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(have), stdout); diff != "" {
			t.Errorf("docs/%s is stale; run \"go test ./internal/cli -run TestGeneratedDocuments -update\" (-have +want):\n%s", name, diff)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, r := range heapcfg.Rules() {
		code, stdout, _ := heapctl(t, "explain", r.ID)
		if code != ExitOK || !strings.Contains(stdout, "otherwise  ") || !strings.Contains(stdout, "way out    ") {
			t.Errorf("explain %s: exit %d\n%s", r.ID, code, stdout)
		}
		if (r.Kernels != "") != strings.Contains(stdout, "kernel log ") {
			t.Errorf("explain %s does not say what the kernel says:\n%s", r.ID, stdout)
		}
	}
	for _, d := range check.AllDefs() {
		if _, both := heapcfg.RuleByID(d.ID); both {
			t.Errorf("%s is a rule and a check", d.ID)
		}
		code, stdout, _ := heapctl(t, "explain", d.ID)
		if code != ExitOK || !strings.HasPrefix(stdout, d.ID+" (check)\n") || !strings.Contains(stdout, "\nfailure    ") {
			t.Errorf("explain %s: exit %d\n%s", d.ID, code, stdout)
		}
	}
	// The result of a profile can be asked about as any other.
	for _, p := range check.Profiles() {
		code, stdout, _ := heapctl(t, "explain", "profile-"+p.Name)
		if code != ExitOK || !strings.Contains(stdout, p.About) || !strings.Contains(strings.Join(strings.Fields(stdout), " "), strings.Join(p.Heaps, ", ")) {
			t.Errorf("explain profile-%s: exit %d\n%s", p.Name, code, stdout)
		}
	}
	if code, stdout, _ := heapctl(t, "explain", "--checks"); code != ExitOK || strings.Count(stdout, "\n") != len(check.AllDefs()) {
		t.Errorf("explain --checks: exit %d\n%s", code, stdout)
	}
	for id, want := range map[string]string{
		"cma-alignmnet": ", cma-alignment, ", "present": "but heap-present\n", "profile-lib": "but profile-libcamera, profile-libiio\n", "nonsense": "list them\n", "": "list them\n",
	} {
		if code, _, stderr := heapctl(t, "explain", id); code != ExitUsage || !strings.Contains(stderr, want) {
			t.Errorf("explain %q: exit %d, %q, want %q", id, code, stderr, want)
		}
	}
	if code, _, stderr := heapctl(t, "explain", "nonsense"); code != ExitUsage || !strings.Contains(stderr, "nonsense") {
		t.Errorf("explain nonsense: exit %d, %q", code, stderr)
	}
	if code, stdout, _ := heapctl(t, "explain"); code != ExitOK || strings.Count(stdout, "\n") != len(heapcfg.Rules()) {
		t.Errorf("explain: exit %d\n%s", code, stdout)
	}
}
