// SPDX-License-Identifier: MIT

package tinyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// doc has every kind of field that the documents of heapctl have.
type doc struct {
	Name  string   `json:"name"`
	Omit  string   `json:"omit,omitempty"`
	N     uint64   `json:"n"`
	I     int      `json:"i,omitempty"`
	Small uint32   `json:"small,omitempty"`
	F     float64  `json:"f"`
	Ok    bool     `json:"ok,omitempty"`
	List  []doc    `json:"list"`
	Words []string `json:"words,omitempty"`
	Rows  [][]int  `json:"rows,omitempty"`
	Next  *doc     `json:"next,omitempty"`
	Num   *uint64  `json:"num"`
	At    hex      `json:"at"`
	Where hex      `json:"where,omitempty"`
	Inner inner    `json:"inner,omitempty"`
	Embedded
	Hidden string `json:"-"`
	Plain  string
	secret string
}

// Embedded has its fields beside those of the doc.
type Embedded struct {
	Y string `json:"y,omitempty"`
}

type inner struct {
	X int `json:"x"`
}

type hex uint64

func (h hex) MarshalText() ([]byte, error) {
	return []byte("0x" + strconv.FormatUint(uint64(h), 16)), nil
}

func (h *hex) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(b), "0x"), 16, 64)
	*h = hex(n)
	return err
}

// judge is what encoding/json writes.
func judge(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// strict is what encoding/json reads of one whole document.
func strict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after the end")
	}
	return nil
}

func sample() doc {
	n := uint64(1<<64 - 1)
	return doc{
		Name: "a \"quoted\" \\ <b>&\b\f\n\r\t\x00\x1f\x7f é \u2028\u2029 \xff\xfe end", N: n, I: -5, F: 1.5, Ok: true, Num: &n, At: 0x1000, secret: "s", Hidden: "h", Embedded: Embedded{"y"},
		List:  []doc{{}, {Words: []string{}, Rows: [][]int{{}, {1, -2}, nil}}},
		Words: []string{"", "b"},
		Next:  &doc{Name: "n"},
	}
}

func TestMarshal(t *testing.T) {
	for _, v := range []any{sample(), &doc{}, []doc{}, []doc(nil), struct{}{}, []float64{0, 1e-7, 1e-6, -1e-9, 1e20, 1e21, 3.25e100, 0.1, 1e-10},
		struct {
			V any `json:"v"`
		}{doc{}}} {
		got, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(judge(t, v), string(got)); d != "" {
			t.Errorf("Marshal(%+v) (-encoding/json +ours):\n%s", v, d)
		}
	}
	for _, v := range []any{map[string]int{}, []float64{1 / zero()}, func() {}} {
		if got, err := Marshal(v); err == nil {
			t.Errorf("Marshal(%T) = %s, want an error", v, got)
		}
	}
}

func zero() float64 { return 0 }

func TestUnmarshal(t *testing.T) {
	data, err := Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var got, want doc
	if err := Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if err := strict(data, &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(doc{})); d != "" {
		t.Errorf("Unmarshal (-encoding/json +ours):\n%s", d)
	}
	var head struct {
		Name string `json:"name"`
	}
	if err := UnmarshalHead([]byte(`{"future": {"a": [1, {"b": null}, "x", true, -1.5e3]}, "name": "n"}`), &head); err != nil || head.Name != "n" {
		t.Errorf("UnmarshalHead = %+v, %v", head, err)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for in, says := range map[string]string{
		``: "ends here", `{`: "key", `{"name"`: "ends here", `{"name": "a"`: "ends here", `{"name": "a`: "ends here", `{"name": "\`: "ends here",
		`{"nmae": "a"}`: `unknown key "nmae"`, `{"name": "a", "name": "b"}`: "stands twice", `{"Name": "a"}`: "unknown key",
		`{} {}`: "after the end", `{"n": -1}`: "-1 where a uint64", `{"n": 1.5}`: "1.5 where", `{"n": 01}`: "not a value", `{"n": +1}`: "not a value",
		`{"n": "1"}`: "text where", `{"small": 4294967296}`: "where a uint32", `{"i": true}`: "true where", `{"at": 5}`: "5 where", `{"at": "xyz"}`: "xyz",
		`{"list": {}}`: "an object where", `{"inner": []}`: "a list where", `{"name": "\x"}`: `\x within`, `{"name": "\u12"}`: "four digits",
		"{\"name\": \"a\nb\"}": "0xa within", `{"n": nul}`: "not a value", `{"f": 1e999}`: "1e999 where", `{"n": 1,}`: "a key is wanted", `[]`: "a list where",
		strings.Repeat(`{"next":`, 100): "too deep",
	} {
		var d doc
		if err := Unmarshal([]byte(in), &d); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Unmarshal(%s) = %v, want %q", in, err, says)
		}
	}
}

// FuzzUnmarshal lets encoding/json judge: what is taken here must be taken
// there with the same result, and come out again as it was. The other way it
// is stricter: in keys that stand twice, in their case and in depth.
func FuzzUnmarshal(f *testing.F) {
	data, err := Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, s := range []string{`{"name":"\ud83d\ude00\ud83d\u0041"}`, `{"list":[null,{}],"next":null,"f":-0.0e+1}`, `{"num":null,"at":null}`, "\xef\xbb\xbf{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want doc
		err := Unmarshal(data, &got)
		judged := strict(data, &want)
		switch {
		case err != nil && judged == nil:
			if s := err.Error(); !strings.Contains(s, "twice") && !strings.Contains(s, "unknown key") && !strings.Contains(s, "too deep") {
				t.Fatalf("encoding/json takes %q, we say %v", data, err)
			}
			return
		case err != nil:
			return
		case judged != nil:
			t.Fatalf("we take %q, encoding/json says %v", data, judged)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(doc{})); d != "" {
			t.Fatalf("%q (-encoding/json +ours):\n%s", data, d)
		}
		out, err := Marshal(got)
		if err != nil || string(out) != judge(t, want) {
			t.Fatalf("%q written again: %v\n%s", data, err, out)
		}
	})
}
