// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"fmt"
	"strings"
)

// ApplyKind says why an overlay does not apply.
type ApplyKind string

// The reasons. libfdt reports most of them as FDT_ERR_NOTFOUND or
// FDT_ERR_BADOVERLAY, without saying what was not found.
const (
	// KindNotOverlay: no node of the tree has an __overlay__. libfdt does
	// nothing then and calls it a success.
	KindNotOverlay ApplyKind = "not-overlay"
	// KindNoSymbols: a label is asked for, and the base has no __symbols__.
	KindNoSymbols ApplyKind = "no-symbols"
	// KindNoLabel: the base has symbols, and not this one.
	KindNoLabel ApplyKind = "no-label"
	// KindBadLabel: __symbols__ of the base gives a path for the label that
	// leads to no node.
	KindBadLabel ApplyKind = "bad-label"
	// KindNoPhandle: the labelled node of the base has no phandle, so
	// nothing can refer to it.
	KindNoPhandle ApplyKind = "no-phandle"
	// KindNoTarget: a fragment has neither target nor target-path.
	KindNoTarget ApplyKind = "no-target"
	// KindNoTargetPath: the target-path of a fragment leads to no node.
	KindNoTargetPath ApplyKind = "no-target-path"
	// KindNoTargetPhandle: the target of a fragment is no node's phandle.
	KindNoTargetPhandle ApplyKind = "no-target-phandle"
	// KindBadFixup: __fixups__ or __local_fixups__ of the overlay point at
	// something it does not have.
	KindBadFixup ApplyKind = "bad-fixup"
	// KindBadPhandle: a phandle of the overlay is not one cell, or leaves
	// no number free above those of the base.
	KindBadPhandle ApplyKind = "bad-phandle"
	// KindBadSymbol: __symbols__ of the overlay gives something that is not
	// a path in it.
	KindBadSymbol ApplyKind = "bad-symbol"
)

// ApplyError says which part of which overlay does not apply, and what the
// base lacks. Fields that the kind does not need are empty.
type ApplyError struct {
	Overlay  int    // index in the arguments of Apply, from 0
	Fragment string // node of the overlay, "fragment@0"
	Kind     ApplyKind
	Label    string // label looked for
	Path     string // path looked for
	Exists   string // the longest part of Path that the base has
	Near     string // what the base has and was perhaps meant
	Detail   string // the odd fact
}

// Error is one sentence that names what is missing and, where there is one,
// the way out.
func (e *ApplyError) Error() string {
	where := fmt.Sprintf("overlay %d", e.Overlay)
	if e.Fragment != "" {
		where += ", " + e.Fragment
	}
	near := ""
	if e.Near != "" {
		near = fmt.Sprintf("; did you mean %q?", e.Near)
	}
	switch e.Kind {
	case KindNotOverlay:
		return where + ": not an overlay: no node has an __overlay__"
	case KindNoSymbols:
		return fmt.Sprintf("%s: label %q cannot be looked up: the base has no __symbols__; compile the base with dtc -@, or target paths", where, e.Label)
	case KindNoLabel:
		return fmt.Sprintf("%s: the base has no label %q%s", where, e.Label, near)
	case KindBadLabel:
		return fmt.Sprintf("%s: the base says label %q is %q, and has no such node", where, e.Label, e.Path)
	case KindNoPhandle:
		return fmt.Sprintf("%s: the node of label %q, %s, has no phandle in the base; compile the base with dtc -@", where, e.Label, e.Path)
	case KindNoTarget:
		return where + ": neither target nor target-path"
	case KindNoTargetPath:
		if e.Exists == "" {
			return fmt.Sprintf("%s: the base has no node %q%s", where, e.Path, near)
		}
		return fmt.Sprintf("%s: the base has no node %q (it has %s)%s", where, e.Path, e.Exists, near)
	}
	return where + ": " + e.Detail
}

// Apply merges overlays into a copy of the base, one after the other, and
// changes none of its arguments; the copy shares the values of properties with
// the base. The result is what libfdt's
// fdt_overlay_apply makes of them, and so what U-Boot and fdtoverlay make,
// the order included: libfdt puts each new property and each new child in
// front of those that are there, and the kernel acts on that order.
//
// Three more habits of libfdt are kept, because a lint must see what the board
// will get. A node of the overlay without unit address merges into the first
// base node of that name with one. A phandle of the overlay replaces that of
// the base node it merges into, and references of the base to it break.
// A symbol for the target of a fragment itself ends with a slash.
//
// When a label or target is missing, the error joins one *ApplyError for each;
// errors.As finds the first. Unlike libfdt, Apply refuses a tree that has no
// fragment, because merging nothing cannot have been meant.
func Apply(base *Tree, overlays ...*Tree) (*Tree, error) {
	if err := base.Check(); err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	for i, o := range overlays {
		if err := o.Check(); err != nil {
			return nil, fmt.Errorf("overlay %d: %w", i, err)
		}
	}
	out := &Tree{Root: base.Root.cloneNodes(), Reserve: append([]Reserve(nil), base.Reserve...), BootCPU: base.BootCPU}
	m := newMerger(out.Root)
	for i, o := range overlays {
		a := applier{m: m, number: i, o: o.Clone().Root, of: newFinder(false)}
		if err := a.run(); err != nil {
			return nil, err
		}
	}
	reverse(out.Root)
	if err := out.Check(); err != nil {
		return nil, fmt.Errorf("merged tree: %w", err)
	}
	return out, nil
}

// reverse turns the order of properties and children of a whole tree around.
func reverse(n *Node) {
	for i, j := 0, len(n.Props)-1; i < j; i, j = i+1, j-1 {
		n.Props[i], n.Props[j] = n.Props[j], n.Props[i]
	}
	for i, j := 0, len(n.Children)-1; i < j; i, j = i+1, j-1 {
		n.Children[i], n.Children[j] = n.Children[j], n.Children[i]
	}
	for _, c := range n.Children {
		reverse(c)
	}
}

// finder looks up properties and children as libfdt does, which takes the
// first that matches, but through an index: an overlay may name each of many
// nodes many times. The index of a node is made when it is first needed.
type finder struct {
	reversed bool // the tree is stored back to front
	nodes    map[*Node]*index
}

type index struct {
	props map[string]int
	kids  map[string]*Node // by full name, and by name without unit address
}

func newFinder(reversed bool) *finder {
	return &finder{reversed: reversed, nodes: make(map[*Node]*index)}
}

func (f *finder) of(n *Node) *index {
	ix := f.nodes[n]
	if ix != nil {
		return ix
	}
	ix = &index{props: make(map[string]int, len(n.Props)), kids: make(map[string]*Node, len(n.Children))}
	f.nodes[n] = ix
	// From the last to the first, so that the first one stays.
	for k := range n.Props {
		i := k
		if !f.reversed {
			i = len(n.Props) - 1 - k
		}
		ix.props[n.Props[i].Name] = i
	}
	for k := range n.Children {
		i := k
		if !f.reversed {
			i = len(n.Children) - 1 - k
		}
		ix.addFirst(n.Children[i])
	}
	return ix
}

// addFirst enters a child that comes before all others.
func (ix *index) addFirst(c *Node) {
	ix.kids[c.Name] = c
	ix.kids[baseName(c.Name)] = c
}

func (f *finder) child(n *Node, name string) *Node { return f.of(n).kids[name] }

func (f *finder) prop(n *Node, name string) ([]byte, bool) {
	i, ok := f.of(n).props[name]
	if !ok {
		return nil, false
	}
	return n.Props[i].Value, true
}

func (f *finder) phandle(n *Node) uint32 {
	for _, name := range []string{"phandle", "linux,phandle"} {
		if v, ok := f.prop(n, name); ok && len(v) == 4 {
			return be32(v)
		}
	}
	return 0
}

// path follows a path as far as it goes. When the last node is not the one
// meant, rest is the component that it has no child for.
func (f *finder) path(root *Node, path string) (n *Node, rest string) {
	if !strings.HasPrefix(path, "/") {
		name, tail := path, ""
		if i := strings.IndexByte(path, '/'); i >= 0 {
			name, tail = path[:i], path[i:]
		}
		target := ""
		if aliases := f.child(root, "aliases"); aliases != nil {
			v, _ := f.prop(aliases, name)
			target = cString(v)
		}
		if !strings.HasPrefix(target, "/") {
			return nil, name
		}
		path = target + tail
	}
	n = root
	for path != "" {
		var part string
		if i := strings.IndexByte(path, '/'); i >= 0 {
			part, path = path[:i], path[i+1:]
		} else {
			part, path = path, ""
		}
		if part == "" {
			continue
		}
		c := f.child(n, part)
		if c == nil {
			return n, part
		}
		n = c
	}
	return n, ""
}

// cString is a value up to its first terminator, as C reads it.
func cString(v []byte) string {
	s := string(v)
	if i := strings.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}

// merger holds the base while overlays are merged into it. The tree is stored
// back to front for that time, so that libfdt's insertion at the front is an
// append.
type merger struct {
	*finder
	root  *Node
	max   uint32 // the largest phandle
	grown int64  // bytes of symbols made, which the limits of the inputs do not bound
	// Most overlays name their targets by path and need none of these, which
	// are made when they are first asked for.
	parents   map[*Node]*Node
	byPhandle map[uint32]*Node
	replaced  map[uint32]*Node // phandles that overlays took from base nodes
}

func newMerger(root *Node) *merger {
	m := &merger{finder: newFinder(true), root: root, max: maxPhandle(root)}
	reverse(root)
	return m
}

// phandles returns the first node of each phandle.
func (m *merger) phandles() map[uint32]*Node {
	if m.byPhandle != nil {
		return m.byPhandle
	}
	m.byPhandle, m.replaced = make(map[uint32]*Node), make(map[uint32]*Node)
	var visit func(*Node)
	visit = func(n *Node) {
		if ph := m.storedPhandle(n); ph != 0 && m.byPhandle[ph] == nil {
			m.byPhandle[ph] = n
		}
		for i := len(n.Children) - 1; i >= 0; i-- {
			visit(n.Children[i])
		}
	}
	visit(m.root)
	return m.byPhandle
}

// storedPhandle is phandle without making an index for the node.
func (m *merger) storedPhandle(n *Node) uint32 {
	for _, name := range []string{"phandle", "linux,phandle"} {
		for i := len(n.Props) - 1; i >= 0; i-- {
			if n.Props[i].Name == name {
				if v := n.Props[i].Value; len(v) == 4 {
					return be32(v)
				}
				break
			}
		}
	}
	return 0
}

// set is fdt_setprop.
func (m *merger) set(n *Node, name string, value []byte) {
	isPhandle := name == "phandle" || name == "linux,phandle"
	var old uint32
	if isPhandle {
		if old = m.phandle(n); old != 0 {
			m.phandles() // as they are before
		}
	}
	ix := m.of(n)
	if i, ok := ix.props[name]; ok {
		n.Props[i].Value = value
	} else {
		ix.props[name] = len(n.Props)
		n.Props = append(n.Props, Prop{Name: name, Value: value})
	}
	if !isPhandle {
		return
	}
	ph := m.phandle(n)
	m.max = max(m.max, ph)
	if m.byPhandle == nil {
		return
	}
	if old != 0 && m.byPhandle[old] == n {
		delete(m.byPhandle, old)
		m.replaced[old] = n
	}
	if ph != 0 && m.byPhandle[ph] == nil {
		m.byPhandle[ph] = n
	}
}

// addChild is fdt_add_subnode, or the node that is already there.
func (m *merger) addChild(n *Node, name string) *Node {
	if c := m.child(n, name); c != nil {
		return c
	}
	c := &Node{Name: name}
	n.Children = append(n.Children, c)
	m.of(n).addFirst(c)
	if m.parents != nil {
		m.parents[c] = n
	}
	return c
}

// merge is overlay_apply_node.
func (m *merger) merge(dst, src *Node) {
	for _, p := range src.Props {
		m.set(dst, p.Name, p.Value)
	}
	for _, c := range src.Children {
		m.merge(m.addChild(dst, c.Name), c)
	}
}

func (m *merger) pathOf(n *Node) string {
	if n == m.root {
		return "/"
	}
	if m.parents == nil {
		m.parents = parentsOf(m.root)
	}
	path := ""
	for ; n != m.root; n = m.parents[n] {
		path = "/" + n.Name + path
	}
	return path
}

// applier applies one overlay. o is a copy of it, whose references are
// resolved in place before anything is merged.
type applier struct {
	m      *merger
	number int
	o      *Node
	of     *finder // of the overlay
}

// maxErrors bounds how many missing things are listed: one is enough to act
// on, and an overlay for another board misses all of them.
const maxErrors = 10

func (a *applier) fail(e ApplyError) error {
	e.Overlay = a.number
	return &e
}

func (a *applier) run() error {
	fragments := a.fragments()
	if len(fragments) == 0 {
		return a.fail(ApplyError{Kind: KindNotOverlay})
	}
	delta := a.m.max
	if err := a.renumber(a.o, delta); err != nil {
		return err
	}
	if local := a.of.child(a.o, "__local_fixups__"); local != nil {
		if err := a.localFixups(a.o, local, "/", delta); err != nil {
			return err
		}
	}
	if err := a.fixups(); err != nil {
		return err
	}
	var errs []error
	for _, f := range fragments {
		target, _, err := a.target(f)
		if err != nil {
			if errs = append(errs, err); len(errs) == maxErrors {
				break
			}
			continue
		}
		a.m.merge(target, a.of.child(f, "__overlay__"))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return a.symbols()
}

func (a *applier) fragments() []*Node {
	var out []*Node
	for _, n := range a.o.Children {
		if a.of.child(n, "__overlay__") != nil {
			out = append(out, n)
		}
	}
	return out
}

// renumber moves the phandles of the overlay behind those of the base.
func (a *applier) renumber(n *Node, delta uint32) error {
	for _, name := range []string{"phandle", "linux,phandle"} {
		v, ok := a.of.prop(n, name)
		if !ok {
			continue
		}
		if len(v) != 4 {
			return a.fail(ApplyError{Kind: KindBadPhandle, Detail: fmt.Sprintf("%s of node %q has %d bytes instead of 4", name, n.Name, len(v))})
		}
		ph := be32(v)
		if ph > ^uint32(0)-delta || ph+delta == ^uint32(0) {
			return a.fail(ApplyError{Kind: KindBadPhandle, Detail: fmt.Sprintf("no phandle is left: %#x of node %q on top of %#x, the largest of the base", ph, n.Name, delta)})
		}
		copy(v, U32s(ph+delta))
	}
	for _, c := range n.Children {
		if err := a.renumber(c, delta); err != nil {
			return err
		}
	}
	return nil
}

// localFixups follows __local_fixups__, a tree like the overlay whose
// properties are the offsets of references within it.
func (a *applier) localFixups(n, fix *Node, path string, delta uint32) error {
	bad := func(format string, args ...any) error {
		return a.fail(ApplyError{Kind: KindBadFixup, Path: path, Detail: "__local_fixups__ of " + path + ": " + fmt.Sprintf(format, args...)})
	}
	for _, p := range fix.Props {
		v, ok := a.of.prop(n, p.Name)
		if !ok {
			return bad("the node has no property %q", p.Name)
		}
		if len(p.Value)%4 != 0 {
			return bad("the offsets for property %q are %d bytes, not whole cells", p.Name, len(p.Value))
		}
		for at := p.Value; len(at) > 0; at = at[4:] {
			if msg := patchCell(v, uint64(be32(at)), func(old uint32) uint32 { return old + delta }); msg != "" {
				return bad("property %q: %s", p.Name, msg)
			}
		}
	}
	for _, c := range fix.Children {
		to := a.of.child(n, c.Name)
		if to == nil {
			return bad("the node has no child %q", c.Name)
		}
		if err := a.localFixups(to, c, join(path, c.Name), delta); err != nil {
			return err
		}
	}
	return nil
}

// patchCell changes the cell at an offset, which need not be aligned, and says
// why it cannot.
func patchCell(v []byte, at uint64, change func(uint32) uint32) string {
	if len(v) < 4 || at > uint64(len(v)-4) {
		return fmt.Sprintf("offset %d is outside of its %d bytes", at, len(v))
	}
	copy(v[at:], U32s(change(be32(v[at:]))))
	return ""
}

// fixups follows __fixups__: for each label of the base the places that refer
// to it, as "path:property:offset".
func (a *applier) fixups() error {
	table := a.of.child(a.o, "__fixups__")
	if table == nil || len(table.Props) == 0 {
		return nil
	}
	symbols := a.m.child(a.m.root, "__symbols__")
	var errs []error
	for _, p := range table.Props {
		fragment := fragmentOf(cString(p.Value))
		if symbols == nil {
			return a.fail(ApplyError{Kind: KindNoSymbols, Fragment: fragment, Label: p.Name})
		}
		ph, err := a.label(symbols, p.Name, fragment)
		if err != nil {
			if errs = append(errs, err); len(errs) == maxErrors {
				break
			}
			continue
		}
		if len(p.Value) == 0 || p.Value[len(p.Value)-1] != 0 {
			return a.fail(ApplyError{Kind: KindBadFixup, Label: p.Name, Detail: fmt.Sprintf("__fixups__: the value for label %q is not a list of strings", p.Name)})
		}
		for _, where := range strings.Split(string(p.Value[:len(p.Value)-1]), "\x00") {
			if msg := a.fixup(where, ph); msg != "" {
				return a.fail(ApplyError{Kind: KindBadFixup, Fragment: fragmentOf(where), Label: p.Name, Detail: fmt.Sprintf("__fixups__: label %q: %q: %s", p.Name, where, msg)})
			}
		}
	}
	return errors.Join(errs...)
}

// fragmentOf is the first component of a path in an overlay.
func fragmentOf(where string) string {
	where = strings.TrimPrefix(where, "/")
	if i := strings.IndexAny(where, "/:"); i >= 0 {
		return where[:i]
	}
	return where
}

// label returns the phandle of a label of the base.
func (a *applier) label(symbols *Node, label, fragment string) (uint32, error) {
	v, ok := a.m.prop(symbols, label)
	if !ok {
		near := Nearest(label, symbols.PropNames())
		return 0, a.fail(ApplyError{Kind: KindNoLabel, Fragment: fragment, Label: label, Near: near})
	}
	path := cString(v)
	n, rest := a.m.path(a.m.root, path)
	if n == nil || rest != "" {
		return 0, a.fail(ApplyError{Kind: KindBadLabel, Fragment: fragment, Label: label, Path: path})
	}
	ph := a.m.phandle(n)
	if ph == 0 {
		return 0, a.fail(ApplyError{Kind: KindNoPhandle, Fragment: fragment, Label: label, Path: path})
	}
	return ph, nil
}

// fixup writes a phandle to one place of the overlay.
func (a *applier) fixup(where string, ph uint32) string {
	path, rest, _ := strings.Cut(where, ":")
	name, offset, ok := strings.Cut(rest, ":")
	if !ok || name == "" || offset == "" {
		return "not path:property:offset"
	}
	var at uint64
	for i := 0; i < len(offset); i++ {
		if offset[i] < '0' || offset[i] > '9' {
			return "the offset is not a number"
		}
		if at = at*10 + uint64(offset[i]-'0'); at > MaxSize {
			return "the offset is too large"
		}
	}
	n, missing := a.of.path(a.o, path)
	if n == nil || missing != "" {
		return "the overlay has no such node"
	}
	v, ok := a.of.prop(n, name)
	if !ok {
		return "the node has no such property"
	}
	return patchCell(v, at, func(uint32) uint32 { return ph })
}

// target finds the node of the base a fragment is for, and how target-path
// spelled it, which is "" for a phandle.
func (a *applier) target(fragment *Node) (*Node, string, error) {
	var ph uint32
	if v, ok := a.of.prop(fragment, "target"); ok {
		if len(v) != 4 {
			return nil, "", a.fail(ApplyError{Kind: KindNoTargetPhandle, Fragment: fragment.Name, Detail: fmt.Sprintf("the target has %d bytes instead of 4", len(v))})
		}
		if be32(v) == ^uint32(0) {
			return nil, "", a.fail(ApplyError{Kind: KindNoTargetPhandle, Fragment: fragment.Name, Detail: "the target is not resolved: __fixups__ does not mention it"})
		}
		ph = be32(v)
	}
	if ph != 0 {
		n := a.m.phandles()[ph]
		if n == nil {
			e := ApplyError{Kind: KindNoTargetPhandle, Fragment: fragment.Name, Detail: fmt.Sprintf("no node has the phandle %#x of its target", ph)}
			// The usual cause is a label where an overlay repeats a node of
			// the base: dtc gives a phandle to each node with a label.
			if was := a.m.replaced[ph]; was != nil {
				e.Path = a.m.pathOf(was)
				e.Detail = fmt.Sprintf("its target %s has lost the phandle %#x to that of the overlay node merged into it; remove the label of that node", e.Path, ph)
			}
			return nil, "", a.fail(e)
		}
		return n, "", nil
	}
	v, ok := a.of.prop(fragment, "target-path")
	if !ok {
		return nil, "", a.fail(ApplyError{Kind: KindNoTarget, Fragment: fragment.Name})
	}
	path := cString(v)
	n, missing := a.m.path(a.m.root, path)
	if n != nil && missing == "" {
		return n, path, nil
	}
	e := ApplyError{Kind: KindNoTargetPath, Fragment: fragment.Name, Path: path}
	if n != nil {
		e.Exists = a.m.pathOf(n)
		var names []string
		for _, c := range n.Children {
			names = append(names, c.Name)
		}
		if near := Nearest(missing, names); near != "" {
			e.Near = join(e.Exists, near)
		}
	}
	return nil, "", a.fail(e)
}

// symbols adds the labels of the overlay to those of the base, so that a later
// overlay can use them.
func (a *applier) symbols() error {
	table := a.of.child(a.o, "__symbols__")
	if table == nil {
		return nil
	}
	type found struct {
		prefix string
		err    error
	}
	targets := make(map[*Node]found)
	root := a.m.addChild(a.m.root, "__symbols__")
	for _, p := range table.Props {
		path, ok := oneString(p.Value)
		if !ok || !strings.HasPrefix(path, "/") {
			return a.fail(ApplyError{Kind: KindBadSymbol, Label: p.Name, Detail: fmt.Sprintf("__symbols__: the value for label %q is not one absolute path", p.Name)})
		}
		name, rest, _ := strings.Cut(path[1:], "/")
		if rest != "__overlay__" && !strings.HasPrefix(rest, "__overlay__/") {
			continue // a node of the overlay that the base does not get
		}
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "__overlay__"), "/")
		f := a.of.child(a.o, name)
		if f == nil || a.of.child(f, "__overlay__") == nil {
			return a.fail(ApplyError{Kind: KindBadSymbol, Fragment: name, Label: p.Name, Path: path, Detail: fmt.Sprintf("__symbols__: label %q is %s, and the overlay has no such fragment", p.Name, path)})
		}
		t, ok := targets[f]
		if !ok {
			var n *Node
			n, t.prefix, t.err = a.target(f)
			if t.err == nil && t.prefix == "" {
				t.prefix = a.m.pathOf(n)
			}
			if t.prefix == "/" {
				t.prefix = ""
			}
			targets[f] = t
		}
		if t.err != nil {
			return t.err
		}
		if a.m.grown += int64(len(t.prefix) + len(rest)); a.m.grown > MaxSize {
			return fmt.Errorf("overlay %d: %w: the symbols add up to more than %d bytes", a.number, ErrTooLarge, MaxSize)
		}
		a.m.set(root, p.Name, StringList(t.prefix+"/"+rest))
	}
	return nil
}
