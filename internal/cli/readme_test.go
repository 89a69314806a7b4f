// SPDX-License-Identifier: MIT

package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite generated documents")

// TestReadmeShowsTheExample keeps the README's config the one that the demo
// compiles.
func TestReadmeShowsTheExample(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(exampleConfig)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```yaml\n")
	shown, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("README.md has no fenced YAML")
	}
	if diff := cmp.Diff(string(config), shown); diff != "" {
		t.Errorf("README.md shows another config than %s (-file +README):\n%s", exampleConfig, diff)
	}
}

// TestReadmeShowsTheMap holds what the README shows of the demo's second step
// against the compiler; the whole of it needs a booted machine, and is held there.
func TestReadmeShowsTheMap(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "\n[2/5] ")
	shown, _, ok := strings.Cut(rest, "\n[3/5] ")
	if !ok {
		t.Fatal("README.md does not show the demo")
	}
	code, stdout, stderr := heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "--check")
	if code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, line := range strings.Split(shown, "\n")[1:] {
		if !strings.HasPrefix(line, "[...") && !strings.Contains(stdout, line+"\n") {
			t.Errorf("README.md shows %q, and the compiler prints\n%s", line, stdout)
		}
	}
}

// TestReadmeMap keeps the README's picture the one that the program draws.
func TestReadmeMap(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "-o", dir); code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	code, got, stderr := heapctl(t, "map", filepath.Join(dir, "heaps.lock.json"), "-o", "svg")
	if code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	const path = "../../docs/map.svg"
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is stale; run \"go test ./internal/cli -update\" (-file +program):\n%s", path, diff)
	}
}
