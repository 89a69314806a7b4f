// SPDX-License-Identifier: MIT

package docs

import (
	"strings"
	"testing"
)

func TestMismatch(t *testing.T) {
	for _, tc := range []struct {
		name, shown, output string
		loose, same         bool
	}{
		{"same", "a\nb", "a\nb\n", false, true},
		{"other", "a\nb", "a\nc\n", false, false},
		{"more shown", "a\nb", "a\n", false, false},
		{"more printed", "a", "a\nb\n", false, false},
		{"nothing shown", "", "a\n", false, false},
		{"nothing at all", "", "", false, true},
		{"elided end", "a\n[...]", "a\nb\nc\n", false, true},
		{"elided nothing", "a\n[...]", "a\n", false, true},
		{"elided middle", "a\n[... more of it]\nd", "a\nb\nc\nd\n", false, true},
		{"elided middle, other end", "a\n[...]\nd", "a\nb\nc\n", false, false},
		{"elided twice", "[...]\nb\n[...]\nd", "a\nb\nc\nb\nd\n", false, true},
		{"within a line", "at … of", "at 12:30 of\n", false, true},
		{"within a line, other", "at … of", "at 12:30 in\n", false, false},
		{"numbers count", "in 5ms", "in 6ms\n", false, false},
		{"numbers are alike", "in 5ms (0.2 s)  2MiB", "in 612µs (11 s)   640MiB\n", true, true},
		{"hashes are alike", "6.12-plain-93e6fe156db267ea/Image", "6.12-plain-0477aa3afb358a79/Image\n", true, true},
		{"words are not", "PASS x", "FAIL x\n", true, false},
	} {
		if diff := Mismatch(strings.Split(tc.shown, "\n"), tc.output, tc.loose); (diff == "") != tc.same {
			t.Errorf("%s: %q", tc.name, diff)
		}
	}
}

func TestBlocks(t *testing.T) {
	text := "x\n```console\n$ a << E \\\n  b\n> c\n> E\nout\nboard# c\n```\ny\n```\nplain\n```\n"
	blocks := Blocks("f.md", text)
	if len(blocks) != 2 || blocks[0].Lang != "console" || blocks[0].Line != 3 || blocks[1].Text != "plain\n" {
		t.Fatalf("Blocks = %+v", blocks)
	}
	c := blocks[0].Commands()
	if len(c) != 2 || c[0].Text != "a << E \\\n  b\nc\nE" || len(c[0].Shown) != 1 || c[0].Board || !c[1].Board || c[1].Line != 8 {
		t.Errorf("Commands = %+v", c)
	}
}
