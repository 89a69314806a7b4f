// SPDX-License-Identifier: MIT

// Package arch holds the tests that keep the repository in the shape it was
// designed in: which package may import which, what the program links, how
// large it is, and what every file says about itself.
package arch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const module = "github.com/dmaheap/dmaheap"

// oldestGo is the oldest toolchain users build with: that of Yocto scarthgap.
const oldestGo = "go1.22.12"

// sizeBudget is the most a stripped static arm64 heapctl may weigh, in bytes,
// built with oldestGo. Boards with a 16 MiB flash carry it. sizeGoal is where it
// was to get, and cannot as one program for workstation and board: a program
// that only calls cobra and YAML has 2.4 MB, ours adds 2.0. Of it all 1.2 MB are
// tables for stack traces, and leaving out inlining (-gcflags=all=-l) would save
// 0.45 MB at the price of speed everywhere.
const (
	sizeBudget = 4_500_000
	sizeGoal   = 3_500_000
)

// layers orders the packages from the ground up: a package imports only those
// of lower layers. A new package needs a place here before it is merged.
var layers = [][]string{
	{"heapcfg/fdt", "dmaheap", "internal/tinyjson", "test/docs", "test/failnth"},
	{"heapcfg", "internal/initramfs"},
	{"internal/vmtest"},
	{"heapcfg/emit", "internal/sysinfo", "internal/report"},
	{"internal/check", "internal/sysinfo/sysinfotest"},
	{"internal/cli"},
	{"cmd/heapctl", "test/guestinit", "test/abuse", "test/bootabuse/guest", "test/pagepool", "test/perf/guest", "release/sbom"},
	{"test/rig"},
	{"test/bench", "test/demo", "test/kernels", "test/perf"},
}

// only names the packages that may import a dependency, so that a heavy or an
// unsafe one stays behind one door. Tests of the module count as well.
var only = map[string][]string{
	"golang.org/x/sys/unix":  {"dmaheap", "internal/sysinfo", "test/abuse"},
	"github.com/spf13/cobra": {"internal/cli"},
	"gopkg.in/yaml.v3":       {"heapcfg"},
}

// testOnly may be imported by _test.go files and by nothing else.
var testOnly = []string{"github.com/google/go-cmp/cmp", "github.com/u-root/u-root/pkg/cpio"}

type pkg struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
}

// goCommand runs the go command at the root of the module.
func goCommand(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// packages lists the module's own packages as they are built for Linux.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	all := map[string]pkg{}
	dec := json.NewDecoder(bytes.NewReader(goCommand(t, []string{"GOOS=linux"}, "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
}

func TestArrowsPointOneWay(t *testing.T) {
	layer := map[string]int{}
	for i, names := range layers {
		for _, name := range names {
			layer[name] = i
		}
	}
	for name, p := range packages(t) {
		mine, ok := layer[name]
		if !ok {
			if len(p.Imports) > 0 {
				t.Errorf("%s has no place in the layers", name)
			}
			continue // tests only
		}
		for _, imp := range p.Imports {
			other, ours := strings.CutPrefix(imp, module+"/")
			if ours && layer[other] >= mine {
				t.Errorf("%s imports %s, which is not below it", name, other)
			}
			if ours && name == "dmaheap" {
				t.Errorf("dmaheap imports %s; it stands alone, for programs that want nothing else of ours", other)
			}
		}
	}
}

func TestDependenciesBehindOneDoor(t *testing.T) {
	allowed := func(name, dep string) bool {
		for _, p := range only[dep] {
			if p == name {
				return true
			}
		}
		return false
	}
	for name, p := range packages(t) {
		for _, list := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for _, imp := range list {
				if _, guarded := only[imp]; guarded && !allowed(name, imp) {
					t.Errorf("%s imports %s; only %v may", name, imp, only[imp])
				}
			}
		}
		for _, imp := range p.Imports {
			for _, dep := range testOnly {
				if imp == dep {
					t.Errorf("%s imports %s outside of its tests", name, dep)
				}
			}
			if !strings.HasPrefix(imp, module) && strings.Contains(strings.Split(imp, "/")[0], ".") && only[imp] == nil {
				t.Errorf("%s imports %s, a dependency this test knows nothing of", name, imp)
			}
		}
	}
}

// heapctl goes onto small boards. Template execution and the HTTP stack would
// double it, encoding/json and os/exec each make it a twentieth larger; cobra
// imports the first, but the linker drops it as long as nobody calls it.
func TestHeapctlLinks(t *testing.T) {
	for _, dep := range strings.Fields(string(goCommand(t, []string{"GOOS=linux"}, "list", "-deps", "./cmd/heapctl"))) {
		if dep == "net/http" || dep == "html/template" || dep == "encoding/json" || dep == "os/exec" {
			t.Errorf("heapctl depends on %s", dep)
		}
	}
	bin := filepath.Join(t.TempDir(), "heapctl")
	goCommand(t, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64"}, "build", "-o", bin, "./cmd/heapctl")
	symbols := goCommand(t, nil, "tool", "nm", bin)
	if !bytes.Contains(symbols, []byte(" main.main\n")) {
		t.Fatal("go tool nm shows no main.main: this test looks at the wrong thing")
	}
	// cobra's flags know the types of package net, and that is all: no code
	// that opens a connection, waits for one or asks for a name.
	if m := regexp.MustCompile(`(?m) (net\.(Dial|Listen|Lookup|\(\*(Dialer|Resolver|netFD|conn|TCP|UDP|Unix))\S*|(syscall|golang\.org/x/sys/unix)\.([Cc]onnect|[Bb]ind|[Ll]isten|[Aa]ccept4?|[Ss]endto))$`).Find(symbols); m != nil {
		t.Errorf("heapctl links network code: %s", bytes.TrimSpace(m))
	}
	for _, sym := range []string{"text/template.(*state).walk", "text/template.(*Template).Execute"} {
		if bytes.Contains(symbols, []byte(sym)) {
			t.Errorf("heapctl links %s; something keeps the templates alive", sym)
		}
	}
}

func TestHeapctlSize(t *testing.T) {
	env := []string{"GOTOOLCHAIN=" + oldestGo, "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64"}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	probe := exec.CommandContext(ctx, "go", "version")
	probe.Env = append(os.Environ(), env[0])
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("%s cannot be had here: %v: %s", oldestGo, err, bytes.TrimSpace(out))
	}
	bin := filepath.Join(t.TempDir(), "heapctl")
	goCommand(t, env, "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./cmd/heapctl")
	fi, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > sizeBudget {
		t.Errorf("heapctl for arm64 has %d bytes with %s, the budget is %d", fi.Size(), oldestGo, sizeBudget)
	}
	t.Logf("heapctl for arm64: %d bytes with %s; budget %d, goal %d", fi.Size(), oldestGo, sizeBudget, sizeGoal)
}

// files lists what git tracks or would track.
func files(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no git work tree to list: %v", err)
	}
	var list []string
	for _, f := range strings.Split(string(out), "\x00") {
		// A file that is deleted but not committed is listed still.
		if fi, err := os.Lstat(filepath.Join(cmd.Dir, f)); f != "" && err == nil && fi.Mode().IsRegular() {
			list = append(list, f)
		}
	}
	if len(list) < 10 {
		t.Fatalf("git lists only %q", list)
	}
	return list
}

// needsSPDX tells the files that must state their license from data that has
// no room for it, such as JSON, golden files and the patches' own mail heads.
func needsSPDX(file string) bool {
	if strings.Contains(file, "/testdata/") {
		return false
	}
	base := filepath.Base(file)
	switch base {
	case "Makefile", "Kconfig", "run", ".gitignore", "Config.in", "external.mk":
		return true
	}
	switch filepath.Ext(base) {
	case ".go", ".sh", ".c", ".h", ".py", ".yaml", ".yml", ".dts", ".dtso", ".dtsi", ".config", ".cfg", ".mk",
		".bb", ".bbappend", ".bbclass", ".inc", ".conf", ".rules", ".toml":
		return true
	}
	return false
}

func TestSPDX(t *testing.T) {
	line := regexp.MustCompile(`SPDX-License-Identifier: (.+)`)
	for _, f := range files(t) {
		if !needsSPDX(f) {
			continue
		}
		data, err := os.ReadFile(filepath.Join("..", "..", f))
		if err != nil {
			t.Error(err)
			continue
		}
		head := data[:min(len(data), 512)]
		m := line.FindSubmatch(head)
		if m == nil {
			t.Errorf("%s: no SPDX-License-Identifier in its first lines", f)
			continue
		}
		want := "MIT"
		if strings.HasPrefix(f, "kernel-patches/") {
			want = "GPL-2.0-only"
		}
		if got := strings.Trim(string(m[1]), " */->\r"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: license %q, want %s", f, got, want)
		}
	}
}

// The repository has to make sense on any machine: it names no path of the one
// it was written on, and no server that packages happened to come from.
func TestNoTraceOfOneMachine(t *testing.T) {
	// Written in parts, so that this file does not find itself.
	traces := regexp.MustCompile(strings.Join([]string{
		`(^|[^\w.}/])/` + `(root|work)/\w`, `(^|[^\w.}/])/` + `home/\w`,
		`proxy\.` + `golang\.org`, `sum\.` + `golang\.org`, `deb\.` + `debian\.org`, `security\.` + `debian\.org`,
		`registry\.` + `npmjs\.org`,
	}, "|"))
	for _, f := range files(t) {
		data, err := os.ReadFile(filepath.Join("..", "..", f))
		if err != nil {
			t.Error(err)
			continue
		}
		if bytes.IndexByte(data, 0) >= 0 {
			continue // not text
		}
		for i, l := range strings.Split(string(data), "\n") {
			if m := traces.FindString(l); m != "" {
				t.Errorf("%s:%d: has %q", f, i+1, strings.TrimSpace(m))
			}
		}
	}
}
