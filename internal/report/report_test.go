// SPDX-License-Identifier: MIT

package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample has every status, a failure with all its fields, a result without a
// heap, measurements, and bytes that no format may pass on.
func sample() *Report {
	r := &Report{
		Tool: "1.2.3", Board: "QEMU virt", Kernel: "Linux 6.12.117, 4KiB pages", Mode: "full",
		Against: "/etc/dmaheap/heaps.lock.json",
		Sources: []Source{
			{Name: "memblock", Path: "/sys/kernel/debug/memblock/memory", Error: "permission denied"},
			{Name: "iomem", Path: "/proc/iomem"},
		},
	}
	for _, res := range []Result{
		{ID: "heaps-supported", Title: "the kernel has heaps", Status: Pass, Message: "/dev/dma_heap is there", Seconds: 0.001},
		{ID: "heap-present", Title: "the heap is there", Heap: "video@54000000", Status: Fail,
			Message:  "the overlay was not applied",
			Expected: "/dev/dma_heap/video@54000000", Found: "system, reserved",
			Evidence: "/proc/device-tree/reserved-memory has no child \"video@54000000\"",
			Advice:   "load the overlay in the boot loader:\nfdt apply ${fdtoverlay_addr_r}"},
		{ID: "alloc-page", Title: "one page", Heap: "video@54000000", Status: Skip, Message: "the heap is missing"},
		{ID: "zeroed", Title: "zeroed", Heap: "video@54000000", Status: Skip, Message: "the heap is missing"},
		{ID: "alloc-page", Title: "one page", Heap: "system", Status: Pass, Message: "4KiB in 31 us",
			Measurements: []Measurement{{"latency", 3.1e-05, "seconds"}, {"size", 4096, "bytes"}}},
		{ID: "heap-unexpected", Title: "no other heap", Heap: "evil\x1b[2J <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=x RESULT=pass>#1\xff", Status: Warn,
			Message: "not in the lock <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=x RESULT=pass>", Found: `quote " and \`},
	} {
		r.Add(res)
	}
	r.Finish(1.25)
	return r
}

func TestGolden(t *testing.T) {
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			var buf bytes.Buffer
			if err := Write(&buf, sample(), format, Options{}); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "sample."+format)
			if *update {
				if err := os.WriteFile(golden, buf.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), buf.String()); diff != "" {
				t.Errorf("%s differs (-want +got), rewrite with -update:\n%s", golden, diff)
			}
		})
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := Write(io.Discard, sample(), "yaml", Options{}); err == nil {
		t.Error("Write in format yaml gave no error")
	}
}

func TestExitCode(t *testing.T) {
	pass, fail := Result{Status: Pass}, Result{Status: Fail}
	warn, skip := Result{Status: Warn}, Result{Status: Skip}
	blocked := Result{Status: Skip, Blocked: true}
	for _, tt := range []struct {
		name    string
		results []Result
		report  Report
		want    int
	}{
		{"nothing", nil, Report{}, ExitCannotTest},
		{"pass", []Result{pass}, Report{}, ExitOK},
		{"warning", []Result{pass, warn}, Report{}, ExitOK},
		{"chosen skip", []Result{pass, skip}, Report{}, ExitOK},
		{"only skips", []Result{skip}, Report{}, ExitCannotTest},
		{"blocked skip", []Result{pass, blocked}, Report{}, ExitCannotTest},
		{"failure beats a blocked skip", []Result{pass, blocked, fail}, Report{}, ExitFailed},
		{"unsupported beats a failure", []Result{fail}, Report{Unsupported: true}, ExitUnsupported},
		{"interrupted", []Result{pass}, Report{Interrupted: true}, ExitCannotTest},
	} {
		r := tt.report
		for _, res := range tt.results {
			r.Add(res)
		}
		r.Finish(0)
		if r.Summary.Exit != tt.want {
			t.Errorf("%s: exit %d, want %d", tt.name, r.Summary.Exit, tt.want)
		}
	}
}

// Nothing that a board says may reach a terminal, or be taken for a signal.
func TestHostileText(t *testing.T) {
	for _, format := range Formats() {
		var buf bytes.Buffer
		if err := Write(&buf, sample(), format, Options{}); err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(buf.Bytes(), func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' }); i >= 0 {
			t.Errorf("%s: control byte %#x at %d", format, buf.Bytes()[i], i)
		}
		if format == "lava" && strings.Contains(buf.String(), "TEST_CASE_ID=x") {
			for _, line := range strings.Split(buf.String(), "\n") {
				if strings.HasPrefix(line, "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=x") || strings.Count(line, "<LAVA_") > 1 {
					t.Errorf("lava: a message became a signal: %q", line)
				}
			}
		}
	}
}

// LAVA ignores a test set whose name it would have to quote in a URL, and cuts
// a parameter at each "=".
func TestLAVANames(t *testing.T) {
	r := &Report{}
	for _, heap := range []string{"", "linux,cma@50000000", "a=b/c?d#e ü"} {
		r.Add(Result{ID: "alloc-page", Heap: heap, Status: Pass, Measurements: []Measurement{{"latency", 1, "seconds"}, {"size", 4096, "bytes"}}})
	}
	var buf bytes.Buffer
	if err := Write(&buf, r, "lava", Options{}); err != nil {
		t.Fatal(err)
	}
	sets, cases := []string{}, map[string]bool{}
	for _, line := range strings.Split(buf.String(), "\n") {
		f := strings.Fields(strings.Trim(line, "<>"))
		switch {
		case len(f) == 3 && f[0] == "LAVA_SIGNAL_TESTSET":
			sets = append(sets, f[2])
			if url.QueryEscape(f[2]) != f[2] {
				t.Errorf("the set %q is another one in a URL", f[2])
			}
		case len(f) > 1 && f[0] == "LAVA_SIGNAL_TESTCASE":
			for _, param := range f[1:] {
				if strings.Count(param, "=") != 1 {
					t.Errorf("%q is no parameter", param)
				}
			}
			if cases[f[1]] {
				t.Errorf("two results have the name %s", f[1])
			}
			cases[f[1]] = true
		}
	}
	if want := []string{"board", "linux_cma_50000000", "a_b_c_d_e__"}; !slices.Equal(sets, want) || len(cases) != 6 {
		t.Errorf("sets %q with %d cases, want %q with 6", sets, len(cases), want)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain, é ü 漢": "plain, é ü 漢", "two\nlines": "two\nlines", "a\x1b[2J": `a\x1b[2J`, "\t": `\x09`, "a\x7f": `a\x7f`, "\xff\xc3\x28": `\xff\xc3(`,
		"\u0085": `\u0085`, "\u202e": `\u202e`, "\uffff": `\uffff`, "\u00a0": `\u00a0`, "\ufffd": "\ufffd", "": "",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// The last lines are what people read first.
func TestVerdict(t *testing.T) {
	pass := Result{ID: "a", Status: Pass}
	fail := Result{ID: "heap-mode", Heap: "video", Status: Fail, Message: "0600, not 0660", Advice: "chmod"}
	skip := Result{ID: "b", Status: Skip, Message: "x"}
	blocked := Result{ID: "heap-access", Heap: "npu", Status: Skip, Message: "only root may open it", Blocked: true, Advice: "run as root"}
	for _, tt := range []struct {
		results []Result
		report  Report
		want    string
	}{
		{[]Result{pass}, Report{}, "verdict: PASS, the board shows what was meant\n"},
		{[]Result{pass, skip}, Report{Good: "all is well"}, "verdict: PASS, all is well, as far as it was tested\n"},
		{[]Result{pass, blocked, fail}, Report{}, "verdict: FAIL: heap-mode video: 0600, not 0660\nfix:     chmod\n"},
		{[]Result{pass, blocked}, Report{}, "verdict: COULD NOT TEST: heap-access npu: only root may open it\nfix:     run as root\n"},
		{[]Result{pass, blocked}, Report{Interrupted: true}, "verdict: COULD NOT TEST: interrupted\n"},
		{[]Result{skip}, Report{}, "verdict: COULD NOT TEST: nothing was tested\n"},
		{[]Result{fail}, Report{Unsupported: true}, "verdict: NOT SUPPORTED by this kernel: heap-mode video: 0600, not 0660\nfix:     chmod\n"},
	} {
		r := tt.report
		for _, res := range tt.results {
			r.Add(res)
		}
		r.Finish(0)
		var buf bytes.Buffer
		if err := Write(&buf, &r, "text", Options{}); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(buf.String(), "\n"+tt.want) {
			t.Errorf("the text ends with\n%s\nwant\n%s", buf.String()[strings.LastIndex(buf.String(), "verdict"):], tt.want)
		}
	}
}

// What Unicode calls a character is not always text: some have no place in XML,
// some turn a line of a terminal around. A rate that a coarse clock made infinite
// has no place in JSON.
func TestOddText(t *testing.T) {
	const odd = "a\uffff\ufffe\u202eb\u2028c\u0085d\u200be\x7ff\ue000g\xc3\x28"
	r := &Report{Board: odd, Kernel: odd, Against: odd, Sources: []Source{{Name: odd, Path: odd, Error: odd}}}
	for _, status := range []Status{Pass, Fail, Warn, Skip} {
		r.Add(Result{ID: "x", Title: odd, Heap: odd + "\nok 1 y", Status: status, Message: odd, Expected: odd, Found: odd, Evidence: odd, Advice: odd + "\n" + odd,
			Measurements: []Measurement{{"rate", math.Inf(1), "bytes/second"}, {"share", math.NaN(), ""}, {"size", 1, "bytes"}}})
	}
	r.Finish(1)
	for _, format := range Formats() {
		var buf bytes.Buffer
		if err := Write(&buf, r, format, Options{}); err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if i := bytes.IndexFunc(buf.Bytes(), func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }); i >= 0 && format != "json" {
			t.Errorf("%s: %q is no text", format, buf.Bytes()[max(0, i-20):min(buf.Len(), i+20)])
		}
		if bytes.Contains(buf.Bytes(), []byte("\nok 1 y")) {
			t.Errorf("%s: the name of a heap became a line:\n%s", format, buf.Bytes())
		}
		switch format {
		case "json":
			var back Report
			if err := json.Unmarshal(buf.Bytes(), &back); err != nil {
				t.Error(err)
			}
			if m := back.Results[0].Measurements; len(m) != 1 || m[0].Name != "size" {
				t.Errorf("measurements %+v, want the size alone", m)
			}
		case "junit":
			dec := xml.NewDecoder(&buf)
			for {
				if _, err := dec.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
		case "prom":
			var parser expfmt.TextParser
			if _, err := parser.TextToMetricFamilies(&buf); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestParseBack(t *testing.T) {
	var buf bytes.Buffer
	if err := Write(&buf, sample(), "json", Options{}); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(buf.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*sample(), back); diff != "" {
		t.Errorf("JSON read back differs (-want +got):\n%s", diff)
	}

	buf.Reset()
	if err := Write(&buf, sample(), "junit", Options{}); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Tests  int `xml:"tests,attr"`
		Suites []struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(buf.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	cases, failures, skips := 0, 0, 0
	for _, s := range doc.Suites {
		cases += len(s.Cases)
		for _, c := range s.Cases {
			if c.Failure != nil {
				failures++
				if !strings.Contains(c.Failure.Text, `no child "video@54000000"`) {
					t.Errorf("junit: the failure lost its evidence: %q", c.Failure.Text)
				}
			}
			if c.Skipped != nil {
				skips++
			}
		}
	}
	if failures != 1 || skips != 2 {
		t.Errorf("junit has %d failures and %d skips, want 1 and 2", failures, skips)
	}
	if cases != doc.Tests || doc.Tests != len(sample().Results) {
		t.Errorf("junit has %d cases and says %d, want %d", cases, doc.Tests, len(sample().Results))
	}
}

// element is what the JUnit schema of the xunit plugin of Jenkins (junit-10.xsd)
// says of an element, as far as one occurs here. Others, GitLab and pytest
// among them, take what it takes.
type element struct {
	within   []string
	required string
	optional string
}

var junitSchema = map[string]element{
	"testsuites": {[]string{""}, "", "name time tests failures errors"},
	"testsuite":  {[]string{"testsuites", "testsuite"}, "name tests failures errors", "group time skipped timestamp hostname id package file log url version"},
	"testcase":   {[]string{"testsuite"}, "name", "time classname group"},
	"failure":    {[]string{"testcase"}, "", "type message"},
	"skipped":    {[]string{"testcase"}, "", "type message"},
	"system-out": {[]string{"testcase", "testsuite"}, "", ""},
}

var surefireTime = regexp.MustCompile(`^[0-9]*(\.[0-9]{0,3})?$`)

func TestJUnitSchema(t *testing.T) {
	for _, r := range []*Report{sample(), {}} {
		var buf bytes.Buffer
		if err := Write(&buf, r, "junit", Options{}); err != nil {
			t.Fatal(err)
		}
		parents := []string{""}
		dec := xml.NewDecoder(&buf)
		for {
			tok, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch tok := tok.(type) {
			case xml.StartElement:
				name := tok.Name.Local
				rule, known := junitSchema[name]
				if parent := parents[len(parents)-1]; !known || !slices.Contains(rule.within, parent) {
					t.Errorf("the schema has no <%s> in <%s>", name, parent)
				}
				parents = append(parents, name)
				have := map[string]bool{}
				for _, a := range tok.Attr {
					have[a.Name.Local] = true
					if !slices.Contains(strings.Fields(rule.required+" "+rule.optional), a.Name.Local) {
						t.Errorf("the schema gives <%s> no %s", name, a.Name.Local)
					}
					if a.Name.Local == "time" && !surefireTime.MatchString(a.Value) {
						t.Errorf("<%s time=%q> is no time of the schema", name, a.Value)
					}
				}
				for _, a := range strings.Fields(rule.required) {
					if !have[a] {
						t.Errorf("<%s> lacks %s", name, a)
					}
				}
			case xml.EndElement:
				parents = parents[:len(parents)-1]
			}
		}
	}
}

// The parser of Prometheus itself reads what node_exporter is to hand on.
func TestPromParsedBack(t *testing.T) {
	for name, r := range map[string]*Report{"sample": sample(), "empty": {}} {
		r.Finish(1)
		var buf bytes.Buffer
		if err := Write(&buf, r, "prom", Options{}); err != nil {
			t.Fatal(err)
		}
		var parser expfmt.TextParser
		families, err := parser.TextToMetricFamilies(bytes.NewReader(buf.Bytes()))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, buf.Bytes())
			continue
		}
		if got := int(families["dmaheap_check_exit_code"].Metric[0].Gauge.GetValue()); got != r.Summary.Exit {
			t.Errorf("%s: exit code %d, want %d", name, got, r.Summary.Exit)
		}
		if got := len(families["dmaheap_check_status"].GetMetric()); got != len(r.Results) {
			t.Errorf("%s: %d outcomes, want %d", name, got, len(r.Results))
		}
		for _, f := range families {
			if f.GetHelp() == "" || f.GetType().String() != "GAUGE" {
				t.Errorf("%s: %s has the help %q and the type %v", name, f.GetName(), f.GetHelp(), f.GetType())
			}
			for _, m := range f.Metric {
				if m.TimestampMs != nil {
					t.Errorf("%s: %s has a time stamp, which node_exporter refuses", name, f.GetName())
				}
			}
		}
	}
}

func TestColor(t *testing.T) {
	var buf bytes.Buffer
	if err := Write(&buf, sample(), "text", Options{Color: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(buf.String(), "\x1b[31mFAIL\x1b[0m") {
		t.Error("colour was asked for, and FAIL is not red")
	}
}
