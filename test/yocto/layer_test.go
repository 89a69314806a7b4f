// SPDX-License-Identifier: MIT

// Package yocto holds the layer meta-dmaheap to its rules where no bitbake is
// at hand. What needs one is in run.sh.
package yocto

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
)

var (
	repo  = filepath.Join("..", "..")
	layer = filepath.Join(repo, "meta-dmaheap")
)

// needed ends a test that something is missing for: in CI, which installs it,
// that is a failure.
func needed(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// read returns a file below dir, or ends the test.
func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// files lists the layer's files that have one of the endings.
func files(t *testing.T, endings ...string) []string {
	t.Helper()
	return filesOf(t, layer, endings...)
}

// filesOf lists the files below dir that have one of the endings.
func filesOf(t *testing.T, dir string, endings ...string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, e := range endings {
			if strings.HasSuffix(p, e) {
				rel, err := filepath.Rel(dir, p)
				list = append(list, filepath.ToSlash(rel))
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no %v", dir, endings)
	}
	return list
}

// An assignment is one line of a recipe or configuration, joined where it was
// continued.
type assignment struct{ name, op, value string }

var assigned = regexp.MustCompile(`(?m)^([A-Za-z0-9_${}.:/-]+(?:\[[a-z-]+\])?)\s*(\?\?=|\?=|:=|\+=|=\+|\.=|=\.|=)\s*"((?:[^"\\]|\\.)*)"`)

// assignments reads what a file sets to a quoted text, which is all of what the
// rules below are about.
func assignments(text string) []assignment {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var list []assignment
	for _, m := range assigned.FindAllStringSubmatch(text, -1) {
		list = append(list, assignment{m[1], m[2], strings.Join(strings.Fields(m[3]), " ")})
	}
	return list
}

// value returns what a file sets a variable to, and whether it does.
func value(text, name string) (string, bool) {
	for _, a := range assignments(text) {
		if a.name == name {
			return a.value, true
		}
	}
	return "", false
}

func TestReader(t *testing.T) {
	text := "A = \"1 \\\n    2\"\nB:append ?= \"x\"\nC[doc] = \"y\"\n#D = \"no\"\nE = \"${@f('a')}\"\n"
	want := []assignment{{"A", "=", "1 2"}, {"B:append", "?=", "x"}, {"C[doc]", "=", "y"}, {"E", "=", "${@f('a')}"}}
	got := assignments(text)
	if len(got) != len(want) {
		t.Fatalf("assignments = %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("assignment %d = %q, want %q", i, got[i], want[i])
		}
	}
}

func TestLayerConf(t *testing.T) {
	conf := read(t, layer, "conf/layer.conf")
	for name, want := range map[string]string{
		"BBFILE_COLLECTIONS":           "dmaheap",
		"BBFILE_PATTERN_dmaheap":       "^${LAYERDIR}/",
		"LAYERDEPENDS_dmaheap":         "core",
		"LAYERSERIES_COMPAT_dmaheap":   "scarthgap walnascar whinlatter wrynose",
		"WARN_QA:append:layer-dmaheap": "patch-status",
	} {
		if got, _ := value(conf, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}

	// What is said of another layer and what is there for it must agree, or an
	// append is silently never read.
	dynamic, _ := value(conf, "BBFILES_DYNAMIC")
	said := map[string]bool{}
	for _, item := range strings.Fields(dynamic) {
		collection, glob, _ := strings.Cut(item, ":")
		said[collection] = true
		found, err := filepath.Glob(strings.Replace(glob, "${LAYERDIR}", layer, 1))
		if err != nil || len(found) == 0 {
			t.Errorf("BBFILES_DYNAMIC: %s matches nothing", glob)
		}
		if !strings.HasPrefix(glob, "${LAYERDIR}/dynamic-layers/"+collection+"/") {
			t.Errorf("BBFILES_DYNAMIC: the files for %s are not under its name", collection)
		}
	}
	dirs, err := os.ReadDir(filepath.Join(layer, "dynamic-layers"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !said[d.Name()] {
			t.Errorf("dynamic-layers/%s is not in BBFILES_DYNAMIC", d.Name())
		}
	}
}

// What yocto-check-layer asks of the papers.
func TestPapers(t *testing.T) {
	readme := strings.ToLower(read(t, layer, "README.md"))
	for _, word := range []string{"maintainer", "patch", "@", "uri:", "branch:"} {
		if !strings.Contains(readme, word) {
			t.Errorf("README.md has no %q", word)
		}
	}
	if strings.TrimSpace(read(t, layer, "SECURITY.md")) == "" {
		t.Error("SECURITY.md is empty")
	}
	if read(t, layer, "COPYING.MIT") != read(t, repo, "LICENSE") {
		t.Error("COPYING.MIT is not the repository's LICENSE")
	}
}

// A layer must change nothing before it is asked to, and FILESEXTRAPATHS alone
// changes a kernel's signature. So an append has one line, which is nothing
// without the feature.
func TestAppendsAreInert(t *testing.T) {
	const only = `require ${@bb.utils.contains("MACHINE_FEATURES", "dmaheap", "recipes-kernel/linux/linux-dmaheap.inc", "", d)}`
	for _, name := range files(t, ".bbappend") {
		for _, line := range strings.Split(read(t, layer, name), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && line != only {
				t.Errorf("%s: %q stands outside of the guard", name, line)
			}
		}
	}
	// linux-yocto% would match linux-yocto-fitimage as well.
	for _, name := range files(t, ".bbappend") {
		if base := path.Base(name); strings.Contains(base, "%") && !strings.Contains(base, "_%") {
			t.Errorf("%s matches recipes of other names", name)
		}
	}
	// Recipes that are for a board with heaps must be skipped on all others.
	for _, name := range files(t, ".bb") {
		text := read(t, layer, name)
		feature, _ := value(text, "REQUIRED_MACHINE_FEATURES")
		if !strings.Contains(text, "inherit dmaheap\n") && !strings.Contains(name, "/heapctl/") && feature != "dmaheap" {
			t.Errorf("%s does not require the machine feature", name)
		}
	}
}

var (
	fileURI  = regexp.MustCompile(`file://([A-Za-z0-9_./-]+)`)
	required = regexp.MustCompile(`(?m)^(?:require|include) ([A-Za-z0-9_./-]+)$`)
	inherits = regexp.MustCompile(`(?m)^inherit ([\w -]+)$`)
)

// TestNamedFilesExist follows file://, require and inherit to what they name.
func TestNamedFilesExist(t *testing.T) {
	exists := func(parts ...string) bool {
		_, err := os.Stat(filepath.Join(parts...))
		return err == nil
	}
	classes := map[string]bool{}
	for _, name := range files(t, ".bbclass") {
		classes[strings.TrimSuffix(path.Base(name), ".bbclass")] = true
	}
	for _, name := range files(t, ".bb", ".inc", ".bbappend", ".bbclass", ".conf") {
		text, dir := read(t, layer, name), filepath.Join(layer, filepath.Dir(filepath.FromSlash(name)))
		for _, m := range required.FindAllStringSubmatch(text, -1) {
			// A relative name is searched for beside the file, then along BBPATH.
			core := strings.HasPrefix(m[1], "recipes-core/images/core-image-minimal")
			if !core && !exists(dir, m[1]) && !exists(layer, m[1]) {
				t.Errorf("%s requires %s, which is not there", name, m[1])
			}
		}
		for _, m := range inherits.FindAllStringSubmatch(text, -1) {
			for _, class := range strings.Fields(m[1]) {
				if strings.HasPrefix(class, "dmaheap") && !classes[class] {
					t.Errorf("%s inherits %s, which is not there", name, class)
				}
			}
		}
		for _, a := range assignments(text) {
			if !strings.HasPrefix(a.name, "SRC_URI") {
				continue
			}
			for _, m := range fileURI.FindAllStringSubmatch(a.value, -1) {
				if !exists(dir, "files", m[1]) && !exists(layer, "recipes-kernel/linux/files", m[1]) {
					t.Errorf("%s: SRC_URI names %s, which is not there", name, m[1])
				}
			}
		}
	}
	sources, _ := value(read(t, layer, "recipes-devtools/heapctl/heapctl_git.bb"), "DMAHEAP_SOURCES")
	if sources == "" {
		t.Error("the heapctl recipe has no DMAHEAP_SOURCES")
	}
	for _, source := range strings.Fields(sources) {
		if !exists(repo, source) {
			t.Errorf("the heapctl recipe takes %s, which the repository does not have", source)
		}
	}
}

// The recipe fetches single folders, and one that is missing is found out by
// the compiler only in somebody's image build.
func TestSourcesAreComplete(t *testing.T) {
	sources, _ := value(read(t, layer, "recipes-devtools/heapctl/heapctl_git.bb"), "DMAHEAP_SOURCES")
	cmd := exec.Command("go", append([]string{"list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}"}, programs...)...)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	root, err := filepath.Abs(repo)
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(out))
	if len(dirs) == 0 {
		t.Fatal("go list names no package")
	}
	for _, dir := range dirs {
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		covered := false
		for _, source := range strings.Fields(sources) {
			covered = covered || rel == source || strings.HasPrefix(filepath.ToSlash(rel), source+"/")
		}
		if !covered {
			t.Errorf("heapctl is built of %s, which is not in DMAHEAP_SOURCES", rel)
		}
	}
}

// An option in a fragment that is not "hardware" may be dropped and
// kernel_configcheck keeps quiet about it.
func TestKernelMetadata(t *testing.T) {
	options := map[string]string{}
	for _, name := range files(t, ".scc") {
		text := read(t, layer, name)
		cfg := strings.TrimSuffix(path.Base(name), ".scc") + ".cfg"
		if !strings.Contains(text, "\nkconf hardware "+cfg+"\n") {
			t.Errorf("%s has no \"kconf hardware %s\"", name, cfg)
		}
		for _, line := range strings.Split(read(t, layer, path.Dir(name)+"/"+cfg), "\n") {
			option, _, ok := strings.Cut(line, "=")
			if !ok || strings.HasPrefix(line, "#") {
				continue
			}
			if other := options[option]; other != "" {
				t.Errorf("%s is in %s and in %s", option, cfg, other)
			}
			options[option] = cfg
		}
	}
	inc := read(t, layer, "recipes-kernel/linux/linux-dmaheap.inc")
	for option, cfg := range options {
		feature := strings.TrimSuffix(cfg, ".cfg")
		if feature != "dmaheap" && !strings.Contains(inc, "'"+strings.TrimPrefix(option, "CONFIG_DMABUF_HEAPS_")+"'") {
			t.Errorf("%s of %s is in no kernel, since linux-dmaheap.inc does not know it", option, cfg)
		}
	}
	if options["CONFIG_DMABUF_HEAPS"] != "dmaheap.cfg" {
		t.Error("dmaheap.cfg does not ask for CONFIG_DMABUF_HEAPS")
	}
}

// yocto-check-layer looks at patches below the layer only, and these are beside
// it, where Buildroot and plain kernel trees find them too.
func TestPatches(t *testing.T) {
	series, err := filepath.Glob(filepath.Join(repo, "kernel-patches", "*", "series"))
	if err != nil || len(series) == 0 {
		t.Fatal("kernel-patches/ has no series")
	}
	status := regexp.MustCompile(`(?m)^Upstream-Status: (Pending|Submitted|Backport|Denied|Inappropriate|Inactive-Upstream)\b`)
	line := regexp.MustCompile(`^\d+\.\d+$`)
	for _, s := range series {
		dir := filepath.Dir(s)
		if !line.MatchString(filepath.Base(dir)) {
			t.Errorf("%s: no kernel has that version, so no recipe applies it", dir)
		}
		named := map[string]bool{}
		for _, name := range strings.Split(read(t, dir, "series"), "\n") {
			name, _, _ = strings.Cut(name, "#")
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			named[name] = true
			text := read(t, dir, name)
			if !status.MatchString(text) {
				t.Errorf("%s/%s has no well-formed Upstream-Status", dir, name)
			}
			if !strings.Contains(text, "\nSigned-off-by: ") {
				t.Errorf("%s/%s is not signed off", dir, name)
			}
		}
		there, err := filepath.Glob(filepath.Join(dir, "*.patch"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range there {
			if !named[filepath.Base(p)] {
				t.Errorf("%s is in no series", p)
			}
		}
		if len(named) == 0 {
			t.Errorf("%s is empty", s)
		}
	}
}

// Every knob says what it is for and what it is without being set, where the
// build shows it and in the documentation.
func TestVariablesAreDocumented(t *testing.T) {
	doc := read(t, repo, "docs/yocto.md")
	n := 0
	for _, name := range files(t, ".inc", ".bb", ".bbclass") {
		text := read(t, layer, name)
		for _, a := range assignments(text) {
			if !strings.HasPrefix(a.name, "DMAHEAP_") || (a.op != "??=" && a.op != "?=") {
				continue
			}
			n++
			if v, _ := value(text, a.name+"[doc]"); len(v) < 20 {
				t.Errorf("%s: %s has no [doc]", name, a.name)
			}
			if !strings.Contains(doc, "`"+a.name+"`") {
				t.Errorf("docs/yocto.md says nothing of %s", a.name)
			}
		}
	}
	if n < 8 {
		t.Errorf("found %d variables; the reader no longer understands the layer", n)
	}
}

// Each release that the layer claims has a file that builds on it.
func TestKasFiles(t *testing.T) {
	series, _ := value(read(t, layer, "conf/layer.conf"), "LAYERSERIES_COMPAT_dmaheap")
	for _, release := range strings.Fields(series) {
		text := read(t, layer, "kas/"+release+".yml")
		if !strings.Contains(text, "branch: "+release) {
			t.Errorf("kas/%s.yml does not check out %s", release, release)
		}
	}
	for _, name := range files(t, ".yml") {
		text := read(t, layer, name)
		if !strings.Contains(text, "header:\n  version: ") {
			t.Errorf("%s has no header", name)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s+- (meta-dmaheap/\S+\.yml)$`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(repo, m[1])); err != nil {
				t.Errorf("%s includes %s, which is not there", name, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`require (conf/dmaheap/\S+)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(layer, m[1])); err != nil {
				t.Errorf("%s requires %s, which is not there", name, m[1])
			}
		}
	}
}

// The QEMU machine is for linux-yocto as each release has it, so each needs a
// series.
func TestQemuKernels(t *testing.T) {
	preferred, _ := value(read(t, layer, "conf/dmaheap/qemuarm64.inc"), "PREFERRED_VERSION_linux-yocto")
	lines := regexp.MustCompile(`'(\d+\.\d+)'`).FindAllStringSubmatch(preferred, -1)
	if len(lines) < 2 {
		t.Fatalf("qemuarm64.inc prefers linux-yocto %q; the reader no longer understands it", preferred)
	}
	for _, line := range lines {
		if _, err := os.Stat(filepath.Join(repo, "kernel-patches", line[1], "series")); err != nil {
			t.Errorf("qemuarm64.inc prefers linux-yocto %s, which kernel-patches/ has no series for", line[1])
		}
	}
}

// TestPython compiles every line of Python in the layer and in the one that the
// tests use: modules, and the functions and anonymous blocks of recipes and
// classes.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		needed(t, "no python3 in PATH")
	}
	check := func(name, code string) {
		cmd := exec.Command(python, "-c", "import sys; compile(sys.stdin.read(), sys.argv[1], 'exec')", name)
		cmd.Stdin = strings.NewReader(code)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, stderr.Bytes())
		}
	}
	for _, name := range files(t, ".py") {
		check(name, read(t, layer, name))
	}
	n := 0
	var recipes []string
	for _, dir := range []string{layer, "meta-standin"} {
		for _, name := range filesOf(t, dir, ".bb", ".inc", ".bbclass", ".bbappend") {
			recipes = append(recipes, filepath.Join(dir, name))
		}
	}
	for _, name := range recipes {
		var code []string
		inBlock, inDef := false, false
		for _, line := range strings.Split(read(t, ".", name), "\n") {
			switch {
			case strings.HasPrefix(line, "python ") && strings.HasSuffix(line, "{"):
				inBlock = true
				code = append(code, "def task(d, bb, os):")
				n++
			case inBlock && line == "}":
				inBlock = false
			case strings.HasPrefix(line, "def "):
				inDef = true
				code = append(code, line)
				n++
			case inDef && line != "" && !strings.HasPrefix(line, " "):
				inDef = false
			case inBlock || inDef:
				code = append(code, line)
			}
		}
		check(name, strings.Join(code, "\n")+"\n")
	}
	if n == 0 {
		t.Error("found no Python in recipes; the reader no longer understands them")
	}
}

// The class looks for the groups of a config without a reader of YAML. It must find
// those that heapctl finds.
func TestGroups(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		needed(t, "no python3 in PATH")
	}
	_, def, ok := strings.Cut(read(t, layer, "classes-recipe/dmaheap.bbclass"), "\ndef dmaheap_groups(d):\n")
	def, _, ok2 := strings.Cut(def, "\n\n")
	if !ok || !ok2 {
		t.Fatal("the class has no dmaheap_groups")
	}
	configs, err := filepath.Glob(filepath.Join(repo, "examples", "*", "heaps.yaml"))
	if err != nil || len(configs) == 0 {
		t.Fatal("no examples")
	}
	written := filepath.Join(t.TempDir(), "heaps.yaml")
	text := "version: 1\n# group: commented\nheaps:\n" +
		"  - {name: a, kind: cma, size: 16MiB, group: in-braces}\n" +
		"  - {\"group\": 'quoted.1', name: b, kind: cma, size: 16MiB} # group: behind\n" +
		"  - name: c\n    kind: system\n    group:   _spaces # and a remark\n"
	if err := os.WriteFile(written, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range append(configs, written) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config, findings := heapcfg.Parse(file, data)
		if config == nil {
			t.Fatalf("%s: %v", file, findings)
		}
		var want []string
		for _, h := range config.Heaps {
			if h.Group != "" && !slices.Contains(want, h.Group) {
				want = append(want, h.Group)
			}
		}
		slices.Sort(want)
		cmd := exec.Command(python, "-c", "import os, sys\nfrom unittest.mock import Mock\nbb = Mock()\nbb.parse.resolve_file.return_value = sys.argv[1]\ndef dmaheap_groups(d):\n"+def+"\nprint(*dmaheap_groups(Mock()))", file)
		out, err := cmd.CombinedOutput()
		if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: groups %q (%v), want %q", file, got, err, want)
		}
	}
}

// The settings of the examples are what people copy, so each must name what is of
// its board. That the config suits the device tree, test/examples tells.
func TestExamples(t *testing.T) {
	boards := map[string]struct{ config, dtb string }{
		"raspberrypi/examples/raspberrypi4-64":       {"rpi4", "bcm2711-rpi-4-b"},
		"meta-ti-bsp/examples/am62xx-evm":            {"ti-am62x", "k3-am625-sk"},
		"freescale-layer/examples/imx8mp-lpddr4-evk": {"imx8mp", "imx8mp-evk"},
	}
	there := files(t, "local.conf")
	for _, name := range there {
		example := path.Dir(strings.TrimPrefix(name, "dynamic-layers/"))
		board, ok := boards[example]
		if !ok {
			t.Errorf("%s: which device tree is it for?", example)
			continue
		}
		config := "examples/" + board.config + "/heaps.yaml"
		read(t, repo, config)
		for variable, want := range map[string]string{
			"MACHINE":            path.Base(example),
			"DMAHEAP_CONFIG":     "${DMAHEAP_REPO_DIR}/" + config,
			"DMAHEAP_KERNEL_DTB": board.dtb + ".dtb",
		} {
			if got, _ := value(read(t, layer, name), variable); got != want {
				t.Errorf("%s: %s = %q, want %q", name, variable, got, want)
			}
		}
	}
	if len(there) != len(boards) {
		t.Errorf("examples = %v, want one for each of %v", there, boards)
	}
}
