// SPDX-License-Identifier: MIT

package vmtest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A Suite is what the kernel log says of a KUnit suite.
type Suite struct {
	Name    string
	Planned int // cases
	Cases   []Case
	OK      bool // the verdict of the suite's own line
	Ended   bool // that line is there
}

// A Case is one test case of a suite.
type Case struct {
	Name        string
	OK, Skipped bool
}

// Err tells why the suite does not count as passed, or is nil. A case that was
// skipped has not passed.
func (s Suite) Err() error {
	var bad []error
	for _, c := range s.Cases {
		switch {
		case !c.OK:
			bad = append(bad, fmt.Errorf("%s: %s failed", s.Name, c.Name))
		case c.Skipped:
			bad = append(bad, fmt.Errorf("%s: %s was skipped", s.Name, c.Name))
		}
	}
	switch {
	case s.Planned == 0 || len(s.Cases) != s.Planned:
		bad = append(bad, fmt.Errorf("%s: %d results for %d planned cases", s.Name, len(s.Cases), s.Planned))
	case !s.Ended:
		bad = append(bad, fmt.Errorf("%s: it has no verdict", s.Name))
	case !s.OK && len(bad) == 0:
		bad = append(bad, fmt.Errorf("%s: failed", s.Name))
	}
	return errors.Join(bad...)
}

var (
	ktapTime    = regexp.MustCompile(`^(<\d+>)?\[ *\d+\.\d{6}\](\[ *[TC]\d+\])? ?`)
	ktapSubtest = regexp.MustCompile(`^ +# Subtest: (\S+)$`)
	ktapPlan    = regexp.MustCompile(`^ +1\.\.(\d+)$`)
	ktapResult  = regexp.MustCompile(`^( *)(not ok|ok) \d+ (?:- )?(\S+)(.*)$`)
)

// Suites finds the results of KUnit in a kernel log. They are in KTAP
// (Documentation/dev-tools/ktap.rst), in the older dialect of 5.10 as well.
func Suites(log string) []Suite {
	var all []Suite
	open := false
	for _, line := range strings.Split(log, "\n") {
		stamp := ktapTime.FindString(line)
		if stamp == "" {
			continue
		}
		line = strings.TrimRight(line[len(stamp):], " \r")
		if m := ktapSubtest.FindStringSubmatch(line); m != nil {
			all = append(all, Suite{Name: m[1]})
			open = true
			continue
		}
		if !open {
			continue
		}
		last := &all[len(all)-1]
		if m := ktapPlan.FindStringSubmatch(line); m != nil {
			last.Planned, _ = strconv.Atoi(m[1])
		} else if m := ktapResult.FindStringSubmatch(line); m != nil {
			ok := m[2] == "ok"
			switch {
			case m[1] != "":
				last.Cases = append(last.Cases, Case{Name: m[3], OK: ok, Skipped: strings.Contains(m[4], "# SKIP")})
			case m[3] == last.Name:
				last.OK, last.Ended, open = ok, true, false
			}
		}
	}
	return all
}
