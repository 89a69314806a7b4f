// SPDX-License-Identifier: MIT

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// boardFlags are those of the verbs that show the heaps of a board.
type boardFlags struct {
	format string
	root   string
}

func (f *boardFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.format, "output", "o", "text", "text or json")
	c.Flags().StringVar(&f.root, "root", "/", "examine a copy of a board's files below this directory")
}

// heaps opens the board and finds its heaps, once the flags make sense.
func (f *boardFlags) heaps() (*sysinfo.Board, []sysinfo.Heap, error) {
	if f.format != "text" && f.format != "json" {
		return nil, nil, usagef("unknown output format %q; use text or json", f.format)
	}
	board := openBoard(f.root)
	heaps, err := board.Heaps()
	if err != nil {
		return nil, nil, noHeaps(err)
	}
	return board, heaps, nil
}

func newList(env *Env) *cobra.Command {
	var f boardFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the heaps of this board: memory, users, rights",
		Long: `List the heaps of this board: kind, size, what is used of it, the largest block
that can be allocated, the physical address, and who may open it.

Kernels differ in what they tell. A "?" is a number that this kernel, or this
user, cannot see; "heapctl info NAME" says which files were asked.`,
		Example: `  heapctl list
  heapctl list -o json`,
		Args: exactly(),
		RunE: func(c *cobra.Command, args []string) error { return f.list(env) },
	}
	f.add(c)
	return c
}

func (f *boardFlags) list(env *Env) error {
	board, heaps, err := f.heaps()
	if err != nil {
		return err
	}
	if f.format == "json" {
		return writeHeapsJSON(env.Stdout, board, heaps)
	}
	return printList(env.Stdout, board, heaps)
}

func printList(w io.Writer, board *sysinfo.Board, heaps []sysinfo.Heap) error {
	if len(heaps) == 0 {
		_, err := fmt.Fprintf(w, "%s is empty: the kernel has the framework and no heap\n", sysinfo.HeapDir)
		return err
	}
	rows := [][]string{{"NAME", "KIND", "SIZE", "USED", "LARGEST", "ADDRESS", "MODE", "OWNER", "ALSO KNOWN AS"}}
	for _, h := range heaps {
		address := quantity(h.Usage.Base, func(n uint64) string { return heapcfg.Addr(n).String() })
		if h.Kind == heapcfg.System {
			address = "-"
		}
		also := strings.Join(h.Links, ", ")
		if h.SharesWith != "" {
			also = strings.TrimPrefix(also+", memory of "+h.SharesWith, ", ")
		}
		rows = append(rows, []string{
			h.Name, kindOf(h), bytesOf(h, h.Usage.Size), bytesOf(h, h.Usage.Used), bytesOf(h, h.Usage.Largest), address,
			heapcfg.Mode(h.Perm()).String(), ownerOf(board, h), also,
		})
	}
	return writeTable(w, rows)
}

// noHeaps is the error of a board without /dev/dma_heap.
func noHeaps(err error) error {
	code := ExitCannotTest
	if errors.Is(err, fs.ErrNotExist) {
		code = ExitUnsupported
	}
	return &ExitError{code, fmt.Errorf("%s: %s; \"heapctl check\" says why", sysinfo.HeapDir, sysinfo.Reason(err))}
}

func kindOf(h sysinfo.Heap) string {
	if h.Kind == "" {
		return "?"
	}
	return string(h.Kind)
}

// bytesOf writes a number of bytes. The system heap has no region of its own
// to have numbers of.
func bytesOf(h sysinfo.Heap, q sysinfo.Quantity) string {
	if h.Kind == heapcfg.System && !q.Known() {
		return "-"
	}
	return quantity(q, heapcfg.FormatSize)
}

func quantity(q sysinfo.Quantity, format func(uint64) string) string {
	if !q.Known() {
		return "?"
	}
	return format(q.Value)
}

func ownerOf(b *sysinfo.Board, h sysinfo.Heap) string {
	if !h.Owned {
		return "?"
	}
	user := fmt.Sprint(h.Owner.UID)
	if name, ok := b.UserName(int(h.Owner.UID)); ok {
		user = name
	} else if h.Owner.UID == 0 {
		user = "root"
	}
	return user + ":" + b.GroupName(h.Owner.GID)
}

// writeTable aligns the columns. Names come from device trees, so nothing in
// them may reach a terminal as a command.
func writeTable(w io.Writer, rows [][]string) error {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = report.CleanLine(row[i])
			width[i] = max(width[i], len(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += fmt.Sprintf("%-*s  ", width[i], cell)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// heapJSON is a heap in the JSON of list and info. A number that is not known
// is null, and never 0.
type heapJSON struct {
	Name       string        `json:"name"`
	Links      []string      `json:"links,omitempty"`
	Kind       heapcfg.Kind  `json:"kind,omitempty"`
	Size       *uint64       `json:"size"`
	Used       *uint64       `json:"used"`
	Largest    *uint64       `json:"largest_free"`
	Base       *heapcfg.Addr `json:"base"`
	Buffers    *uint64       `json:"buffers"`
	Failed     *uint64       `json:"alloc_failures"`
	Mode       heapcfg.Mode  `json:"mode"`
	Owner      string        `json:"owner,omitempty"`
	Group      string        `json:"group,omitempty"`
	SharesWith string        `json:"shares_with,omitempty"`
	Node       string        `json:"node,omitempty"`
	Compatible []string      `json:"compatible,omitempty"`
	Holders    []holderJSON  `json:"holders,omitempty"`
}

type holderJSON struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	Buffers int    `json:"buffers"`
	Bytes   uint64 `json:"bytes"`
}

func toJSON(b *sysinfo.Board, h sysinfo.Heap) heapJSON {
	num := func(q sysinfo.Quantity) *uint64 {
		if !q.Known() {
			return nil
		}
		return &q.Value
	}
	j := heapJSON{
		Name: h.Name, Links: h.Links, Kind: h.Kind, Size: num(h.Usage.Size), Used: num(h.Usage.Used), Largest: num(h.Usage.Largest),
		Buffers: num(h.Usage.Buffers), Failed: num(h.Usage.Failed), Mode: heapcfg.Mode(h.Perm()), SharesWith: h.SharesWith,
	}
	if h.Usage.Base.Known() {
		a := heapcfg.Addr(h.Usage.Base.Value)
		j.Base = &a
	}
	if h.Owned {
		user, group, _ := strings.Cut(ownerOf(b, h), ":")
		j.Owner, j.Group = user, group
	}
	if h.Region != nil {
		j.Node, j.Compatible = sysinfo.TreePath+"/reserved-memory/"+h.Region.Node, h.Region.Compatible
	}
	return j
}

// heapsVersion is the version of the JSON of list and info.
const heapsVersion = 1

func writeHeapsJSON(w io.Writer, b *sysinfo.Board, heaps []sysinfo.Heap) error {
	out := struct {
		Format  string     `json:"format"`
		Version int        `json:"version"`
		Kernel  string     `json:"kernel,omitempty"`
		Heaps   []heapJSON `json:"heaps"`
	}{"heapctl-heaps", heapsVersion, b.Release, []heapJSON{}}
	holders, _, _ := b.Holders()
	for _, h := range heaps {
		j := toJSON(b, h)
		for _, x := range holders {
			if x.Heap == h.Name {
				j.Holders = append(j.Holders, holderJSON{x.PID, x.Comm, x.Buffers, x.Bytes})
			}
		}
		out.Heaps = append(out.Heaps, j)
	}
	return writeJSON(w, out)
}
