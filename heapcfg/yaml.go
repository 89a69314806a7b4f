// SPDX-License-Identifier: MIT

package heapcfg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// Limits of a heaps.yaml. A real one has a few KiB; the bounds keep a hostile
// one from costing more than a moment and a few MiB.
const (
	maxYAML  = 1 << 20 // bytes
	maxNodes = 20000   // punctuation that can start a node
	maxHeaps = 128     // heaps; NUM_HEAP_MINORS of the kernel
)

// reader walks a yaml.Node tree and gathers findings. Decoding into structs
// would lose columns, accept fractions for integers, drop null items and
// forget KnownFields below custom types, so the tree is read by hand.
type reader struct {
	file     string
	findings []Finding
}

// place returns where a node stands, under its path.
func (r *reader) place(n *yaml.Node, path string) Place {
	return Place{File: r.file, Line: n.Line, Col: n.Column, Path: path}
}

func (r *reader) errorf(n *yaml.Node, path, id, fix, format string, args ...any) {
	r.add(Finding{ID: id, Level: ruleLevel(id), Place: r.place(n, path), Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (r *reader) add(f Finding) { r.findings = append(r.findings, f) }

var yamlLine = regexp.MustCompile(`line (\d+)`)

// document parses the only document of data and returns its root, or nil when
// there is nothing that can be read further.
func (r *reader) document(data []byte) *yaml.Node {
	whole := &yaml.Node{Line: 1, Column: 1}
	fail := func(n *yaml.Node, fix, format string, args ...any) *yaml.Node {
		r.errorf(n, "$", "yaml-syntax", fix, format, args...)
		return nil
	}
	switch {
	case len(data) > maxYAML:
		return fail(whole, "split the file, or check that it is the right one", "the file has %d bytes; a heap config has at most 1MiB", len(data))
	case bytes.IndexByte(data, 0) >= 0:
		return fail(whole, "check that it is the right file; heapctl import makes a config of a device tree", "the file holds zero bytes: it is not text")
	case !utf8.Valid(data):
		return fail(whole, "save the file as UTF-8", "the file is not UTF-8 text")
	}
	if n := bytes.Count(data, []byte(",")) + bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("[")) + bytes.Count(data, []byte("{")) + bytes.Count(data, []byte("- ")); n > maxNodes {
		return fail(whole, "check that it is the right file", "the file has more than %d items; a board has at most 128 heaps", maxNodes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return fail(whole, "start with \"version: 1\" and a list \"heaps:\"", "the file is empty")
	} else if err != nil {
		n, fix := r.errNode(err, data), "check indentation, colons and quotes around this line"
		if bytes.HasPrefix(bytes.TrimLeft(lineOf(data, n.Line), " "), []byte("\t")) {
			fix = "indent with spaces: YAML takes no tabs there"
		}
		return fail(n, fix, "%s", yamlMessage(err))
	}
	if len(doc.Content) != 1 {
		return fail(whole, "start with \"version: 1\" and a list \"heaps:\"", "the file is empty")
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		n := &second
		if err != nil || n.Line == 0 {
			n = r.errNode(err, data)
		}
		return fail(n, "keep one document in a file", "a second document starts here")
	}
	return doc.Content[0]
}

// errNode makes a position out of the line that yaml.v3 puts into the text of
// its errors: there is no other way to get at it.
func (r *reader) errNode(err error, data []byte) *yaml.Node {
	line := 1
	if err != nil {
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
	}
	line = max(1, min(line, 1+bytes.Count(data, []byte("\n"))))
	text := lineOf(data, line)
	col := 1 + len(text) - len(bytes.TrimLeft(text, " \t"))
	return &yaml.Node{Line: line, Column: col}
}

func lineOf(data []byte, line int) []byte {
	return bytes.Split(data, []byte("\n"))[line-1]
}

func yamlMessage(err error) string {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if _, rest, ok := strings.Cut(msg, ": "); ok && strings.HasPrefix(msg, "line ") {
		msg = rest
	}
	return "this is not YAML: " + msg
}

// plain refuses what YAML has and this language does not: anchors, aliases,
// merge keys and explicit tags. It reports whether the node can be read.
func (r *reader) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Anchor != "" && n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		r.errorf(n, path, "yaml-type", fmt.Sprintf("write \"&%s\", in quotes", n.Anchor), "without quotes &%s is an anchor of YAML, and the value is missing", n.Anchor)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.errorf(n, path, "yaml-type", "write the value out", "anchors and aliases are not part of this language")
	case n.Style&yaml.TaggedStyle != 0:
		r.errorf(n, path, "yaml-type", "remove the tag", "tags such as %s are not part of this language", n.Tag)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		r.errorf(n, path, "yaml-type", "give it a value, or remove the line", "the value is missing")
	default:
		return true
	}
	return false
}

// otherWords are what device trees and other tools call the keys of a heap or of
// a range: the word, the key, and what to write.
var otherWords = [...][3]string{
	{"reusable", "kind", "kind: cma, which is memory lent to the system"},
	{"no-map", "access", "access: device-only, or write-combine, where the CPU has to get at the memory"},
	{"linux,cma-default", "default", "default: true"},
	{"reg", "base", "base and size"},
	{"start", "base", "base"},
	{"end", "size", "size, the number of bytes"},
	{"alignment", "place", "place: {align: ...}"},
	{"alloc-ranges", "place", "place: {within: ...}"},
	{"align", "place", "place: {align: ...}"},
	{"within", "place", "place: {within: ...}"},
	{"below", "place", "place: {below: ...}"},
	{"after", "place", "place: {after: ...}"},
}

// object is a mapping whose keys are checked against those the language knows.
type object struct {
	r     *reader
	node  *yaml.Node
	path  string
	keys  map[string]*yaml.Node
	vals  map[string]*yaml.Node
	order []string
}

// object reads n as a mapping with the given keys. Unknown and duplicate keys
// are findings; the rest of the mapping is read all the same. With no known
// keys, every key is allowed.
func (r *reader) object(n *yaml.Node, path string, known ...string) (*object, bool) {
	if !r.plain(n, path) {
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		fix := "write \"key: value\" lines here"
		if n.Kind == yaml.SequenceNode {
			fix += ", without \"- \""
		}
		r.errorf(n, path, "yaml-type", fix, "%s must be a mapping, not %s", leaf(path), kindWord(n))
		return nil, false
	}
	o := &object{r: r, node: n, path: path, keys: map[string]*yaml.Node{}, vals: map[string]*yaml.Node{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || !r.plain(k, path) {
			if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
				r.errorf(k, path, "yaml-key", "write a plain name", "this is no key of the language")
			}
			continue
		}
		name := k.Value
		if len(known) > 0 && !slices.Contains(known, name) {
			fix := "the keys here are " + strings.Join(known, ", ")
			if near := fdt.Nearest(name, known); near != "" {
				fix = fmt.Sprintf("did you mean %q?", near)
			}
			for _, w := range otherWords {
				if w[0] == name && slices.Contains(known, w[1]) {
					fix = "write " + w[2]
				}
			}
			r.errorf(k, path+"."+name, "yaml-key", fix, "%q is not a key of %s", name, leaf(path))
			continue
		}
		if first, dup := o.keys[name]; dup {
			r.errorf(k, path+"."+name, "yaml-key", "keep one of them", "%q stands here a second time, the first is in line %d", name, first.Line)
			continue
		}
		o.keys[name], o.vals[name] = k, v
		o.order = append(o.order, name)
	}
	return o, true
}

// list reads n as a sequence and calls f on every item that can be read.
func (r *reader) list(n *yaml.Node, path string, f func(item *yaml.Node, path string)) {
	if !r.plain(n, path) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.errorf(n, path, "yaml-type", "start each item with \"- \"", "%s must be a list, not %s", leaf(path), kindWord(n))
		return
	}
	for i, item := range n.Content {
		p := fmt.Sprintf("%s[%d]", path, i)
		if r.plain(item, p) {
			f(item, p)
		}
	}
}

func (o *object) has(key string) bool { return o.vals[key] != nil }

// at returns where the value of key stands, or the whole mapping without it.
func (o *object) at(key string) Place {
	if v := o.vals[key]; v != nil {
		return o.r.place(v, o.path+"."+key)
	}
	return o.r.place(o.node, o.path)
}

// places returns the place of every key, for Source.Fields.
func (o *object) places() map[string]Place {
	m := make(map[string]Place, len(o.order))
	for _, k := range o.order {
		m[k] = o.at(k)
	}
	return m
}

// require reports whether key is there, and makes it a finding when not.
func (o *object) require(key, example string) bool {
	if o.has(key) {
		return true
	}
	o.r.errorf(o.node, o.path, "yaml-missing", "add "+example, "%s needs %q", leaf(o.path), key)
	return false
}

// scalar returns the text of a plain value.
func (o *object) scalar(key, want string) (string, *yaml.Node, bool) {
	n := o.vals[key]
	if n == nil || !o.r.plain(n, o.path+"."+key) {
		return "", nil, false
	}
	if n.Kind != yaml.ScalarNode {
		o.r.errorf(n, o.path+"."+key, "yaml-type", "", "%s must be %s, not %s", key, want, kindWord(n))
		return "", nil, false
	}
	return n.Value, n, true
}

// fail reports a bad value of key.
func (o *object) fail(key, fix, format string, args ...any) {
	n := o.vals[key]
	if n == nil {
		n = o.node
	}
	o.r.errorf(n, o.path+"."+key, "yaml-value", fix, format, args...)
}

// str returns a text value. Numbers are taken as they are written, so that
// "kernel: 6.12" needs no quotes.
func (o *object) str(key string) string {
	s, n, ok := o.scalar(key, "text")
	if !ok {
		return ""
	}
	if s == "" {
		o.r.errorf(n, o.path+"."+key, "yaml-value", "give it a value, or remove the line", "%s is empty", key)
	}
	return s
}

// word returns a text value that must be one of a set.
func (o *object) word(key string, allowed ...string) string {
	s := o.str(key)
	if s != "" && !slices.Contains(allowed, s) {
		fix := "write one of " + strings.Join(allowed, ", ")
		if near := fdt.Nearest(s, allowed); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		o.fail(key, fix, "%s cannot be %q", key, s)
		return ""
	}
	return s
}

// bool returns true or false; YAML's older yes, no, on and off are refused,
// since they are text to half of the tools that read the file.
func (o *object) bool(key string) bool {
	s, n, ok := o.scalar(key, "true or false")
	if !ok {
		return false
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 || s != "true" && s != "false" {
		o.fail(key, "write true or false", "%s is neither true nor false", key)
	}
	return s == "true"
}

// size returns a byte count, and false when there is none or a bad one.
func (o *object) size(key string) (uint64, bool) {
	return o.number(key, "a size", "64MiB", errSizeSyntax.Error())
}

// number reads a size or an address; syntax is the way out for what is neither.
func (o *object) number(key, what, example, syntax string) (uint64, bool) {
	s, _, ok := o.scalar(key, what+" such as "+example)
	if !ok {
		return 0, false
	}
	n, err := ParseSize(s)
	if err != nil {
		fix := err.Error()
		if errors.Is(err, errSizeSyntax) {
			fix = syntax
		}
		o.fail(key, fix, "%s: %q is not %s", key, s, what)
		return 0, false
	}
	return n, true
}

// int returns a whole number within bounds.
func (o *object) int(key string, lo, hi int) int {
	s, _, ok := o.scalar(key, "a whole number")
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n > hi {
		o.fail(key, fmt.Sprintf("write a number from %d to %d", lo, hi), "%s: %q is not a number from %d to %d", key, s, lo, hi)
		return 0
	}
	return n
}

// addr returns a physical address. Decimal is refused beyond a page: nobody
// writes addresses in decimal on purpose.
func (o *object) addr(key string) (Addr, bool) {
	n, ok := o.number(key, "an address", "0x5000_0000", "write it in hexadecimal, such as 0x5000_0000")
	if !ok {
		return 0, false
	}
	if v := o.vals[key].Value; n > 0 && !strings.HasPrefix(v, "0x") && !strings.HasSuffix(v, "iB") {
		o.fail(key, fmt.Sprintf("write 0x%s if you meant hexadecimal, or %s", v, Addr(n)), "%s: %s is a decimal number, an address is written in hexadecimal", key, v)
		return 0, false
	}
	return Addr(n), true
}

// rng reads base and size of a mapping as a range that does not wrap.
func (o *object) rng() (Range, bool) {
	if !o.require("base", "base: 0x4000_0000") || !o.require("size", "size: 16MiB") {
		return Range{}, false
	}
	base, ok1 := o.addr("base")
	size, ok2 := o.size("size")
	if !ok1 || !ok2 {
		return Range{}, false
	}
	r := Range{base, size}
	switch {
	case size == 0:
		o.fail("size", "give it a size", "size is zero")
	case r.Wraps():
		o.fail("size", "check base and size", "%v plus %s goes past the end of the address space", base, FormatSize(size))
	default:
		return r, true
	}
	return Range{}, false
}

func kindWord(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return fmt.Sprintf("%q", n.Value)
	}
	return "an alias"
}

// leaf returns the last part of a path as a person would say it.
func leaf(path string) string {
	if path == "$" {
		return "the file"
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	if i := strings.IndexByte(name, '['); i >= 0 {
		return "an item of " + name[:i]
	}
	return name
}
