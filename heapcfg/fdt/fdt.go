// SPDX-License-Identifier: MIT

// Package fdt reads, changes and writes device trees: flattened blobs (.dtb),
// overlays (.dtbo, and the .dtso source that says the same) and the directory
// a running kernel shows under /proc/device-tree.
//
// Bytes go in, values come out; nothing here opens a file. A blob may come
// from anywhere, so each one passes a guard before anything is built from it:
// the guard walks the whole structure once without allocating and knows every
// limit below, so that a damaged or hostile file costs one clear error and
// neither time nor memory.
//
// The package is about the tree only. It knows cells, phandles, labels and
// overlays; what a reserved-memory node means is decided elsewhere.
package fdt

import (
	"errors"
	"fmt"
	"strings"
)

// Limits on what is read or written. The largest board files of current
// kernels have some 5000 nodes, 20000 properties and half a megabyte, so each
// limit leaves an order of magnitude.
const (
	// MaxSize bounds a blob by its own totalsize field, padding included.
	MaxSize = 16 << 20
	// MaxDepth bounds nesting; the root is at depth 1.
	MaxDepth = 64
	// MaxNodes bounds the number of nodes of a tree.
	MaxNodes = 1 << 16
	// MaxProps bounds the number of properties of a tree.
	MaxProps = 1 << 17
	// MaxReserve bounds the number of /memreserve/ entries.
	MaxReserve = 1 << 12
	// MaxName bounds the name of a node or a property. The specification
	// says 31, but labels become property names of __symbols__ and do not
	// keep to it.
	MaxName = 255
	// maxNameBytes bounds the names of all properties together. A blob stores
	// a name once, other ways to write a tree once per property.
	maxNameBytes = 4 << 20
)

// Errors that Parse, Marshal and FromFS wrap with the offset or path and the
// facts. Use errors.Is.
var (
	ErrNotDTB    = errors.New("not a device tree blob")
	ErrTruncated = errors.New("truncated device tree blob")
	ErrVersion   = errors.New("unsupported device tree blob version")
	ErrMalformed = errors.New("malformed device tree")
	ErrTooLarge  = errors.New("device tree exceeds a limit")
)

// SkipChildren, returned by the function given to Walk, leaves out the
// children of the node just visited.
//
//lint:ignore ST1012 it is a request and no failure, and named like fs.SkipDir
var SkipChildren = errors.New("skip the children of this node")

// Tree is a whole device tree. The order of nodes and properties is that of
// the source, because the kernel acts on it: reservations are first come,
// first served, and the last linux,cma-default wins.
type Tree struct {
	Root    *Node
	Reserve []Reserve // the /memreserve/ entries
	BootCPU uint32    // boot_cpuid_phys of the header
}

// Reserve is one /memreserve/ entry.
type Reserve struct{ Base, Size uint64 }

// Node is one node. The root has an empty name, every other node has one,
// with its unit address ("memory@80000000").
type Node struct {
	Name     string
	Props    []Prop
	Children []*Node
}

// Prop is one property; a property without a value is a boolean that is true,
// and readers here give it a nil value.
type Prop struct {
	Name  string
	Value []byte
}

// Clone returns a deep copy.
func (t *Tree) Clone() *Tree {
	return &Tree{
		Root:    t.Root.Clone(),
		Reserve: append([]Reserve(nil), t.Reserve...),
		BootCPU: t.BootCPU,
	}
}

// Clone returns a deep copy of the node and all below it.
func (n *Node) Clone() *Node {
	if n == nil {
		return nil
	}
	var c cloner
	c.count(n)
	c.values = make(slab[byte], c.sum.values)
	return c.clone(n)
}

// cloneNodes is Clone but for the values of properties, which are shared.
func (n *Node) cloneNodes() *Node {
	c := cloner{share: true}
	c.count(n)
	return c.clone(n)
}

// cloner copies a tree into a few allocations.
type cloner struct {
	share  bool // the values
	sum    counts
	nodes  slab[Node]
	kids   slab[*Node]
	props  slab[Prop]
	values slab[byte]
}

func (c *cloner) count(n *Node) {
	c.sum.nodes++
	c.sum.props += len(n.Props)
	for i := range n.Props {
		c.sum.values += len(n.Props[i].Value)
	}
	for _, k := range n.Children {
		c.count(k)
	}
}

func (c *cloner) clone(n *Node) *Node {
	if c.nodes == nil {
		c.nodes, c.kids, c.props = make(slab[Node], c.sum.nodes), make(slab[*Node], c.sum.nodes), make(slab[Prop], c.sum.props)
	}
	out := &c.nodes.take(1)[0]
	out.Name = n.Name
	if len(n.Props) > 0 {
		out.Props = c.props.take(len(n.Props))
		copy(out.Props, n.Props)
		for i := range out.Props {
			v := &out.Props[i].Value
			switch {
			case len(*v) == 0:
				*v = nil
			case !c.share:
				*v = append(c.values.take(len(*v))[:0], *v...)
			}
		}
	}
	if len(n.Children) > 0 {
		out.Children = c.kids.take(len(n.Children))
		for i, k := range n.Children {
			out.Children[i] = c.clone(k)
		}
	}
	return out
}

// Prop returns the value of a property. The value is shared with the tree.
//
// It is asked for in a hundred places: one copy in each is 15 KB of heapctl.
//
//go:noinline
func (n *Node) Prop(name string) ([]byte, bool) {
	for i := range n.Props {
		if n.Props[i].Name == name {
			return n.Props[i].Value, true
		}
	}
	return nil, false
}

// Has reports whether the node has the property, with or without a value.
func (n *Node) Has(name string) bool {
	_, ok := n.Prop(name)
	return ok
}

// PropNames returns the names of all properties, in order; of no node, none.
func (n *Node) PropNames() []string {
	if n == nil {
		return nil
	}
	names := make([]string, len(n.Props))
	for i := range n.Props {
		names[i] = n.Props[i].Name
	}
	return names
}

// U32 returns a property of exactly one cell; any other length is not one.
func (n *Node) U32(name string) (uint32, bool) {
	v, ok := n.Prop(name)
	if !ok || len(v) != 4 {
		return 0, false
	}
	return be32(v), true
}

// Strings returns the strings of a string list property, or nil when the node
// does not have it or its value is not a list of terminated strings.
func (n *Node) Strings(name string) []string {
	v, ok := n.Prop(name)
	if !ok || len(v) == 0 || v[len(v)-1] != 0 {
		return nil
	}
	return strings.Split(string(v[:len(v)-1]), "\x00")
}

// Child returns the child of exactly this name, unit address included.
func (n *Node) Child(name string) *Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Set gives a property a value, in its place when the node has it already and
// as the last property otherwise. The tree keeps the slice.
func (n *Node) Set(name string, value []byte) {
	for i := range n.Props {
		if n.Props[i].Name == name {
			n.Props[i].Value = value
			return
		}
	}
	n.Props = append(n.Props, Prop{Name: name, Value: value})
}

// Remove drops a property and reports whether the node had it. The others
// keep their order.
func (n *Node) Remove(name string) bool {
	for i := range n.Props {
		if n.Props[i].Name == name {
			n.Props = append(n.Props[:i], n.Props[i+1:]...)
			return true
		}
	}
	return false
}

// AddChild appends a child and returns it.
func (n *Node) AddChild(c *Node) *Node {
	n.Children = append(n.Children, c)
	return c
}

// RemoveChild drops the child of exactly this name and reports whether there
// was one.
func (n *Node) RemoveChild(name string) bool {
	for i, c := range n.Children {
		if c.Name == name {
			n.Children = append(n.Children[:i], n.Children[i+1:]...)
			return true
		}
	}
	return false
}

// baseName is a node name without its unit address.
func baseName(name string) string {
	if i := strings.IndexByte(name, '@'); i >= 0 {
		return name[:i]
	}
	return name
}

// subnode finds a child as a path component names it: exactly, or without the
// unit address when exactly one child has that base name.
func (n *Node) subnode(name string) *Node {
	if c := n.Child(name); c != nil {
		return c
	}
	if strings.IndexByte(name, '@') >= 0 {
		return nil
	}
	var found *Node
	for _, c := range n.Children {
		if baseName(c.Name) == name {
			if found != nil {
				return nil
			}
			found = c
		}
	}
	return found
}

// Lookup returns the node at a path, or nil. Unit addresses may be left out
// where that is unambiguous, and a path that does not start with a slash
// starts with an alias ("serial0/bluetooth"). Doubled and trailing slashes do
// no harm, as in libfdt, which writes such paths itself.
func (t *Tree) Lookup(path string) *Node {
	if path == "" {
		return nil
	}
	n := t.Root
	if path[0] != '/' {
		name, rest := path, ""
		if i := strings.IndexByte(path, '/'); i >= 0 {
			name, rest = path[:i], path[i:]
		}
		target, ok := t.Alias(name)
		if !ok {
			return nil
		}
		path = target + rest
	}
	for path != "" && n != nil {
		var part string
		if i := strings.IndexByte(path, '/'); i >= 0 {
			part, path = path[:i], path[i+1:]
		} else {
			part, path = path, ""
		}
		if part != "" {
			n = n.subnode(part)
		}
	}
	return n
}

// Walk calls fn for each node in tree order, parents first, and stops at the
// first error other than SkipChildren.
func (t *Tree) Walk(fn func(path string, n *Node) error) error {
	return walk("/", t.Root, fn)
}

func walk(path string, n *Node, fn func(string, *Node) error) error {
	if n == nil {
		return nil
	}
	if err := fn(path, n); err != nil {
		if errors.Is(err, SkipChildren) {
			return nil
		}
		return err
	}
	for _, c := range n.Children {
		if err := walk(join(path, c.Name), c, fn); err != nil {
			return err
		}
	}
	return nil
}

// join appends a node name to an absolute path.
func join(path, name string) string {
	if path == "/" {
		return "/" + name
	}
	return path + "/" + name
}

// Path returns the path of a node of this tree, and "" for any other node.
func (t *Tree) Path(n *Node) string {
	path, _ := pathOf(t.Root, n)
	return path
}

// pathOf builds the path only along the branch that holds the node.
func pathOf(from, n *Node) (string, bool) {
	if from == nil || n == nil {
		return "", false
	}
	if from == n {
		return "/", true
	}
	for _, c := range from.Children {
		if rest, ok := pathOf(c, n); ok {
			if rest == "/" {
				return "/" + c.Name, true
			}
			return "/" + c.Name + rest, true
		}
	}
	return "", false
}

// Label returns the path that /__symbols__ gives for a label. A blob has
// labels only when it was compiled with "dtc -@".
func (t *Tree) Label(label string) (path string, ok bool) {
	return t.pathProp("__symbols__", label)
}

// Alias returns the path of an alias of /aliases.
func (t *Tree) Alias(name string) (path string, ok bool) {
	return t.pathProp("aliases", name)
}

// pathProp returns a property of a child of the root when it is one absolute
// path. That it leads to a node is not checked here.
func (t *Tree) pathProp(node, name string) (string, bool) {
	if t.Root == nil {
		return "", false
	}
	n := t.Root.Child(node)
	if n == nil {
		return "", false
	}
	s := n.Strings(name)
	if len(s) != 1 || !strings.HasPrefix(s[0], "/") {
		return "", false
	}
	return s[0], true
}

// Labels returns all labels of the node at this path, in the order of
// /__symbols__.
func (t *Tree) Labels(path string) []string {
	if t.Root == nil {
		return nil
	}
	n := t.Root.Child("__symbols__")
	if n == nil {
		return nil
	}
	var labels []string
	for _, p := range n.Props {
		if s, ok := oneString(p.Value); ok && trimSlash(s) == trimSlash(path) {
			labels = append(labels, p.Name)
		}
	}
	return labels
}

// trimSlash drops the trailing slash libfdt leaves in the symbol of a node
// that an overlay targets.
func trimSlash(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}

// oneString returns a value that is exactly one terminated string.
func oneString(v []byte) (string, bool) {
	i := strings.IndexByte(string(v), 0)
	if i < 0 || i != len(v)-1 {
		return "", false
	}
	return string(v[:i]), true
}

// Phandle returns the phandle of a node, or 0: the property "phandle", or the
// "linux,phandle" that old compilers wrote.
func (n *Node) Phandle() uint32 {
	if ph, ok := n.U32("phandle"); ok {
		return ph
	}
	ph, _ := n.U32("linux,phandle")
	return ph
}

// Phandle returns the first node with this phandle, or nil. 0 and 0xffffffff
// name no node.
func (t *Tree) Phandle(ph uint32) *Node {
	if ph == 0 || ph == ^uint32(0) {
		return nil
	}
	return findPhandle(t.Root, ph)
}

func findPhandle(n *Node, ph uint32) *Node {
	if n == nil {
		return nil
	}
	if n.Phandle() == ph {
		return n
	}
	for _, c := range n.Children {
		if found := findPhandle(c, ph); found != nil {
			return found
		}
	}
	return nil
}

// MaxPhandle returns the largest phandle of the tree, 0 when it has none.
func (t *Tree) MaxPhandle() uint32 {
	return maxPhandle(t.Root)
}

func maxPhandle(n *Node) uint32 {
	if n == nil {
		return 0
	}
	max := n.Phandle()
	for _, c := range n.Children {
		if ph := maxPhandle(c); ph > max {
			max = ph
		}
	}
	return max
}

// Check reports what keeps the tree from being written: a missing root, a
// name a blob cannot hold, or a limit. It also finds a tree that contains
// itself, by its depth.
func (t *Tree) Check() error {
	_, err := t.check()
	return err
}

func (t *Tree) check() (c counts, err error) {
	if t == nil || t.Root == nil {
		return c, fmt.Errorf("%w: no root node", ErrMalformed)
	}
	if t.Root.Name != "" {
		return c, fmt.Errorf("%w: the root node is named %q, and it can have no name", ErrMalformed, t.Root.Name)
	}
	if len(t.Reserve) > MaxReserve {
		return c, fmt.Errorf("%w: %d memory reservations, the limit is %d", ErrTooLarge, len(t.Reserve), MaxReserve)
	}
	for i, r := range t.Reserve {
		if r == (Reserve{}) {
			return c, fmt.Errorf("%w: memory reservation %d is empty, which would end the list", ErrMalformed, i)
		}
	}
	if at, err := c.check(t.Root, 1); err != nil {
		return c, fmt.Errorf("%w, at %s", err, at)
	}
	return c, nil
}

// counts is what the limits are held against.
type counts struct {
	nodes, props int
	names, bytes int64 // of the properties' names; of all else when flattened
	// What a blob holds of the names of nodes and of values.
	labels, values int
}

// check returns an error with the path of the node it is about, which is put
// together on the way out only.
func (c *counts) check(n *Node, depth int) (at string, err error) {
	if err := c.node(depth); err != nil {
		return "/", err
	}
	c.bytes += 12 + int64(len(n.Name)) + 4
	for _, p := range n.Props {
		if msg := badPropName(p.Name); msg != "" {
			return "/", fmt.Errorf("%w: property %q: %s", ErrMalformed, p.Name, msg)
		}
		if err := c.prop(len(p.Name)); err != nil {
			return "/", err
		}
		c.bytes += 12 + int64(len(p.Value)) + 4
		if c.bytes+c.names > MaxSize {
			return "/", fmt.Errorf("%w: more than %d bytes with property %q", ErrTooLarge, MaxSize, p.Name)
		}
	}
	for _, k := range n.Children {
		if k == nil {
			return "/", fmt.Errorf("%w: nil child", ErrMalformed)
		}
		if msg := badNodeName(k.Name); msg != "" {
			return "/", fmt.Errorf("%w: child %q: %s", ErrMalformed, k.Name, msg)
		}
		if at, err := c.check(k, depth+1); err != nil {
			if at == "/" {
				return "/" + k.Name, err
			}
			return "/" + k.Name + at, err
		}
	}
	return "", nil
}

// node counts one node.
func (c *counts) node(depth int) error {
	c.nodes++
	if depth > MaxDepth {
		return fmt.Errorf("%w: nodes are nested deeper than %d levels", ErrTooLarge, MaxDepth)
	}
	if c.nodes > MaxNodes {
		return fmt.Errorf("%w: more than %d nodes", ErrTooLarge, MaxNodes)
	}
	return nil
}

// prop counts one property with a name of that length.
func (c *counts) prop(name int) error {
	c.props++
	c.names += int64(name)
	if c.props > MaxProps {
		return fmt.Errorf("%w: more than %d properties", ErrTooLarge, MaxProps)
	}
	if c.names > maxNameBytes {
		return fmt.Errorf("%w: the property names add up to more than %d bytes", ErrTooLarge, maxNameBytes)
	}
	return nil
}

// badNodeName says what is wrong with the name of a node below the root, or
// "". Spaces and odd punctuation are let through: they break nothing, and
// firmware writes them. It takes bytes too, for the guard, which makes no
// strings.
func badNodeName[T string | []byte](name T) string {
	for i := 0; i < len(name); i++ {
		if name[i] == '/' {
			return "a node name cannot contain a slash"
		}
	}
	return badPropName(name)
}

// badPropName says what is wrong with the name of a property, or "".
func badPropName[T string | []byte](name T) string {
	if len(name) == 0 {
		return "the name is empty"
	}
	if len(name) > MaxName {
		return fmt.Sprintf("the name is longer than %d bytes", MaxName)
	}
	for i := 0; i < len(name); i++ {
		if name[i] < 0x20 || name[i] > 0x7e {
			return fmt.Sprintf("byte %#02x in the name is not printable ASCII", name[i])
		}
	}
	return ""
}
