// SPDX-License-Identifier: MIT

package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// TestRulesDocument holds docs/rules.md against the table of rules.
func TestRulesDocument(t *testing.T) {
	const path = "../../docs/rules.md"
	code, stdout, stderr := heapctl(t, "explain", "--all", "-o", "markdown")
	if code != ExitOK || stderr != "" {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	if *update {
		if err := os.MkdirAll("../../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(stdout), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), stdout); diff != "" {
		t.Errorf("docs/rules.md is stale; run \"go test ./internal/cli -run TestRulesDocument -update\" (-have +want):\n%s", diff)
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
	if code, _, stderr := heapctl(t, "explain", "nonsense"); code != ExitUsage || !strings.Contains(stderr, "nonsense") {
		t.Errorf("explain nonsense: exit %d, %q", code, stderr)
	}
	if code, stdout, _ := heapctl(t, "explain"); code != ExitOK || strings.Count(stdout, "\n") != len(heapcfg.Rules()) {
		t.Errorf("explain: exit %d\n%s", code, stdout)
	}
}
