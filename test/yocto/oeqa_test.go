// SPDX-License-Identifier: MIT

package yocto

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// oeqa stands in for the modules that the runtime test imports, as far as it
// uses them, and for a board: each run of heapctl ends with the given exit code
// and the report that is on standard input.
const oeqa = `
import sys, types, unittest, logging
def module(name, **what):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(what)
class Case(unittest.TestCase):
    logger = logging.getLogger()
class Results:
    seen = {}
    def ptest_section(self, section, exitcode=None, log=None): pass
    def ptest_result(self, section, test, result): Results.seen[section + '.' + test] = result
decorator = lambda what: lambda f: f
for name in ('oeqa', 'oeqa.core', 'oeqa.core.decorator', 'oeqa.runtime', 'oeqa.runtime.decorator'):
    module(name)
module('oeqa.core.case', OEPTestResultTestCase=Results)
module('oeqa.core.decorator.depends', OETestDepends=decorator)
module('oeqa.runtime.case', OERuntimeTestCase=Case)
module('oeqa.runtime.decorator.package', OEHasPackage=decorator)
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import dmaheap
report = sys.stdin.read()
class Board:
    def run(self, command): return int(sys.argv[2]), report
Case.target = Board()
suite = unittest.defaultTestLoader.loadTestsFromTestCase(dmaheap.DmaheapTest)
result = unittest.TextTestRunner(stream=sys.stdout).run(suite)
for name, status in Results.seen.items():
    print(status, ascii(name))
sys.exit(not result.wasSuccessful())
`

// The runtime test must report each check as heapctl found it: testimage is
// green only if heapctl is.
func TestRuntimeCase(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		needed(t, "no python3 in PATH")
	}
	mixed := read(t, repo, "internal/report/testdata/sample.json")
	const passed = `{"format": "heapctl-report", "results": [{"id": "zeroed", "heap": "npu@54000000", "status": "PASS", "message": "clean"}]}`
	for _, tt := range []struct {
		name, report, exit string
		ok                 bool
		want               []string
	}{
		{"passed", passed, "0", true, []string{"PASSED 'heapctl.zeroed npu@54000000'"}},
		// ssh makes one stream of standard output and standard error.
		{"after a notice", "heapctl: a full check takes all memory\n" + passed + "\n", "0", true, []string{"PASSED 'heapctl.zeroed npu@54000000'"}},
		{"mixed", mixed, "1", false, []string{
			"PASSED 'heapctl.heaps-supported'",
			"FAILED 'heapctl.heap-present video@54000000'",
			"SKIPPED 'heapctl.zeroed video@54000000'",
			"advice: load the overlay in the boot loader",
		}},
		{"could not test", passed, "3", false, []string{"ended with 3"}},
		{"no report", "Segmentation fault", "139", false, []string{"ended with 139", "Segmentation fault"}},
		{"nothing run", `{"format": "heapctl-report", "results": []}`, "0", false, []string{"no check was run"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(python, "-c", oeqa, filepath.Join(layer, "lib", "oeqa", "runtime", "cases"), tt.exit)
			cmd.Stdin = strings.NewReader(tt.report)
			out, err := cmd.CombinedOutput()
			if (err == nil) != tt.ok {
				t.Errorf("the test ended with %v, want ok = %v", err, tt.ok)
			}
			for _, want := range tt.want {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("the output has no %q", want)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}
