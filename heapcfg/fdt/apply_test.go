// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fdtoverlay merges with the reference tool.
func fdtoverlay(t testing.TB, base []byte, overlays ...[]byte) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out := filepath.Join(dir, "out.dtb")
	args := []string{"-i", write("base.dtb", base), "-o", out}
	for i, o := range overlays {
		args = append(args, write(fmt.Sprintf("%d.dtbo", i), o))
	}
	_, stderr, err := tryTool(t, nil, "fdtoverlay", args...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b, nil
}

// checkApply holds Apply against fdtoverlay, order included, and that it left
// its arguments alone.
func checkApply(t *testing.T, base *Tree, overlays ...*Tree) {
	t.Helper()
	baseText := base.DTS()
	var blobs [][]byte
	var texts []string
	for _, o := range overlays {
		blobs = append(blobs, mustMarshal(t, o))
		texts = append(texts, o.DTS())
	}
	ref, refErr := fdtoverlay(t, mustMarshal(t, base), blobs...)
	got, err := Apply(base, overlays...)
	if (err == nil) != (refErr == nil) {
		t.Fatalf("Apply = %v, fdtoverlay = %v\n%s", err, refErr, strings.Join(texts, "\n"))
	}
	if err == nil {
		if diff := cmp.Diff(mustParse(t, ref), got); diff != "" {
			t.Errorf("Apply: -fdtoverlay +got\n%s\n%s", diff, strings.Join(texts, "\n"))
		}
	}
	if base.DTS() != baseText {
		t.Error("Apply changed the base")
	}
	for i, o := range overlays {
		if o.DTS() != texts[i] {
			t.Errorf("Apply changed overlay %d", i)
		}
	}
}

func mustTree(t testing.TB, o *Overlay) *Tree {
	t.Helper()
	tree, err := o.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestApplyEqualsFdtoverlay(t *testing.T) {
	base := board(t)
	checkApply(t, base, mustTree(t, heapOverlay()))
	applied := 0
	for seed := int64(0); seed < 60; seed++ {
		r := rand.New(rand.NewSource(seed))
		var overlays []*Tree
		for i := 1 + r.Intn(3); i > 0; i-- {
			overlays = append(overlays, mustTree(t, randomOverlay(r, true)))
		}
		checkApply(t, base, overlays...)
		if _, err := Apply(base, overlays...); err == nil {
			applied++
		}
	}
	if applied < 40 {
		t.Errorf("only %d of 60 random overlays apply, the test is worth little", applied)
	}
}

// TestApplySource compares for overlays that only a compiler or a person
// writes: explicit fragments, targets inside of the same overlay, symbols of a
// target, aliases, merging into names with an address, phandle collisions.
func TestApplySource(t *testing.T) {
	tests := map[string]string{
		"explicit fragments": `/ {
			fragment@7 { target = <&soc>; __overlay__ { a { b = <&fw>; }; }; };
			other { target-path = "/soc"; __overlay__ { c = "d"; }; };
			ignored { x = <1>; };
		};`,
		"target in the overlay":        `&soc { bus: bus { }; }; / { fragment@9 { target = <&bus>; __overlay__ { dev: dev { self = <&dev &bus>; }; }; }; };`,
		"symbol of a target":           `/ { f { target = <&soc>; lbl: __overlay__ { a = <1>; }; }; };`,
		"symbol of a target path":      `/ { f { target-path = "/soc"; lbl: __overlay__ { sub: a { }; }; }; };`,
		"symbol of the root":           `/ { f { target-path = "/"; lbl: __overlay__ { sub: a { }; }; }; };`,
		"symbol outside":               `/ { f: f { target-path = "/"; __overlay__ { }; }; g: g { h: h { }; }; };`,
		"target path with alias":       `/ { f { target-path = "codec"; __overlay__ { sub: a { }; }; }; };`,
		"target path with alias, down": `/ { f { target-path = "serial0/"; __overlay__ { sub: a { }; }; }; };`,
		"base name":                    `&{/soc} { isp { status = "okay"; }; serial { x; }; };`,
		"ambiguous base name":          `&{/cpus} { cpu { first; }; };`,
		"ambiguous path":               `&{/cpus/cpu} { first; };`,
		"new node, then base name":     `&{/soc} { n@2 { a; }; n@1 { b; }; n { c; }; };`,
		"address before none":          `&{/soc} { p@0 { }; p { l: x { r = <&l>; }; }; };`,
		"none before address":          `&{/soc} { p { l: x { r = <&l>; }; }; p@0 { }; };`,
		"phandle of a base node":       `&{/soc} { mine: codec@9100000 { x; }; isp@9200000 { use = <&mine>; }; };`,
		"unaligned reference":          `&{/soc} { l: l { v = [01], <&l>, [02 03], <&fw>; }; };`,
		"symbol replaced":              `&{/soc} { fw: fw2 { }; };`,
		"overlay for nothing":          `/ { f { target-path = "/"; __overlay__ { }; }; };`,
		"explicit phandle":             `&{/soc} { a { phandle = <0x10>; }; b: b { }; c { d = <&b>; }; };`,
		"target and target path":       `/ { f { target = <&soc>; target-path = "/nowhere"; __overlay__ { x; }; }; };`,
		"missing label":                `&cdec { x; };`,
		"missing reference":            `&{/soc} { x = <&nobody>; };`,
		"missing path":                 `&{/soc/codec@1} { x; };`,
		"missing alias":                `/ { f { target-path = "serial7"; __overlay__ { }; }; };`,
		"no target":                    `/ { f { __overlay__ { }; }; };`,
		"target zero":                  `/ { f { target = <0>; __overlay__ { }; }; };`,
		"target unknown":               `/ { f { target = <0x1234>; __overlay__ { }; }; };`,
		"target of two cells":          `/ { f { target = <0 0>; __overlay__ { }; }; };`,
		"phandles exhausted":           `&{/soc} { a { phandle = <0xfffffff0>; }; };`,
	}
	bases := map[string]*Tree{"board": board(t)}
	noSymbols := board(t)
	noSymbols.Root.RemoveChild("__symbols__")
	bases["no symbols"] = noSymbols
	nowhere := board(t)
	nowhere.Root.Child("__symbols__").Set("soc", StringList("/nowhere"))
	nowhere.Lookup("/reserved-memory/firmware").Remove("phandle")
	bases["bad symbols"] = nowhere
	for name, src := range tests {
		o := mustParse(t, compile(t, "/dts-v1/; /plugin/; "+src, "-f"))
		for baseName, base := range bases {
			t.Run(name+", "+baseName, func(t *testing.T) { checkApply(t, base, o) })
		}
		t.Run(name+", then heaps", func(t *testing.T) { checkApply(t, bases["board"], o, mustTree(t, heapOverlay())) })
	}
}

func TestApplyErrors(t *testing.T) {
	base := board(t)
	noSymbols := board(t)
	noSymbols.Root.RemoveChild("__symbols__")
	badSymbols := board(t)
	badSymbols.Root.Child("__symbols__").Set("soc", StringList("/nowhere"))
	badSymbols.Lookup("/reserved-memory/firmware").Remove("phandle")
	edited := func(edit func(root *Node)) *Tree {
		o := mustTree(t, heapOverlay())
		edit(o.Root)
		return o
	}
	source := func(src string) *Tree {
		return mustParse(t, compile(t, "/dts-v1/; /plugin/; "+src, "-f"))
	}
	tests := []struct {
		name string
		base *Tree
		o    *Tree
		want ApplyError
		say  string
	}{
		{"a base", base, base, ApplyError{Kind: KindNotOverlay}, "not an overlay"},
		{"no symbols", noSymbols, source(`&codec { x; };`),
			ApplyError{Kind: KindNoSymbols, Fragment: "fragment@0", Label: "codec"}, "dtc -@"},
		{"typing error in a label", base, source(`&{/} { }; &cdec { x; };`),
			ApplyError{Kind: KindNoLabel, Fragment: "fragment@1", Label: "cdec", Near: "codec"}, `did you mean "codec"?`},
		{"unknown reference", base, source(`&{/soc} { x = <&nobody>; };`),
			ApplyError{Kind: KindNoLabel, Fragment: "fragment@0", Label: "nobody"}, `no label "nobody"`},
		{"label to nowhere", badSymbols, source(`&soc { x; };`),
			ApplyError{Kind: KindBadLabel, Fragment: "fragment@0", Label: "soc", Path: "/nowhere"}, "no such node"},
		{"no phandle", badSymbols, source(`&{/soc} { x = <&fw>; };`),
			ApplyError{Kind: KindNoPhandle, Fragment: "fragment@0", Label: "fw", Path: "/reserved-memory/firmware@56000000"}, "no phandle"},
		{"no reserved-memory", &Tree{Root: &Node{}}, source(`&{/reserved-memory} { };`),
			ApplyError{Kind: KindNoTargetPath, Fragment: "fragment@0", Path: "/reserved-memory", Exists: "/"}, `no node "/reserved-memory" (it has /)`},
		{"other address", base, source(`&{/soc/codec@9100008/port} { };`),
			ApplyError{Kind: KindNoTargetPath, Fragment: "fragment@0", Path: "/soc/codec@9100008/port", Exists: "/soc", Near: "/soc/codec@9100000"}, `did you mean "/soc/codec@9100000"?`},
		{"missing alias", base, source(`/ { f { target-path = "serial7"; __overlay__ { }; }; };`),
			ApplyError{Kind: KindNoTargetPath, Fragment: "f", Path: "serial7"}, `no node "serial7"`},
		{"no target", base, source(`/ { f { __overlay__ { }; }; };`),
			ApplyError{Kind: KindNoTarget, Fragment: "f"}, "neither"},
		{"unknown target", base, source(`/ { f { target = <0x1234>; __overlay__ { }; }; };`),
			ApplyError{Kind: KindNoTargetPhandle, Fragment: "f"}, "0x1234"},
		{"target of two cells", base, source(`/ { f { target = <1 1>; __overlay__ { }; }; };`),
			ApplyError{Kind: KindNoTargetPhandle, Fragment: "f"}, "8 bytes"},
		{"label on the overlay node", base, source(`/ { f { target = <&soc>; lbl: __overlay__ { }; }; };`),
			ApplyError{Kind: KindNoTargetPhandle, Fragment: "f", Path: "/soc"}, "remove the label"},
		{"label on a node of the base", base, source(`&{/soc} { l: serial@9000000 { }; }; &uart { };`),
			ApplyError{Kind: KindNoTargetPhandle, Fragment: "fragment@1", Path: "/soc/serial@9000000"}, "remove the label"},
		{"target not in fixups", base, edited(func(r *Node) { r.Child("__fixups__").Remove("codec") }),
			ApplyError{Kind: KindNoTargetPhandle, Fragment: "fragment@1"}, "__fixups__ does not mention"},
		{"fixup of another node", base, edited(func(r *Node) { r.Child("__fixups__").Set("fw", StringList("/fragment@0/x:y:0")) }),
			ApplyError{Kind: KindBadFixup, Fragment: "fragment@0", Label: "fw"}, "no such node"},
		{"fixup of another property", base, edited(func(r *Node) { r.Child("__fixups__").Set("fw", StringList("/fragment@0:y:0")) }),
			ApplyError{Kind: KindBadFixup, Fragment: "fragment@0", Label: "fw"}, "no such property"},
		{"fixup outside", base, edited(func(r *Node) { r.Child("__fixups__").Set("fw", StringList("/fragment@1:target:1")) }),
			ApplyError{Kind: KindBadFixup, Fragment: "fragment@1", Label: "fw"}, "outside"},
		{"fixup far outside", base, edited(func(r *Node) {
			r.Child("__fixups__").Set("fw", StringList("/fragment@1:target:18446744073709551616"))
		}),
			ApplyError{Kind: KindBadFixup, Fragment: "fragment@1", Label: "fw"}, "too large"},
		{"fixup without offset", base, edited(func(r *Node) { r.Child("__fixups__").Set("fw", StringList("/fragment@1:target")) }),
			ApplyError{Kind: KindBadFixup, Fragment: "fragment@1", Label: "fw"}, "path:property:offset"},
		{"fixup with a sign", base, edited(func(r *Node) { r.Child("__fixups__").Set("fw", StringList("/fragment@1:target:-1")) }),
			ApplyError{Kind: KindBadFixup, Fragment: "fragment@1", Label: "fw"}, "not a number"},
		{"fixup not terminated", base, edited(func(r *Node) { r.Child("__fixups__").Set("fw", []byte("/fragment@1:target:0")) }),
			ApplyError{Kind: KindBadFixup, Label: "fw"}, "not a list of strings"},
		{"local fixup of another node", base, edited(func(r *Node) { r.Child("__local_fixups__").AddChild(&Node{Name: "x"}) }),
			ApplyError{Kind: KindBadFixup, Path: "/"}, `no child "x"`},
		{"local fixup of another property", base, edited(func(r *Node) { r.Child("__local_fixups__").Set("x", U32s(0)) }),
			ApplyError{Kind: KindBadFixup, Path: "/"}, `no property "x"`},
		{"local fixup outside", base, edited(func(r *Node) {
			r.Child("__local_fixups__").Child("fragment@1").Child("__overlay__").Set("memory-region", U32s(9))
		}),
			ApplyError{Kind: KindBadFixup, Path: "/fragment@1/__overlay__"}, "outside"},
		{"local fixup of 4 GiB", base, edited(func(r *Node) {
			r.Child("__local_fixups__").Child("fragment@1").Child("__overlay__").Set("memory-region", U32s(^uint32(0)))
		}),
			ApplyError{Kind: KindBadFixup, Path: "/fragment@1/__overlay__"}, "outside"},
		{"local fixup of bytes", base, edited(func(r *Node) {
			r.Child("__local_fixups__").Child("fragment@1").Child("__overlay__").Set("memory-region", []byte{1})
		}),
			ApplyError{Kind: KindBadFixup, Path: "/fragment@1/__overlay__"}, "whole cells"},
		{"phandle of bytes", base, edited(func(r *Node) { r.Child("fragment@0").Set("phandle", []byte{1}) }),
			ApplyError{Kind: KindBadPhandle}, "1 bytes"},
		{"phandle too large", base, edited(func(r *Node) { r.Child("fragment@0").Set("phandle", U32s(^uint32(1))) }),
			ApplyError{Kind: KindBadPhandle}, "no phandle is left"},
		{"symbol without fragment", base, edited(func(r *Node) { r.Child("__symbols__").Set("x", StringList("/f/__overlay__/y")) }),
			ApplyError{Kind: KindBadSymbol, Fragment: "f", Label: "x", Path: "/f/__overlay__/y"}, "no such fragment"},
		{"symbol of two strings", base, edited(func(r *Node) { r.Child("__symbols__").Set("x", StringList("/f", "/g")) }),
			ApplyError{Kind: KindBadSymbol, Label: "x"}, "not one absolute path"},
		{"symbol without slash", base, edited(func(r *Node) { r.Child("__symbols__").Set("x", StringList("f")) }),
			ApplyError{Kind: KindBadSymbol, Label: "x"}, "not one absolute path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The second place, to see the number reported.
			first := source(`&{/} { first; };`)
			tree, err := Apply(tt.base, first, tt.o)
			var ae *ApplyError
			if tree != nil || !errors.As(err, &ae) {
				t.Fatalf("Apply = %v, %v; want an *ApplyError", tree, err)
			}
			if !strings.Contains(err.Error(), tt.say) {
				t.Errorf("Apply says %q, which does not mention %q", err, tt.say)
			}
			got := *ae
			got.Detail = ""
			tt.want.Overlay = 1
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Apply: -want +got\n%s", diff)
			}
			if tt.want.Kind == KindNotOverlay {
				return // the one where libfdt sees no error
			}
			if _, err := fdtoverlay(t, mustMarshal(t, tt.base), mustMarshal(t, first), mustMarshal(t, tt.o)); err == nil {
				t.Error("fdtoverlay accepts this")
			}
		})
	}
}

// TestApplyAllMissing wants every missing label in one error.
func TestApplyAllMissing(t *testing.T) {
	o := mustParse(t, compile(t, `/dts-v1/; /plugin/; &a1 { }; &codec { x = <&b1>; }; &{/x} { }; &{/y} { };`))
	_, err := Apply(board(t), o)
	for _, want := range []string{`"a1"`, `"b1"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Apply = %v, which does not mention %s", err, want)
		}
	}
	o = mustParse(t, compile(t, `/dts-v1/; /plugin/; &{/x} { }; &codec { }; &{/y} { };`))
	_, err = Apply(board(t), o)
	for _, want := range []string{`"/x"`, `"/y"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Apply = %v, which does not mention %s", err, want)
		}
	}
}

// TestApplyHostile gives Apply what is cheap to write and dear to do naively.
func TestApplyHostile(t *testing.T) {
	wide := &Node{}
	for i := 0; i < MaxProps; i++ {
		wide.Props = append(wide.Props, Prop{fmt.Sprintf("p%d", i), nil})
	}
	manyFragments := &Node{}
	for i := 0; i < MaxNodes/2-1; i++ {
		manyFragments.AddChild(&Node{Name: fmt.Sprintf("f%d", i), Props: []Prop{{"target-path", StringList("/")}}}).
			AddChild(&Node{Name: "__overlay__", Props: []Prop{{fmt.Sprintf("p%d", 1000*i), nil}}})
	}
	manyFixups := mustTree(t, heapOverlay()).Root
	manyFixups.Child("__fixups__").Set("fw", []byte(strings.Repeat("/fragment@1:target:0\x00", 500000)))
	tests := []struct {
		name    string
		base, o *Tree
		want    error
	}{
		{"many fragments for many properties", &Tree{Root: wide}, &Tree{Root: manyFragments}, ErrTooLarge},
		{"many fixups", board(t), &Tree{Root: manyFixups}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Apply(tt.base, tt.o)
			if !errors.Is(err, tt.want) {
				t.Errorf("Apply = %v, want %v", err, tt.want)
			}
		})
	}
	// A long target path, once for each symbol, is more than either input.
	base, path := &Tree{Root: &Node{}}, ""
	for i, n := 0, base.Root; i < MaxDepth-2; i++ {
		n = n.AddChild(&Node{Name: strings.Repeat("n", MaxName)})
		path += "/" + n.Name
	}
	o := &Tree{Root: &Node{Children: []*Node{
		{Name: "f", Props: []Prop{{"target-path", StringList(path)}}, Children: []*Node{{Name: "__overlay__"}}},
		{Name: "__symbols__"},
	}}}
	for i := 0; i < 2000; i++ {
		o.Root.Children[1].Set(fmt.Sprintf("l%d", i), StringList("/f/__overlay__"))
	}
	if _, err := Apply(base, o); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Apply of many long symbols = %v, want ErrTooLarge", err)
	}
}

func TestNearest(t *testing.T) {
	have := []string{"codec", "uart0", "uart1", "firmware@56000000", "l"}
	for _, tt := range []struct{ want, near string }{
		{"codek", "codec"},
		{"cdec", "codec"},
		{"uart", "uart0"},
		{"uart2", "uart0"},
		{"firmware@5600", "firmware@56000000"},
		{"m", ""},
		{"display", ""},
		{"", ""},
	} {
		if got := Nearest(tt.want, have); got != tt.near {
			t.Errorf("Nearest(%q) = %q, want %q", tt.want, got, tt.near)
		}
	}
}
