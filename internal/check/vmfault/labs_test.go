// SPDX-License-Identifier: MIT

package vmfault

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

// python is Debian's own, which has the packages of labgrid and LAVA.
const python = "/usr/bin/python3"

// needModule ends the test where a Python package is missing.
func needModule(ctx context.Context, t *testing.T, module, debian string) {
	t.Helper()
	if said, err := exec.CommandContext(ctx, python, "-c", "import "+module).CombinedOutput(); err != nil {
		bench.Lacking(t, fmt.Errorf("no Python module %s: install %s: %w\n%s", module, debian, err, said))
	}
}

// The labgrid test of examples/ passes on a good board and names the fault of a
// bad one.
func TestLabgridExample(t *testing.T) {
	b, ctx := bench.Setup(t)
	onDefaultLine(t, b)
	needModule(ctx, t, "labgrid", "labgrid and python3-pytest")
	if b.Machine.Arch != vmtest.ARM64.Arch {
		t.Skip("the example is for arm64")
	}
	// There is no board here, but labgrid reads what is said of one.
	const load = `import sys; from labgrid import Environment; Environment(sys.argv[1]).get_target("main")`
	board := filepath.Join(b.Root, "examples", "labgrid", "board.yaml")
	if said, err := exec.CommandContext(ctx, python, "-W", "error::UserWarning", "-c", load, board).CombinedOutput(); err != nil {
		t.Errorf("board.yaml: %v\n%s", err, said)
	}
	archive := pack(ctx, t, b, b.Example.Lock, "--", "--full", "-o", "json")
	for _, tt := range []struct {
		name, dtb string
		good      bool
		says      []string
	}{
		{"good", b.Example.Merged, true, []string{"4 passed"}},
		{"without the overlay", b.Base, false, []string{"1 failed", "the overlay was not applied", "fdtoverlay -i base.dtb"}},
	} {
		cmd := exec.CommandContext(ctx, python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--lg-env", "qemu.yaml", "test_heaps.py")
		cmd.Dir = filepath.Join(b.Root, "examples", "labgrid")
		cmd.Env = append(os.Environ(), "LG_INITRAMFS="+archive, "LG_KERNEL="+b.Image, "LG_DTB="+tt.dtb, "PYTHONDONTWRITEBYTECODE=1")
		out, err := cmd.CombinedOutput()
		if (err == nil) != tt.good {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
		for _, want := range tt.says {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: pytest does not say %q:\n%s", tt.name, want, out)
			}
		}
	}
}

// readLAVA holds the jobs against the schema of LAVA, and has the monitor of
// the one that needs no root file system read a console.
const readLAVA = `
import collections, json, re, sys, yaml
from lava_common.schemas import validate
jobs = [yaml.safe_load(open(f)) for f in sys.argv[1:]]
for job in jobs:
    validate(job)
ramdisk = [a["deploy"]["ramdisk"] for a in jobs[0]["actions"] if "deploy" in a][0]
# U-Boot wants a header, which LAVA puts on what it packs itself.
assert ramdisk.get("install_modules", True) or ramdisk.get("install_overlay", True)
monitor = [a["test"]["monitors"][0] for a in jobs[0]["actions"] if "test" in a][0]
console = sys.stdin.read()
start = re.search(monitor["start"], console)
end = re.search(monitor["end"], console)
found = collections.Counter()
for m in re.finditer(monitor["pattern"], console[start.start():end.end()]):
    assert m.group("test_case_id")
    found[monitor["fixupdict"][m.group("result")]] += 1
print(json.dumps(found))
`

func TestLAVAExample(t *testing.T) {
	b, ctx := bench.Setup(t)
	onDefaultLine(t, b)
	needModule(ctx, t, "lava_common, yaml", "lava-common and python3-yaml")
	res := machineWith(b, pack(ctx, t, b, b.Example.Lock, "--", "-o", "lava", "--heap", "npu")).run(ctx, t)
	lava := func(name string) string { return filepath.Join(b.Root, "examples", "lava", name) }
	cmd := exec.CommandContext(ctx, python, "-c", readLAVA, lava("initramfs.yaml"), lava("image.yaml"))
	cmd.Stdin = strings.NewReader(res.Console)
	out, err := cmd.CombinedOutput()
	got := map[string]int{}
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for result, n := range got {
		if want := strings.Count(res.Console, "RESULT="+result); n != want {
			t.Errorf("the monitor finds %d with %s, the console has %d", n, result, want)
		}
	}
	if got["pass"] < 10 || got["skip"] == 0 || got["fail"] != 0 {
		t.Errorf("the monitor finds %v, want passes and skips:\n%s", got, res.Console)
	}
}
