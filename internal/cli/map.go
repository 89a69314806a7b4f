// SPDX-License-Identifier: MIT

package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
)

type mapFlags struct {
	sourceFlags
	output string
}

func newMap(env *Env) *cobra.Command {
	var f mapFlags
	c := &cobra.Command{
		Use:   "map FILE",
		Short: "Draw the memory map of a config, a device tree, a lock file or this board",
		Long: `Draw all of RAM in address order: what occupies it, the heaps, the gaps.

FILE is a heaps.yaml (with --base), a device tree blob, a lock file or a
/proc/device-tree directory. Overlaps and what lies outside RAM are marked; the
map is drawn even where the layout is broken, since then it is needed most.`,
		Example: `  heapctl map heaps.yaml --base board.dtb
  heapctl map board.dtb -o svg > map.svg
  heapctl map heaps.lock.json -o html > map.html
  heapctl map /proc/device-tree`,
		Args: exactly("a device tree, a heaps.yaml or a lock file"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(env, args[0]) },
	}
	f.sourceFlags.add(c)
	c.Flags().StringVarP(&f.output, "output", "o", "text", "text, svg or html")
	return c
}

func (f *mapFlags) run(env *Env, name string) error {
	var draw func(*heapcfg.Layout) string
	switch f.output {
	case "text":
		draw = emit.TextMap
	case "svg":
		draw = emit.SVGMap
	case "html":
		draw = emit.HTMLMap
	default:
		return usagef("-o %s: a map is text, svg or html", f.output)
	}
	p, err := loadSource(env, name, f.sourceFlags)
	if err != nil {
		return err
	}
	if p.layout == nil {
		printFindings(env, p.findings, p.sources, false)
		return &ExitError{Code: ExitFailed}
	}
	_, err = io.WriteString(env.Stdout, draw(p.layout))
	return err
}
