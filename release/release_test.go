// SPDX-License-Identifier: MIT

// Package release holds the tests of what a release is made of.
package release

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// clone makes a clone of the last commit in a folder of that name.
func clone(t *testing.T, name string) string {
	t.Helper()
	top, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("git", "-C", top, "rev-parse", "--verify", "-q", "HEAD").Run(); err != nil {
		t.Skipf("a release is made of a commit, and this is no git tree: %v", err)
	}
	dir := filepath.Join(t.TempDir(), name)
	run(t, ".", nil, "git", "clone", "-q", "--no-hardlinks", top, dir)
	return dir
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Two clones in different folders give the same bytes, in every file of a
// release; and so does the tarball, unpacked elsewhere.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds heapctl three times")
	}
	one, other := clone(t, "one"), clone(t, "a folder of another length")
	env := []string{"ARCHS=" + runtime.GOARCH, "GOFLAGS="}
	var dirs []string
	for _, c := range []string{one, other} {
		run(t, c, env, "release/dist.sh")
		dirs = append(dirs, filepath.Join(c, "build", "dist"))
	}
	var names []string
	entries, err := os.ReadDir(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
		if !bytes.Equal(read(t, filepath.Join(dirs[0], e.Name())), read(t, filepath.Join(dirs[1], e.Name()))) {
			t.Errorf("%s differs between two clones", e.Name())
		}
	}
	version := run(t, one, nil, "release/version.sh", "--commit")
	program := "heapctl-" + version + "-linux-" + runtime.GOARCH
	want := []string{"SHA256SUMS", "dmaheap-" + version + ".cdx.json", "dmaheap-" + version + ".tar.gz", program}
	if !slices.Equal(names, want) {
		t.Errorf("a release has %q, want %q", names, want)
	}
	run(t, dirs[0], nil, "sha256sum", "-c", "--quiet", "SHA256SUMS")

	dir := t.TempDir()
	run(t, dir, nil, "tar", "-xf", filepath.Join(dirs[0], "dmaheap-"+version+".tar.gz"))
	src := filepath.Join(dir, "dmaheap-"+version)
	for _, f := range []string{"vendor/modules.txt", "buildroot-ext/external.desc", "kernel-patches/6.12/series", "docs/man/heapctl.1"} {
		if _, err := os.Stat(filepath.Join(src, f)); err != nil {
			t.Error(err)
		}
	}
	if got := run(t, src, nil, "release/version.sh"); got != version {
		t.Errorf("the tarball says it is %s, want %s", got, version)
	}
	// Neither a network nor a module cache.
	alone := []string{"GOFLAGS=-mod=vendor", "GOPROXY=off", "GOTOOLCHAIN=local", "GOMODCACHE=" + t.TempDir()}
	run(t, src, alone, "release/build.sh", "build/heapctl")
	if !bytes.Equal(read(t, filepath.Join(src, "build", "heapctl")), read(t, filepath.Join(dirs[0], program))) {
		t.Error("heapctl built from the tarball is not the one of the release")
	}
	if got := run(t, src, nil, "build/heapctl", "--version"); got != "heapctl version "+version {
		t.Errorf("heapctl --version says %q, want %s", got, version)
	}
	checkSBOM(t, read(t, filepath.Join(dirs[0], "dmaheap-"+version+".cdx.json")), version)
}

// The published schema of CycloneDX, as it comes with the module of its
// project. It is asked for by its checksum, and no part of the build.
const schemaModule, schemaSum = "github.com/CycloneDX/cyclonedx-go@v0.9.2", "h1:688QHn2X/5nRezKe2ueIVCt+NRqf7fl3AVQk+vaFcIo="

func checkSBOM(t *testing.T, data []byte, version string) {
	t.Helper()
	var b struct {
		Metadata   struct{ Component struct{ Version string } }
		Components []struct {
			Name     string
			Licenses []struct{ License struct{ ID string } }
		}
	}
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	if b.Metadata.Component.Version != version {
		t.Errorf("the SBOM is of version %q, want %s", b.Metadata.Component.Version, version)
	}
	var named []string
	for _, c := range b.Components {
		named = append(named, c.Name)
		if len(c.Licenses) == 0 {
			t.Errorf("the SBOM gives no license of %s", c.Name)
		}
	}
	linked := strings.Fields(run(t, "..", []string{"GOOS=linux", "CGO_ENABLED=0"}, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./cmd/heapctl"))
	linked = append(linked, "std")
	slices.Sort(linked)
	linked = slices.Compact(linked)
	slices.Sort(named)
	if !slices.Equal(named, linked) {
		t.Errorf("the SBOM has %q, heapctl is linked from %q", named, linked)
	}

	cmd := exec.Command("go", "mod", "download", "-json", schemaModule)
	cmd.Dir = t.TempDir() // not of this module
	out, err := cmd.Output()
	var m struct{ Dir, Sum string }
	if err != nil || json.Unmarshal(out, &m) != nil || m.Dir == "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("the schema of CycloneDX cannot be had: %v\n%s", err, out)
		}
		t.Logf("not held against the schema of CycloneDX, which cannot be had here: %v", err)
		return
	}
	if m.Sum != schemaSum {
		t.Fatalf("%s has checksum %s, want %s", schemaModule, m.Sum, schemaSum)
	}
	c := jsonschema.NewCompiler()
	for url, name := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.5.schema.json":  "bom-1.5.schema.json",
		"http://cyclonedx.org/schema/spdx.schema.json":     "spdx.schema.json",
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		if err := c.AddResource(url, bytes.NewReader(read(t, filepath.Join(m.Dir, "schema", name)))); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.5.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("the SBOM breaks the schema of CycloneDX: %#v", err)
	}
}

// Program, every manual page and the completion of three shells, below a
// DESTDIR with a space in it.
func TestInstall(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "a root")
	program := filepath.Join(t.TempDir(), "heapctl")
	if err := os.WriteFile(program, []byte("program"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "..", []string{"DESTDIR=" + dest}, "release/install.sh", program, "/usr")
	installed := filepath.Join(dest, "usr", "bin", "heapctl")
	if info, err := os.Stat(installed); err != nil || info.Mode().Perm() != 0o755 || string(read(t, installed)) != "program" {
		t.Errorf("bin/heapctl: %v, %v", info, err)
	}
	share := filepath.Join(dest, "usr", "share")
	pages, err := filepath.Glob("../docs/man/*")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d manual pages, %v", len(pages), err)
	}
	for _, page := range pages {
		name := filepath.Base(page)
		if !bytes.Equal(read(t, filepath.Join(share, "man", "man"+name[len(name)-1:], name)), read(t, page)) {
			t.Errorf("%s is another page", name)
		}
	}
	for f, first := range map[string]string{
		"bash-completion/completions/heapctl":    "# bash completion V2 for heapctl ",
		"zsh/site-functions/_heapctl":            "#compdef heapctl\n",
		"fish/vendor_completions.d/heapctl.fish": "# fish completion for heapctl ",
	} {
		if !strings.HasPrefix(string(read(t, filepath.Join(share, f))), first) {
			t.Errorf("%s does not begin with %q", f, first)
		}
	}
}

func TestVersion(t *testing.T) {
	dir := clone(t, "version")
	version := func(args ...string) string { t.Helper(); return run(t, dir, nil, "release/version.sh", args...) }
	git := func(args ...string) {
		t.Helper()
		run(t, dir, []string{"GIT_CONFIG_GLOBAL=/dev/null"}, "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
	}
	git("tag", "v9.8.7")
	if got := version(); got != "9.8.7" {
		t.Errorf("on the tag v9.8.7 the version is %s", got)
	}
	git("commit", "-q", "--allow-empty", "-m", "next")
	if got := version(); !strings.HasPrefix(got, "9.8.7-1-g") {
		t.Errorf("one commit after the tag v9.8.7 the version is %s", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := version(); !strings.HasSuffix(got, "-dirty") {
		t.Errorf("with a changed file the version is %s", got)
	}
	if got := version("--commit"); strings.HasSuffix(got, "-dirty") {
		t.Errorf("the version of the commit is %s", got)
	}
	// Files that lie in a repository of another project.
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Dir(dir), nil, "git", "init", "-q", ".")
	if got := version(); got != "devel" {
		t.Errorf("in the repository of another project the version is %s", got)
	}
}
