// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
)

func newExplain(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [RULE]",
		Short: "Say what a rule means, what the kernel does, and the way out",
		Long: `Say what a rule means: what must hold, what the kernel does where it does not,
the message one would see (or that there is none), and the way out. Without a
rule, list them all.`,
		Example: `  heapctl explain
  heapctl explain cma-alignment`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, r := range heapcfg.Rules() {
				ids = append(ids, r.ID+"\t"+r.Title)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, r := range heapcfg.Rules() {
					fmt.Fprintf(env.Stdout, "%-20s %-8v %s\n", r.ID, r.Level, r.Title)
				}
				return nil
			}
			r, ok := heapcfg.RuleByID(strings.Trim(args[0], "[]"))
			if !ok {
				return usagef("there is no rule %q; \"heapctl explain\" lists them", args[0])
			}
			explain(env.Stdout, r)
			return nil
		},
	}
}

func explain(w io.Writer, r heapcfg.Rule) {
	fmt.Fprintf(w, "%s (%v)\n\n%s\n\n", r.ID, r.Level, wrap(r.Title, ""))
	for _, part := range []struct{ label, text string }{
		{"otherwise", r.Why}, {"way out", r.Fix}, {"kernels", r.Kernels}, {"source", r.Source},
	} {
		if part.text != "" {
			fmt.Fprintf(w, "%-10s %s\n", part.label, wrap(part.text, "           "))
		}
	}
}

// wrap breaks text at 80 columns; further lines get the indent.
func wrap(text, indent string) string {
	var b strings.Builder
	col := len(indent)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case col+1+len(word) > 80:
			b.WriteString("\n" + indent)
			col = len(indent)
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}
