// SPDX-License-Identifier: MIT

package fdt

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// fuzzBase is a base for overlays, made without a compiler.
func fuzzBase() *Tree {
	root := &Node{Props: []Prop{{"#address-cells", U32s(2)}, {"#size-cells", U32s(2)}}}
	symbols := &Node{Name: "__symbols__"}
	add := func(parent *Node, path, name, label string) *Node {
		n := parent.AddChild(&Node{Name: name})
		n.Set("phandle", U32s(uint32(len(symbols.Props)+1)))
		symbols.Set(label, StringList(path+"/"+name))
		return n
	}
	resmem := add(root, "", "reserved-memory", "resmem")
	add(resmem, "/reserved-memory", "firmware@56000000", "fw")
	add(resmem, "/reserved-memory", "linux,cma", "pool")
	soc := add(root, "", "soc", "soc")
	add(soc, "/soc", "serial@9000000", "uart")
	symbols.Set("uart0", StringList("/soc/serial@9000000"))
	add(soc, "/soc", "codec@9100000", "codec")
	add(soc, "/soc", "isp@9200000", "isp")
	root.AddChild(&Node{Name: "chosen"})
	root.AddChild(symbols)
	return &Tree{Root: root}
}

// FuzzParse wants a tree or an error, a tree that survives being written, and
// bytes that do not change when they are read and written once more.
func FuzzParse(f *testing.F) {
	seed, err := fuzzBase().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(patch(seed, 5, 16))
	f.Add(blob(cat(begin(""), end, last), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := Parse(data)
		if (tree == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v; want one of them", tree, err)
		}
		if err != nil {
			return
		}
		first, err := tree.Marshal()
		if err != nil {
			t.Fatalf("Marshal of a parsed tree: %v", err)
		}
		again, err := Parse(first)
		if err != nil {
			t.Fatalf("Parse of a written tree: %v", err)
		}
		if diff := cmp.Diff(tree, again); diff != "" {
			t.Fatalf("the tree changed on the way:\n%s", diff)
		}
		second, err := again.Marshal()
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("the bytes changed on the way: %v", err)
		}
		useTree(t, tree)
	})
}

// useTree calls what a reader of a foreign tree calls.
func useTree(t *testing.T, tree *Tree) {
	if err := tree.Walk(func(path string, n *Node) error {
		if got := tree.Path(n); got != path {
			return fmt.Errorf("Path = %q, Walk says %q", got, path)
		}
		if tree.Lookup(path) == nil {
			return fmt.Errorf("Lookup(%q) finds nothing", path)
		}
		tree.Labels(path)
		for _, p := range n.Props {
			n.Strings(p.Name)
			n.U32(p.Name)
			ranges, err := DecodeReg(p.Value, 2, 1)
			if (err == nil) != (ranges != nil) {
				return fmt.Errorf("DecodeReg = %v, %v", ranges, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if max := tree.MaxPhandle(); max != 0 && max != ^uint32(0) && tree.Phandle(max) == nil {
		t.Fatalf("no node has the phandle %#x, the largest of the tree", max)
	}
	if text := tree.DTS(); !strings.HasPrefix(text, "/dts-v1/;") {
		t.Fatalf("DTS() = %q", text)
	}
}

// FuzzApply wants a tree or an error, a tree that can be written, and both
// arguments as they were.
func FuzzApply(f *testing.F) {
	base, err := fuzzBase().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	overlay, err := heapOverlay().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base, overlay)
	f.Add(overlay, base)
	f.Add(overlay, overlay)
	for seed := int64(0); seed < 4; seed++ {
		overlay, err := randomOverlay(rand.New(rand.NewSource(seed)), true).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(base, overlay)
	}
	f.Fuzz(func(t *testing.T, b, o []byte) {
		base, err := Parse(b)
		if err != nil {
			return
		}
		overlay, err := Parse(o)
		if err != nil {
			return
		}
		wasBase, wasOverlay := base.Clone(), overlay.Clone()
		tree, err := Apply(base, overlay, overlay)
		if (tree == nil) == (err == nil) {
			t.Fatalf("Apply = %v, %v; want one of them", tree, err)
		}
		if !cmp.Equal(base, wasBase) || !cmp.Equal(overlay, wasOverlay) {
			t.Fatal("Apply changed an argument")
		}
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a word")
			}
			return
		}
		blob, err := tree.Marshal()
		if err != nil {
			t.Fatalf("Marshal of a merged tree: %v", err)
		}
		again, err := Parse(blob)
		if err != nil || !cmp.Equal(tree, again) {
			t.Fatalf("the merged tree changed on the way: %v", err)
		}
	})
}

// FuzzOverlay makes overlays of any shape, valid ones and others. One that is
// written must apply to a base that has its targets, each reference must then
// hold the phandle of the node it names, and the text must be there.
func FuzzOverlay(f *testing.F) {
	f.Add(int64(1), "memory-region", "video@50000000", "heap0", "okay")
	f.Add(int64(2), "a b", "a/b", "1x", "*/ \\")
	f.Add(int64(3), "x", "__overlay__", "fw", "\x00\xff")
	f.Add(int64(153), "0", "a", "x", "*/ \\") // two fragments add a node to the same one
	f.Fuzz(func(t *testing.T, seed int64, prop, node, label, text string) {
		o := randomOverlay(rand.New(rand.NewSource(seed)), false)
		first := o.Fragments[0]
		first.Comment = text
		n := first.Node.AddChild(&SourceNode{Name: node, Labels: []string{label}, Comment: text})
		n.Set(prop, Ref(label), Text(text), Ref("codec"), Raw([]byte(text))).Comment = text
		blob, err := o.Marshal()
		if (blob == nil) == (err == nil) {
			t.Fatalf("Marshal = %d bytes, %v; want one of them", len(blob), err)
		}
		source := o.DTS(text)
		if err != nil {
			return
		}
		// Whatever the comments say, dtc must see the text without them.
		bare := randomOverlay(rand.New(rand.NewSource(seed)), false)
		bare.Fragments[0].Node.AddChild(&SourceNode{Name: node, Labels: []string{label}}).Props = n.Props
		if got, want := withoutComments(source), withoutComments(bare.DTS()); got != want {
			t.Fatalf("a comment got out:\n%s\nwant\n%s", got, want)
		}
		overlay, err := Parse(blob)
		if err != nil {
			t.Fatalf("Parse of a written overlay: %v", err)
		}
		base := fuzzBase()
		into := func(f *Fragment) string {
			if f.TargetPath != "" {
				return f.TargetPath
			}
			path, _ := base.Label(f.TargetLabel)
			return path
		}
		target := into(first)
		for _, c := range base.Lookup(target).Children {
			if baseName(c.Name) == baseName(node) {
				return // merged into a node of the base, whose phandle may be lost
			}
		}
		for _, other := range o.Fragments[1:] {
			if base.Lookup(into(other)) != base.Lookup(target) {
				continue
			}
			for _, c := range other.Node.Children {
				if baseName(c.Name) == baseName(node) {
					return // merged with one of another fragment, and the last phandle stays
				}
			}
		}
		merged, err := Apply(fuzzBase(), overlay)
		if err != nil {
			t.Fatalf("Apply: %v\n%s", err, source)
		}
		got := merged.Lookup(target).Child(node)
		v, _ := got.Prop(prop)
		want := append(U32s(got.Phandle()), StringList(text)...)
		if !bytes.HasPrefix(v, want) || merged.Phandle(be32(v)) != got {
			t.Fatalf("property %q is %x, want %x first\n%s", prop, v, want, merged.DTS())
		}
		path, _ := merged.Label(label)
		if merged.Lookup(path) != got {
			t.Fatalf("label %q is %q\n%s", label, path, merged.DTS())
		}
		codec, _ := fuzzBase().Lookup("/soc/codec").U32("phandle")
		if rest := v[len(want):]; be32(rest) != codec {
			t.Fatalf("the reference to codec is %x, want %x", rest, codec)
		}
	})
}

// withoutComments reads source text as dtc's scanner does and leaves out
// comments and white space.
func withoutComments(source string) string {
	var b strings.Builder
	for s := source; s != ""; {
		n := 1
		switch {
		case strings.HasPrefix(s, "//"):
			if n = strings.IndexByte(s, '\n'); n < 0 {
				n = len(s)
			}
			s = s[n:]
			continue
		case strings.HasPrefix(s, "/*"):
			if n = strings.Index(s[2:], "*/"); n < 0 {
				return b.String() + "comment without end"
			}
			s = s[n+4:]
			continue
		case s[0] == '"':
			for n < len(s) && s[n] != '"' {
				if s[n] == '\\' {
					n++
				}
				n++
			}
			n = min(n+1, len(s))
		case s[0] == ' ' || s[0] == '\n' || s[0] == '\t':
			s = s[1:]
			continue
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String()
}

// FuzzFromFS lays out a directory tree as the input says: lines of a path, a
// kind and a value.
func FuzzFromFS(f *testing.F) {
	f.Add("a=1\nsoc/name=soc\nsoc/serial@9000000/reg=xyz\nsoc/l>..\n")
	f.Add("d/d/d/d/d/d/d/d/p=\n")
	f.Add("a\x00b=1\n")
	f.Fuzz(func(t *testing.T, layout string) {
		m := fstest.MapFS{}
		for _, line := range strings.Split(layout, "\n") {
			i := strings.IndexAny(line, "=>/ ")
			for i >= 0 && line[i] == '/' {
				j := strings.IndexAny(line[i+1:], "=>/ ")
				if j < 0 {
					i = -1
					break
				}
				i += 1 + j
			}
			if i <= 0 || !fs.ValidPath(line[:i]) {
				continue
			}
			file := &fstest.MapFile{Data: []byte(line[i+1:]), Mode: 0o444}
			switch line[i] {
			case '>':
				file.Mode |= fs.ModeNamedPipe
			case ' ':
				file.Mode |= fs.ModeDir
			}
			m[line[:i]] = file
		}
		tree, err := FromFS(m)
		if (tree == nil) == (err == nil) {
			t.Fatalf("FromFS = %v, %v; want one of them", tree, err)
		}
		if err != nil {
			return
		}
		blob, err := tree.Marshal()
		if err != nil {
			t.Fatalf("Marshal of a tree from files: %v", err)
		}
		again, err := Parse(blob)
		if err != nil || !cmp.Equal(tree, again) {
			t.Fatalf("the tree changed on the way: %v", err)
		}
	})
}
