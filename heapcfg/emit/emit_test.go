// SPDX-License-Identifier: MIT

package emit_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

// save writes the products into a directory, for the tools to read.
func save(t *testing.T, files []emit.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
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
			files, err := emit.Files("heaps", l)
			if err != nil {
				t.Fatal(err)
			}
			dir := save(t, files)
			for _, f := range files {
				if !strings.HasSuffix(f.Name, ".dtbo") {
					golden(t, filepath.Join("testdata", name, "golden", f.Name), f.Data)
				}
			}
			judge(t, base, blob, filepath.Join(dir, "heaps"))
			validate(t, base, filepath.Join(dir, "heaps.dtbo"))
			relint(t, l, base, filepath.Join(dir, "heaps.dtbo"))
		})
	}
}

// TestSystemAlone compiles a config whose only heap has no region: boot loaders
// get an overlay that adds nothing, and not one that they stop at.
func TestSystemAlone(t *testing.T) {
	base, blob := compileBase(t, "testdata/devices/base.dts")
	cfg, _ := heapcfg.Parse("heaps.yaml", []byte("version: 1\nheaps:\n- {name: system, kind: system, mode: \"0660\", group: video}\n"))
	board, _ := heapcfg.FromTree("base.dtb", base, cfg.Target)
	l, findings := cfg.Plan(board, base)
	if heapcfg.HasErrors(findings) {
		t.Fatalf("findings: %v", findings)
	}
	files, err := emit.Files("heaps", l)
	if err != nil {
		t.Fatal(err)
	}
	dir := save(t, files)
	judge(t, base, blob, filepath.Join(dir, "heaps"))
	before, err := base.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	merged, err := emit.Merged("heaps", l, base)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(merged.Data) {
		t.Error("the overlay changes the tree")
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

// schema returns the schema that dt-validate needs. In CI its absence is a
// failure.
var schema = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../../test/dtschema.sh")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("test/dtschema.sh: %w\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), err
})

// validate has dt-validate say nothing about what the overlay makes of its
// base. Alone an overlay has no root node that a schema could be content with.
func validate(t *testing.T, base *fdt.Tree, dtbo string) {
	t.Helper()
	merged, err := mergedTree(t, base, dtbo).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if said := dtValidate(t, merged); said != "" {
		t.Errorf("dt-validate says:\n%s", said)
	}
}

// dtValidate returns what dt-validate says of a blob.
func dtValidate(t *testing.T, blob []byte) string {
	t.Helper()
	if _, err := exec.LookPath("dt-validate"); err != nil && os.Getenv("CI") == "" {
		t.Skip("dt-validate is missing: install dt-schema")
	}
	processed, err := schema()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "board.dtb")
	if err := os.WriteFile(name, blob, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("dt-validate", "-s", processed, name).CombinedOutput()
	if err != nil {
		t.Fatalf("dt-validate: %v\n%s", err, out)
	}
	return string(out)
}

// TestValidateJudges makes sure that what dt-validate is silent about was seen:
// each flaw here must be called one.
func TestValidateJudges(t *testing.T) {
	base, _ := compileBase(t, "testdata/devices/base.dts")
	for _, tc := range []struct {
		name string
		node *fdt.Node
		says string
	}{
		{"chunk-size", heapNode("linux,chunk-heap"), "'chunk-size' is a required property"},
		{"reusable", heapNode("linux,carveout-heap", "reusable", []byte{}), "reusable"},
		{"write-combining", heapNode("linux,carveout-heap", "write-combining", []byte{}), "'no-map' is a dependency of 'write-combining'"},
		{"both", heapNode("shared-dma-pool", "reusable", []byte{}, "no-map", []byte{}), "no-map"},
		{"unknown", heapNode("shared-dma-pool", "reuseable", []byte{}), "Unevaluated properties are not allowed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := base.Clone()
			rm := tree.Root.AddChild(&fdt.Node{Name: "reserved-memory"})
			rm.Set("#address-cells", fdt.U32s(2))
			rm.Set("#size-cells", fdt.U32s(2))
			rm.Set("ranges", nil)
			rm.AddChild(tc.node)
			blob, err := tree.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if said := dtValidate(t, blob); !strings.Contains(said, tc.says) {
				t.Errorf("dt-validate says %q, want %q in it", said, tc.says)
			}
		})
	}
}

func heapNode(compatible string, props ...any) *fdt.Node {
	n := &fdt.Node{Name: "heap@90000000"}
	n.Set("compatible", fdt.StringList(compatible))
	n.Set("reg", append(fdt.Cells(0x90000000, 2), fdt.Cells(16<<20, 2)...))
	for i := 0; i < len(props); i += 2 {
		n.Set(props[i].(string), props[i+1].([]byte))
	}
	return n
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
