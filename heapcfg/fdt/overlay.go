// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"fmt"
	"strings"
)

// ErrOverlay is what an Overlay that cannot be written wraps.
var ErrOverlay = errors.New("invalid overlay")

// Overlay is an overlay to be written: as blob with Marshal, as commented
// source with DTS. Both say the same: "dtc -@" makes the same tree of the
// source, phandle numbers and order included.
//
// It is a type of its own, and not a Tree, because a Tree knows bytes only: a
// reference to a label has no bytes before the overlay meets a base.
type Overlay struct {
	Fragments []*Fragment
}

// Fragment is what one node of the base gets. Exactly one of the targets is
// set. A label needs a base with symbols (dtc -@); a path works on any base.
type Fragment struct {
	TargetPath  string // absolute path in the base
	TargetLabel string // label of the base
	Comment     string
	// Node holds the properties and children the target gets. Its own name,
	// labels and comment have no place in an overlay and must be empty.
	Node *SourceNode
}

// SourceNode is a node of an overlay.
type SourceNode struct {
	Name     string
	Labels   []string
	Comment  string
	Props    []*SourceProp
	Children []*SourceNode
}

// SourceProp is a property of an overlay; without a value it is a boolean.
type SourceProp struct {
	Name    string
	Value   Value
	Comment string
}

// Value is what a property says, part after part.
type Value []Part

// Part is a piece of a value: made by Words, Num, Pair, Text, Raw or Ref.
type Part struct {
	kind  partKind
	data  []byte
	strs  []string
	label string
	err   string
}

type partKind int

const (
	partRaw partKind = iota
	partCells
	partText
	partRef
)

// Words is <0x1 0x2>.
func Words(values ...uint32) Part { return Part{kind: partCells, data: U32s(values...)} }

// Num is one number in that many cells. One that does not fit makes writing
// the overlay an error.
func Num(value uint64, cells int) Part {
	p := Part{kind: partCells, data: Cells(value, cells)}
	if !FitsCells(value, cells) {
		p.err = fmt.Sprintf("%#x does not fit in %d cells", value, cells)
	}
	return p
}

// Pair is one <base size> entry of reg or alloc-ranges.
func Pair(r Range, addrCells, sizeCells int) Part {
	base, size := Num(r.Base, addrCells), Num(r.Size, sizeCells)
	p := Part{kind: partCells, data: append(base.data, size.data...), err: base.err}
	if p.err == "" {
		p.err = size.err
	}
	return p
}

// Text is "a", "b".
func Text(strs ...string) Part {
	return Part{kind: partText, data: StringList(strs...), strs: strs}
}

// Raw is bytes; the source text shows them by dtc's guess.
func Raw(value []byte) Part { return Part{kind: partRaw, data: value} }

// Ref is <&label>, a cell with the phandle of a node. A label that no node of
// the overlay has is one of the base.
func Ref(label string) Part { return Part{kind: partRef, data: U32s(^uint32(0)), label: label} }

// Set gives the node a property, in its place when there is one, and returns
// it, for a comment. Without parts it is a boolean.
func (n *SourceNode) Set(name string, parts ...Part) *SourceProp {
	for _, p := range n.Props {
		if p.Name == name {
			p.Value = parts
			return p
		}
	}
	p := &SourceProp{Name: name, Value: parts}
	n.Props = append(n.Props, p)
	return p
}

// AddChild appends a child and returns it.
func (n *SourceNode) AddChild(c *SourceNode) *SourceNode {
	n.Children = append(n.Children, c)
	return c
}

// Marshal writes the overlay as a blob.
func (o *Overlay) Marshal() ([]byte, error) {
	t, err := o.Tree()
	if err != nil {
		return nil, err
	}
	return t.Marshal()
}

// Tree returns the overlay as a device tree: fragments, and the __symbols__,
// __fixups__ and __local_fixups__ that Apply, libfdt and the kernel resolve
// references with. It follows dtc in all that can be chosen (which node gets
// which phandle, the order of everything), so that the two can be compared.
func (o *Overlay) Tree() (*Tree, error) {
	w := overlayWriter{labels: make(map[string]*Node), root: &Node{}}
	if len(o.Fragments) == 0 {
		return nil, fmt.Errorf("%w: it has no fragment", ErrOverlay)
	}
	for i, f := range o.Fragments {
		if err := w.fragment(i, f); err != nil {
			return nil, err
		}
	}
	// Limits first: all paths below are built from a tree known to be sane.
	t := &Tree{Root: w.root}
	if err := t.Check(); err != nil {
		return nil, err
	}
	if err := w.resolve(); err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	return t, nil
}

// overlayWriter builds the tree of an overlay in the order dtc does: nodes,
// then phandles of what is referred to, then phandles of what has a label,
// then the three tables.
type overlayWriter struct {
	root   *Node
	labels map[string]*Node // of the overlay
	named  []labelled       // the same, in tree order
	refs   []reference      // in tree order
	nodes  int
}

type labelled struct {
	label string
	node  *Node
}

type reference struct {
	label string
	node  *Node // holding the property
	prop  string
	at    int // offset in the value
}

func (w *overlayWriter) fragment(i int, f *Fragment) error {
	name := fmt.Sprintf("fragment@%d", i)
	if f == nil || f.Node == nil {
		return fmt.Errorf("%w: fragment %d is empty", ErrOverlay, i)
	}
	if (f.TargetPath == "") == (f.TargetLabel == "") {
		return fmt.Errorf("%w: fragment %d needs a target path or a target label, and not both", ErrOverlay, i)
	}
	n := w.root.AddChild(&Node{Name: name})
	if f.TargetPath != "" {
		if msg := badPath(f.TargetPath); msg != "" {
			return fmt.Errorf("%w: fragment %d: target path %q: %s", ErrOverlay, i, f.TargetPath, msg)
		}
		n.Set("target-path", StringList(f.TargetPath))
	} else {
		if msg := badLabel(f.TargetLabel); msg != "" {
			return fmt.Errorf("%w: fragment %d: target label %q: %s", ErrOverlay, i, f.TargetLabel, msg)
		}
		n.Set("target", U32s(^uint32(0)))
		w.refs = append(w.refs, reference{f.TargetLabel, n, "target", 0})
	}
	if f.Node.Name != "" || len(f.Node.Labels) > 0 || f.Node.Comment != "" {
		return fmt.Errorf("%w: fragment %d: the node of a fragment stands for its target and cannot have a name, a label or a comment", ErrOverlay, i)
	}
	o := n.AddChild(&Node{Name: "__overlay__"})
	return w.content(f.Node, o, join("/"+name, o.Name), 3)
}

// content copies the properties and children of a source node.
func (w *overlayWriter) content(src *SourceNode, dst *Node, path string, depth int) error {
	if w.nodes++; depth > MaxDepth || w.nodes > MaxNodes {
		return fmt.Errorf("%w: nodes nested deeper than %d levels, or more than %d, at %s", ErrTooLarge, MaxDepth, MaxNodes, path)
	}
	seen := make(map[string]bool, len(src.Props))
	for _, p := range src.Props {
		if p == nil {
			return fmt.Errorf("%w: %s has a nil property", ErrOverlay, path)
		}
		msg := badSourceName(p.Name, "#*?")
		switch {
		case msg != "":
		case p.Name == "phandle" || p.Name == "linux,phandle" || p.Name == "name":
			msg = "this property is made by the compiler"
		case seen[p.Name]:
			msg = "the node has it twice"
		}
		if msg != "" {
			return fmt.Errorf("%w: property %q of %s: %s", ErrOverlay, p.Name, path, msg)
		}
		seen[p.Name] = true
		var v []byte
		for _, part := range p.Value {
			if part.kind == partRef {
				if part.err = badLabel(part.label); part.err != "" {
					part.err = fmt.Sprintf("reference to %q: %s", part.label, part.err)
				}
				w.refs = append(w.refs, reference{part.label, dst, p.Name, len(v)})
			}
			if part.err != "" {
				return fmt.Errorf("%w: property %q of %s: %s", ErrOverlay, p.Name, path, part.err)
			}
			v = append(v, part.data...)
		}
		dst.Props = append(dst.Props, Prop{Name: p.Name, Value: v})
	}
	seen = make(map[string]bool, len(src.Children))
	bases := make(map[string]bool, len(src.Children))
	for _, c := range src.Children {
		if c == nil {
			return fmt.Errorf("%w: %s has a nil child", ErrOverlay, path)
		}
		msg := badSourceName(c.Name, "@")
		switch {
		case msg != "":
		case strings.Count(c.Name, "@") > 1:
			msg = "more than one @"
		case seen[c.Name]:
			msg = "its parent has two of this name"
		case seen[baseName(c.Name)] || strings.IndexByte(c.Name, '@') < 0 && bases[c.Name]:
			// Where a path says "port", libfdt takes the first of "port"
			// and "port@0", and merging turns their order around.
			msg = "a sibling differs only by its unit address being there or not, and boot loaders would mix them up"
		}
		if msg != "" {
			return fmt.Errorf("%w: node %q below %s: %s", ErrOverlay, c.Name, path, msg)
		}
		seen[c.Name], bases[baseName(c.Name)] = true, true
		n := dst.AddChild(&Node{Name: c.Name})
		for _, l := range c.Labels {
			if msg := badLabel(l); msg != "" {
				return fmt.Errorf("%w: label %q of %s: %s", ErrOverlay, l, join(path, c.Name), msg)
			}
			if w.labels[l] != nil {
				return fmt.Errorf("%w: label %q of %s is already that of another node", ErrOverlay, l, join(path, c.Name))
			}
			w.labels[l] = n
			w.named = append(w.named, labelled{l, n})
		}
		if err := w.content(c, n, join(path, c.Name), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// resolve gives out phandles and appends the tables.
func (w *overlayWriter) resolve() error {
	paths := make(map[*Node]string)
	t := &Tree{Root: w.root}
	if err := t.Walk(func(path string, n *Node) error {
		paths[n] = path
		return nil
	}); err != nil {
		return err
	}

	given := make(map[*Node]uint32)
	phandle := func(n *Node) uint32 {
		if given[n] == 0 {
			given[n] = uint32(len(given) + 1)
			n.Props = append(n.Props, Prop{Name: "phandle", Value: U32s(given[n])})
		}
		return given[n]
	}
	fixups, local := &Node{Name: "__fixups__"}, &Node{Name: "__local_fixups__"}
	index := make(map[string]int) // of fixups.Props
	mirror := map[*Node]*Node{w.root: local}
	parents := parentsOf(w.root)
	for _, r := range w.refs {
		target := w.labels[r.label]
		if target == nil {
			i, ok := index[r.label]
			if !ok {
				i = len(fixups.Props)
				index[r.label] = i
				fixups.Props = append(fixups.Props, Prop{Name: r.label})
			}
			where := fmt.Sprintf("%s:%s:%d", paths[r.node], r.prop, r.at)
			fixups.Props[i].Value = append(fixups.Props[i].Value, StringList(where)...)
			continue
		}
		if r.prop == "target" && parents[r.node] == w.root {
			return fmt.Errorf("%w: %s: the target label %q is one of the overlay itself", ErrOverlay, r.node.Name, r.label)
		}
		v, _ := r.node.Prop(r.prop)
		copy(v[r.at:], U32s(phandle(target)))
		m := mirrorNode(mirror, parents, r.node)
		at, _ := m.Prop(r.prop)
		m.Set(r.prop, append(at, U32s(uint32(r.at))...))
	}
	symbols := &Node{Name: "__symbols__"}
	for _, l := range w.named {
		phandle(l.node)
		symbols.Props = append(symbols.Props, Prop{Name: l.label, Value: StringList(paths[l.node])})
	}
	for _, table := range []*Node{symbols, fixups, local} {
		if len(table.Props)+len(table.Children) > 0 {
			w.root.AddChild(table)
		}
	}
	return nil
}

// parentsOf maps each node below root to its parent.
func parentsOf(root *Node) map[*Node]*Node {
	parents := make(map[*Node]*Node)
	var visit func(*Node)
	visit = func(n *Node) {
		for _, c := range n.Children {
			parents[c] = n
			visit(c)
		}
	}
	visit(root)
	return parents
}

// mirrorNode returns the node of __local_fixups__ that stands for n, and makes
// it and those above it when they are not there yet.
func mirrorNode(mirror, parents map[*Node]*Node, n *Node) *Node {
	if m := mirror[n]; m != nil {
		return m
	}
	m := mirrorNode(mirror, parents, parents[n]).AddChild(&Node{Name: n.Name})
	mirror[n] = m
	return m
}

// DTS writes the overlay as commented source text for "dtc -@". Each header
// line becomes a comment at the top. Only the text of an overlay that Marshal
// accepts is one that dtc accepts.
func (o *Overlay) DTS(header ...string) string {
	var b strings.Builder
	for _, line := range header {
		for _, l := range strings.Split(line, "\n") {
			b.WriteString(strings.TrimRight("// "+printable(l), " ") + "\n")
		}
	}
	b.WriteString("/dts-v1/;\n/plugin/;\n")
	for _, f := range o.Fragments {
		if f == nil || f.Node == nil {
			continue
		}
		b.WriteByte('\n')
		writeComment(&b, f.Comment, 0)
		target := "&" + f.TargetLabel
		if f.TargetPath != "" {
			target = "&{" + f.TargetPath + "}"
		}
		b.WriteString(target + " {\n")
		writeSource(&b, f.Node, 1)
		b.WriteString("};\n")
	}
	return b.String()
}

func writeSource(b *strings.Builder, n *SourceNode, level int) {
	indent := strings.Repeat("\t", level)
	for _, p := range n.Props {
		if p == nil {
			continue
		}
		writeComment(b, p.Comment, level)
		b.WriteString(indent + p.Name)
		for i, part := range p.Value {
			if i == 0 {
				b.WriteString(" = ")
			} else {
				b.WriteString(", ")
			}
			b.WriteString(part.source())
		}
		b.WriteString(";\n")
	}
	for i, c := range n.Children {
		if c == nil {
			continue
		}
		if i > 0 || len(n.Props) > 0 {
			b.WriteByte('\n')
		}
		writeComment(b, c.Comment, level)
		b.WriteString(indent)
		for _, l := range c.Labels {
			b.WriteString(l + ": ")
		}
		b.WriteString(c.Name + " {\n")
		writeSource(b, c, level+1)
		b.WriteString(indent + "};\n")
	}
}

// source renders a part. An empty one is <>, which adds nothing.
func (p Part) source() string {
	switch {
	case p.kind == partRef:
		return "<&" + p.label + ">"
	case len(p.data) == 0:
		return "<>"
	case p.kind == partCells:
		return cellText(p.data, cellFormat(p.data))
	case p.kind == partText:
		quoted := make([]string, len(p.strs))
		for i, s := range p.strs {
			quoted[i] = quote(s)
		}
		return strings.Join(quoted, ", ")
	}
	return guessValue(p.data)
}

// cellFormat is how a person would write these cells: counts in decimal,
// addresses and sizes in hexadecimal.
func cellFormat(v []byte) string {
	for ; len(v) >= 4; v = v[4:] {
		if be32(v) > 9 {
			return "%#x"
		}
	}
	return "%d"
}

// writeComment writes a comment of one or several lines in the kernel's style.
func writeComment(b *strings.Builder, text string, level int) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	indent := strings.Repeat("\t", level)
	// The text may come from a user's file; it must not end the comment.
	text = strings.ReplaceAll(text, "*/", "* /")
	lines := strings.Split(text, "\n")
	if len(lines) == 1 {
		fmt.Fprintf(b, "%s/* %s */\n", indent, printable(lines[0]))
		return
	}
	fmt.Fprintf(b, "%s/*\n", indent)
	for _, l := range lines {
		fmt.Fprintf(b, "%s\n", strings.TrimRight(indent+" * "+printable(l), " "))
	}
	fmt.Fprintf(b, "%s */\n", indent)
}

// printable replaces control characters, which could hide what a comment says
// or end the line it stands on. A trailing backslash would join the next line
// to it once the C preprocessor runs over the file.
func printable(line string) string {
	line = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, strings.TrimRight(line, " \t\r"))
	if strings.HasSuffix(line, `\`) {
		line += "."
	}
	return line
}

// badSourceName says why dtc would refuse a name, or "". The characters are
// those of its checks node_name_chars and prop_name_chars.
func badSourceName(name, also string) string {
	if msg := badPropName(name); msg != "" {
		return msg
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !isAlnum(c) && strings.IndexByte(",._+-"+also, c) < 0 {
			return fmt.Sprintf("%q is not allowed in device tree source", c)
		}
	}
	return ""
}

// badLabel says why a label is none, or "".
func badLabel(l string) string {
	if msg := badPropName(l); msg != "" {
		return msg
	}
	for i := 0; i < len(l); i++ {
		if !isAlnum(l[i]) && l[i] != '_' || i == 0 && l[i] >= '0' && l[i] <= '9' {
			return "a label consists of letters, digits and _, and does not start with a digit"
		}
	}
	return ""
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// badPath says why a target path cannot stand in device tree source, or "".
func badPath(path string) string {
	if path == "/" {
		return ""
	}
	if path[0] != '/' {
		return "it does not start with a slash"
	}
	for _, part := range strings.Split(path[1:], "/") {
		if msg := badSourceName(part, "@"); msg != "" {
			return msg
		}
	}
	return ""
}
