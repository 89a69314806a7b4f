// SPDX-License-Identifier: MIT

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// maxInput bounds every file that is read whole; no board has a larger one.
const maxInput = fdt.MaxSize

// A plan is a config that met its board: what compile, map and check read.
type plan struct {
	tree     *fdt.Tree
	layout   *heapcfg.Layout // nil where the config could not be read
	findings []heapcfg.Finding
	sources  map[string][]byte // for showing the offending line
}

// failed reports whether the findings forbid going on.
func (p *plan) failed(strict bool) bool {
	worst, ok := heapcfg.Worst(p.findings)
	return p.layout == nil || ok && (worst == heapcfg.Error || strict && worst == heapcfg.Warning)
}

// loadTree reads a device tree blob.
func loadTree(env *Env, name string) (*fdt.Tree, error) {
	data, err := readFile(env, name, maxInput)
	if err != nil {
		return nil, err
	}
	t, err := fdt.Parse(data)
	if err != nil {
		return nil, usagef("%s: %v", name, err)
	}
	return t, nil
}

// loadBoard reads the device tree blob of a board.
func loadBoard(env *Env, name string) (*fdt.Tree, error) {
	t, err := loadTree(env, name)
	if err == nil {
		err = noOverlay(name, t)
	}
	return t, err
}

// noOverlay returns an error for an overlay, which has neither RAM nor regions:
// taken for a board's tree, nothing bad could be said of it.
func noOverlay(name string, t *fdt.Tree) error {
	for _, n := range t.Root.Children {
		if n.Child("__overlay__") != nil {
			return usagef("%s: an overlay; give the device tree of its board, and --overlay %s", name, name)
		}
	}
	return nil
}

// loadPlan reads a config and its base tree and lays the one onto the other.
// The error is about files that cannot be read; everything that can be said
// about their content is in the plan's findings.
func loadPlan(env *Env, name string, f sourceFlags) (*plan, error) {
	data, err := readFile(env, name, maxInput)
	if err != nil {
		return nil, err
	}
	p := &plan{sources: map[string][]byte{name: data}}
	if p.tree, err = loadBoard(env, f.base); err != nil {
		return nil, err
	}
	cfg, findings := heapcfg.ParseVariant(name, data, f.variant)
	p.findings = findings
	if cfg == nil {
		return p, nil
	}
	if f.kernel != "" {
		if cfg.Target.Kernel, err = heapcfg.ParseVersion(f.kernel); err != nil {
			return nil, usagef("--kernel: %v", err)
		}
	}
	if err := f.applyOverlays(env, p); err != nil {
		return nil, err
	}
	config, err := f.kernelConfig(env, &cfg.Target, cfg.StatedKernel || f.kernel != "")
	if err != nil {
		return nil, err
	}
	board, findings := heapcfg.FromTree(f.base, p.tree, cfg.Target)
	p.findings = append(p.findings, findings...)
	if board == nil {
		return p, nil
	}
	p.layout, findings = cfg.Plan(board, p.tree)
	p.findings = append(p.findings, findings...)
	p.findings = append(p.findings, heapcfg.Lint(p.layout)...)
	if config != nil {
		p.findings = append(p.findings, config.Check(f.kconfig, stem(name)+".config", emit.Symbols(p.layout))...)
	}
	heapcfg.SortFindings(p.findings)
	return p, nil
}

// kernelConfig reads the configuration of the target kernel, if one is given,
// and puts its facts into the target.
func (f *sourceFlags) kernelConfig(env *Env, target *heapcfg.Target, statedKernel bool) (*heapcfg.KernelConfig, error) {
	if f.kconfig == "" {
		return nil, nil
	}
	data, err := readFile(env, f.kconfig, maxInput)
	if err != nil {
		return nil, err
	}
	k, err := heapcfg.ParseKernelConfig(data)
	if err != nil {
		return nil, usagef("%s: %v", f.kconfig, err)
	}
	k.Apply(target, statedKernel)
	return k, nil
}

// sourceFlags say how a Layout is read from a file.
type sourceFlags struct {
	base     string
	overlays []string
	kernel   string
	page     string
	patched  bool
	variant  string
	ram      []string
	clear    []string
	kconfig  string
	// given tells whether a flag was; without it, whatever is given will do.
	given func(flag string) bool
}

// only refuses the flags that were given and mean nothing for such a file: who
// states them has something in mind, and would wait for its effect.
func (f *sourceFlags) only(name, kind string, flags ...string) error {
	for _, flag := range []string{"base", "variant", "overlay", "kernel", "kconfig", "page-size", "ram", "keep-clear", "patched"} {
		if f.given != nil && f.given(flag) && !slices.Contains(flags, flag) {
			return usagef("%s is %s, for which --%s means nothing", name, kind, flag)
		}
	}
	return nil
}

// tree adds the flags for what is a device tree in any case.
func (f *sourceFlags) tree(c *cobra.Command) {
	f.patched = true
	fl := c.Flags()
	f.given = fl.Changed
	fl.Var((*words)(&f.overlays), "overlay", "overlay to apply to the device tree first (may be repeated)")
	fl.StringVar(&f.kernel, "kernel", "", "target kernel version (default: the config's, the lock's, or 6.12)")
	fl.StringVar(&f.kconfig, "kconfig", "", "the .config of the target kernel: its release and page size, and whether it has what the heaps need")
	fl.StringVar(&f.page, "page-size", "4KiB", "page size of the target kernel, where FILE is a device tree")
}

func (f *sourceFlags) add(c *cobra.Command) {
	f.tree(c)
	fl := c.Flags()
	fl.StringVarP(&f.base, "base", "b", "", "device tree blob of the board, where FILE is a heaps.yaml")
	fl.StringVar(&f.variant, "variant", "", "variant of the config")
	fl.Var((*words)(&f.ram), "ram", "BASE+SIZE of RAM that the boot loader fills in, where FILE is a device tree (may be repeated)")
	fl.Var((*words)(&f.clear), "keep-clear", "WHAT=BASE+SIZE that something occupies: kernel, initrd, fdt, firmware or boot-loader, where FILE is a device tree (may be repeated)")
	fl.BoolVar(&f.patched, "patched", true, "the kernel has the project's patches, where FILE is a device tree")
}

// errNoBase says what a config cannot do without, and where it is to be had.
func errNoBase(name string) error {
	return usagef("%s: a config needs --base FILE, the device tree of its board: /sys/firmware/fdt of the running one, or the .dtb of the kernel's build", name)
}

// treeDir reports whether a directory is the root of a live tree. Any other
// one would be a tree without regions, of which nothing bad can be said.
func treeDir(name string) bool {
	for _, p := range []string{"compatible", "#address-cells"} {
		if info, err := os.Stat(filepath.Join(name, p)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// isConfig tells a config by the end of its name.
func isConfig(name string) bool {
	ext := filepath.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

// loadSource reads a Layout from whatever a file holds: a config, a device
// tree, a lock file, or the directory of a live tree.
func loadSource(env *Env, name string, f sourceFlags) (*plan, error) {
	if isConfig(name) {
		if f.base == "" {
			return nil, errNoBase(name)
		}
		if err := f.only(name, "a config", "base", "variant", "overlay", "kernel", "kconfig"); err != nil {
			return nil, err
		}
		return loadPlan(env, name, f)
	}
	target := heapcfg.DefaultTarget()
	target.Patched = f.patched
	var err error
	if f.kernel != "" {
		if target.Kernel, err = heapcfg.ParseVersion(f.kernel); err != nil {
			return nil, usagef("--kernel: %v", err)
		}
	}
	switch target.PageSize, err = heapcfg.ParseSize(f.page); {
	case err != nil:
		return nil, usagef("--page-size: %v", err)
	case !slices.Contains([]uint64{4 * heapcfg.KiB, 16 * heapcfg.KiB, 64 * heapcfg.KiB}, target.PageSize):
		return nil, usagef("--page-size: no kernel has pages of %s; write 4KiB, 16KiB or 64KiB", heapcfg.FormatSize(target.PageSize))
	}
	config, err := f.kernelConfig(env, &target, f.kernel != "")
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		if !treeDir(name) {
			return nil, usagef("%s: a directory that is no device tree: it has neither compatible nor #address-cells, as /proc/device-tree has", name)
		}
		if p.tree, err = fdt.FromFS(os.DirFS(name)); err != nil {
			return nil, usagef("%s: %v", name, err)
		}
	} else {
		data, err := readFile(env, name, maxInput)
		if err != nil {
			return nil, err
		}
		if heapcfg.IsLock(data) {
			k, err := heapcfg.ParseLock(data)
			if err != nil {
				return nil, usagef("%s: %v", name, err)
			}
			if err := f.only(name, "a lock file", "kernel"); err != nil {
				return nil, err
			}
			if f.kernel != "" {
				k.Layout.Target.Kernel = target.Kernel
			}
			p.layout = &k.Layout
			p.findings = heapcfg.Lint(p.layout)
			return p, nil
		}
		if p.tree, err = fdt.Parse(data); err != nil {
			return nil, usagef("%s: %v", name, err)
		}
		if err := noOverlay(name, p.tree); err != nil {
			return nil, err
		}
	}
	if err := f.only(name, "a device tree", "overlay", "kernel", "kconfig", "page-size", "ram", "keep-clear", "patched"); err != nil {
		return nil, err
	}
	if err := f.applyOverlays(env, p); err != nil {
		return nil, err
	}
	p.layout, p.findings = heapcfg.FromTree(name, p.tree, target)
	if p.layout != nil {
		if err := f.amend(p.layout); err != nil {
			return nil, err
		}
		p.findings = append(p.findings, heapcfg.Lint(p.layout)...)
		if config != nil {
			p.findings = append(p.findings, config.Check(f.kconfig, "the fragment that compile writes", emit.Symbols(p.layout))...)
		}
	}
	return p, nil
}

// applyOverlays applies the overlays of the command line, in their order.
func (f *sourceFlags) applyOverlays(env *Env, p *plan) (err error) {
	for _, o := range f.overlays {
		if p.tree, err = applyOverlay(env, p.tree, o); err != nil {
			return err
		}
	}
	return nil
}

// applyOverlay applies an overlay from a file. The message says which label,
// path or __symbols__ is missing, where libfdt only knows FDT_ERR_NOTFOUND.
func applyOverlay(env *Env, base *fdt.Tree, name string) (*fdt.Tree, error) {
	tree, err := loadTree(env, name)
	if err != nil {
		return nil, err
	}
	merged, err := fdt.Apply(base, tree)
	if err != nil {
		return nil, usagef("%s: %s", name, strings.TrimPrefix(strings.TrimPrefix(err.Error(), "fdt: "), "overlay 0, "))
	}
	return merged, nil
}

// amend adds to the Layout of a tree what only the boot loader knows.
func (f *sourceFlags) amend(l *heapcfg.Layout) error {
	if len(f.ram) > 0 {
		l.Banks, l.RAMStated = nil, true
	}
	for _, s := range f.ram {
		r, err := parseRange(s)
		if err != nil {
			return usagef("--ram %s: %v", s, err)
		}
		l.Banks = append(l.Banks, r)
	}
	for _, s := range f.clear {
		what, rest, ok := strings.Cut(s, "=")
		w := heapcfg.What(what)
		if !ok || !slices.Contains([]heapcfg.What{heapcfg.Kernel, heapcfg.Initrd, heapcfg.FDT, heapcfg.Firmware, heapcfg.BootLoader}, w) {
			return usagef("--keep-clear %s: write kernel, initrd, fdt, firmware or boot-loader, then =BASE+SIZE", s)
		}
		r, err := parseRange(rest)
		if err != nil {
			return usagef("--keep-clear %s: %v", s, err)
		}
		l.Occupied = append(l.Occupied, heapcfg.Occupant{What: w, Range: r, Source: l.Source})
	}
	return nil
}

// parseRange reads "0x40000000+512MiB".
func parseRange(s string) (heapcfg.Range, error) {
	base, size, ok := strings.Cut(s, "+")
	if !ok {
		return heapcfg.Range{}, errors.New("write BASE+SIZE, such as 0x40000000+512MiB")
	}
	b, err := heapcfg.ParseSize(base)
	if err != nil {
		return heapcfg.Range{}, err
	}
	n, err := heapcfg.ParseSize(size)
	if err != nil {
		return heapcfg.Range{}, err
	}
	r := heapcfg.Range{Base: heapcfg.Addr(b), Size: n}
	if n == 0 || r.Wraps() {
		return heapcfg.Range{}, errors.New("the range is empty, or goes past the end of the address space")
	}
	return r, nil
}
