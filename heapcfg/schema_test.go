// SPDX-License-Identifier: MIT

package heapcfg

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v5"
	"gopkg.in/yaml.v3"
)

// TestSchemaKeys ties the schema to the tables the reader goes by.
func TestSchemaKeys(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"":                                      rootKeys,
		"definitions/board":                     boardKeys,
		"definitions/target":                    targetKeys,
		"definitions/target/properties/kconfig": kconfigKeys,
		"definitions/keep-clear/items":          keepClearKeys,
		"definitions/heap":                      heapKeys,
		"definitions/heap/properties/place":     placeKeys,
		"definitions/range":                     rangeKeys,
		"definitions/heap/properties/devices/items/anyOf/1": deviceKeys,
		"definitions/variant":                               variantKeys,
	} {
		node := any(root)
		for _, part := range strings.Split(path, "/") {
			switch n := node.(type) {
			case map[string]any:
				if part != "" {
					node = n[part]
				}
			case []any:
				node = n[part[0]-'0']
			}
		}
		object, _ := node.(map[string]any)
		props, _ := object["properties"].(map[string]any)
		var got []string
		for key := range props {
			got = append(got, key)
		}
		slices.Sort(got)
		want = slices.Clone(want)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("schema %q and the reader's keys (-reader +schema):\n%s", path, diff)
		}
		if object["additionalProperties"] != false {
			t.Errorf("schema %q allows other keys", path)
		}
	}
}

// TestSchemaAgrees has the schema and the reader judge the same files: each of
// testdata/ok and the examples is good to both; each of testdata/bad is bad to
// the reader where its first line says, and to the schema unless it says that
// only the reader can know.
func TestSchemaAgrees(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft7
	if err := c.AddResource("heapcfg.schema.json", bytes.NewReader(Schema())); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("heapcfg.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	judge := func(t *testing.T, name string) (findings []Finding, text string, bad error) {
		t.Helper()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, findings = Parse(filepath.Base(name), data)
		var v any
		if err := yaml.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		// Through JSON, as editors see it.
		form, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(form, &v); err != nil {
			t.Fatal(err)
		}
		return findings, string(data), s.Validate(v)
	}
	good, _ := filepath.Glob("testdata/ok/*.yaml")
	more, _ := filepath.Glob("../examples/*/heaps.yaml")
	if len(good) == 0 || len(more) == 0 {
		t.Fatal("no good files")
	}
	for _, name := range append(good, more...) {
		findings, _, err := judge(t, name)
		if got := ids(findings, Warning); got != nil || err != nil {
			t.Errorf("%s: the reader finds %v, the schema %v; want neither", name, got, err)
		}
	}
	bad, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(bad) == 0 {
		t.Fatal("no bad files")
	}
	for _, name := range bad {
		findings, text, err := judge(t, name)
		first, _, _ := strings.Cut(text, "\n")
		want, _ := strings.CutPrefix(first, "# want ")
		want, readerOnly := strings.CutSuffix(want, " (reader only)")
		if diff := cmp.Diff(strings.Split(want, ", "), ids(findings, Error)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if (err == nil) != readerOnly {
			t.Errorf("%s: the schema says %v; reader only is %v", name, err, readerOnly)
		}
	}
}
