// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
)

type importFlags struct {
	sourceFlags
	output string
}

func newImport(env *Env) *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import board.dtb",
		Short: "Write the heaps.yaml of a board as it is",
		Long: `Write the heaps.yaml of a board as its device tree has it: CMA regions, carveout
and chunk heaps, TI's carveouts, and the heap nodes of ION drivers (Qualcomm,
HiSilicon, Allwinner, Rockchip, MediaTek, Samsung, Spreadtrum). What cannot be
translated is listed in a comment, with the reason.

Compiled against the board's tree, without the nodes that it says must leave, the
config gives the same regions.`,
		Example: `  heapctl import board.dtb > heaps.yaml
  heapctl import /proc/device-tree -o heaps.yaml`,
		Args: exactly("a device tree"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(env, args[0]) },
	}
	f.tree(c)
	c.Flags().StringVarP(&f.output, "output", "o", "-", "new file to write, \"-\" for standard output")
	return c
}

func (f *importFlags) run(env *Env, name string) error {
	if isConfig(name) {
		return usagef("%s: only a device tree can be imported", name)
	}
	// What was imported is there to be edited by hand.
	if info, err := os.Stat(f.output); f.output != "-" && err == nil && info.Mode().IsRegular() {
		return usagef("%s: there is such a file already; remove it, or name another", f.output)
	}
	p, err := loadSource(env, name, f.sourceFlags)
	if err != nil {
		return err
	}
	if p.tree == nil || p.layout == nil {
		printFindings(env, p.findings, p.sources, false)
		return usagef("%s: only a device tree can be imported", name)
	}
	imp, findings := heapcfg.ImportTree(name, p.tree, p.layout.Target)
	if imp == nil {
		printFindings(env, findings, nil, false)
		return &ExitError{Code: ExitFailed}
	}
	if f.output == "-" {
		if _, err := env.Stdout.Write(imp.YAML); err != nil {
			return err
		}
	} else {
		if err := os.MkdirAll(filepath.Dir(f.output), 0o755); err != nil {
			return &ExitError{ExitCannotTest, fmt.Errorf("%s: %w", f.output, reason(err))}
		}
		if err := replaceFile(f.output, imp.YAML); err != nil {
			return &ExitError{ExitCannotTest, err}
		}
	}
	fmt.Fprintf(env.Stderr, "heapctl: %s: %s imported, %s not translated\n", name, plural(imp.Heaps, "heap"), plural(imp.Left, "node"))
	return nil
}
