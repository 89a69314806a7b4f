// SPDX-License-Identifier: MIT

// Package bootabuse boots device trees that nobody would write by hand, good
// ones and broken ones, and holds the verdict of the rules against what the
// kernel does: what the rules let pass must boot, without a word of complaint,
// and every heap must be there and work.
//
// Each tree follows from one number. `make boot-abuse COUNT=1000` boots more of
// them than `make test`; SEED names the first.
package bootabuse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A verdict is what the rules say of a tree.
type verdict struct {
	level    heapcfg.Level // Note: nothing to say
	findings []string      // "LEVEL ID", from warnings on
	heaps    []heapcfg.Expected
}

func judge(line heapcfg.Version, tree *fdt.Tree) verdict {
	target := heapcfg.DefaultTarget()
	target.Kernel, target.CMAAreas = line, 8 // as the test kernels are configured
	l, findings := heapcfg.FromTree("board.dtb", tree, target)
	v := verdict{level: heapcfg.Note}
	if l != nil {
		l.Occupied = append(l.Occupied, occupied...)
		l.RAMStated = true // the machine has what the tree says
		findings = append(findings, heapcfg.Lint(l)...)
		v.heaps = l.Expect()
	}
	for _, f := range findings {
		v.level = max(v.level, f.Level)
		if s := f.Level.String() + " " + f.ID; f.Level > heapcfg.Note && !slices.Contains(v.findings, s) {
			v.findings = append(v.findings, s)
		}
	}
	return v
}

// complaint finds what no kernel says about a tree that is in order.
var complaint = regexp.MustCompile(`(?m)^.*(BUG: |WARNING: |Unable to handle|Bad page|no heap: |OVERLAP|failed to |invalid |incorrect |matching fail|Already registered|Unable to create).*$`)

// other are complaints that the test machine gives rise to whatever the tree is.
var other = regexp.MustCompile(`failed to (get|find)|invalid (GICv|resource)|kmemleak`)

func complaints(console string) []string {
	log, _, _ := strings.Cut(console, initramfs.RunMark)
	var list []string
	for _, line := range complaint.FindAllString(log, -1) {
		if !other.MatchString(line) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

var probed = regexp.MustCompile(`(?m)^probe (\S+) (\d+) (.*)$`)

// missing compares the heaps that are there with those that must be.
func missing(v verdict, out string) []string {
	type heap struct {
		size  uint64
		state string
	}
	seen := map[string]heap{}
	for _, m := range probed.FindAllStringSubmatch(out, -1) {
		size, _ := strconv.ParseUint(m[2], 10, 64)
		seen[m[1]] = heap{size, m[3]}
	}
	var list []string
	for _, h := range v.heaps {
		s, ok := seen[h.Name]
		switch {
		case !ok:
			list = append(list, h.Name+" is not there")
		case s.state != "ok":
			list = append(list, h.Name+": "+s.state)
		case h.Range.Size > 0 && s.size > 0 && s.size != h.Range.Size:
			list = append(list, fmt.Sprintf("%s has %d bytes, want %d", h.Name, s.size, h.Range.Size))
		}
	}
	return list
}

// outcome is how a boot ended.
type outcome struct {
	dead    string // why there is no result, or ""
	says    []string
	missing []string
	console string
}

func (o outcome) well() bool { return o.dead == "" && len(o.says) == 0 && len(o.missing) == 0 }

func TestBootAbuse(t *testing.T) {
	b, ctx := bench.Setup(t)
	count, seed := number(t, "BOOT_ABUSE_COUNT", 25), int64(number(t, "BOOT_ABUSE_SEED", 1))
	program, err := b.Guest(ctx, "test/bootabuse/guest")
	if err != nil {
		t.Fatal(err)
	}
	base := bench.ReadTree(t, b.Base)
	archive, err := initramfs.Archive(bench.File(t, "/init", program, 0o755))
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(t.TempDir(), name) }
	vm := vmtest.VM{Machine: b.Machine, Kernel: b.Image, Initrd: in("initramfs.cpio"), DTB: in("board.dtb")}
	if err := os.WriteFile(vm.Initrd, archive, 0o644); err != nil {
		t.Fatal(err)
	}

	tally := map[string]int{}
	harmless := map[string]int{} // errors of a rule alone, with a kernel that does not mind
	regions, start := 0, time.Now()
	for i := range count {
		n := seed + int64(i)
		tree, spoilt := generate(base, n)
		reserved := len(tree.Root.Child("reserved-memory").Children)
		regions += reserved
		v := judge(b.Line, tree)
		o := boot(context.Background(), t, vm, v, tree)
		what := fmt.Sprintf("%v, %s", word(v.level), ending(o))
		tally[what]++
		// Told at once: whoever stops a long run still knows what it did.
		t.Logf("seed %d, %d regions: %s", n, reserved, what)
		if problem := disagree(v, o); problem != "" {
			t.Errorf("seed %d: %s\nbroken on purpose: %s\nrules: %s\nkernel: %s\nmissing: %s\n%s\nto see it again: make boot-abuse COUNT=1 SEED=%d V=%v",
				n, problem, strings.Join(spoilt, "; "), strings.Join(v.findings, ", "), strings.Join(o.says, "\n  "), strings.Join(o.missing, "; "),
				dts(tree), n, b.Line)
		}
		if len(v.findings) == 1 && v.level == heapcfg.Error && o.well() {
			harmless[v.findings[0]]++
		}
	}
	for _, what := range sorted(tally) {
		t.Logf("%4d trees: %s", tally[what], what)
	}
	for _, what := range sorted(harmless) {
		t.Logf("%4d times this kernel did not mind %q", harmless[what], what)
	}
	t.Logf("%d trees with %d regions on %v, seeds %d to %d, %.0f s", count, regions, b.Line, seed, seed+int64(count)-1, time.Since(start).Seconds())
}

// disagree says how rules and kernel contradict each other, "" if they do not.
func disagree(v verdict, o outcome) string {
	switch {
	case v.level == heapcfg.Error:
		return "" // the kernel may do anything
	case o.dead != "":
		return "the rules have no error for a tree that the kernel does not survive: " + o.dead
	case v.level == heapcfg.Warning:
		return "" // heaps may be missing, and the kernel may say so
	case len(o.missing) > 0:
		return "the rules find nothing in a tree that loses a heap"
	case len(o.says) > 0:
		return "the rules find nothing in a tree that the kernel complains about"
	}
	return ""
}

func boot(ctx context.Context, t *testing.T, vm vmtest.VM, v verdict, tree *fdt.Tree) outcome {
	t.Helper()
	blob, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vm.DTB, blob, 0o644); err != nil {
		t.Fatal(err)
	}
	// A boot takes half a second of one processor. What the machine spends
	// waiting for the host does not count.
	vm.Timeout = time.Minute
	if v.level == heapcfg.Error {
		vm.Timeout = 6 * time.Second // it may hang
	}
	var console strings.Builder
	vm.Console = &console
	res, err := vmtest.Run(ctx, vm)
	o := outcome{console: console.String()}
	o.says = complaints(o.console)
	var none *vmtest.NoResultError
	switch {
	case errors.As(err, &none):
		o.dead = none.Reason + " " + none.Fault
	case err != nil:
		t.Fatal(err)
	case res.Exit != 0:
		o.dead = fmt.Sprintf("the probe ended with %d: %s", res.Exit, res.Commands[0].Output)
	default:
		o.missing = missing(v, res.Commands[0].Output)
	}
	return o
}

func word(l heapcfg.Level) string {
	if l == heapcfg.Note {
		return "clean"
	}
	return l.String()
}

func ending(o outcome) string {
	switch {
	case o.dead != "":
		return "machine dead"
	case len(o.missing) > 0:
		return "heap lost"
	case len(o.says) > 0:
		return "kernel complains"
	}
	return "all well"
}

// dts returns what the tree reserves, as source.
func dts(tree *fdt.Tree) string {
	text := tree.DTS()
	if i := strings.Index(text, "\treserved-memory"); i >= 0 {
		text = text[i:]
		if end := strings.Index(text, "\n\t};"); end >= 0 {
			text = text[:end+4]
		}
	}
	return text
}

func sorted(m map[string]int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// The generator must make good trees and bad ones, and the rules must be able
// to tell them apart, or the test above says nothing.
func TestGenerate(t *testing.T) {
	base := &fdt.Tree{Root: &fdt.Node{}}
	base.Root.Set("#address-cells", fdt.U32s(2))
	base.Root.Set("#size-cells", fdt.U32s(2))
	mem := base.Root.AddChild(&fdt.Node{Name: "memory@40000000"})
	mem.Set("device_type", fdt.StringList("memory"))
	mem.Set("reg", reg(ramBase, ramEnd-ramBase))
	line, err := heapcfg.ParseVersion("6.12")
	if err != nil {
		t.Fatal(err)
	}
	levels, untouched := map[string]int{}, 0
	for seed := range int64(600) {
		tree, spoilt := generate(base, seed)
		again, _ := generate(base, seed)
		if tree.DTS() != again.DTS() {
			t.Fatalf("seed %d gives two trees", seed)
		}
		blob, err := tree.Marshal()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if _, err := fdt.Parse(blob); err != nil {
			t.Errorf("seed %d is not read back: %v", seed, err)
		}
		v := judge(line, tree)
		levels[word(v.level)]++
		if len(spoilt) == 0 {
			untouched++
			if v.level == heapcfg.Error {
				t.Errorf("seed %d: nothing was broken, and the rules say %v\n%s", seed, v.findings, dts(tree))
			}
		}
	}
	t.Logf("%v, %d of them with nothing broken", levels, untouched)
	if levels["clean"] < 100 || levels["error"] < 150 || levels["warning"] < 20 {
		t.Errorf("600 trees are %v: too few of a kind", levels)
	}
}
