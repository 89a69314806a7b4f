// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
)

type compileFlags struct {
	source  sourceFlags
	outputs []string
	merge   bool
	explain bool
	check   bool
	strict  bool
	raw     bool
	quiet   bool
}

func newCompile(env *Env) *cobra.Command {
	var f compileFlags
	c := &cobra.Command{
		Use:   "compile heaps.yaml --base board.dtb [-o DIR]",
		Short: "Compile heaps.yaml into an overlay and all that goes with it",
		Long: `Compile heaps.yaml against the board's device tree.

Writes into the output directory, under the name of the config, and of the
variant where one was asked for:
  NAME.dtso       the overlay as source, to read
  NAME.dtbo       the overlay, for the boot loader or fdtoverlay
  NAME.config     the kernel config fragment
  60-NAME.rules   udev rules: mode, group, short names
  NAME.mdev.conf  the same for mdev
  NAME.lock.json  what the board must show, for "heapctl check"
  NAME.map.txt    the memory map
  NAME.merged.dtb the whole tree, with --merge

All files are written, or none. The base tree is the one the boot loader hands
to the kernel: /sys/firmware/fdt on the running board, or the kernel build's
.dtb where the boot loader adds no memory nodes.`,
		Example: `  heapctl compile heaps.yaml --base board.dtb -o out/
  heapctl compile heaps.yaml --base board.dtb --check --strict
  heapctl compile heaps.yaml --base board.dtb --kernel 6.1 --explain-placement`,
		Args: exactly("a heaps.yaml"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(env, args[0])
		},
	}
	fl := c.Flags()
	fl.StringVarP(&f.source.base, "base", "b", "", "device tree blob of the board (required)")
	fl.Var((*words)(&f.source.overlays), "overlay", "overlay that the boot loader applies to the base before ours (may be repeated)")
	fl.StringVar(&f.source.variant, "variant", "", "variant of the config to compile")
	fl.StringVar(&f.source.kconfig, "kconfig", "", "the .config of the target kernel: its page size and options, and whether it has what the heaps need")
	fl.BoolVar(&f.merge, "merge", false, "write NAME.merged.dtb too: the base with the overlay applied, for boot loaders that cannot")
	fl.StringArrayVarP(&f.outputs, "output", "o", []string{"."}, "directory for the products, made if missing; \"json\" reports as JSON on standard output (both may be given)")
	fl.StringVar(&f.source.kernel, "kernel", "", "target kernel version, over the config's own")
	fl.BoolVar(&f.explain, "explain-placement", false, "say for each heap how its address was found")
	fl.BoolVar(&f.check, "check", false, "write nothing, only report")
	fl.BoolVar(&f.strict, "strict", false, "fail on warnings too")
	fl.BoolVar(&f.raw, "raw", false, "report one finding a line, for editors and scripts")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print findings only")
	return c
}

// output splits -o into the directory and whether JSON was asked for.
func (f *compileFlags) output() (dir string, asJSON bool) {
	dir = "."
	for _, o := range f.outputs {
		switch o {
		case "json":
			asJSON = true
		case "text":
		default:
			dir = o
		}
	}
	return dir, asJSON
}

func (f *compileFlags) run(env *Env, name string) error {
	if f.source.base == "" {
		return errNoBase(name)
	}
	p, err := loadPlan(env, name, f.source)
	if err != nil {
		return err
	}
	dir, asJSON := f.output()
	failed := p.failed(f.strict)
	var files []emit.File
	if !failed {
		if files, err = f.products(f.stem(name), p); err != nil {
			return usagef("%s: %v", name, err)
		}
	}
	if !failed && !f.check {
		if err := writeFiles(dir, files); err != nil {
			return &ExitError{ExitCannotTest, err}
		}
	}
	if asJSON {
		err = f.printJSON(env.Stdout, p, dir, files)
	} else {
		printFindings(env, p.findings, p.sources, f.raw)
		if !f.quiet && !f.raw {
			f.printText(env.Stdout, p, dir, files)
		}
	}
	if err == nil && failed {
		err = &ExitError{Code: ExitFailed}
	}
	return err
}

// stem returns the name of the products: that of the config, and of the
// variant, so that the variants of a board can share a directory.
func (f *compileFlags) stem(name string) string {
	if f.source.variant != "" {
		return stem(name) + "-" + f.source.variant
	}
	return stem(name)
}

// products makes all files in memory.
func (f *compileFlags) products(stem string, p *plan) ([]emit.File, error) {
	files, err := emit.Files(stem, p.layout)
	if err != nil || !f.merge {
		return files, err
	}
	merged, err := emit.Merged(stem, p.layout, p.tree)
	if err != nil {
		return nil, err
	}
	return append(files, merged), nil
}

// printText shows the map, why each heap is where it is, and what was written.
func (f *compileFlags) printText(w io.Writer, p *plan, dir string, files []emit.File) {
	if p.layout == nil {
		return
	}
	fmt.Fprint(w, emit.TextMap(p.layout))
	if f.explain {
		title := "\nplacement\n"
		for i := range p.layout.Regions {
			if r := &p.layout.Regions[i]; r.FromConfig {
				fmt.Fprint(w, title)
				title = ""
				fmt.Fprintf(w, "  %-24s  %v: %s\n", r.Name(), r.Range, r.Why)
			}
		}
	}
	switch {
	case len(files) == 0:
		fmt.Fprintf(w, "\nnothing written\n")
	case f.check:
		fmt.Fprintf(w, "\nclean; nothing written (--check)\n")
	default:
		fmt.Fprintf(w, "\nwritten\n")
		for _, file := range files {
			fmt.Fprintf(w, "  %-40s  %s\n", filepath.Join(dir, file.Name), file.About)
		}
	}
}

func (f *compileFlags) printJSON(w io.Writer, p *plan, dir string, files []emit.File) error {
	out := struct {
		Version  int               `json:"version"`
		OK       bool              `json:"ok"`
		Findings []heapcfg.Finding `json:"findings"`
		Files    []string          `json:"files"`
		Layout   *heapcfg.Layout   `json:"layout,omitempty"`
	}{1, !p.failed(f.strict), p.findings, []string{}, p.layout}
	if out.Findings == nil {
		out.Findings = []heapcfg.Finding{}
	}
	if !f.check {
		for _, file := range files {
			out.Files = append(out.Files, filepath.Join(dir, file.Name))
		}
	}
	return writeJSON(w, out)
}

// stem returns the name of the config without directory and extension: the
// name of its products.
func stem(name string) string {
	base := filepath.Base(name)
	if name == "-" {
		return "heaps"
	}
	return strings.TrimSuffix(base, filepath.Ext(base))
}
