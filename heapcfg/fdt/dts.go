// SPDX-License-Identifier: MIT

package fdt

import (
	"fmt"
	"strings"
)

// DTS writes the tree as source text in the manner of "dtc -I dtb -O dts":
// nodes and properties as stored, values guessed to be strings, cells or
// bytes. dtc compiles it back to the same tree.
func (t *Tree) DTS() string {
	var b strings.Builder
	b.WriteString("/dts-v1/;\n\n")
	for _, r := range t.Reserve {
		fmt.Fprintf(&b, "/memreserve/\t%#018x %#018x;\n", r.Base, r.Size)
	}
	if t.Root != nil {
		writeNode(&b, t.Root, 0)
	}
	return b.String()
}

func writeNode(b *strings.Builder, n *Node, level int) {
	indent := strings.Repeat("\t", level)
	name := n.Name
	if level == 0 {
		name = "/"
	}
	fmt.Fprintf(b, "%s%s {\n", indent, name)
	for _, p := range n.Props {
		fmt.Fprintf(b, "%s\t%s", indent, p.Name)
		if len(p.Value) > 0 {
			fmt.Fprintf(b, " = %s", guessValue(p.Value))
		}
		b.WriteString(";\n")
	}
	for _, c := range n.Children {
		b.WriteByte('\n')
		writeNode(b, c, level+1)
	}
	fmt.Fprintf(b, "%s};\n", indent)
}

// guessValue renders a value by dtc's rule: printable text with terminators is
// strings, whole words are cells, the rest is bytes.
func guessValue(v []byte) string {
	switch {
	case looksLikeStrings(v):
		parts := strings.Split(string(v[:len(v)-1]), "\x00")
		for i, s := range parts {
			parts[i] = quote(s)
		}
		return strings.Join(parts, ", ")
	case len(v)%4 == 0:
		return cellText(v, "%#02x")
	}
	return byteText(v)
}

// looksLikeStrings wants the last byte to be a terminator, all others to be
// text or terminators, and more text than terminators.
func looksLikeStrings(v []byte) bool {
	if len(v) == 0 || v[len(v)-1] != 0 {
		return false
	}
	nul := 0
	for _, c := range v {
		switch {
		case c == 0:
			nul++
		case c >= 0x20 && c <= 0x7e, c >= '\a' && c <= '\r':
		default:
			return false
		}
	}
	return nul < len(v)-nul
}

// quote renders one string for dtc: it knows the escapes of C, and takes two
// digits after \x, never more.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < 0x20 || c > 0x7e:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// cellText renders whole words, each in its format, as <0x00 0x01>. dtc writes
// two digits at least, and so does the text of a Tree.
func cellText(v []byte, format string) string {
	var b strings.Builder
	b.WriteByte('<')
	for i := 0; i+4 <= len(v); i += 4 {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, format, be32(v[i:]))
	}
	b.WriteByte('>')
	return b.String()
}

// byteText renders bytes as [aa bb].
func byteText(v []byte) string {
	return fmt.Sprintf("[% x]", v)
}
