// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/check"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// defaultLock is where the image build puts the lock file.
const defaultLock = "/etc/dmaheap/heaps.lock.json"

type checkFlags struct {
	lock    string
	base    string
	variant string
	format  string
	file    string
	full    bool
	quick   bool
	heaps   []string
	profile []string
	imports bool
	root    string
	verbose bool
	list    bool
	hold    string
}

func newCheck(env *Env) *cobra.Command { return new(checkFlags).command(env) }

func (f *checkFlags) command(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "check [heaps.lock.json or heaps.yaml]",
		Short: "Hold the heaps of this board against what was meant",
		Long: `Hold the heaps of this board against what was meant, and say what is wrong and
what to do about it.

What was meant is in the lock file that "heapctl compile" wrote; without an
argument it is ` + defaultLock + `, and without that file it is
what the live device tree asks for; heaps beyond that are tested as well.

A heaps.yaml is compiled for the running kernel against the live device tree
first, or against --base. The live tree may have the overlay already: its
regions are taken out again, and a heap whose address the config leaves open
may lie where it does, as long as it breaks no rule.

A quick run, the default, takes at most a quarter of what is free in each heap,
and 16MiB at once. A full run takes everything each heap has for a moment:
whoever else needs memory of a heap meanwhile gets ENOMEM.

Exit codes:
  0  nothing is wrong
  1  a check failed
  2  wrong usage, or a lock file that cannot be read
  3  something could not be tested: permission or a resource is missing
  4  this kernel has no heaps`,
		Example: `  heapctl check
  heapctl check --full heaps.lock.json
  heapctl check heaps.yaml
  heapctl check --heap video -o junit > video.xml
  heapctl check -o prom --file /var/lib/node_exporter/dmaheap.prom`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(c.Context(), env, args)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.lock, "lock", "", "the lock file, as the argument does")
	fl.StringVarP(&f.base, "base", "b", "", "device tree blob that a heaps.yaml is compiled against (default: the live tree)")
	fl.StringVar(&f.variant, "variant", "", "variant of the heaps.yaml")
	fl.StringVarP(&f.format, "output", "o", "text", "how the result is written: "+strings.Join(report.Formats(), ", "))
	fl.StringVar(&f.file, "file", "", "write the result into this file, in one step, instead of standard output")
	fl.BoolVar(&f.full, "full", false, "take all memory of every heap: largest block, exhaustion, recovery")
	fl.BoolVar(&f.quick, "quick", false, "take a quarter at most, and let running users be (the default)")
	fl.Var((*words)(&f.heaps), "heap", "check this heap only, by node name or short name (may be repeated)")
	fl.Var((*words)(&f.profile), "profile", "say whether this program will find a heap it can use (may be repeated): "+strings.Join(check.ProfileNames(), ", "))
	fl.BoolVar(&f.imports, "import", false, "say which display and render devices can import from each heap")
	fl.StringVar(&f.root, "root", "/", "examine a copy of a board's files below this directory; memory is not tested then")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "show also what was read without trouble")
	fl.BoolVar(&f.list, "list-checks", false, "list the checks and what each is about; \"heapctl explain CHECK\" says more")
	fl.StringVar(&f.hold, "hold", "", "")
	_ = fl.MarkHidden("hold") // how a check starts the program whose death it watches
	c.MarkFlagsMutuallyExclusive("full", "quick")
	return c
}

func (f *checkFlags) run(ctx context.Context, env *Env, args []string) error {
	if f.hold != "" {
		if err := check.Hold(f.hold); err != nil {
			return &ExitError{ExitCannotTest, err}
		}
		return nil
	}
	if f.list {
		return (&explainFlags{checks: true, output: "text"}).run(env, nil)
	}
	if err := f.valid(); err != nil {
		return err
	}
	board := openBoard(f.root)
	lock, against, err := f.expectation(env, board, args)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	o := report.Options{Color: f.file == "" && colored(env, env.Stdout), Verbose: f.verbose}
	// Text appears as the run goes on; every other format needs the whole.
	var text *report.Text
	if f.format == "text" && f.file == "" {
		text = report.NewText(env.Stdout, o)
	}
	head := func(r *report.Report) {
		describeBoard(r, board, lock, against, f.full)
		if text != nil {
			_ = text.Start(r)
		}
	}
	// Text shows each check when it is done; what takes long is named before,
	// and so it is where the result goes into a file.
	show := synced(progress(env))
	emit := func(res report.Result) {
		show("")
		if text != nil {
			_ = text.Result(&res)
		}
	}
	if f.full && f.root == "/" {
		fmt.Fprintln(env.Stderr, "heapctl: a full check takes all memory of every heap for a moment")
	}
	r, err := check.Run(ctx, board, &check.Kernel{Hold: []string{"heapctl", "check", "--hold"}}, lock, check.Options{
		Full: f.full, Heaps: f.heaps, Profiles: f.profile, Import: f.imports,
		Slow: func(id, heap string) { show("%s: %s", heap, id) },
	}, head, emit)
	show("")
	if err != nil {
		return usagef("%v", err)
	}
	if err := f.write(env, r, text, o); err != nil {
		return &ExitError{ExitCannotTest, err}
	}
	if code := r.Summary.Exit; code != ExitOK {
		return &ExitError{Code: code}
	}
	return nil
}

// valid refuses what no board could make sense of.
func (f *checkFlags) valid() error {
	if !slices.Contains(report.Formats(), f.format) {
		return usagef("unknown output format %q; use one of %s", f.format, strings.Join(report.Formats(), ", "))
	}
	for _, p := range f.profile {
		if !slices.Contains(check.ProfileNames(), p) {
			return usagef("no such profile: %q; there are: %s", p, strings.Join(check.ProfileNames(), ", "))
		}
	}
	return nil
}

func (f *checkFlags) write(env *Env, r *report.Report, text *report.Text, o report.Options) error {
	switch {
	case text != nil:
		return text.End(r)
	case f.file == "":
		return report.Write(env.Stdout, r, f.format, o)
	}
	var buf bytes.Buffer
	if err := report.Write(&buf, r, f.format, o); err != nil {
		return err
	}
	return replaceFile(f.file, buf.Bytes())
}

// expectation returns what the board is held against, and where it is from.
func (f *checkFlags) expectation(env *Env, board *sysinfo.Board, args []string) (*heapcfg.Lock, string, error) {
	name := filepath.Join(f.root, defaultLock)
	if len(args) > 0 {
		if f.lock != "" && f.lock != args[0] {
			return nil, "", usagef("two lock files: %s and %s", f.lock, args[0])
		}
		name = args[0]
	} else if f.lock != "" {
		name = f.lock
	} else if fi, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return f.fromTree(board)
	} else if err == nil && !fi.Mode().IsRegular() {
		// Nobody named it, so nobody is about to write into it if it is a pipe.
		return nil, "", usagef("%s is no regular file; name the lock file that \"heapctl compile\" wrote", name)
	}
	if isConfig(name) {
		return f.fromConfig(env, board, name)
	}
	if f.base != "" || f.variant != "" {
		return nil, "", usagef("--base and --variant are for a heaps.yaml; a lock file has been compiled")
	}
	data, err := readFile(env, name, 4<<20)
	if err != nil {
		return nil, "", err
	}
	lock, err := heapcfg.ParseLock(data)
	if err != nil {
		return nil, "", usagef("%s: %v; \"heapctl compile\" writes it beside the overlay", name, err)
	}
	return lock, name, nil
}

// fromConfig compiles a config for the running kernel. A config that does not
// fit the board is a failure of its own, told as compile tells it.
func (f *checkFlags) fromConfig(env *Env, board *sysinfo.Board, name string) (*heapcfg.Lock, string, error) {
	data, err := readFile(env, name, maxInput)
	if err != nil {
		return nil, "", err
	}
	cfg, findings := heapcfg.ParseVariant(name, data, f.variant)
	p := &plan{findings: findings, sources: map[string][]byte{name: data}}
	against := "the live device tree"
	if cfg != nil {
		// That the patches were meant to be there is the config's to say;
		// whether they are is what the checks find out.
		patched := cfg.Target.Patched
		cfg.Target = board.Target()
		cfg.Target.Patched = cfg.Target.Patched || patched
		source := sysinfo.TreePath
		if f.base != "" {
			source, against = f.base, f.base
			p.tree, err = loadBoard(env, f.base)
		} else if p.tree, err = board.WholeTree(); err == nil {
			cfg, p.tree = cfg.Unmerge(p.tree)
		}
		if err != nil {
			var exit *ExitError
			if errors.As(err, &exit) {
				return nil, "", err
			}
			return nil, "", usagef("%s: %v; name the device tree with --base", source, reason(err))
		}
		var base *heapcfg.Layout
		base, findings = heapcfg.FromTree(source, p.tree, cfg.Target)
		p.findings = append(p.findings, findings...)
		if base != nil {
			p.layout, findings = cfg.Plan(base, p.tree)
			p.findings = append(append(p.findings, findings...), heapcfg.Lint(p.layout)...)
		}
	}
	if p.failed(false) {
		var errs []heapcfg.Finding
		for _, f := range p.findings {
			if f.Level == heapcfg.Error {
				errs = append(errs, f)
			}
		}
		heapcfg.SortFindings(errs)
		printFindings(env, errs, p.sources, false)
		return nil, "", &ExitError{ExitFailed, fmt.Errorf("%s does not fit this board, so there is nothing to hold it against", name)}
	}
	lock := heapcfg.NewLock(filepath.Base(name), p.layout)
	return lock, fmt.Sprintf("%s, against %s", name, against), nil
}

// fromTree takes the live device tree for what was meant. A board without one,
// or with one that is no use, is held against what every heap must do.
func (f *checkFlags) fromTree(board *sysinfo.Board) (*heapcfg.Lock, string, error) {
	// A name in Config would say that a compiler wrote the lock.
	nothing := heapcfg.NewLock("", &heapcfg.Layout{})
	layout, err := board.Layout()
	if err != nil {
		return nothing, fmt.Sprintf("no lock file, and no device tree that can be used (%s): what every heap must do", sysinfo.Reason(err)), nil
	}
	return heapcfg.NewLock("", layout), "the live device tree", nil
}

func describeBoard(r *report.Report, board *sysinfo.Board, lock *heapcfg.Lock, against string, full bool) {
	r.Tool = version()
	r.Against = against
	if lock.Config != "" && !strings.HasPrefix(against, lock.Config) && !strings.Contains(against, "/"+lock.Config) {
		r.Against += ", compiled from " + lock.Config
	}
	if board.Release != "" {
		r.Kernel = fmt.Sprintf("Linux %s, %s pages", board.Release, heapcfg.FormatSize(board.PageSize))
	}
	r.Mode = "quick check"
	if full {
		r.Mode = "full check"
	}
	r.Board = board.Model()
}

// openBoard returns this machine, or the copy of a board's files.
func openBoard(root string) *sysinfo.Board {
	live := filepath.Clean(root) == "/"
	return sysinfo.New(sysinfo.DirFS(root), sysinfo.Options{Live: live})
}
