// SPDX-License-Identifier: MIT

package emit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// columns is the width of the part of the text map that is to scale. The whole
// line stays within 100 columns for names of customary length.
const columns = 40

// TextMap draws a Layout in plain ASCII, so that it can go through serial
// consoles, build logs and diffs. Each row stands at its place in RAM to
// scale; banks are drawn one after the other, and what lies between them is
// left out.
func TextMap(l *heapcfg.Layout) string {
	var b strings.Builder
	banks := heapcfg.MergeRanges(l.Banks)
	fmt.Fprintln(&b, mapTitle(l))
	rows := Rows(l)
	wide := 0
	for _, r := range rows {
		wide = max(wide, len(r.Range.Last().String()))
	}
	for _, bank := range banks {
		fmt.Fprintf(&b, "\n%-*s  %-*s  %9s  |%s|\n", wide, "first", wide, "last", "size", center("RAM to scale, "+scale(bank)+" a column", columns))
		for _, r := range rows {
			if r.Range.Overlaps(bank) {
				writeRow(&b, r, wide, bar(r, bank))
			}
		}
	}
	var outside []Row
	for _, r := range rows {
		if !anyOverlaps(banks, r.Range) {
			outside = append(outside, r)
		}
	}
	if len(outside) > 0 {
		fmt.Fprintf(&b, "\n%s\n", outsideTitle(l))
		for _, r := range outside {
			writeRow(&b, r, wide, strings.Repeat(" ", columns))
		}
	}
	if dyn := Unplaced(l); len(dyn) > 0 {
		fmt.Fprintf(&b, "\nplaced by the kernel at boot\n")
		for _, r := range dyn {
			fmt.Fprintf(&b, "%*s  %9s  |%*s|  %s\n", 2*wide+2, "", heapcfg.AboutSize(r.Range.Size), columns, "", words(r))
		}
	}
	fmt.Fprintf(&b, "\n# heap   = reserved   + kernel, initrd, firmware   . free   X overlap\n")
	return b.String()
}

// boardName returns what the device tree calls the board, as text: it stands in
// maps, and in the first line of files that udev, mdev and the kernel's build
// read line by line.
func boardName(l *heapcfg.Layout) string {
	name := "board"
	switch {
	case l.Board.Model != "":
		name = l.Board.Model
	case len(l.Board.Compatible) > 0:
		name = l.Board.Compatible[0]
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

func anyOverlaps(rs []heapcfg.Range, r heapcfg.Range) bool {
	for _, b := range rs {
		if b.Overlaps(r) {
			return true
		}
	}
	return false
}

func writeRow(b *strings.Builder, r Row, wide int, bar string) {
	fmt.Fprintf(b, "%*v  %*v  %9s  |%s|  %s\n", wide, r.Range.Base, wide, r.Range.Last(), heapcfg.AboutSize(r.Range.Size), bar, words(r))
}

func words(r Row) string {
	s := r.Title
	if len(r.Notes) > 0 {
		s += " (" + strings.Join(r.Notes, ", ") + ")"
	}
	if len(r.Overlaps) > 0 {
		s += "  OVERLAPS " + strings.Join(r.Overlaps, ", ")
	}
	if r.Outside {
		s += "  NOT IN RAM"
	}
	return s
}

// bar draws the row at its place in the bank. Whatever is there has at least
// one column, so that nothing vanishes for being small.
func bar(r Row, bank heapcfg.Range) string {
	glyph := map[Class]byte{Free: '.', Taken: '+', Region: '=', Heap: '#'}[r.Class]
	if len(r.Overlaps) > 0 || r.Outside {
		glyph = 'X'
	}
	from, to := max(r.Range.Base, bank.Base)-bank.Base, min(r.Range.Last(), bank.Last())-bank.Base
	lo := column(uint64(from), bank.Size)
	hi := max(column(uint64(to), bank.Size), lo)
	line := []byte(strings.Repeat(" ", columns))
	for i := lo; i <= hi; i++ {
		line[i] = glyph
	}
	return string(line)
}

// column returns the column of an offset. The division comes first where the
// product would not fit into 64 bits; no bank is small enough to notice.
func column(off, size uint64) int {
	if size >= 1<<56 {
		return min(int(off/(size/columns)), columns-1)
	}
	return int(off * columns / size)
}

// scale says how much memory a column stands for, in three digits or so.
func scale(bank heapcfg.Range) string {
	per := bank.Size / columns
	for _, u := range []struct {
		n    uint64
		name string
	}{{heapcfg.GiB, "GiB"}, {heapcfg.MiB, "MiB"}, {heapcfg.KiB, "KiB"}} {
		if per >= u.n {
			return fmt.Sprintf("%.1f%s", float64(per)/float64(u.n), u.name)
		}
	}
	return fmt.Sprintf("%dB", per)
}

func center(s string, width int) string {
	pad := max(width-len(s), 0)
	return strings.Repeat(" ", pad/2) + s + strings.Repeat(" ", pad-pad/2)
}
