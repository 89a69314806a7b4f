// SPDX-License-Identifier: MIT

// Package docs reads the documents as a test does: which commands they show
// with which output, and what they name and link to.
package docs

import (
	"regexp"
	"strings"
)

// A Block is one fenced block of a document.
type Block struct {
	File string // path of the document
	Line int    // of its first line of text
	Lang string // what stands behind the fence
	Text string
}

// Blocks returns the fenced blocks of a document.
func Blocks(file, text string) []Block {
	var list []Block
	var open *Block
	for i, line := range strings.Split(text, "\n") {
		lang, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open = &Block{File: file, Line: i + 2, Lang: lang}
		case fence:
			list = append(list, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		}
	}
	if open != nil { // never closed: the rest of the document
		list = append(list, *open)
	}
	return list
}

// A Command is one command of a console block, with the output that is shown.
type Command struct {
	Line  int
	Board bool // typed on the board, at the prompt "board#", and not at "$"
	Text  string
	Shown []string
}

// Commands splits a console block. A command goes on in the next line where it
// ends in a backslash, and in lines at the shell's prompt ">".
func (b Block) Commands() []Command {
	var list []Command
	more := false
	for i, line := range strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n") {
		text, here := strings.CutPrefix(line, "$ ")
		board := false
		if !here {
			text, board = strings.CutPrefix(line, "board# ")
		}
		switch {
		case here || board:
			list = append(list, Command{Line: b.Line + i, Board: board, Text: text})
		case len(list) == 0:
			// Output of nothing: a block that begins in the middle.
			list = append(list, Command{Line: b.Line + i, Shown: []string{line}})
			continue
		case more:
			list[len(list)-1].Text += "\n" + line
		case strings.HasPrefix(line, "> ") && len(list[len(list)-1].Shown) == 0:
			list[len(list)-1].Text += "\n" + line[2:]
		default:
			c := &list[len(list)-1]
			c.Shown = append(c.Shown, line)
			continue
		}
		more = strings.HasSuffix(line, `\`)
	}
	return list
}

// Mismatch returns how output differs from what is shown, or "". A shown line
// "[...]", alone or with words inside, stands for any lines or none; "…" stands
// for any text within a line. Trailing space and empty lines at the ends do not
// count. With loose, numbers, times and hashes are all alike.
func Mismatch(shown []string, output string, loose bool) string {
	want, got := tidy(shown, loose), tidy(strings.Split(output, "\n"), loose)
	// reach[j]: the lines shown so far match the first j of the output.
	reach := make([]bool, len(got)+1)
	reach[0] = true
	far := 0
	for i, w := range want {
		next := make([]bool, len(got)+1)
		any := false
		for j := range reach {
			switch {
			case elision.MatchString(w):
				next[j] = any || reach[j]
				any = next[j]
				continue
			case j > 0 && reach[j-1] && alike(w, got[j-1]):
				next[j], any = true, true
				far = max(far, j)
			}
		}
		if !any {
			line := "the end"
			if far < len(got) {
				line = "\"" + got[far] + "\""
			}
			return "shown: \"" + shown[min(i, len(shown)-1)] + "\", printed: " + line
		}
		reach = next
	}
	if !reach[len(got)] {
		return "printed, but not shown: \"" + got[min(far, len(got)-1)] + "\""
	}
	return ""
}

var (
	elision = regexp.MustCompile(`^\[\.\.\..*\]$`)
	numbers = regexp.MustCompile(`\b[0-9a-f]{12,}\b|\d+(\.\d+)*((ns|µs|ms|s)\b)?`)
	spaces  = regexp.MustCompile(`  +`)
)

func tidy(lines []string, loose bool) []string {
	var list []string
	for _, l := range lines {
		l = strings.TrimRight(l, " \t\r")
		if loose {
			// Columns move with the length of numbers.
			l = spaces.ReplaceAllString(numbers.ReplaceAllString(l, "N"), "  ")
		}
		list = append(list, l)
	}
	for len(list) > 0 && list[0] == "" {
		list = list[1:]
	}
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

// alike compares a line that may have … in it.
func alike(want, got string) bool {
	parts := strings.Split(want, "…")
	if len(parts) == 1 {
		return want == got
	}
	if !strings.HasPrefix(got, parts[0]) {
		return false
	}
	got = got[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(got, p)
		if !ok {
			return false
		}
		got = after
	}
	return strings.HasSuffix(got, parts[len(parts)-1])
}
