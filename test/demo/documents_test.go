// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/docs"
	"github.com/dmaheap/dmaheap/test/rig"
)

// shown returns the commands of the documents that need a machine: those typed
// on a board, and the demo.
func shown(t *testing.T, b *bench.Bench, board bool) []docs.Command {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.Root, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents (%v)", err)
	}
	var list []docs.Command
	for _, file := range append(files, filepath.Join(b.Root, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range docs.Blocks(filepath.Base(file), string(text)) {
			if block.Lang != "console" {
				continue
			}
			for _, c := range block.Commands() {
				if c.Board == board && (board || c.Text == "make demo") {
					list = append(list, c)
				}
			}
		}
	}
	if len(list) == 0 {
		t.Fatal("the documents show nothing of the kind; this test no longer understands them")
	}
	return list
}

// shows fails unless README.md shows of the demo what it printed, apart from
// numbers.
func shows(t *testing.T, b *bench.Bench, out string) {
	t.Helper()
	for _, c := range shown(t, b, false) {
		if diff := docs.Mismatch(c.Shown, out, true); diff != "" {
			t.Errorf("make demo, as README.md shows it: %s\n%s", diff, out)
		}
	}
}

// What a document shows at the prompt of a board is what the example's board
// prints, apart from numbers.
func TestBoardCommands(t *testing.T) {
	b, ctx := setup(t)
	commands := shown(t, b, true)
	plan := initramfs.Plan{KeepGoing: true, Rules: rig.RulesPath}
	for _, c := range commands {
		argv := strings.Fields(c.Text)
		if argv[0] != "heapctl" || strings.ContainsAny(c.Text, `"'|<>$`) {
			t.Fatalf("%q cannot be run without a shell", c.Text)
		}
		plan.Run = append(plan.Run, append([]string{"/bin/heapctl"}, argv[1:]...))
	}
	res, err := vmtest.Run(ctx, b.VM(ctx, t, plan, b.Files(t, b.Example)...))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Commands) != len(commands) {
		t.Fatalf("%d of %d commands were run\n%s", len(res.Commands), len(commands), res.Console)
	}
	for i, c := range commands {
		if diff := docs.Mismatch(c.Shown, res.Commands[i].Output, true); diff != "" {
			t.Errorf("board# %s: %s\n%s", c.Text, diff, res.Commands[i].Output)
		}
	}
}
