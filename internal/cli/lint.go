// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
)

type lintFlags struct {
	sourceFlags
	output string
	strict bool
	raw    bool
}

func newLint(env *Env) *cobra.Command {
	var f lintFlags
	c := &cobra.Command{
		Use:   "lint FILE",
		Short: "Hold a device tree, with overlays or without, against every rule",
		Long: `Hold the memory layout of FILE against every rule of "heapctl explain".

FILE is a device tree blob, hand-written trees included, a heaps.yaml (with
--base), a lock file or a /proc/device-tree directory. Overlays are applied in
memory first; where one does not apply, the message names the label, path or
__symbols__ that is missing.`,
		Example: `  heapctl lint board.dtb --kernel 6.1
  heapctl lint board.dtb --overlay heaps.dtbo --strict
  heapctl lint /proc/device-tree`,
		Args: exactly("a device tree, a heaps.yaml or a lock file"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(env, args[0]) },
	}
	f.sourceFlags.add(c)
	fl := c.Flags()
	fl.StringVarP(&f.output, "output", "o", "text", "text or json")
	fl.BoolVar(&f.strict, "strict", false, "fail on warnings too")
	fl.BoolVar(&f.raw, "raw", false, "report one finding a line, for editors and scripts")
	return c
}

func (f *lintFlags) run(env *Env, name string) error {
	if f.output != "text" && f.output != "json" {
		return usagef("-o %s: findings are printed as text or json", f.output)
	}
	p, err := loadSource(env, name, f.sourceFlags)
	if err != nil {
		return err
	}
	failed := p.failed(f.strict)
	switch {
	case f.output == "json":
		out := struct {
			Version  int               `json:"version"`
			OK       bool              `json:"ok"`
			Findings []heapcfg.Finding `json:"findings"`
		}{1, !failed, p.findings}
		if out.Findings == nil {
			out.Findings = []heapcfg.Finding{}
		}
		if err := writeJSON(env.Stdout, out); err != nil {
			return err
		}
	default:
		printFindings(env, p.findings, p.sources, f.raw)
		if !f.raw && !failed {
			n := 0
			for i := range p.layout.Regions {
				if p.layout.Regions[i].Active() {
					n++
				}
			}
			ram := "RAM unknown"
			if len(p.layout.Banks) > 0 {
				ram = heapcfg.AboutSize(p.layout.RAM()) + " of RAM"
			}
			fmt.Fprintf(env.Stdout, "%s: no errors in %s, %s, for kernel %v with %s pages\n", name, plural(n, "region"), ram, p.layout.Target.Kernel, heapcfg.FormatSize(p.layout.Target.PageSize))
		}
	}
	if failed {
		return &ExitError{Code: ExitFailed}
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
