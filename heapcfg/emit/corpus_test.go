// SPDX-License-Identifier: MIT

package emit_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// corpus returns the blobs below the directory that DTB_CORPUS names, such as
// what test/corpus.sh builds: the boards of a kernel, with labels.
func corpus(t testing.TB) (dir string, files []string) {
	t.Helper()
	dir = os.Getenv("DTB_CORPUS")
	if dir == "" {
		t.Skip("DTB_CORPUS names no directory of .dtb files; `make corpus` builds one")
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".dtb" {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no .dtb files below %s (%v)", dir, err)
	}
	return dir, files
}

// TestBoards does with the hand-made boards what TestCorpus does with real
// ones.
func TestBoards(t *testing.T) {
	files, err := filepath.Glob("testdata/boards/*.dts")
	if err != nil || len(files) == 0 {
		t.Fatalf("no boards (%v)", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, blob := compileBase(t, name)
			board(t, blob)
		})
	}
}

// corpusKernels are the kernels whose rules the boards are held against.
var corpusKernels = []heapcfg.Version{{Major: 5, Minor: 10}, {Major: 7, Minor: 3}, {Major: 6, Minor: 12}}

// What one board may take of a machine, through everything.
const (
	boardTime   = time.Second
	boardMemory = 64 << 20
)

// TestCorpus holds the rules against boards that ship and boot: none of them
// may be called broken. Each is drawn and imported, and a heap is compiled
// onto each that has room. The log sums up what was found.
func TestCorpus(t *testing.T) {
	dir, files := corpus(t)
	found := map[string]map[string]bool{} // boards by finding
	var sum boardReport
	var slowest, hungriest string
	var mostTime time.Duration
	var mostMemory uint64
	for _, name := range files {
		rel, _ := filepath.Rel(dir, name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		r := board(t, name)
		if d := time.Since(start); d > mostTime {
			mostTime, slowest = d, rel
		}
		runtime.ReadMemStats(&after)
		if m := after.TotalAlloc - before.TotalAlloc; m > mostMemory {
			mostMemory, hungriest = m, rel
		}
		for _, f := range r.findings {
			key := fmt.Sprintf("%-7v %s", f.Level, f.ID)
			if found[key] == nil {
				found[key] = map[string]bool{}
			}
			found[key][rel] = true
		}
		sum.withRAM += r.withRAM
		sum.tookHeap += r.tookHeap
		sum.withHeaps += r.withHeaps
		sum.heaps += r.heaps
		sum.left += r.left
	}
	if mostTime > boardTime || mostMemory > boardMemory {
		t.Errorf("the slowest board, %s, took %v; the hungriest, %s, %d KiB", slowest, mostTime, hungriest, mostMemory>>10)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d boards in %s, held against kernels %v\n", len(files), filepath.Base(dir), corpusKernels)
	fmt.Fprintf(&b, "%6d say how much RAM they have; the others were given 1GiB\n", sum.withRAM)
	fmt.Fprintf(&b, "%6d took a heap of 64MiB; the others have no room for it\n", sum.tookHeap)
	fmt.Fprintf(&b, "%6d have heaps of their own: %d imported, %d nodes listed as not translated\n", sum.withHeaps, sum.heaps, sum.left)
	fmt.Fprintf(&b, "%6d ms and %d KiB at most for one board, through everything\n", mostTime.Milliseconds(), mostMemory>>10)
	fmt.Fprintf(&b, "boards  finding\n")
	for _, key := range sortedKeys(found) {
		names := sortedKeys(found[key])
		fmt.Fprintf(&b, "%6d  %-32s  such as %s\n", len(names), key, names[0])
	}
	t.Log(b.String())
	if sum.tookHeap == 0 {
		t.Error("no board had room for a heap")
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// boardReport is what there is to say of one board, or the sum of several.
type boardReport struct {
	findings                                  []heapcfg.Finding
	withRAM, tookHeap, withHeaps, heaps, left int
}

// board runs everything on one blob.
func board(t *testing.T, name string) (r boardReport) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(data)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return r
	}
	target := heapcfg.DefaultTarget()
	var l *heapcfg.Layout
	for _, target.Kernel = range corpusKernels {
		var findings []heapcfg.Finding
		if l, findings = heapcfg.FromTree(name, tree, target); l == nil {
			t.Errorf("findings: %v", findings)
			return r
		}
		findings = heapcfg.Lint(l)
		for _, f := range findings {
			if f.Level == heapcfg.Error {
				t.Errorf("kernel %v: %v: %s; %s [%s]", target.Kernel, f.Place, f.Message, f.Fix, f.ID)
			}
		}
		r.findings = append(r.findings, findings...)
	}
	if len(l.Banks) > 0 {
		r.withRAM = 1
	}
	for kind, draw := range map[string]func(*heapcfg.Layout) string{"text": emit.TextMap, "svg": emit.SVGMap, "html": emit.HTMLMap} {
		if s := draw(l); !strings.Contains(s, "kernel "+target.Kernel.String()) {
			t.Errorf("%s: the %s map has no title:\n%.200s", name, kind, s)
		}
	}
	imp, findings := heapcfg.ImportTree(name, tree, target)
	if imp == nil {
		t.Errorf("%s: not imported: %v", name, findings)
		return r
	}
	r.heaps, r.left = imp.Heaps, imp.Left
	cfg, findings := heapcfg.Parse("heaps.yaml", imp.YAML)
	if heapcfg.HasErrors(findings) {
		t.Errorf("%s: the import cannot be read: %v\n%s", name, findings, imp.YAML)
	} else if imp.Heaps > 0 {
		r.withHeaps = 1
		if len(l.Banks) > 0 {
			importBack(t, l, tree, imp, cfg)
		}
	}
	if compileOnto(t, name, l, tree) {
		r.tookHeap = 1
	}
	return r
}

// importBack compiles an import against the board without the nodes that must
// leave for it: the same regions must be there again.
func importBack(t *testing.T, l *heapcfg.Layout, tree *fdt.Tree, imp *heapcfg.Import, cfg *heapcfg.Config) {
	t.Helper()
	bare := tree.Clone()
	for _, path := range imp.Nodes {
		cut := strings.LastIndexByte(path, '/')
		parent := bare.Root
		if cut > 0 {
			parent = bare.Lookup(path[:cut])
		}
		if parent == nil || !parent.RemoveChild(path[cut+1:]) {
			t.Errorf("the tree has no %s", path)
		}
	}
	board, findings := heapcfg.FromTree("bare.dtb", bare, cfg.Target)
	if board == nil {
		t.Fatalf("without its heaps: %v", findings)
	}
	plan, findings := cfg.Plan(board, bare)
	for _, f := range append(findings, heapcfg.Lint(plan)...) {
		// What is odd in a board's own tree is an error in a config.
		if f.Level == heapcfg.Error && f.ID != "cma-alignment" && f.ID != "no-room" && f.ID != "kconfig-missing" {
			t.Errorf("the import does not compile: %v: %s [%s]\n%s", f.Place, f.Message, f.ID, imp.YAML)
		}
	}
	for _, r := range l.Regions {
		if r.Heap == nil || !r.Active() || !r.Placed() {
			continue
		}
		found := false
		for _, p := range plan.Regions {
			found = found || p.FromConfig && p.Kind == r.Kind && p.Range == r.Range && p.Default == r.Default
		}
		if !found {
			t.Errorf("%s (%v) is lost\n%s", r.Node, r.Range, imp.YAML)
		}
	}
}

// compileOnto compiles a heap onto a board and reads the merged tree back.
func compileOnto(t *testing.T, name string, l *heapcfg.Layout, tree *fdt.Tree) bool {
	t.Helper()
	text := "version: 1\nheaps:\n- {name: corpus, kind: carveout, size: 64MiB}\n"
	if len(l.Banks) == 0 {
		text += "board: {ram: {base: 0x8000_0000, size: 1GiB}}\n"
	}
	cfg, findings := heapcfg.Parse("heaps.yaml", []byte(text))
	if cfg == nil {
		t.Fatal(findings)
	}
	plan, findings := cfg.Plan(l, tree)
	room := true
	for _, f := range append(findings, heapcfg.Lint(plan)...) {
		switch {
		case f.Level != heapcfg.Error:
		case f.ID == "no-room" && !hasRoom(plan):
			room = false
		case len(l.Banks) == 0 && !strings.Contains(f.Message, "corpus"):
			// The RAM is made up, and the board's own regions may not fit it.
		default:
			t.Errorf("with a heap: %v: %s [%s]", f.Place, f.Message, f.ID)
		}
	}
	if !room {
		return false
	}
	if _, err := emit.Files("heaps", plan); err != nil {
		t.Errorf("products: %v", err)
	}
	merged, err := emit.Merged("heaps", plan, tree)
	if err != nil {
		t.Fatal(err)
	}
	back, err := fdt.Parse(merged.Data)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := heapcfg.FromTree(name, back, cfg.Target)
	heaps := 0
	for _, e := range again.Expect() {
		if strings.HasPrefix(e.Name, "corpus@") && e.Range.Size == 64<<20 {
			heaps++
		}
	}
	if heaps != 1 {
		t.Errorf("the merged tree has the heap %d times", heaps)
	}
	for _, f := range heapcfg.Lint(again) {
		if f.Level == heapcfg.Error && len(l.Banks) > 0 {
			t.Errorf("merged: %v: %s [%s]", f.Place, f.Message, f.ID)
		}
	}
	return true
}

// hasRoom reports, by the plainest arithmetic, whether a 64 MiB carveout fits
// in any case: an aligned piece of RAM that nothing lies in.
func hasRoom(l *heapcfg.Layout) bool {
	var taken []heapcfg.Range
	for _, o := range l.Occupied {
		taken = append(taken, o.Range)
	}
	need := uint64(64 << 20)
	for _, r := range l.Regions {
		if r.Active() && r.Dynamic {
			need += r.Range.Size // wherever the kernel puts it
		}
		if r.Active() && r.Placed() {
			taken = append(append(taken, r.Range), r.Extra...)
		}
	}
	banks := heapcfg.MergeRanges(l.Banks)
	for _, free := range heapcfg.Subtract(banks, taken) {
		base := (uint64(free.Base) + 2<<20 - 1) &^ (2<<20 - 1)
		if base+need-1 <= uint64(free.Last()) && (l.Cells.Address == 2 || base+need <= 4<<30) {
			return true
		}
	}
	return false
}

// largest returns the largest blob of the corpus.
func largest(t testing.TB) string {
	t.Helper()
	best, size := "", int64(0)
	_, files := corpus(t)
	for _, name := range files {
		if info, err := os.Stat(name); err == nil && info.Size() > size {
			best, size = name, info.Size()
		}
	}
	return best
}

// merges returns the two ways to merge the same overlay into the largest
// board, as programs a person would run; each tells the processor time it took.
// They work in memory where there is such a file system: heapctl makes sure that
// its files are on the disk, the tools do not, and no disk is to be measured.
func merges(t testing.TB) (ours, theirs func() (time.Duration, error)) {
	t.Helper()
	for _, tool := range []string{"dtc", "fdtoverlay"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	base, dir := largest(t), t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "heapctl-merge-"); err == nil {
		dir = shm
		t.Cleanup(func() { os.RemoveAll(shm) })
	}
	run := func(args ...string) (time.Duration, error) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, &out)
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
	}
	heapctl, config := filepath.Join(dir, "heapctl"), filepath.Join(dir, "heaps.yaml")
	// As it is built for users.
	if _, err := run("go", "build", "-trimpath", "-ldflags=-s -w", "-o", heapctl, "github.com/dmaheap/dmaheap/cmd/heapctl"); err != nil {
		t.Fatal(err)
	}
	text := "version: 1\nheaps:\n- {name: a, kind: carveout, size: 16MiB}\n- {name: b, kind: cma, size: 16MiB}\n"
	if !saysRAM(t, base) {
		text += "board: {ram: {base: 0x8_8000_0000, size: 1GiB}}\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ours = func() (time.Duration, error) {
		return run(heapctl, "compile", config, "--base", base, "--merge", "-q", "-o", dir)
	}
	theirs = func() (time.Duration, error) {
		compile, err := run("dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", dir+"/dtc.dtbo", dir+"/heaps.dtso")
		if err != nil {
			return 0, err
		}
		merge, err := run("fdtoverlay", "-i", base, "-o", dir+"/theirs.dtb", dir+"/dtc.dtbo")
		return compile + merge, err
	}
	if _, err := ours(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// saysRAM reports whether a board does not leave its RAM to the boot loader.
func saysRAM(t testing.TB, name string) bool {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	l, findings := heapcfg.FromTree(name, tree, heapcfg.DefaultTarget())
	if l == nil {
		t.Fatal(findings)
		return false
	}
	return len(l.Banks) > 0
}

// TestMergeTime holds heapctl to twice the time of the tools, which plan
// nothing, judge nothing and write seven files less. The two take turns, and
// the best run of each counts: what else the machine does only adds to a run.
func TestMergeTime(t *testing.T) {
	ours, theirs := merges(t)
	best := func(a, b time.Duration) time.Duration {
		if a == 0 {
			return b
		}
		return min(a, b)
	}
	var us, them time.Duration
	for range 30 {
		for _, way := range []struct {
			run  func() (time.Duration, error)
			best *time.Duration
		}{{ours, &us}, {theirs, &them}} {
			d, err := way.run()
			if err != nil {
				t.Fatal(err)
			}
			*way.best = best(*way.best, d)
		}
	}
	ratio := float64(us) / float64(them)
	t.Logf("compile --merge on %s: %v, dtc -@ and fdtoverlay: %v, ratio %.2f", filepath.Base(largest(t)), us, them, ratio)
	if ratio > 2 {
		t.Errorf("heapctl takes %.2f times as long as dtc -@ and fdtoverlay, more than twice", ratio)
	}
}

// BenchmarkMerge runs both ways side by side.
func BenchmarkMerge(b *testing.B) {
	ours, theirs := merges(b)
	for _, way := range []struct {
		name string
		run  func() (time.Duration, error)
	}{{"heapctl-compile-merge", ours}, {"dtc-fdtoverlay", theirs}} {
		b.Run(way.name, func(b *testing.B) {
			var cpu time.Duration
			for range b.N {
				d, err := way.run()
				if err != nil {
					b.Fatal(err)
				}
				cpu += d
			}
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
