// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

func newInfo(env *Env) *cobra.Command {
	var f boardFlags
	c := &cobra.Command{
		Use:   "info NAME",
		Short: "Tell everything about one heap, and where it was read",
		Long: `Tell everything about one heap: its memory, its device-tree node, who may open
it and which rule says so, the buffers in it and the processes that hold them.

NAME is the heap's own name or a short name. Behind each number stands the file
it came from; at the end stand the files that did not answer, and why.`,
		Example: `  heapctl info video
  heapctl info video@54000000 -o json`,
		Args: exactly("the name of a heap"),
		RunE: func(c *cobra.Command, args []string) error { return f.info(env, args[0]) },
	}
	f.add(c)
	return c
}

func (f *boardFlags) info(env *Env, name string) error {
	board, heaps, err := f.heaps()
	if err != nil {
		return err
	}
	h, err := pick(heaps, name)
	switch {
	case err != nil:
		return err
	case f.format == "json":
		return writeHeapsJSON(env.Stdout, board, []sysinfo.Heap{h})
	}
	return printInfo(env.Stdout, board, h)
}

// pick returns the heap of that name, or short name.
func pick(heaps []sysinfo.Heap, name string) (sysinfo.Heap, error) {
	var have []string
	for _, h := range heaps {
		if h.Name == name || slices.Contains(h.Links, name) {
			return h, nil
		}
		have = append(have, h.Name)
	}
	return sysinfo.Heap{}, noSuchHeap(name, have)
}

// noSuchHeap is the error of a name that no heap has.
func noSuchHeap(name string, have []string) error {
	if len(have) == 0 {
		return usagef("no heap %q; %s has none", name, sysinfo.HeapDir)
	}
	return usagef("no heap %q; there are: %s", name, report.Clean(strings.Join(have, ", ")))
}

func printInfo(w io.Writer, b *sysinfo.Board, h sysinfo.Heap) error {
	var out strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-14s  %s\n", name, report.Clean(fmt.Sprintf(format, args...)))
	}
	number := func(name string, q sysinfo.Quantity, format func(uint64) string) {
		if q.Known() {
			row(name, "%-12s  (%s)", format(q.Value), q.From)
		} else if h.Kind != heapcfg.System {
			row(name, "not told by this kernel, or not to this user")
		}
	}
	count := func(n uint64) string { return fmt.Sprint(n) }

	row("heap", "%s", h.Path())
	if len(h.Links) > 0 {
		row("short names", "%s", strings.Join(h.Links, ", "))
	}
	row("kind", "%s", kindOf(h))
	if h.SharesWith != "" {
		row("same memory", "as %s", h.SharesWith)
	}
	number("size", h.Usage.Size, heapcfg.FormatSize)
	number("used", h.Usage.Used, heapcfg.FormatSize)
	number("largest free", h.Usage.Largest, heapcfg.FormatSize)
	number("address", h.Usage.Base, func(n uint64) string { return heapcfg.Addr(n).String() })
	number("buffers", h.Usage.Buffers, count)
	number("failures", h.Usage.Failed, count)
	if r := h.Region; r != nil {
		row("device tree", "%s/reserved-memory/%s", sysinfo.TreePath, r.Node)
		row("compatible", "%s%s", strings.Join(r.Compatible, ", "), regionFlags(r))
	}
	if h.Owned {
		row("device", "%d:%d", h.Owner.Major, h.Owner.Minor)
		row("rights", "%v %s", heapcfg.Mode(h.Perm()), ownerOf(b, h))
	}
	for _, key := range []string{"MODE", "GROUP", "OWNER"} {
		if rule, val, ok := b.Deciding(h.Name, key); ok {
			row("rule "+strings.ToLower(key), "%s  (%s:%d)", val, rule.File, rule.Line)
		}
	}
	may := "may"
	if !b.MayOpen(h.Node) {
		may = "may not"
	}
	row("this user", "%s open it", may)
	printUsers(&out, b, h)

	silent := false
	for _, s := range b.Sources() {
		if s.Err == nil {
			continue
		}
		if !silent {
			fmt.Fprintf(&out, "\nsources that said nothing\n")
			silent = true
		}
		fmt.Fprintf(&out, "  %s: %s\n", report.Clean(s.Path), report.Clean(sysinfo.Reason(s.Err)))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func regionFlags(r *heapcfg.Region) string {
	s := ""
	for _, f := range []struct {
		set  bool
		name string
	}{{r.Reusable, "reusable"}, {r.NoMap, "no-map"}, {r.Default, "linux,cma-default"}, {r.Dynamic, "placed by the kernel"}} {
		if f.set {
			s += ", " + f.name
		}
	}
	return s
}

// printUsers writes the processes that hold buffers, and the buffers.
func printUsers(out *strings.Builder, b *sysinfo.Board, h sysinfo.Heap) {
	if holders, _, err := b.Holders(); err == nil {
		fmt.Fprintf(out, "\nheld by\n")
		none := true
		for _, x := range holders {
			if x.Heap == h.Name {
				none = false
				fmt.Fprintf(out, "  %s[%d]  %s in %d buffers\n", report.Clean(x.Comm), x.PID, heapcfg.FormatSize(x.Bytes), x.Buffers)
			}
		}
		if none {
			fmt.Fprintf(out, "  no process that this user can see\n")
		}
	}
	bufs, err := b.DMABufs()
	if err != nil {
		return
	}
	begun := false
	for _, d := range bufs {
		if d.Exporter != h.Name {
			continue
		}
		if !begun {
			fmt.Fprintf(out, "\nbuffers\n")
			begun = true
		}
		fmt.Fprintf(out, "  %-10s  %d references", heapcfg.FormatSize(d.Size), d.Refs)
		if d.Name != "" {
			fmt.Fprintf(out, "  %q", d.Name)
		}
		if len(d.Devices) > 0 {
			fmt.Fprintf(out, "  attached to %s", report.Clean(strings.Join(d.Devices, ", ")))
		}
		fmt.Fprintln(out)
	}
}
