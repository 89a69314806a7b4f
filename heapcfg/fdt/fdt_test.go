// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// board is the tree of testdata/board.dts, phandles and symbols as dtc gives
// them.
func board(t testing.TB) *Tree {
	t.Helper()
	src, err := os.ReadFile("testdata/board.dts")
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, compile(t, string(src)))
}

func TestLookup(t *testing.T) {
	b := board(t)
	tests := []struct{ path, want string }{
		{"/", "/"},
		{"/memory@40000000", "/memory@40000000"},
		{"/memory", "/memory@40000000"},
		{"/soc/codec", "/soc/codec@9100000"},
		{"/soc/serial@9000000/", "/soc/serial@9000000"},
		{"//soc//isp", "/soc/isp@9200000"},
		{"serial0", "/soc/serial@9000000"},
		{"codec/", "/soc/codec@9100000"},
		{"/cpus/cpu", ""}, // two of them
		{"/cpus/cpu@1", "/cpus/cpu@1"},
		{"/soc/codec@9100001", ""},
		{"/memory@", ""},
		{"/soc/", "/soc"},
		{"/so", ""},
		{"serial1", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := b.Path(b.Lookup(tt.path)); got != tt.want {
			t.Errorf("Lookup(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
	if got := b.Path(&Node{}); got != "" {
		t.Errorf("Path(foreign node) = %q, want none", got)
	}
}

func TestLabels(t *testing.T) {
	b := board(t)
	if got, ok := b.Label("codec"); !ok || got != "/soc/codec@9100000" {
		t.Errorf("Label(codec) = %q, %v", got, ok)
	}
	if got, ok := b.Label("cdec"); ok {
		t.Errorf("Label(cdec) = %q, want none", got)
	}
	if diff := cmp.Diff([]string{"uart0", "uart"}, b.Labels("/soc/serial@9000000")); diff != "" {
		t.Errorf("Labels: -want +got\n%s", diff)
	}
	if got := b.Labels("/memory@40000000"); got != nil {
		t.Errorf("Labels(/memory@40000000) = %v, want none", got)
	}
	if got, ok := b.Alias("serial0"); !ok || got != "/soc/serial@9000000" {
		t.Errorf("Alias(serial0) = %q, %v", got, ok)
	}
	bare := &Tree{Root: &Node{}}
	if _, ok := bare.Label("codec"); ok {
		t.Error("Label found something in a tree without symbols")
	}
	if got := bare.Labels("/"); got != nil {
		t.Errorf("Labels = %v in a tree without symbols", got)
	}
}

func TestPhandle(t *testing.T) {
	b := board(t)
	fw := b.Lookup("/reserved-memory/firmware@56000000")
	ph, ok := fw.U32("phandle")
	if !ok {
		t.Fatal("dtc gave the labelled node no phandle")
	}
	if got := b.Phandle(ph); got != fw {
		t.Errorf("Phandle(%d) = %s", ph, b.Path(got))
	}
	if got, _ := b.Lookup("/soc/codec").U32("memory-region"); got != ph {
		t.Errorf("memory-region = %d, want %d", got, ph)
	}
	var max uint32
	labels := 0
	if err := b.Walk(func(path string, n *Node) error {
		if v, ok := n.U32("phandle"); ok {
			labels++
			if v > max {
				max = v
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := b.MaxPhandle(); got != max || labels == 0 {
		t.Errorf("MaxPhandle() = %d, want %d of %d", got, max, labels)
	}
	for _, none := range []uint32{0, max + 1, ^uint32(0)} {
		if got := b.Phandle(none); got != nil {
			t.Errorf("Phandle(%#x) = %s, want none", none, b.Path(got))
		}
	}
	old := &Tree{Root: &Node{Children: []*Node{{Name: "a", Props: []Prop{{"linux,phandle", U32s(7)}}}}}}
	if old.Phandle(7) != old.Root.Children[0] || old.MaxPhandle() != 7 {
		t.Error("linux,phandle is not read")
	}
}

func TestWalk(t *testing.T) {
	b := board(t)
	var paths []string
	stop := errors.New("stop")
	err := b.Walk(func(path string, n *Node) error {
		if got := b.Path(n); got != path {
			t.Errorf("Path = %q, Walk says %q", got, path)
		}
		if b.Lookup(path) != n {
			t.Errorf("Lookup(%q) is another node", path)
		}
		paths = append(paths, path)
		switch path {
		case "/cpus":
			return SkipChildren
		case "/soc":
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Errorf("Walk = %v, want stop", err)
	}
	want := []string{
		"/", "/aliases", "/chosen", "/memory@40000000", "/cpus",
		"/reserved-memory", "/reserved-memory/firmware@56000000", "/reserved-memory/linux,cma", "/soc",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("Walk: -want +got\n%s", diff)
	}
}

func TestNodeEdits(t *testing.T) {
	n := &Node{}
	n.Set("a", U32s(1))
	n.Set("b", StringList("x", ""))
	n.Set("c", nil)
	n.Set("a", U32s(2))
	want := []Prop{{"a", U32s(2)}, {"b", []byte("x\x00\x00")}, {"c", nil}}
	if diff := cmp.Diff(want, n.Props); diff != "" {
		t.Errorf("Set: -want +got\n%s", diff)
	}
	if v, ok := n.U32("a"); !ok || v != 2 {
		t.Errorf("U32(a) = %d, %v", v, ok)
	}
	if v, ok := n.U32("b"); ok {
		t.Errorf("U32 of 3 bytes = %d, want none", v)
	}
	if diff := cmp.Diff([]string{"x", ""}, n.Strings("b")); diff != "" {
		t.Errorf("Strings: -want +got\n%s", diff)
	}
	for _, name := range []string{"a", "c", "missing"} { // not terminated, empty, not there
		if got := n.Strings(name); got != nil {
			t.Errorf("Strings(%s) = %q, want none", name, got)
		}
	}
	if !n.Has("c") || n.Has("d") {
		t.Error("Has is wrong about c or d")
	}
	if !n.Remove("a") || n.Remove("a") {
		t.Error("Remove is wrong about a")
	}
	if len(n.Props) != 2 || n.Props[0].Name != "b" {
		t.Errorf("Remove changed the order: %v", n.Props)
	}
	k := n.AddChild(&Node{Name: "k@1"})
	if n.Child("k@1") != k || n.Child("k") != nil {
		t.Error("Child wants the exact name")
	}
	if !n.RemoveChild("k@1") || n.RemoveChild("k@1") {
		t.Error("RemoveChild is wrong about k@1")
	}
}

func TestClone(t *testing.T) {
	a := board(t)
	before := a.DTS()
	b := a.Clone()
	b.Root.Props[0].Value[0] ^= 0xff
	b.Lookup("/soc").Children = nil
	b.Reserve[0].Base = 1
	if a.DTS() != before {
		t.Error("a change of the clone changed the original")
	}
}

func TestCells(t *testing.T) {
	for _, tt := range []struct {
		value uint64
		cells int
		want  []byte
		fits  bool
	}{
		{0x1_2345_6789, 2, U32s(1, 0x23456789), true},
		{0x1_2345_6789, 1, U32s(0x23456789), false},
		{0xffffffff, 1, U32s(0xffffffff), true},
		{5, 3, U32s(0, 0, 5), true},
		{0, 0, []byte{}, true},
		{1, 0, []byte{}, false},
	} {
		if diff := cmp.Diff(tt.want, Cells(tt.value, tt.cells)); diff != "" {
			t.Errorf("Cells(%#x, %d): -want +got\n%s", tt.value, tt.cells, diff)
		}
		if got := FitsCells(tt.value, tt.cells); got != tt.fits {
			t.Errorf("FitsCells(%#x, %d) = %v", tt.value, tt.cells, got)
		}
	}
	if v, err := DecodeCells(U32s(1, 2), 2); err != nil || v != 1<<32|2 {
		t.Errorf("DecodeCells = %#x, %v", v, err)
	}
	for _, cells := range []int{-1, 0, 1, 3} {
		if v, err := DecodeCells(U32s(1, 2), cells); !errors.Is(err, ErrCells) {
			t.Errorf("DecodeCells of 8 bytes in %d cells = %#x, %v; want ErrCells", cells, v, err)
		}
	}
}

func TestDecodeReg(t *testing.T) {
	tests := []struct {
		name       string
		in         []byte
		addr, size int
		want       []Range
		say        string // in the error; empty means no error
	}{
		{"2/2", U32s(1, 2, 3, 4, 5, 6, 7, 8), 2, 2, []Range{{1<<32 | 2, 3<<32 | 4}, {5<<32 | 6, 7<<32 | 8}}, ""},
		{"2/1", U32s(0, 0x50000000, 0x1000), 2, 1, []Range{{0x50000000, 0x1000}}, ""},
		{"1/1", U32s(0x50000000, 0x1000), 1, 1, []Range{{0x50000000, 0x1000}}, ""},
		{"1/0", U32s(0, 1), 1, 0, []Range{{0, 0}, {1, 0}}, ""},
		{"empty", nil, 2, 2, []Range{}, ""},
		{"up to the end", U32s(^uint32(0), ^uint32(0)-0xfff, 0, 0x1000), 2, 2, []Range{{^uint64(0) - 0xfff, 0x1000}}, ""},
		{"over the end", U32s(^uint32(0), ^uint32(0)-0xfff, 0, 0x1001), 2, 2, nil, "address space"},
		{"all of it and one", U32s(0, 2, ^uint32(0), ^uint32(0)), 2, 2, nil, "address space"},
		{"1/1 cells for 2/2", U32s(1, 2), 2, 2, nil, "multiple of 16"},
		{"odd bytes", []byte{1, 2, 3}, 1, 0, nil, "multiple of 4"},
		{"three cells", U32s(0, 1, 2, 3, 4), 3, 2, nil, "#address-cells 3"},
		{"three size cells", U32s(0, 1, 2, 3, 4), 2, 3, nil, "#size-cells 3"},
		{"no cells", U32s(0), 0, 0, nil, "#address-cells 0"},
		{"negative", U32s(0), 1, -1, nil, "#size-cells -1"},
	}
	for _, tt := range tests {
		got, err := DecodeReg(tt.in, tt.addr, tt.size)
		if tt.say == "" {
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%s: DecodeReg = %v, -want +got\n%s", tt.name, err, diff)
			}
			continue
		}
		if got != nil || !errors.Is(err, ErrCells) || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%s: DecodeReg = %v, %v; want ErrCells with %q", tt.name, got, err, tt.say)
		}
	}
	if got := (Range{0x1000, 0x1000}).End(); got != 0x2000 {
		t.Errorf("End() = %#x", got)
	}
}
