// SPDX-License-Identifier: MIT

package fdt

import (
	"fmt"
	"testing"
)

// largeBoard is a tree of the size of the largest boards of Linux 6.12: some
// 4000 nodes, 15000 properties and a label for every other node.
func largeBoard() *Tree {
	t := fuzzBase()
	soc := t.Root.Child("soc")
	symbols := t.Root.Child("__symbols__")
	for bus := 0; bus < 40; bus++ {
		b := soc.AddChild(&Node{Name: fmt.Sprintf("bus@%x", bus<<20)})
		for dev := 0; dev < 100; dev++ {
			n := b.AddChild(&Node{Name: fmt.Sprintf("device@%x", dev<<12)})
			n.Set("compatible", StringList("vendor,device-v2", "vendor,device"))
			n.Set("reg", U32s(uint32(bus<<20+dev<<12), 0x1000))
			n.Set("status", StringList("disabled"))
			if dev%2 == 0 {
				n.Set("phandle", U32s(uint32(1000+bus*100+dev)))
				symbols.Set(fmt.Sprintf("dev_%d_%d", bus, dev), StringList("/soc/"+b.Name+"/"+n.Name))
			}
		}
	}
	return t
}

func BenchmarkParse(b *testing.B) {
	blob := mustMarshal(b, largeBoard())
	b.SetBytes(int64(len(blob)))
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if _, err := Parse(blob); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	blob := mustMarshal(b, largeBoard())
	b.SetBytes(int64(len(blob)))
	for i := 0; i < b.N; i++ {
		if _, err := guard(blob); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshal(b *testing.B) {
	tree := largeBoard()
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if _, err := tree.Marshal(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	tree, o := largeBoard(), mustTree(b, heapOverlay())
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if _, err := Apply(tree, o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMerge is all of the work of "dtc -@ heaps.dtso" and "fdtoverlay",
// from bytes to bytes, and BenchmarkMergeTools is those two.
func BenchmarkMerge(b *testing.B) {
	base := mustMarshal(b, largeBoard())
	for i := 0; i < b.N; i++ {
		tree, err := Parse(base)
		if err != nil {
			b.Fatal(err)
		}
		o, err := heapOverlay().Tree()
		if err != nil {
			b.Fatal(err)
		}
		if tree, err = Apply(tree, o); err != nil {
			b.Fatal(err)
		}
		if _, err := tree.Marshal(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMergeTools(b *testing.B) {
	base, source := mustMarshal(b, largeBoard()), heapOverlay().DTS()
	for i := 0; i < b.N; i++ {
		if _, err := fdtoverlay(b, base, compile(b, source)); err != nil {
			b.Fatal(err)
		}
	}
}
