// SPDX-License-Identifier: MIT

package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// A Text writes a report for people, result by result, so that a serial
// console shows how far the run has come.
type Text struct {
	w    *bufio.Writer
	o    Options
	heap string
	any  bool
	// skipped holds skips in a row for one and the same reason; they become
	// one line, so that a missing heap does not scroll its cause away.
	skipped []string
	reason  string
}

// NewText returns a writer of the text format.
func NewText(w io.Writer, o Options) *Text { return &Text{w: bufio.NewWriter(w), o: o} }

// Start writes the head: what is held against what.
func (t *Text) Start(r *Report) error {
	head := "heapctl"
	for _, part := range []struct{ before, s string }{
		{": ", r.Board}, {", ", r.Kernel}, {", ", r.Mode},
	} {
		if part.s != "" {
			head += part.before + Clean(part.s)
		}
	}
	fmt.Fprintln(t.w, head)
	if r.Against != "" {
		fmt.Fprintf(t.w, "expected: %s\n", Clean(r.Against))
	}
	return t.w.Flush()
}

// Result writes one result, under the name of its heap.
func (t *Text) Result(res *Result) error {
	if res.Status != Skip || res.Advice != "" || res.Heap != t.heap || res.Message != t.reason {
		t.skips()
	}
	if !t.any || res.Heap != t.heap {
		name := res.Heap
		if name == "" {
			name = "board"
		}
		fmt.Fprintf(t.w, "\n%s\n", t.paint(bold, name))
		t.heap, t.any = res.Heap, true
	}
	if res.Status == Skip && res.Advice == "" {
		t.skipped, t.reason = append(t.skipped, res.ID), res.Message
		return t.w.Flush()
	}
	fmt.Fprintf(t.w, "  %s %-18s %s\n", t.status(res.Status), res.ID, indent(res.Message, 25))
	if res.Status != Pass {
		for _, f := range []struct{ name, s string }{
			{"expected", res.Expected}, {"found", res.Found}, {"read from", res.Evidence}, {"fix", res.Advice},
		} {
			if f.s != "" {
				fmt.Fprintf(t.w, "       %-10s %s\n", f.name, indent(f.s, 18))
			}
		}
	}
	return t.w.Flush()
}

// skips writes the skips that were held back.
func (t *Text) skips() {
	switch n := len(t.skipped); {
	case n == 0:
		return
	case n == 1:
		fmt.Fprintf(t.w, "  %s %-18s %s\n", t.status(Skip), t.skipped[0], indent(t.reason, 25))
	default:
		fmt.Fprintf(t.w, "  %s %-18s %s:%s\n", t.status(Skip), fmt.Sprintf("%d checks", n), indent(t.reason, 25), wrap(t.skipped, 25, 100))
	}
	t.skipped, t.reason = nil, ""
}

// wrap joins words with spaces, with a new line before the width is passed.
func wrap(words []string, from, width int) string {
	var b strings.Builder
	at := width // the first word begins a line
	for _, w := range words {
		if at+1+len(w) > width {
			b.WriteString("\n" + strings.Repeat(" ", from))
			at = from
		} else {
			b.WriteString(" ")
			at++
		}
		b.WriteString(w)
		at += len(w)
	}
	return b.String()
}

// End writes what could not be seen, the counts and the verdict.
func (t *Text) End(r *Report) error {
	t.skips()
	var silent []Source
	for _, s := range r.Sources {
		if s.Error != "" || t.o.Verbose {
			silent = append(silent, s)
		}
	}
	if len(silent) > 0 {
		head := "sources that said nothing"
		if t.o.Verbose {
			head = "sources"
		}
		fmt.Fprintf(t.w, "\n%s\n", t.paint(bold, head))
		for _, s := range silent {
			said := s.Error
			if said == "" {
				said = "read"
			}
			fmt.Fprintf(t.w, "  %-18s %s: %s\n", Clean(s.Name), Clean(s.Path), Clean(said))
		}
	}
	s := r.Summary
	fmt.Fprintf(t.w, "\n%d passed, %d failed, %d warned, %d skipped in %.1f s\n", s.Passed, s.Failed, s.Warned, s.Skipped, s.Seconds)
	fmt.Fprintf(t.w, "verdict: %s\n", t.verdict(r))
	f := s.First
	if f == nil && s.Exit == ExitCannotTest && !r.Interrupted {
		f = s.Blocked
	}
	if f != nil && f.Advice != "" {
		fmt.Fprintf(t.w, "fix:     %s\n", indent(f.Advice, 9))
	}
	return t.w.Flush()
}

func (t *Text) verdict(r *Report) string {
	s := r.Summary
	first := ""
	if s.First != nil {
		first = ": " + named(s.First)
	}
	switch s.Exit {
	case ExitOK:
		word := "the board shows what was meant"
		if r.Good != "" {
			word = r.Good
		}
		if s.Skipped > 0 {
			word += ", as far as it was tested"
		}
		return t.paint(green, "PASS") + ", " + word
	case ExitFailed:
		return t.paint(red, "FAIL") + first
	case ExitUnsupported:
		return t.paint(red, "NOT SUPPORTED") + " by this kernel" + first
	}
	why := "nothing was tested"
	switch {
	case r.Interrupted:
		why = "interrupted"
	case s.Blocked != nil:
		why = named(s.Blocked)
	}
	return t.paint(yellow, "COULD NOT TEST") + ": " + why
}

// named returns the check, its heap and what it says.
func named(res *Result) string {
	name := res.ID
	if res.Heap != "" {
		name += " " + res.Heap
	}
	return name + ": " + indent(res.Message, 9)
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

func (t *Text) paint(code, s string) string {
	if !t.o.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *Text) status(s Status) string {
	switch s {
	case Pass:
		return t.paint(green, string(s))
	case Fail:
		return t.paint(red, string(s))
	case Warn:
		return t.paint(yellow, string(s))
	}
	return t.paint(dim, string(s))
}

// indent puts the lines after the first under the first.
func indent(s string, n int) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+strings.Repeat(" ", n))
}

func writeText(w io.Writer, r *Report, o Options) error {
	t := NewText(w, o)
	if err := t.Start(r); err != nil {
		return err
	}
	for _, g := range r.groups() {
		for _, res := range g {
			if err := t.Result(res); err != nil {
				return err
			}
		}
	}
	return t.End(r)
}
