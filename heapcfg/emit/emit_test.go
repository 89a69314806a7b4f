// SPDX-License-Identifier: MIT

package emit_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// tool returns the path of a reference tool. In CI its absence is a failure.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is missing: install device-tree-compiler", name)
	default:
		t.Skipf("%s is missing: install device-tree-compiler", name)
	}
	return path
}

// compileBase makes a tree of source text with dtc, which judges it too.
func compileBase(t *testing.T, dts string) (*fdt.Tree, string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "base.dtb")
	run(t, tool(t, "dtc"), "-q", "-@", "-I", "dts", "-O", "dtb", "-o", out, dts)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return tree, out
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func sortedDTS(t *testing.T, blob string) string {
	t.Helper()
	return run(t, tool(t, "dtc"), "-q", "-s", "-I", "dtb", "-O", "dts", blob)
}

// cases are the configs with golden products: each a directory of testdata
// with base.dts and heaps.yaml. The example that users start from is one.
func cases(t *testing.T) map[string][2]string {
	t.Helper()
	out := map[string][2]string{"qemu-virt": {"testdata/qemu-virt/base.dts", "../../examples/qemu-virt/heaps.yaml"}}
	dirs, err := filepath.Glob("testdata/*/heaps.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, y := range dirs {
		dir := filepath.Dir(y)
		out[filepath.Base(dir)] = [2]string{filepath.Join(dir, "base.dts"), y}
	}
	return out
}

func TestFiles(t *testing.T) {
	for name, in := range cases(t) {
		t.Run(name, func(t *testing.T) {
			base, blob := compileBase(t, in[0])
			data, err := os.ReadFile(in[1])
			if err != nil {
				t.Fatal(err)
			}
			cfg, findings := heapcfg.Parse("heaps.yaml", data)
			if heapcfg.HasErrors(findings) {
				t.Fatalf("findings: %v", findings)
			}
			board, findings := heapcfg.FromTree("base.dtb", base, cfg.Target)
			if board == nil {
				t.Fatalf("findings: %v", findings)
			}
			l, findings := cfg.Plan(board, base)
			if findings = append(findings, heapcfg.Lint(l)...); heapcfg.HasErrors(findings) {
				t.Fatalf("findings: %v", findings)
			}
			files, err := emit.Files("heaps", l, base)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, f := range files {
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(f.Name, ".dtbo") {
					golden(t, filepath.Join("testdata", name, "golden", f.Name), f.Data)
				}
			}
			judge(t, base, blob, filepath.Join(dir, "heaps"))
			relint(t, l, base, filepath.Join(dir, "heaps.dtbo"))
		})
	}
}

// judge has the reference tools agree with us: dtc makes the same tree of the
// source as our blob is, and fdtoverlay merges the blob to the tree that Apply
// holds in memory, up to the order of nodes and properties.
func judge(t *testing.T, base *fdt.Tree, baseBlob, stem string) {
	t.Helper()
	dir := t.TempDir()
	viaDTC := filepath.Join(dir, "dtc.dtbo")
	run(t, tool(t, "dtc"), "-q", "-@", "-I", "dts", "-O", "dtb", "-o", viaDTC, stem+".dtso")
	if diff := cmp.Diff(sortedDTS(t, viaDTC), sortedDTS(t, stem+".dtbo")); diff != "" {
		t.Errorf("dtc of the .dtso and our .dtbo differ (-dtc +ours):\n%s", diff)
	}
	merged := filepath.Join(dir, "merged.dtb")
	run(t, tool(t, "fdtoverlay"), "-i", baseBlob, "-o", merged, stem+".dtbo")
	ours, err := mergedTree(t, base, stem+".dtbo").Marshal()
	if err != nil {
		t.Fatal(err)
	}
	viaUs := filepath.Join(dir, "ours.dtb")
	if err := os.WriteFile(viaUs, ours, 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sortedDTS(t, merged), sortedDTS(t, viaUs)); diff != "" {
		t.Errorf("fdtoverlay and Apply differ (-fdtoverlay +ours):\n%s", diff)
	}
}

// mergedTree applies the blob that was written to its base, in memory.
func mergedTree(t *testing.T, base *fdt.Tree, dtbo string) *fdt.Tree {
	t.Helper()
	data, err := os.ReadFile(dtbo)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := fdt.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Apply(base, overlay)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// relint reads the merged tree back: it must hold the same regions, and the
// rules must find as little in it as they found in the plan.
func relint(t *testing.T, l *heapcfg.Layout, base *fdt.Tree, dtbo string) {
	t.Helper()
	back, findings := heapcfg.FromTree("merged.dtb", mergedTree(t, base, dtbo), l.Target)
	if back == nil {
		t.Fatalf("findings: %v", findings)
	}
	if findings := heapcfg.Lint(back); heapcfg.HasErrors(findings) {
		t.Errorf("the merged tree has findings: %v", findings)
	}
	want, got := map[string]heapcfg.Range{}, map[string]heapcfg.Range{}
	for _, e := range l.Expect() {
		if e.Kind != heapcfg.System {
			want[e.Name+" "+string(e.Kind)+" "+string(e.Access)] = e.Range
		}
	}
	for _, e := range back.Expect() {
		got[e.Name+" "+string(e.Kind)+" "+string(e.Access)] = e.Range
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heaps of the plan and of the merged tree differ (-plan +tree):\n%s", diff)
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run \"go test ./heapcfg/emit -update\" and read the result", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
