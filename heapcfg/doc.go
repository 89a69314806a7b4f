// SPDX-License-Identifier: MIT

// Package heapcfg holds the YAML heap config, the [Layout] that every source
// of heaps is turned into, and the rules a Layout is held against.
//
// The package takes bytes and gives values and findings. It opens no file,
// prints nothing and keeps no state, so that the same rule that stops a build
// on a workstation explains a broken board in the field.
//
//	cfg, findings := heapcfg.Parse("heaps.yaml", data)  // the language
//	base, findings := heapcfg.FromTree("board.dtb", tree) // any device tree
//	layout, findings := cfg.Plan(base)                   // placement
//	findings := heapcfg.Lint(layout)                     // the rules
package heapcfg
