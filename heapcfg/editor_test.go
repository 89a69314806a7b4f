// SPDX-License-Identifier: MIT

package heapcfg

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An editor is a client of yaml-language-server, as far as the tests go.
type editor struct {
	t    *testing.T
	to   io.Writer
	from *bufio.Reader
	dir  string // where the files are, as far as the server knows
	id   int
}

// newEditor starts the server, with the schema beside the files. In CI its
// absence is a failure.
func newEditor(t *testing.T) *editor {
	t.Helper()
	out, err := exec.Command("../test/yamlls.sh").Output()
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("no yaml-language-server: test/yamlls.sh: %v", err)
	} else if err != nil {
		t.Fatalf("test/yamlls.sh: %v", err)
	}
	e := &editor{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(e.dir, "heapcfg.schema.json"), Schema(), 0o644); err != nil {
		t.Fatal(err)
	}
	// A server that is silent must not keep the tests waiting.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, "node", strings.TrimSpace(string(out)), "--stdio")
	cmd.WaitDelay = time.Second
	if e.to, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	e.from = bufio.NewReader(r)
	e.ask("initialize", map[string]any{"processId": os.Getpid(), "rootUri": "file://" + e.dir, "capabilities": map[string]any{
		"textDocument": map[string]any{"completion": map[string]any{}, "hover": map[string]any{"contentFormat": []string{"markdown"}}},
	}}, nil)
	e.send(map[string]any{"method": "initialized", "params": map[string]any{}})
	return e
}

// A message is a request, an answer or a notification.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
}

func (e *editor) send(m map[string]any) {
	e.t.Helper()
	m["jsonrpc"] = "2.0"
	data, err := json.Marshal(m)
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(e.to, "Content-Length: %d\r\n\r\n%s", len(data), data); err != nil {
		e.t.Fatal(err)
	}
}

// receive returns the next message; a request of the server is answered with
// nothing, which is what an editor without settings has to say.
func (e *editor) receive() message {
	e.t.Helper()
	for {
		size := 0
		for {
			line, err := e.from.ReadString('\n')
			if err != nil {
				e.t.Fatalf("the server says no more: %v", err)
			}
			if line = strings.TrimSpace(line); line == "" {
				break
			}
			if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				if size, err = strconv.Atoi(n); err != nil {
					e.t.Fatal(err)
				}
			}
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(e.from, data); err != nil {
			e.t.Fatal(err)
		}
		var m message
		if err := json.Unmarshal(data, &m); err != nil {
			e.t.Fatalf("%v: %s", err, data)
		}
		if m.Method == "" || m.ID == nil {
			return m
		}
		e.send(map[string]any{"id": m.ID, "result": nil})
	}
}

func (e *editor) ask(method string, params map[string]any, result any) {
	e.t.Helper()
	e.id++
	e.send(map[string]any{"id": e.id, "method": method, "params": params})
	for {
		m := e.receive()
		if m.Method != "" || string(m.ID) != strconv.Itoa(e.id) {
			continue
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				e.t.Fatalf("%s: %v: %s", method, err, m.Result)
			}
		}
		return
	}
}

// modeline is what `heapctl schema` tells people to write.
const modeline = "# yaml-language-server: $schema=heapcfg.schema.json\n"

// open opens a file with the modeline above it and returns what the editor
// would underline: "LINE:COLUMN message", the lines as they are without it.
func (e *editor) open(name, text string) []string {
	e.t.Helper()
	uri := "file://" + e.dir + "/" + name
	e.send(map[string]any{"method": "textDocument/didOpen", "params": map[string]any{
		"textDocument": map[string]any{"uri": uri, "languageId": "yaml", "version": 1, "text": modeline + text}}})
	for {
		m := e.receive()
		if m.Method != "textDocument/publishDiagnostics" {
			continue
		}
		var p struct {
			URI         string
			Diagnostics []struct {
				Range   struct{ Start struct{ Line, Character int } }
				Message string
			}
		}
		if err := json.Unmarshal(m.Params, &p); err != nil {
			e.t.Fatal(err)
		}
		if p.URI != uri {
			continue
		}
		var out []string
		for _, d := range p.Diagnostics {
			out = append(out, fmt.Sprintf("%d:%d %s", d.Range.Start.Line, d.Range.Start.Character+1, d.Message))
		}
		return out
	}
}

// at asks about a place of an open file, which counts as open does.
func (e *editor) at(method, name string, line, column int, result any) {
	e.t.Helper()
	e.ask(method, map[string]any{
		"textDocument": map[string]any{"uri": "file://" + e.dir + "/" + name},
		"position":     map[string]any{"line": line, "character": column - 1},
	}, result)
}

// TestYAMLLanguageServer has most editors' YAML support read the schema: what is
// good has no mark, what is bad has one where it is bad, and who types is told
// what there is.
func TestYAMLLanguageServer(t *testing.T) {
	e := newEditor(t)
	good, _ := filepath.Glob("testdata/ok/*.yaml")
	more, _ := filepath.Glob("../examples/*/heaps.yaml")
	bad, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(good) == 0 || len(more) == 0 || len(bad) == 0 {
		t.Fatal("no files")
	}
	for i, name := range append(append(good, more...), bad...) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(data), "\n")
		isBad := strings.HasPrefix(first, "# want ")
		if strings.HasSuffix(first, "(reader only)") {
			continue
		}
		if marks := e.open(fmt.Sprintf("%d.yaml", i), string(data)); (len(marks) > 0) != isBad {
			t.Errorf("%s: the editor marks %q", name, marks)
		}
	}

	marks := e.open("typing.yaml", "version: 1\nheaps:\n  - name: video\n    knid: cma\n    size: 64M\n    kind: \n    \n")
	for _, want := range []string{"4:5 Property knid is not allowed.", "5:11 "} {
		if !strings.Contains("\n"+strings.Join(marks, "\n"), "\n"+want) {
			t.Errorf("no mark %q in %q", want, marks)
		}
	}
	var list struct{ Items []struct{ Label string } }
	labels := func(line, column int) string {
		e.at("textDocument/completion", "typing.yaml", line, column, &list)
		s := " "
		for _, item := range list.Items {
			s += item.Label + " "
		}
		return s
	}
	if got := labels(7, 5); !strings.Contains(got, " access ") || !strings.Contains(got, " group ") {
		t.Errorf("keys of a heap: completion offers %q", got)
	}
	if got := labels(6, 11); !strings.Contains(got, " carveout ") || !strings.Contains(got, " chunk ") {
		t.Errorf("kinds: completion offers %q", got)
	}
	var hover struct{ Contents struct{ Value string } }
	e.at("textDocument/hover", "typing.yaml", 5, 6, &hover)
	if !strings.Contains(hover.Contents.Value, "MiB") {
		t.Errorf("hovering over size shows %q", hover.Contents.Value)
	}
}
