// SPDX-License-Identifier: MIT

package heapcfg

import (
	"cmp"
	"fmt"
	"sort"
)

// Level says how bad a finding is.
type Level int

// The levels, from harmless to fatal. A Note never fails anything, a Warning
// fails only under --strict, an Error always does.
const (
	Note Level = iota
	Warning
	Error
)

// String returns the level in the words compilers use.
func (l Level) String() string {
	switch l {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("level(%d)", int(l))
}

// MarshalText writes the level as a word, for JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A Place is where a value came from. Line and Col count from 1 and are 0
// where the source is not text; Path is a YAML path ("$.heaps[2].size") or a
// device-tree path ("/reserved-memory/video@54000000").
type Place struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
	Path string `json:"path,omitempty"`
}

// String returns "file:line:col" or "file" and the path where there is no line.
func (p Place) String() string {
	switch {
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	case p.File != "" && p.Path != "":
		return p.File + ": " + p.Path
	case p.File != "":
		return p.File
	}
	return p.Path
}

// A Finding is one thing that is wrong, where it is, and the way out of it.
type Finding struct {
	ID      string `json:"id"`
	Level   Level  `json:"level"`
	Place   Place  `json:"place"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// SortFindings puts findings into the order of the file they speak of, so that
// two runs over the same input print the same bytes.
func SortFindings(fs []Finding) {
	// Package sort, here and elsewhere, has one text for all types; each use
	// of slices.SortFunc is 10 KB of heapctl.
	sort.SliceStable(fs, func(i, j int) bool {
		a, b := fs[i].Place, fs[j].Place
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col)) < 0
	})
}

// Worst returns the highest level among the findings, and false for none.
func Worst(fs []Finding) (Level, bool) {
	worst, ok := Note, false
	for _, f := range fs {
		if !ok || f.Level > worst {
			worst, ok = f.Level, true
		}
	}
	return worst, ok
}

// HasErrors reports whether any finding is an Error.
func HasErrors(fs []Finding) bool {
	worst, ok := Worst(fs)
	return ok && worst == Error
}
