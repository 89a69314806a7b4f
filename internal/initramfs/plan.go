// SPDX-License-Identifier: MIT

// Package initramfs packs the first root filesystem of a board or of a virtual
// machine, and is the init in it: [Init] mounts what heapctl reads, gives the
// heaps the names and permissions that udev would give them, runs the commands
// of a [Plan] and says on the console how that went.
//
// The console is the only way out of such a machine, and kernel messages share
// it. So everything the host relies on is a line of its own, and the last of
// them, [ExitMark], is the only proof that the run was completed: QEMU exits
// with 0 after a panic as well.
package initramfs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/internal/tinyjson"
)

// PlanPath is where [Init] looks for its plan, and Program the heapctl of the
// archive. Where heapctl is the init too, /init is a link to it.
const (
	PlanPath = "/etc/dmaheap/init.json"
	Program  = "/bin/heapctl"
)

// The lines that frame the output of the commands. RunMark and DoneMark are
// followed by the command's number in the plan, DoneMark and ExitMark end with
// an exit code.
const (
	RunMark  = "HEAPCTL-RUN"
	DoneMark = "HEAPCTL-DONE"
	ExitMark = "HEAPCTL-EXIT"
)

// ExitInit is the exit code of a machine whose init could not do its own part.
// It is none that heapctl uses, so that a broken harness never passes for a
// failed check.
const ExitInit = 125

// What the machine does when the commands are done.
const (
	PowerOff = "poweroff" // the default
	Reboot   = "reboot"
	Shell    = "shell" // /bin/sh where the archive has one, or a prompt for heapctl
	RealInit = "init"  // mount the root file system and start its init
)

// Thens lists what a plan may end with.
func Thens() []string { return []string{PowerOff, Reboot, Shell, RealInit} }

// A Plan tells [Init] what to do.
type Plan struct {
	// Modules are the paths of kernel modules to load, in their order.
	Modules []string `json:"modules,omitempty"`
	// Rules is the path of a udev rules file to apply, "" for none.
	Rules string `json:"rules,omitempty"`
	// Run lists the commands, each with its arguments, in their order.
	Run [][]string `json:"run"`
	// KeepGoing runs the rest after one that failed. The machine's exit code
	// is that of the first failure either way.
	KeepGoing bool `json:"keep_going,omitempty"`
	// Then is what comes after the commands, one of Thens or "".
	Then string `json:"then,omitempty"`
	// Root is the device of the root file system for RealInit, and Init its
	// program; "" takes root= and init= of the kernel command line.
	Root string `json:"root,omitempty"`
	Init string `json:"init,omitempty"`
}

// Marshal returns the plan as the file that [ParsePlan] reads.
func (p Plan) Marshal() ([]byte, error) {
	return tinyjson.Marshal(p)
}

// ParsePlan reads a plan and refuses what it does not understand, since a
// misspelt key would mean a test that is not run.
func ParsePlan(data []byte) (Plan, error) {
	var p Plan
	if err := tinyjson.Unmarshal(data, &p); err != nil {
		return Plan{}, fmt.Errorf("plan: %w", err)
	}
	if len(p.Run) == 0 {
		return Plan{}, fmt.Errorf("plan: nothing to run")
	}
	for i, argv := range p.Run {
		if len(argv) == 0 || !path.IsAbs(argv[0]) {
			return Plan{}, fmt.Errorf("plan: run[%d]: want the absolute path of a program first, have %q", i, argv)
		}
	}
	for _, f := range append([]string{p.Rules, p.Root, p.Init}, p.Modules...) {
		if f != "" && !path.IsAbs(f) {
			return Plan{}, fmt.Errorf("plan: %q is not an absolute path", f)
		}
	}
	if p.Then != "" && !slices.Contains(Thens(), p.Then) {
		return Plan{}, fmt.Errorf("plan: then: %q is none of %s", p.Then, strings.Join(Thens(), ", "))
	}
	return p, nil
}
