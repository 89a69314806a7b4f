// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
)

// printFindings writes findings to standard error: with the offending line
// underlined for people, or one a line for editors and scripts.
func printFindings(env *Env, fs []heapcfg.Finding, sources map[string][]byte, raw bool) {
	if raw {
		for _, f := range fs {
			fmt.Fprintf(env.Stderr, "%v: %v: %s [%s]\n", f.Place, f.Level, report.Clean(f.Message), f.ID)
		}
		return
	}
	paint := painter(colored(env, env.Stderr))
	count := map[heapcfg.Level]int{}
	for _, f := range fs {
		count[f.Level]++
		writeFinding(env.Stderr, f, sources[f.Place.File], paint)
	}
	if n := len(fs); n > 0 {
		var parts []string
		for _, l := range []heapcfg.Level{heapcfg.Error, heapcfg.Warning, heapcfg.Note} {
			switch count[l] {
			case 0:
			case 1:
				parts = append(parts, fmt.Sprintf("1 %v", l))
			default:
				parts = append(parts, fmt.Sprintf("%d %vs", count[l], l))
			}
		}
		fmt.Fprintf(env.Stderr, "%s\n\n", strings.Join(parts, ", "))
	}
}

// writeFinding writes one finding in the manner of compilers:
//
//	error: heap video: size 6MiB is no multiple of 4MiB [cma-alignment]
//	  --> heaps.yaml:12:9 $.heaps[2].size
//	   |
//	12 |     size: 6MiB
//	   |           ^^^^
//	   = write 8MiB
func writeFinding(w io.Writer, f heapcfg.Finding, source []byte, paint func(style, string) string) {
	s := map[heapcfg.Level]style{heapcfg.Error: red, heapcfg.Warning: yellow, heapcfg.Note: blue}[f.Level]
	fmt.Fprintf(w, "%s: %s %s\n", paint(s, f.Level.String()), paint(bold, report.Clean(f.Message)), paint(dim, "["+f.ID+"]"))
	at := f.Place.String()
	if f.Place.Line > 0 {
		at += " " + f.Place.Path
	}
	fmt.Fprintf(w, "  %s %s\n", paint(blue, "-->"), at)
	if text, ok := line(source, f.Place.Line); ok && strings.TrimSpace(text) != "" {
		num := fmt.Sprint(f.Place.Line)
		margin := strings.Repeat(" ", len(num))
		fmt.Fprintf(w, "%s %s\n", margin, paint(blue, "|"))
		fmt.Fprintf(w, "%s %s %s\n", paint(blue, num), paint(blue, "|"), text)
		fmt.Fprintf(w, "%s %s %s%s\n", margin, paint(blue, "|"), indent(text, f.Place.Col), paint(s, strings.Repeat("^", tokenWidth(text, f.Place.Col))))
	}
	if f.Fix != "" {
		fmt.Fprintf(w, "   %s %s\n", paint(blue, "="), f.Fix)
	}
	fmt.Fprintln(w)
}

// line returns a line of the source, counted from 1, without control bytes.
func line(source []byte, n int) (string, bool) {
	if n < 1 {
		return "", false
	}
	lines := bytes.SplitN(source, []byte("\n"), n+1)
	if n > len(lines) {
		return "", false
	}
	text := strings.Map(func(r rune) rune {
		if r == '\t' || r >= ' ' && r != 0x7f && r != utf8.RuneError {
			return r
		}
		return -1
	}, string(lines[n-1]))
	if len(text) > 160 {
		text = strings.ToValidUTF8(text[:160], "") + "..."
	}
	return text, true
}

// indent returns what stands before the column, as blanks; tabs stay, so that
// the caret lands below its token however wide they are.
func indent(text string, col int) string {
	var b strings.Builder
	for i, r := range []rune(text) {
		if i+1 >= col {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// tokenWidth returns how many characters the underlined value has: up to the
// end of the line or a comment.
func tokenWidth(text string, col int) int {
	runes := []rune(text)
	if col < 1 || col > len(runes) {
		return 1
	}
	rest := string(runes[col-1:])
	if i := strings.Index(rest, " #"); i >= 0 {
		rest = rest[:i]
	}
	return max(1, utf8.RuneCountInString(strings.TrimRight(rest, " \t\r")))
}

type style string

// ANSI styles; the default colours of a terminal, so that light and dark
// schemes both stay readable.
const (
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	yellow style = "1;33"
	blue   style = "34"
)

func painter(on bool) func(style, string) string {
	return func(s style, text string) string {
		if !on {
			return text
		}
		return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
	}
}
