// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// heapOverlay uses everything an overlay of this project does: a path target
// and label targets, new labels, references to the base, within the overlay,
// several in one value, and comments that try to get out.
func heapOverlay() *Overlay {
	heaps := &SourceNode{}
	heaps.Set("#address-cells", Words(2)).Comment = "as the base has it"
	heaps.Set("#size-cells", Words(2))
	heaps.Set("ranges")
	video := heaps.AddChild(&SourceNode{
		Name: "video@50000000", Labels: []string{"heap_video", "heap0"},
		Comment: "heaps.yaml:4: video\n\n64 MiB, */ and \\",
	})
	video.Set("compatible", Text("shared-dma-pool"))
	video.Set("reusable")
	video.Set("reg", Pair(Range{0x50000000, 0x4000000}, 2, 2))
	raw := heaps.AddChild(&SourceNode{Name: "raw@58000000", Labels: []string{"heap_raw"}})
	raw.Set("compatible", Text("linux,carveout-heap", "dma-heap-carveout"))
	raw.Set("reg", Num(0x58000000, 2), Num(0x100000, 2))
	raw.Set("no-map")
	codec := &SourceNode{}
	codec.Set("memory-region", Ref("heap_raw"), Ref("fw"), Ref("heap_video"))
	codec.Set("memory-region-names", Text("raw", "fw", "video \"1\" \\"))
	codec.Set("mixed", Raw([]byte{1, 2, 3}), Ref("uart"), Raw(nil), Text(), Words(), Text("", "a\x01b"), Ref("heap0"))
	isp := &SourceNode{}
	isp.Set("memory-region", Ref("heap_raw"))
	isp.AddChild(&SourceNode{Name: "port", Labels: []string{"unused"}}).Set("remote", Ref("codec"), Words(1, 2))
	return &Overlay{Fragments: []*Fragment{
		{TargetPath: "/reserved-memory", Node: heaps, Comment: "the heaps"},
		{TargetLabel: "codec", Node: codec},
		{TargetPath: "/soc/isp@9200000", Node: isp},
	}}
}

// checkOverlay holds the two outputs of an overlay against each other.
func checkOverlay(t *testing.T, o *Overlay) {
	t.Helper()
	want := mustParse(t, compile(t, o.DTS("SPDX-License-Identifier: MIT", "two\nlines \\")))
	blob, err := o.Marshal()
	if err != nil {
		t.Fatalf("Marshal: %v\n%s", err, o.DTS())
	}
	if diff := cmp.Diff(want, mustParse(t, blob)); diff != "" {
		t.Errorf("Marshal: -dtc of DTS, +got\n%s\n%s", diff, o.DTS())
	}
}

func TestOverlayEqualsDTC(t *testing.T) {
	checkOverlay(t, heapOverlay())
	for seed := int64(0); seed < 40; seed++ {
		checkOverlay(t, randomOverlay(rand.New(rand.NewSource(seed)), true))
	}
}

// randomOverlay makes an overlay for testdata/board.dts: valid, and of any
// shape the writer allows.
func randomOverlay(r *rand.Rand, odd bool) *Overlay {
	o := &Overlay{}
	paths := []string{"/", "/soc", "/reserved-memory", "/soc/codec@9100000", "/chosen", "/soc/isp"}
	labels := []string{"soc", "codec", "uart", "uart0", "fw", "pool", "resmem"}
	var own []string
	names := []string{"a", "b@1", "c,d", "port"}
	if odd {
		// Those of the base are odd: merging into one may take its phandle.
		names = append(names, "firmware", "linux,cma", "isp@9200000", "serial", "0", "x.y_z+1-2@3,4")
	}
	props := []string{"reg", "compatible", "#address-cells", "status", "memory-region", "ranges"}
	if odd {
		props = append(props, "odd,name?", "a*b", "_x.y+z")
	}
	label := func() string {
		l := fmt.Sprintf("l%d", len(own))
		own = append(own, l)
		return l
	}
	var fill func(n *SourceNode, depth int)
	var holes []*Part
	value := func(p *SourceProp) {
		for i := r.Intn(4); i > 0; i-- {
			switch r.Intn(6) {
			case 0:
				p.Value = append(p.Value, Words(r.Uint32(), 0))
			case 1:
				p.Value = append(p.Value, Text([]string{"okay", "", "a b", "\"\\\n\t\x02\xff", "x\x00y"}[r.Intn(5)]))
			case 2:
				b := make([]byte, r.Intn(9))
				r.Read(b)
				p.Value = append(p.Value, Raw(b))
			case 3:
				p.Value = append(p.Value, Ref(labels[r.Intn(len(labels))]))
			case 4:
				// One of the overlay's own, once all of them are known.
				p.Value = append(p.Value, Ref("own"))
			case 5:
				p.Value = append(p.Value, Pair(Range{uint64(r.Uint32()), uint64(r.Uint32())}, 2, 1))
			}
		}
		for i := range p.Value {
			if p.Value[i].kind == partRef && p.Value[i].label == "own" {
				holes = append(holes, &p.Value[i])
			}
		}
	}
	fill = func(n *SourceNode, depth int) {
		for _, i := range r.Perm(len(props))[:r.Intn(4)] {
			p := n.Set(props[i])
			value(p)
			p.Comment = []string{"", "", "why", "a\nb */ c\r\n\x00"}[r.Intn(4)]
		}
		if depth > 3 {
			return
		}
		for _, i := range r.Perm(len(names))[:r.Intn(3)] {
			c := n.AddChild(&SourceNode{Name: names[i]})
			for k := r.Intn(3); k > 0; k-- {
				c.Labels = append(c.Labels, label())
			}
			c.Comment = []string{"", "x"}[r.Intn(2)]
			fill(c, depth+1)
		}
	}
	for i := 1 + r.Intn(4); i > 0; i-- {
		f := &Fragment{Node: &SourceNode{}}
		if r.Intn(2) == 0 {
			f.TargetPath = paths[r.Intn(len(paths))]
		} else {
			f.TargetLabel = labels[r.Intn(len(labels))]
		}
		fill(f.Node, 0)
		o.Fragments = append(o.Fragments, f)
	}
	for _, h := range holes {
		if len(own) > 0 {
			h.label = own[r.Intn(len(own))]
		} else {
			h.label = labels[0]
		}
	}
	return o
}

const heapOverlayDTS = `// SPDX-License-Identifier: MIT
/dts-v1/;
/plugin/;

/* the heaps */
&{/reserved-memory} {
	/* as the base has it */
	#address-cells = <2>;
	#size-cells = <2>;
	ranges;

	/*
	 * heaps.yaml:4: video
	 *
	 * 64 MiB, * / and \.
	 */
	heap_video: heap0: video@50000000 {
		compatible = "shared-dma-pool";
		reusable;
		reg = <0x0 0x50000000 0x0 0x4000000>;
	};

	heap_raw: raw@58000000 {
		compatible = "linux,carveout-heap", "dma-heap-carveout";
		reg = <0x0 0x58000000>, <0x0 0x100000>;
		no-map;
	};
};

&codec {
	memory-region = <&heap_raw>, <&fw>, <&heap_video>;
	memory-region-names = "raw", "fw", "video \"1\" \\";
	mixed = [01 02 03], <&uart>, <>, <>, <>, "", "a\x01b", <&heap0>;
};

&{/soc/isp@9200000} {
	memory-region = <&heap_raw>;

	unused: port {
		remote = <&codec>, <1 2>;
	};
};
`

func TestOverlayDTS(t *testing.T) {
	if diff := cmp.Diff(heapOverlayDTS, heapOverlay().DTS("SPDX-License-Identifier: MIT")); diff != "" {
		t.Errorf("DTS: -want +got\n%s", diff)
	}
}

// TestOverlayRefuses gives each mistake to Marshal, and where the text can say
// it at all, to dtc as well: a refusal nobody else shares would be a bug.
func TestOverlayRefuses(t *testing.T) {
	one := func(edit func(f *Fragment)) *Overlay {
		f := &Fragment{TargetPath: "/", Node: &SourceNode{}}
		edit(f)
		return &Overlay{Fragments: []*Fragment{f}}
	}
	propCase := func(name string, parts ...Part) *Overlay {
		return one(func(f *Fragment) { f.Node.Set(name, parts...) })
	}
	nodeCase := func(nodes ...*SourceNode) *Overlay {
		return one(func(f *Fragment) { f.Node.Children = nodes })
	}
	loop := &SourceNode{Name: "a"}
	loop.Children = []*SourceNode{loop}
	tests := []struct {
		name string
		in   *Overlay
		say  string
		dtc  bool // dtc refuses the text too
	}{
		{"empty", &Overlay{}, "no fragment", false},
		{"nil fragment", &Overlay{Fragments: []*Fragment{nil}}, "empty", false},
		{"no target", one(func(f *Fragment) { f.TargetPath = "" }), "needs a target", true},
		{"two targets", one(func(f *Fragment) { f.TargetLabel = "x" }), "not both", false},
		{"relative path", one(func(f *Fragment) { f.TargetPath = "soc" }), "slash", false},
		{"path with a hole", one(func(f *Fragment) { f.TargetPath = "/a//b" }), "empty", false},
		{"path with a brace", one(func(f *Fragment) { f.TargetPath = "/a}b" }), "not allowed", true},
		{"target label", one(func(f *Fragment) { f.TargetPath, f.TargetLabel = "", "a-b" }), "label", true},
		{"own target", one(func(f *Fragment) {
			f.TargetPath, f.TargetLabel = "", "x"
			f.Node.AddChild(&SourceNode{Name: "n", Labels: []string{"x"}})
		}), "overlay itself", false},
		{"name on the fragment", one(func(f *Fragment) { f.Node.Name = "x" }), "cannot have a name", false},
		{"label on the fragment", one(func(f *Fragment) { f.Node.Labels = []string{"x"} }), "a label", false},
		{"nil property", one(func(f *Fragment) { f.Node.Props = []*SourceProp{nil} }), "nil property", false},
		{"nil child", nodeCase(nil), "nil child", false},
		{"property twice", one(func(f *Fragment) { f.Node.Props = []*SourceProp{{Name: "a"}, {Name: "a"}} }), "twice", true},
		{"property with an at", propCase("a@b"), "not allowed", true},
		{"property with a space", propCase("a b"), "not allowed", true},
		{"property phandle", propCase("phandle", Words(1)), "compiler", false},
		{"property name", propCase("name", Text("x")), "compiler", true},
		{"number too large", propCase("size", Num(1<<32, 1)), "does not fit", false},
		{"size too large", propCase("reg", Pair(Range{0, 1 << 32}, 2, 1)), "does not fit", false},
		{"reference", propCase("a", Ref("&b")), "label", true},
		{"empty reference", propCase("a", Ref("")), "empty", true},
		{"node without name", nodeCase(&SourceNode{}), "empty", true},
		{"node with a hash", nodeCase(&SourceNode{Name: "a#b"}), "not allowed", true},
		{"node with two ats", nodeCase(&SourceNode{Name: "a@1@2"}), "more than one", true},
		{"two of a name", nodeCase(&SourceNode{Name: "a"}, &SourceNode{Name: "a"}), "two of this name", true},
		{"address or none", nodeCase(&SourceNode{Name: "a@1"}, &SourceNode{Name: "a"}), "mix them up", false},
		{"none or address", nodeCase(&SourceNode{Name: "a"}, &SourceNode{Name: "a@1"}), "mix them up", false},
		{"label", nodeCase(&SourceNode{Name: "a", Labels: []string{"1a"}}), "label", true},
		{"label twice", nodeCase(&SourceNode{Name: "a", Labels: []string{"x"}}, &SourceNode{Name: "b", Labels: []string{"x"}}), "already", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.in.Marshal()
			if b != nil || !errors.Is(err, ErrOverlay) || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("Marshal = %d bytes, %v; want ErrOverlay with %q", len(b), err, tt.say)
			}
			text := tt.in.DTS()
			if !tt.dtc {
				return
			}
			if _, _, err := tryTool(t, []byte(text), "dtc", "-q", "-@", "-I", "dts", "-O", "dtb"); err == nil {
				t.Errorf("dtc accepts\n%s", text)
			}
		})
	}
	if _, err := nodeCase(loop).Marshal(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an overlay in itself: Marshal = %v, want ErrTooLarge", err)
	}
}
