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
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
)

// PlanPath is where [Init] looks for its plan.
const PlanPath = "/etc/dmaheap/init.json"

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

// A Plan tells [Init] what to do.
type Plan struct {
	// Rules is the path of a udev rules file to apply, "" for none.
	Rules string `json:"rules,omitempty"`
	// Run lists the commands, each with its arguments, in their order.
	Run [][]string `json:"run"`
	// KeepGoing runs the rest after one that failed. The machine's exit code
	// is that of the first failure either way.
	KeepGoing bool `json:"keep_going,omitempty"`
}

// Marshal returns the plan as the file that [ParsePlan] reads.
func (p Plan) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(p, "", "  ")
	return append(b, '\n'), err
}

// ParsePlan reads a plan and refuses what it does not understand, since a
// misspelt key would mean a test that is not run.
func ParsePlan(data []byte) (Plan, error) {
	var p Plan
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return Plan{}, fmt.Errorf("plan: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Plan{}, fmt.Errorf("plan: data after its end")
	}
	if len(p.Run) == 0 {
		return Plan{}, fmt.Errorf("plan: nothing to run")
	}
	for i, argv := range p.Run {
		if len(argv) == 0 || !path.IsAbs(argv[0]) {
			return Plan{}, fmt.Errorf("plan: run[%d]: want the absolute path of a program first, have %q", i, argv)
		}
	}
	if p.Rules != "" && !path.IsAbs(p.Rules) {
		return Plan{}, fmt.Errorf("plan: rules: %q is not an absolute path", p.Rules)
	}
	return p, nil
}
