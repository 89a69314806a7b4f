// SPDX-License-Identifier: MIT

package heapcfg

import (
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// maxVariants bounds how often a file is read: once for each variant.
const maxVariants = 32

// A variantSet is the mapping "variants": names in file order.
type variantSet struct {
	order []string
	nodes map[string]*yaml.Node
}

func (s variantSet) get(name string) (*yaml.Node, bool) {
	n, ok := s.nodes[name]
	return n, ok
}

// variants reads the names of the variants and the form of what each may
// override. What the values mean is checked where they have been merged.
func (r *reader) variants(root *yaml.Node) variantSet {
	set := variantSet{nodes: map[string]*yaml.Node{}}
	n := valueOf(root, "variants")
	if n == nil {
		return set
	}
	all, ok := r.object(n, "$.variants")
	if !ok {
		return set
	}
	var heaps []string
	if list := valueOf(root, "heaps"); list != nil && list.Kind == yaml.SequenceNode {
		for _, h := range list.Content[:min(len(list.Content), maxHeaps)] {
			if name := valueOf(h, "name"); name != nil {
				heaps = append(heaps, name.Value)
			}
		}
	}
	known := func(name string, n *yaml.Node, path string) {
		if slices.Contains(heaps, name) {
			return
		}
		fix := "name a heap of this file"
		if near := fdt.Nearest(name, heaps); near != "" {
			fix = "did you mean \"" + near + "\"?"
		}
		r.errorf(n, path, "variant-unknown", fix, "the file has no heap %q for the variant to change", name)
	}
	if len(all.order) > maxVariants {
		r.errorf(all.keys[all.order[maxVariants]], "$.variants", "yaml-value", "split the file", "a file has at most %d variants", maxVariants)
		all.order = all.order[:maxVariants]
	}
	for _, name := range all.order {
		path := "$.variants." + name
		if fix, err := nodeName(name); err != nil {
			r.errorf(all.keys[name], path, "yaml-value", fix, "%v, and a variant is called like one, as files are called after it", err)
		}
		v, ok := r.object(all.vals[name], path, variantKeys...)
		if !ok {
			continue
		}
		set.order, set.nodes[name] = append(set.order, name), all.vals[name]
		if n := v.vals["omit"]; n != nil {
			r.list(n, path+".omit", func(item *yaml.Node, path string) { known(item.Value, item, path) })
		}
		if n := v.vals["heaps"]; n != nil {
			o, ok := r.object(n, path+".heaps")
			for _, h := range o.orderOf(ok) {
				known(h, o.keys[h], path+".heaps."+h)
				r.object(o.vals[h], path+".heaps."+h, heapKeys...)
			}
		}
	}
	return set
}

// orderOf returns the keys of a mapping, or none where it could not be read.
func (o *object) orderOf(ok bool) []string {
	if !ok {
		return nil
	}
	return o.order
}

// valueOf returns the value of a key of a mapping, or nil.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// with returns a copy of a mapping in which a key has another value. The nodes
// of the value keep their places, so that findings about it lead to the line
// that overrides.
func with(n *yaml.Node, key, value *yaml.Node) *yaml.Node {
	out := *n
	out.Content = slices.Clone(n.Content)
	for i := 0; i+1 < len(out.Content); i += 2 {
		if out.Content[i].Value == key.Value {
			out.Content[i], out.Content[i+1] = key, value
			return &out
		}
	}
	out.Content = append(out.Content, key, value)
	return &out
}

// without returns a copy of a mapping that lacks a key.
func without(n *yaml.Node, key string) *yaml.Node {
	out := *n
	out.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != key {
			out.Content = append(out.Content, n.Content[i], n.Content[i+1])
		}
	}
	return &out
}

// overlayKeys puts every key of over into base; mappings in both are joined.
func overlayKeys(base, over *yaml.Node) *yaml.Node {
	if base == nil || base.Kind != yaml.MappingNode || over.Kind != yaml.MappingNode {
		return over
	}
	out := *base
	out.Content = slices.Clone(base.Content)
	at := make(map[string]int, len(out.Content)/2)
	for i := 0; i+1 < len(out.Content); i += 2 {
		if _, dup := at[out.Content[i].Value]; !dup {
			at[out.Content[i].Value] = i
		}
	}
	for i := 0; i+1 < len(over.Content); i += 2 {
		k, v := over.Content[i], over.Content[i+1]
		if j, ok := at[k.Value]; ok && j+1 < len(base.Content) {
			out.Content[j], out.Content[j+1] = k, overlayKeys(base.Content[j+1], v)
			continue
		}
		out.Content = append(out.Content, k, v)
	}
	return &out
}

// override returns the document with the values of a variant. Lists replace
// lists, mappings are joined, and heaps are found by name. A base in the
// variant takes the place of constraints, and the other way round.
func (r *reader) override(root, variant *yaml.Node) *yaml.Node {
	if root == nil || variant == nil || variant.Kind != yaml.MappingNode {
		return root
	}
	for i := 0; i+1 < len(variant.Content); i += 2 {
		k, v := variant.Content[i], variant.Content[i+1]
		switch k.Value {
		case "board", "target", "keep-clear", "disable":
			if old := valueOf(root, k.Value); old != nil {
				v = overlayKeys(old, v)
			}
			root = with(root, k, v)
		}
	}
	list := valueOf(root, "heaps")
	if list == nil || list.Kind != yaml.SequenceNode {
		return root
	}
	omit, heaps := valueOf(variant, "omit"), valueOf(variant, "heaps")
	out := *list
	out.Content = nil
	for _, h := range list.Content {
		name := valueOf(h, "name")
		if name != nil && omit != nil && slices.ContainsFunc(omit.Content, func(o *yaml.Node) bool { return o.Value == name.Value }) {
			continue
		}
		if name != nil {
			if over := valueOf(heaps, name.Value); over != nil && over.Kind == yaml.MappingNode {
				switch {
				case valueOf(over, "base") != nil && valueOf(over, "place") == nil:
					h = without(h, "place")
				case valueOf(over, "place") != nil && valueOf(over, "base") == nil:
					h = without(h, "base")
				}
				h = overlayKeys(h, over)
			}
		}
		out.Content = append(out.Content, h)
	}
	return with(root, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "heaps", Line: list.Line, Column: list.Column}, &out)
}
