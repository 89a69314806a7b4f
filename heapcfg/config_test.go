// SPDX-License-Identifier: MIT

package heapcfg

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseFindings(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"good", "version: 1\nheaps:\n- {name: video, kind: cma, size: 64MiB}\n", nil},
		{"empty", "", []string{"1:1 yaml-syntax"}},
		{"comment only", "# nothing\n", []string{"1:1 yaml-syntax"}},
		{"zero byte", "version: 1\x00\n", []string{"1:1 yaml-syntax"}},
		{"not utf-8", "version: \xff\n", []string{"1:1 yaml-syntax"}},
		{"scalar", "hello\n", []string{"1:1 yaml-type"}},
		{"no version", "heaps: []\n", []string{"1:1 yaml-version"}},
		{"other version", "version: 2\nfoo: bar\n", []string{"1:10 yaml-version"}},
		{"unknown keys, all reported", "version: 1\nheap: 1\nheaps:\n- {name: a, kind: cma, size: 4MiB, colour: red}\nsizes: 3\n",
			[]string{"2:1 yaml-key", "4:36 yaml-key", "5:1 yaml-key"}},
		{"duplicate key", "version: 1\nheaps:\n- name: a\n  kind: cma\n  size: 4MiB\n  size: 8MiB\n", []string{"6:3 yaml-key"}},
		{"null item", "version: 1\nheaps:\n- null\n- ~\n-\n", []string{"3:3 yaml-type", "4:3 yaml-type", "5:2 yaml-type"}},
		{"anchor and alias", "version: 1\nheaps:\n- &a {name: a, kind: cma, size: 4MiB}\n- *a\n", []string{"3:3 yaml-type", "4:3 yaml-type"}},
		{"merge key", "version: 1\nheaps:\n- {<<: {name: a}, name: a, kind: cma, size: 4MiB}\n", []string{"3:4 yaml-key"}},
		{"tag", "version: 1\nheaps:\n- {name: !!str a, kind: cma, size: 4MiB}\n", []string{"3:10 yaml-type"}},
		{"no heaps", "version: 1\n", []string{"1:1 yaml-missing"}},
		{"empty list", "version: 1\nheaps: []\n", []string{"2:8 yaml-missing"}},
		{"missing keys", "version: 1\nheaps:\n- {}\n", []string{"3:3 yaml-missing", "3:3 yaml-missing", "3:3 yaml-missing"}},
		{"sizes", "version: 1\nheaps:\n- {name: a, kind: cma, size: 64M}\n- {name: b, kind: cma, size: 010}\n- {name: c, kind: cma, size: 1.5}\n- {name: d, kind: cma, size: 18446744073709551616}\n- {name: e, kind: cma, size: 0}\n",
			[]string{"3:30 yaml-value", "4:30 yaml-value", "5:30 yaml-value", "6:30 yaml-value", "7:30 yaml-value"}},
		{"decimal address", "version: 1\nheaps:\n- {name: a, kind: carveout, size: 4MiB, base: 1342177280}\n", []string{"3:47 yaml-value"}},
		{"bool", "version: 1\nheaps:\n- {name: a, kind: cma, size: 4MiB, default: yes}\n", []string{"3:45 yaml-value"}},
		{"modes", "version: 1\nheaps:\n- {name: a, kind: cma, size: 4MiB, mode: 660}\n- {name: b, kind: cma, size: 4MiB, mode: \"0999\"}\n- {name: c, kind: cma, size: 4MiB, mode: \"0666\"}\n",
			[]string{"3:42 yaml-value", "4:42 yaml-value", "5:42 mode-world"}},
		{"names", "version: 1\nheaps:\n- {name: a b, kind: cma, size: 4MiB}\n- {name: v@1, kind: cma, size: 4MiB}\n- {name: " + strings.Repeat("x", 32) + ", kind: cma, size: 4MiB}\n",
			[]string{"3:10 yaml-value", "4:10 yaml-value", "5:10 yaml-value"}},
		{"group with a quote", "version: 1\nheaps:\n- {name: a, kind: cma, size: 4MiB, group: 'vi\"deo'}\n", []string{"3:43 yaml-value"}},
		{"kinds", "version: 1\nheaps:\n- {name: a, kind: carve-out, size: 4MiB}\n- {name: b, kind: carveout, size: 4MiB, default: true}\n- {name: c, kind: chunk, size: 4MiB}\n",
			[]string{"3:19 yaml-value", "4:50 yaml-value", "5:3 yaml-missing"}},
		{"chunk beyond a cell", "version: 1\nheaps:\n- {name: a, kind: chunk, size: 8GiB, chunk-size: 4GiB}\n", []string{"3:50 yaml-value"}},
		{"two documents", "version: 1\nheaps: [{name: a, kind: cma, size: 4MiB}]\n---\nversion: 1\n", []string{"3:1 yaml-syntax"}},
		{"unclosed", "version: 1\nheaps: [\n", []string{"2:1 yaml-syntax"}},
		{"page size", "version: 1\ntarget: {page-size: 8KiB, kernel: six}\nheaps: [{name: a, kind: cma, size: 4MiB}]\n", []string{"2:21 yaml-value", "2:35 yaml-value"}},
		{"wrapping range", "version: 1\nkeep-clear: [{what: kernel, base: 0xffff_ffff_ffff_0000, size: 1MiB}]\nheaps: [{name: a, kind: cma, size: 4MiB}]\n", []string{"2:64 yaml-value"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, findings := Parse("heaps.yaml", []byte(tc.in))
			if diff := cmp.Diff(tc.want, ids(findings, Note)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			for _, f := range findings {
				if f.Message == "" || f.Place.File != "heaps.yaml" || !strings.HasPrefix(f.Place.Path, "$") {
					t.Errorf("finding is incomplete: %+v", f)
				}
			}
		})
	}
}

// TestParseWaysOut makes the mistakes that people make who know device trees, or
// other tools, better than this language.
func TestParseWaysOut(t *testing.T) {
	const heap = "version: 1\nheaps:\n- {name: a, kind: carveout, size: 4MiB, "
	for _, tc := range []struct{ in, fix string }{
		{"version: 1\nheaps:\n- {name: a, knid: cma, size: 4MiB}\n", `did you mean "kind"?`},
		{heap + "devices: [&gpu]}\n", `write "&gpu", in quotes`},
		{heap + "devices: [{node: &gpu, name: x}]}\n", `write "&gpu", in quotes`},
		{heap + "no-map: true}\n", "write access: device-only, or write-combine, where the CPU has to get at the memory"},
		{heap + "reusable: true}\n", "write kind: cma, which is memory lent to the system"},
		{heap + "align: 2MiB}\n", "write place: {align: ...}"},
		{heap + "place: {align: 2MiB, aling: 4KiB}}\n", `did you mean "align"?`},
		{heap + "access: uncached}\n", "write access: write-combine, which is what the CPU does instead of caching"},
		{heap + "place: [below: 4GiB]}\n", `write "key: value" lines here, without "- "`},
		{heap + "place: {within: 0x5000_0000-0x5fff_ffff}}\n", "write {base: 0x4000_0000, size: 512MiB}, or a list of such"},
		{heap + "base: 0X50000000}\n", "write it in hexadecimal, such as 0x5000_0000"},
		{"version: 1\nheaps:\n\t- name: a\n", "indent with spaces: YAML takes no tabs there"},
		{"version: 1\nheaps: {a\n", "check indentation, colons and quotes around this line"},
		{"\xd0\x0d\xfe\xed\x00", "check that it is the right file; heapctl import makes a config of a device tree"},
	} {
		_, findings := Parse("heaps.yaml", []byte(tc.in))
		if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Fix == tc.fix }) {
			t.Errorf("%q: findings %v, want the way out %q", tc.in, findings, tc.fix)
		}
	}
}

// TestParseBombs keeps hostile files within a second.
func TestParseBombs(t *testing.T) {
	for name, in := range map[string]string{
		"brackets": strings.Repeat("[", 1<<19),
		"items":    "version: 1\nheaps:\n" + strings.Repeat("- a\n", 1<<17),
		"flow":     "a: [" + strings.Repeat("a,", 1<<18) + "]",
		"mapping":  strings.Repeat("a: {", 1<<17),
		"deep":     "version: 1\nheaps: " + strings.Repeat("[", 9000),
		"keys":     func() string { return "version: 1\n" + strings.Repeat("k: 1\n", 15000) }(),
		"large":    strings.Repeat("# comment\n", 1<<18),
		"names":    "version: 1\nheaps:\n" + strings.Repeat("- {name: abcdefghij}\n", 4000) + "variants:\n  v:\n    omit: [" + strings.Repeat("abcdefghzz,", 6000) + "]\n",
	} {
		// The best of three: a busy machine is not what is measured.
		best := time.Hour
		for range 3 {
			start := time.Now()
			_, findings := Parse(name, []byte(in))
			best = min(best, time.Since(start))
			if len(findings) == 0 {
				t.Errorf("%s: no findings", name)
			}
			if best < time.Second {
				break
			}
		}
		if best > time.Second {
			t.Errorf("%s: took %v, want less than a second", name, best)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version: 1\nheaps:\n- {name: video, kind: cma, size: 64MiB}\n"))
	f.Add([]byte("version: 1\nheaps:\n- &a {name: a}\n- *a\n- <<: *a\n"))
	f.Add([]byte("version: 1\ntarget: {kernel: 6.12, kconfig: {CMA_AREAS: 8}}\nkeep-clear: [{what: kernel, base: 0x1, size: 1}]\nheaps: [{name: a, kind: chunk, chunk-size: 64KiB, size: 10%, place: {within: [{base: 0, size: 1GiB}], below: 4GiB, after: b}, devices: [\"&x\", {node: /y, name: z}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, findings := Parse("f", data)
		if cfg == nil && !HasErrors(findings) {
			t.Error("no config and no error")
		}
		if cfg == nil {
			return
		}
		tree := testTree()
		base, _ := FromTree("b", tree, cfg.Target)
		l, _ := cfg.Plan(base, tree)
		Lint(l)
	})
}
