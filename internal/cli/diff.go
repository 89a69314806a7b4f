// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
)

type diffFlags struct {
	sourceFlags
	output string
}

func newDiff(env *Env) *cobra.Command {
	var f diffFlags
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what changed between two memory layouts",
		Long: `Say what moved, grew, shrank, vanished, is new, was renamed or changed in kind,
access, permissions or devices between two layouts.

OLD and NEW are whatever "heapctl map" reads: a heaps.yaml (with --base), a
device tree blob, a lock file or a /proc/device-tree directory, each of another
sort if need be.

Exit codes are those of diff: 0 when nothing changed, 1 when something did, 2
for trouble.`,
		Example: `  heapctl diff old.dtb new.dtb
  heapctl diff heaps.lock.json heaps.yaml --base board.dtb
  heapctl diff heaps.lock.json /proc/device-tree`,
		Args: exactly("an old layout", "a new layout to compare it with"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(env, args[0], args[1]) },
	}
	f.sourceFlags.add(c)
	c.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
	return c
}

func (f *diffFlags) run(env *Env, oldName, newName string) error {
	if f.output != "text" && f.output != "json" {
		return usagef("-o %s: differences are printed as text or json", f.output)
	}
	f.given = nil // what means nothing for the one may be meant for the other
	var layouts [2]*heapcfg.Layout
	for i, name := range []string{oldName, newName} {
		p, err := loadSource(env, name, f.sourceFlags)
		if err != nil {
			return err
		}
		if p.layout == nil {
			printFindings(env, p.findings, p.sources, false)
			return usagef("%s: no layout to compare", name)
		}
		layouts[i] = p.layout
	}
	changes := heapcfg.Diff(layouts[0], layouts[1])
	if f.output == "json" {
		out := struct {
			Version int              `json:"version"`
			Same    bool             `json:"same"`
			Changes []heapcfg.Change `json:"changes"`
		}{1, len(changes) == 0, changes}
		if out.Changes == nil {
			out.Changes = []heapcfg.Change{}
		}
		if err := writeJSON(env.Stdout, out); err != nil {
			return err
		}
	} else {
		wide := 0
		for _, c := range changes {
			wide = max(wide, len(c.Name))
		}
		for _, c := range changes {
			fmt.Fprintf(env.Stdout, "%-8s  %-*s  %s\n", c.Kind, wide, c.Name, report.Clean(changeText(c)))
		}
	}
	if len(changes) > 0 {
		return &ExitError{Code: ExitFailed}
	}
	return nil
}

func changeText(c heapcfg.Change) string {
	switch {
	case c.New == "":
		return c.Old
	case c.Old == "":
		return c.New
	case c.Field != "":
		return fmt.Sprintf("%s: %s -> %s", c.Field, c.Old, c.New)
	}
	return c.Old + " -> " + c.New
}
