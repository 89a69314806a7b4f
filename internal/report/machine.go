// SPDX-License-Identifier: MIT

package report

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dmaheap/dmaheap/internal/tinyjson"
)

func writeJSON(w io.Writer, r *Report) error {
	data, err := tinyjson.Marshal(r)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

// writeKTAP follows Documentation/dev-tools/ktap.rst: one flat plan, so that
// every TAP reader takes it too. KTAP has no word for a warning; it is an "ok"
// with the reason in a diagnostic line before it.
func writeKTAP(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "KTAP version 1\n1..%d\n", len(r.Results))
	n := 0
	for _, g := range r.groups() {
		for _, res := range g {
			n++
			if res.Status == Fail || res.Status == Warn {
				ktapNote(b, strings.ToLower(string(res.Status))+": "+res.Message)
				ktapField(b, "expected", res.Expected)
				ktapField(b, "found", res.Found)
				ktapField(b, "read from", res.Evidence)
				ktapField(b, "fix", res.Advice)
			}
			ok, directive := "ok", ""
			switch res.Status {
			case Fail:
				ok = "not ok"
			case Skip:
				directive = " # SKIP " + oneLine(res.Message)
			}
			fmt.Fprintf(b, "%s %d %s%s\n", ok, n, strings.ReplaceAll(word(res.Name()), "#", "_"), directive)
		}
	}
	s := r.Summary
	fmt.Fprintf(b, "# Totals: pass:%d fail:%d xfail:0 xpass:0 skip:%d error:0\n", s.Passed+s.Warned, s.Failed, s.Skipped)
	return b.Flush()
}

func ktapField(b *bufio.Writer, name, s string) {
	if s != "" {
		ktapNote(b, name+": "+s)
	}
}

func ktapNote(b *bufio.Writer, s string) {
	for _, line := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		fmt.Fprintf(b, "# %s\n", line)
	}
}

// writeJUnit writes the XML by hand: encoding/xml is a twentieth of heapctl,
// for five elements. The order of elements and attributes is that of the schema
// that the common CI servers use.
func writeJUnit(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"heapctl\" tests=\"%d\" failures=\"%d\" time=\"%s\">\n",
		len(r.Results), r.Summary.Failed, seconds(r.Summary.Seconds))
	for _, g := range r.groups() {
		name := g[0].Heap
		if name == "" {
			name = "board"
		}
		failures, skipped, total := 0, 0, 0.0
		for _, res := range g {
			total += res.Seconds
			switch res.Status {
			case Fail:
				failures++
			case Skip:
				skipped++
			}
		}
		fmt.Fprintf(b, "  <testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%s\">\n",
			xmlText(name), len(g), failures, skipped, seconds(total))
		for _, res := range g {
			fmt.Fprintf(b, "    <testcase name=\"%s\" classname=\"%s\" time=\"%s\">\n", xmlText(res.ID), xmlText("heapctl."+name), seconds(res.Seconds))
			message, more := xmlText(res.Message), xmlText(details(res))
			switch res.Status {
			case Fail:
				fmt.Fprintf(b, "      <failure message=\"%s\" type=\"%s\">%s</failure>\n", message, xmlText(res.ID), more)
			case Skip:
				fmt.Fprintf(b, "      <skipped message=\"%s\"></skipped>\n", message)
			case Warn:
				fmt.Fprintf(b, "      <system-out>WARN %s&#xA;%s</system-out>\n", message, more)
			default:
				fmt.Fprintf(b, "      <system-out>%s</system-out>\n", message)
			}
			fmt.Fprintf(b, "    </testcase>\n")
		}
		fmt.Fprintf(b, "  </testsuite>\n")
	}
	fmt.Fprintf(b, "</testsuites>\n")
	return b.Flush()
}

// xmlText escapes text for an attribute or an element. Add has made control
// bytes visible already; XML has no way to write them at all.
func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "\n", "&#xA;").Replace(Clean(s))
}

func details(res *Result) string {
	var b strings.Builder
	for _, f := range []struct{ name, s string }{
		{"expected", res.Expected}, {"found", res.Found}, {"read from", res.Evidence}, {"fix", res.Advice},
	} {
		if f.s != "" {
			fmt.Fprintf(&b, "%s: %s\n", f.name, f.s)
		}
	}
	return b.String()
}

// writeLAVA prints the signals a LAVA dispatcher picks out of the console. A
// warning is "unknown" there, the only word left beside pass, fail and skip. The
// heap is in the name of the case as well as in that of the set, since a job with
// a monitor instead of a test shell knows no sets.
func writeLAVA(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	for _, g := range r.groups() {
		set := g[0].Heap
		if set == "" {
			set = "board"
		}
		fmt.Fprintf(b, "<LAVA_SIGNAL_TESTSET START %s>\n", lavaName(set))
		for _, res := range g {
			outcome := map[Status]string{Pass: "pass", Fail: "fail", Warn: "unknown", Skip: "skip"}[res.Status]
			if res.Status != Pass {
				fmt.Fprintln(b, lavaText(res.Name()+": "+res.Message))
			}
			fmt.Fprintf(b, "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=%s RESULT=%s", lavaName(res.Name()), outcome)
			if len(res.Measurements) > 0 {
				m := res.Measurements[0]
				fmt.Fprintf(b, " MEASUREMENT=%s UNITS=%s", number(m.Value), word(m.Unit))
			}
			fmt.Fprintln(b, ">")
			for _, m := range res.Measurements[min(1, len(res.Measurements)):] {
				fmt.Fprintf(b, "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=%s RESULT=%s MEASUREMENT=%s UNITS=%s>\n",
					lavaName(res.Name()+"."+m.Name), outcome, number(m.Value), word(m.Unit))
			}
		}
		fmt.Fprintf(b, "<LAVA_SIGNAL_TESTSET STOP>\n")
	}
	return b.Flush()
}

// lavaName makes a name that is the same when it is quoted for a URL: LAVA drops
// the set of a result where it is not (lava_results_app/dbutils.py,
// _check_for_testset), and takes a "=" in the name of a case for a parameter.
func lavaName(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-':
			return c
		}
		return '_'
	}, s)
}

// lavaText keeps a message from being taken for a signal.
func lavaText(s string) string { return strings.ReplaceAll(oneLine(s), "<LAVA_", "< LAVA_") }

// writeProm writes node_exporter's textfile format: no timestamps, one HELP
// and TYPE a metric, all samples of a metric together.
func writeProm(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	metric := func(name, help string) {
		fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
	}
	metric("dmaheap_check_exit_code", "Exit code of the last heapctl check: 0 is good.")
	fmt.Fprintf(b, "dmaheap_check_exit_code %d\n", r.Summary.Exit)
	metric("dmaheap_check_seconds", "How long the last heapctl check took.")
	fmt.Fprintf(b, "dmaheap_check_seconds %s\n", number(r.Summary.Seconds))
	metric("dmaheap_checks", "Number of checks by outcome.")
	for _, c := range []struct {
		status string
		n      int
	}{{"pass", r.Summary.Passed}, {"fail", r.Summary.Failed}, {"warn", r.Summary.Warned}, {"skip", r.Summary.Skipped}} {
		fmt.Fprintf(b, "dmaheap_checks{status=%s} %d\n", label(c.status), c.n)
	}
	if len(r.Results) > 0 {
		metric("dmaheap_check_status", "Outcome of each check: the sample with the status that holds is 1.")
		seen := map[string]bool{}
		for i := range r.Results {
			res := &r.Results[i]
			line := fmt.Sprintf("dmaheap_check_status{check=%s,heap=%s,status=%s} 1\n",
				label(res.ID), label(res.Heap), label(strings.ToLower(string(res.Status))))
			if !seen[line] { // the same series twice makes the whole file unreadable
				seen[line] = true
				b.WriteString(line)
			}
		}
	}
	seen, begun := map[string]bool{}, false
	for i := range r.Results {
		for _, m := range r.Results[i].Measurements {
			key := fmt.Sprintf("check=%s,heap=%s,name=%s,unit=%s", label(r.Results[i].ID), label(r.Results[i].Heap), label(m.Name), label(m.Unit))
			if seen[key] {
				continue
			}
			seen[key] = true
			if !begun {
				metric("dmaheap_measurement", "Numbers measured by the checks, in the unit of the label.")
				begun = true
			}
			fmt.Fprintf(b, "dmaheap_measurement{%s} %s\n", key, number(m.Value))
		}
	}
	return b.Flush()
}

// label quotes a label value as the exposition format wants it.
func label(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func number(f float64) string  { return strconv.FormatFloat(f, 'g', -1, 64) }
func seconds(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// word makes a name of one word.
func word(s string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == '<' || c == '>' {
			return '_'
		}
		return c
	}, s)
}
