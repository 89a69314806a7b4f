// SPDX-License-Identifier: MIT

package heapcfg

import (
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// testTree is a board like QEMU's virt: one bank of 512 MiB at 1 GiB, a codec
// with a label and an alias, and whatever children of /reserved-memory a test
// gives.
func testTree(reserved ...*fdt.Node) *fdt.Tree {
	root := &fdt.Node{}
	root.Set("compatible", fdt.StringList("linux,dummy-virt"))
	root.Set("#address-cells", fdt.U32s(2))
	root.Set("#size-cells", fdt.U32s(2))
	mem := root.AddChild(&fdt.Node{Name: "memory@40000000"})
	mem.Set("device_type", fdt.StringList("memory"))
	mem.Set("reg", fdt.U32s(0, 0x40000000, 0, 0x20000000))
	root.AddChild(&fdt.Node{Name: "codec@9000000"})
	root.AddChild(&fdt.Node{Name: "aliases"}).Set("codec0", fdt.StringList("/codec@9000000"))
	root.AddChild(&fdt.Node{Name: "__symbols__"}).Set("codec", fdt.StringList("/codec@9000000"))
	if len(reserved) > 0 {
		rm := root.AddChild(&fdt.Node{Name: "reserved-memory"})
		rm.Set("#address-cells", fdt.U32s(2))
		rm.Set("#size-cells", fdt.U32s(2))
		rm.Set("ranges", nil)
		for _, n := range reserved {
			rm.AddChild(n)
		}
	}
	return &fdt.Tree{Root: root}
}

// node makes a child of /reserved-memory; properties are name, value pairs,
// where a value is []byte, a string or nil.
func node(name string, props ...any) *fdt.Node {
	n := &fdt.Node{Name: name}
	for i := 0; i < len(props); i += 2 {
		switch v := props[i+1].(type) {
		case nil:
			n.Set(props[i].(string), nil)
		case string:
			n.Set(props[i].(string), fdt.StringList(v))
		case []byte:
			n.Set(props[i].(string), v)
		}
	}
	return n
}

func reg(base, size uint64) []byte {
	return append(fdt.Cells(base, 2), fdt.Cells(size, 2)...)
}

// planned parses, plans and lints a config on a test tree.
func planned(t *testing.T, yaml string, tree *fdt.Tree) (*Layout, []Finding) {
	t.Helper()
	cfg, findings := Parse("heaps.yaml", []byte(yaml))
	if cfg == nil {
		return nil, findings
	}
	base, more := FromTree("board.dtb", tree, cfg.Target)
	if base == nil {
		return nil, append(findings, more...)
	}
	l, more := cfg.Plan(base, tree)
	findings = append(findings, more...)
	findings = append(findings, Lint(l)...)
	SortFindings(findings)
	return l, findings
}

// ids returns "line:col id" of the findings at level lo or above.
func ids(fs []Finding, lo Level) []string {
	var out []string
	for _, f := range fs {
		if f.Level >= lo {
			at := f.Place.Path
			if f.Place.Line > 0 {
				at = f.Place.String()[len(f.Place.File)+1:]
			}
			out = append(out, at+" "+f.ID)
		}
	}
	return out
}
