// SPDX-License-Identifier: MIT

package cli

import (
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// maxInput bounds every file that is read whole.
const maxInput = 64 << 20

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

// loadPlan reads a config and its base tree and lays the one onto the other.
// The error is about files that cannot be read; everything that can be said
// about their content is in the plan's findings.
func loadPlan(env *Env, name, base, kernel string) (*plan, error) {
	data, err := readFile(env, name, maxInput)
	if err != nil {
		return nil, err
	}
	p := &plan{sources: map[string][]byte{name: data}}
	if p.tree, err = loadTree(env, base); err != nil {
		return nil, err
	}
	cfg, findings := heapcfg.Parse(name, data)
	p.findings = findings
	if cfg == nil {
		return p, nil
	}
	if kernel != "" {
		if cfg.Target.Kernel, err = heapcfg.ParseVersion(kernel); err != nil {
			return nil, usagef("--kernel: %v", err)
		}
	}
	board, findings := heapcfg.FromTree(base, p.tree, cfg.Target)
	p.findings = append(p.findings, findings...)
	if board == nil {
		return p, nil
	}
	p.layout, findings = cfg.Plan(board, p.tree)
	p.findings = append(p.findings, findings...)
	p.findings = append(p.findings, heapcfg.Lint(p.layout)...)
	heapcfg.SortFindings(p.findings)
	return p, nil
}
