// SPDX-License-Identifier: MIT

package cli

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestRecordedVersion(t *testing.T) {
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: modified}}
	}
	for _, tc := range []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"go install of a release", debug.BuildInfo{Main: debug.Module{Version: "v0.2.0"}}, "0.2.0"},
		{"checkout", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs("false")}, "devel-g0123456789ab"},
		{"changed checkout", debug.BuildInfo{Settings: vcs("true")}, "devel-g0123456789ab-dirty"},
		{"no git", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel"},
	} {
		if got := recordedVersion(&tc.info); got != tc.want {
			t.Errorf("%s: version %q, want %q", tc.name, got, tc.want)
		}
	}
}

// A typing error is an error wherever it is made.
func TestUsage(t *testing.T) {
	board := poolDTB(t)
	dir := t.TempDir()
	if code, _, stderr := heapctl(t, "compile", exampleConfig, "--base", virtDTB(t), "-o", dir, "-q"); code != ExitOK {
		t.Fatal(stderr)
	}
	lock := dir + "/heaps.lock.json"
	for args, says := range map[string]string{
		"lsit":                                 "list",
		"help lsit":                            `unknown command "lsit"`,
		"completion bahs":                      `"bahs"`,
		"list video":                           `list takes no argument, and "video" is too much`,
		"lint":                                 "lint needs",
		"lint a b":                             `"b" is too much`,
		"lint " + board + " --page-size 3KiB":  "write 4KiB, 16KiB or 64KiB",
		"lint " + board + " --base " + board:   "a device tree, for which --base means nothing",
		"map " + board + " --variant big":      "a device tree, for which --variant",
		"lint " + lock + " --overlay " + board: "a lock file, for which --overlay",
		"map " + lock + " --page-size 64KiB":   "a lock file, for which --page-size",
		"lint " + exampleConfig + " --base " + board + " --ram 0x4000_0000+1GiB": "a config, for which --ram",
	} {
		code, stdout, stderr := heapctl(t, strings.Fields(args)...)
		if code != ExitUsage || !strings.Contains(stderr, says) || stdout != "" {
			t.Errorf("heapctl %s: exit %d, %q; want %d with %q\n%s", args, code, stderr, ExitUsage, says, stdout)
		}
	}
	for _, args := range []string{"help", "help lint", "completion", "completion bash", "map " + lock + " --kernel 6.6", "diff " + board + " " + exampleConfig + " --base " + board} {
		if code, _, stderr := heapctl(t, strings.Fields(args)...); code == ExitUsage {
			t.Errorf("heapctl %s: exit %d, %s", args, code, stderr)
		}
	}
}
