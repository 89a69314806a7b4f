// SPDX-License-Identifier: MIT

// Package report holds the results of checks and writes them for people, for
// test labs and for monitoring.
//
// PASS, FAIL, WARN and SKIP stay four different things in every format: a
// parser that counts a skip as a pass has hidden broken boards before.
package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// JSONVersion is the version of the JSON format. It grows when a field changes
// its meaning or goes away, not when one is added.
const JSONVersion = 1

// Status is the outcome of one check.
type Status string

// The outcomes. A Warn leaves the exit code alone; a Skip is not a pass.
const (
	Pass Status = "PASS"
	Fail Status = "FAIL"
	Warn Status = "WARN"
	Skip Status = "SKIP"
)

// A Measurement is a number found by a check.
type Measurement struct {
	Name  string  `json:"name"` // in snake_case
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // "bytes", "seconds", "bytes/second", "buffers"
}

// A Result is what one check found, on one heap or, with no Heap, on the board.
type Result struct {
	ID     string `json:"id"` // stable, kebab-case
	Title  string `json:"title"`
	Heap   string `json:"heap,omitempty"`
	Status Status `json:"status"`
	// Message is one sentence: what was measured, the cause of the failure,
	// or the reason of the skip.
	Message  string `json:"message"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	Evidence string `json:"evidence,omitempty"` // the file or ioctl it was read from
	Advice   string `json:"advice,omitempty"`   // the exact thing to change
	// Blocked marks a skip that could have been a test with more rights or
	// resources: the run as a whole then could not say all it should.
	Blocked      bool          `json:"blocked,omitempty"`
	Measurements []Measurement `json:"measurements,omitempty"`
	Seconds      float64       `json:"seconds,omitempty"`
}

// Name returns the heap and the id in one word, as formats with flat names
// need it.
func (r *Result) Name() string {
	if r.Heap == "" {
		return "board." + r.ID
	}
	return r.Heap + "." + r.ID
}

// A Source is a place that was asked for facts. One that did not answer is
// told as well, with its reason: what could not be seen is part of the result.
type Source struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Error string `json:"error,omitempty"`
}

// A Report is everything one run found.
type Report struct {
	Format  string   `json:"format"`
	Version int      `json:"version"`
	Tool    string   `json:"tool"` // version of heapctl
	Board   string   `json:"board,omitempty"`
	Kernel  string   `json:"kernel,omitempty"`
	Against string   `json:"against,omitempty"` // what the board was held against
	Mode    string   `json:"mode,omitempty"`
	Results []Result `json:"results"`
	Sources []Source `json:"sources,omitempty"`
	Summary Summary  `json:"summary"`
	// Unsupported says that the kernel lacks the very thing under test.
	Unsupported bool `json:"unsupported,omitempty"`
	// Good is what a verdict without a failure says, as a sentence.
	Good string `json:"-"`
	// Interrupted says that the run ended before its last check.
	Interrupted bool `json:"interrupted,omitempty"`
}

// FormatName marks the JSON document.
const FormatName = "heapctl-report"

// Summary counts the outcomes and repeats the first failure.
type Summary struct {
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Warned  int     `json:"warned"`
	Skipped int     `json:"skipped"`
	Exit    int     `json:"exit"`
	Seconds float64 `json:"seconds"`
	// First is the first failure: what to look at before everything else.
	First *Result `json:"first_failure,omitempty"`
	// Blocked is the first skip that more rights or resources would have
	// made a test.
	Blocked *Result `json:"first_blocked,omitempty"`
}

// The exit codes of heapctl.
const (
	ExitOK          = 0
	ExitFailed      = 1 // a check failed
	ExitUsage       = 2 // wrong call, or input that cannot be read
	ExitCannotTest  = 3 // no permission or resource
	ExitUnsupported = 4 // this kernel has no heaps
)

// Add appends a result, with everything a terminal or a parser could take for
// a command made visible instead, and without numbers that are none: a rate is
// infinite where the clock of a board is too coarse to see the time pass.
func (r *Report) Add(res Result) Result {
	var finite []Measurement
	for _, m := range res.Measurements {
		if !math.IsInf(m.Value, 0) && !math.IsNaN(m.Value) {
			finite = append(finite, m)
		}
	}
	res.Measurements = finite
	for _, s := range []*string{&res.Title, &res.Message, &res.Expected, &res.Found, &res.Evidence, &res.Advice} {
		*s = Clean(*s)
	}
	res.Heap = CleanLine(res.Heap)
	r.Results = append(r.Results, res)
	return res
}

// Finish counts the results. Call it after the last Add.
func (r *Report) Finish(seconds float64) {
	r.Format, r.Version = FormatName, JSONVersion
	s := Summary{Seconds: seconds}
	for i := range r.Results {
		switch res := &r.Results[i]; res.Status {
		case Pass:
			s.Passed++
		case Fail:
			s.Failed++
			if s.First == nil {
				s.First = res
			}
		case Warn:
			s.Warned++
		case Skip:
			s.Skipped++
			if res.Blocked && s.Blocked == nil {
				s.Blocked = res
			}
		}
	}
	switch {
	case r.Unsupported:
		s.Exit = ExitUnsupported
	case s.Failed > 0:
		s.Exit = ExitFailed
	case s.Blocked != nil, r.Interrupted, s.Passed+s.Warned == 0:
		s.Exit = ExitCannotTest
	}
	r.Summary = s
}

// Clean makes visible what is no text: control bytes, broken UTF-8, and what a
// terminal obeys or XML has no way to write. Names and log lines come from device
// trees and drivers that nobody vouches for. Line breaks stay: advice has several
// lines.
func Clean(s string) string {
	bad := func(c rune) bool { return c != '\n' && !strconv.IsPrint(c) }
	if utf8.ValidString(s) && strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case bad(c) && c < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, c)
		case bad(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
		i += n
	}
	return b.String()
}

// CleanLine is Clean for what is one line, such as the name of a heap.
func CleanLine(s string) string { return strings.ReplaceAll(Clean(s), "\n", `\x0a`) }

// Formats lists the names Write knows, in the order help shows them.
func Formats() []string { return []string{"text", "json", "ktap", "junit", "lava", "prom"} }

// Options change how a report is written, not what it says.
type Options struct {
	Color   bool // colour the outcomes of the text format
	Verbose bool // show sources that answered as well
}

// Write writes a finished report in the named format.
func Write(w io.Writer, r *Report, format string, o Options) error {
	switch format {
	case "text":
		return writeText(w, r, o)
	case "json":
		return writeJSON(w, r)
	case "ktap":
		return writeKTAP(w, r)
	case "junit":
		return writeJUnit(w, r)
	case "lava":
		return writeLAVA(w, r)
	case "prom":
		return writeProm(w, r)
	}
	return fmt.Errorf("unknown output format %q; use one of %s", format, strings.Join(Formats(), ", "))
}

// groups returns the results by heap, in the order each heap first appears.
func (r *Report) groups() [][]*Result {
	index := map[string]int{}
	var out [][]*Result
	for i := range r.Results {
		res := &r.Results[i]
		g, ok := index[res.Heap]
		if !ok {
			g = len(out)
			index[res.Heap] = g
			out = append(out, nil)
		}
		out[g] = append(out[g], res)
	}
	return out
}
