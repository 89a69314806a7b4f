// SPDX-License-Identifier: MIT

package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/cli"
)

const top = "../.."

// tracked lists what git has, or would take.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no git work tree to list: %v", err)
	}
	var list []string
	for _, f := range strings.Split(string(out), "\x00") {
		if _, err := os.Lstat(filepath.Join(top, f)); f != "" && err == nil {
			list = append(list, f)
		}
	}
	return list
}

// documents returns the text of every Markdown file, by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, f := range tracked(t) {
		if !strings.HasSuffix(f, ".md") || strings.Contains(f, "/testdata/") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(top, f))
		if err != nil {
			t.Fatal(err)
		}
		texts[f] = string(data)
	}
	if len(texts) < 10 {
		t.Fatalf("only %d documents", len(texts))
	}
	return texts
}

func need(t *testing.T, tool, debian string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no %s: install Debian's %s", tool, debian)
		}
		t.Skipf("no %s: install Debian's %s", tool, debian)
	}
}

// --- links -------------------------------------------------------------------

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#*$`)
	code    = regexp.MustCompile("`[^`\n]*`")
)

// prose returns a document without its blocks of code.
func prose(text string) string {
	var out []string
	fenced := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
			line = ""
		case fenced || strings.HasPrefix(line, "    "):
			line = ""
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// anchors returns the names by which GitHub and GitLab reach the headings.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(prose(text), -1) {
		var b strings.Builder
		for _, c := range strings.ToLower(m[1]) {
			switch {
			case unicode.IsLetter(c) || unicode.IsDigit(c) || c == '-' || c == '_':
				b.WriteRune(c)
			case c == ' ':
				b.WriteByte('-')
			}
		}
		name := b.String()
		for i := 1; names[name]; i++ {
			name = fmt.Sprintf("%s-%d", b.String(), i)
		}
		names[name] = true
	}
	return names
}

func TestLinks(t *testing.T) {
	texts := documents(t)
	n := 0
	for file, text := range texts {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(prose(text), ""), -1) {
			n++
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue // not to be reached from everywhere
			}
			to := file
			if target != "" {
				to = path.Join(path.Dir(file), target)
			}
			if _, err := os.Stat(filepath.Join(top, to)); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
				continue
			}
			if anchor != "" && !anchors(texts[to])[anchor] {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
	if n < 40 {
		t.Errorf("found only %d links; the test no longer understands the documents", n)
	}
}

// Every document can be reached from the README.
func TestNothingIsLost(t *testing.T) {
	texts := documents(t)
	seen := map[string]bool{}
	todo := []string{"README.md"}
	for len(todo) > 0 {
		file := todo[0]
		todo = todo[1:]
		if seen[file] {
			continue
		}
		seen[file] = true
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(prose(texts[file]), ""), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			to := path.Join(path.Dir(file), target)
			if _, ok := texts[to]; ok {
				todo = append(todo, to)
			}
		}
	}
	for file := range texts {
		if !seen[file] {
			t.Errorf("no way leads from README.md to %s", file)
		}
	}
}

// --- names -------------------------------------------------------------------

var repoPath = regexp.MustCompile(`^(\.ci|cmd|heapcfg|dmaheap|internal|kernel-patches|meta-dmaheap|buildroot-ext|examples|docs|test|release)/[\w./*@,+-]+$`)

// A file that a document names is there. Documents are believed.
func TestNamedFilesExist(t *testing.T) {
	n := 0
	for file, text := range documents(t) {
		if file == "CHANGELOG.md" {
			continue // it speaks of the past
		}
		for _, m := range code.FindAllString(prose(text), -1) {
			name := strings.TrimSuffix(strings.Trim(m, "`"), "/")
			if !repoPath.MatchString(name) {
				continue
			}
			n++
			found, err := filepath.Glob(filepath.Join(top, name))
			beside, err2 := filepath.Glob(filepath.Join(top, filepath.Dir(file), name))
			if err != nil || err2 != nil || len(found)+len(beside) == 0 {
				t.Errorf("%s names %s, which is not there", file, name)
			}
		}
	}
	if n < 40 {
		t.Errorf("found only %d names of files; the test no longer understands the documents", n)
	}
}

// comments are the texts that show commands and are no Markdown: they are written
// in the comments of examples, and in the notes to boards.
func comments(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, f := range tracked(t) {
		if strings.HasSuffix(f, ".md") || !strings.HasPrefix(f, "examples/") && !strings.HasSuffix(f, "/readme.txt") {
			continue
		}
		var lines []string
		for _, line := range strings.Split(read(t, f), "\n") {
			// A line of code, in Markdown's way.
			lines = append(lines, "    "+strings.TrimSpace(strings.TrimLeft(line, "# ")))
		}
		texts[f] = strings.Join(lines, "\n")
	}
	if len(texts) < 20 {
		t.Fatalf("only %d examples and notes", len(texts))
	}
	return texts
}

// shownCommands returns every line of code of the documents and of the comments,
// by file. What CHANGELOG.md speaks of may be gone.
func shownCommands(t *testing.T) map[string][]string {
	t.Helper()
	lines := map[string][]string{}
	for _, texts := range []map[string]string{documents(t), comments(t)} {
		for file, text := range texts {
			if file != "CHANGELOG.md" {
				lines[file] = codeLines(file, text)
			}
		}
	}
	return lines
}

// codeLines returns all that is code in a document: blocks, indented blocks, and
// what stands in backquotes, with continued lines joined.
func codeLines(file, text string) []string {
	var lines []string
	for _, b := range Blocks(file, text) {
		lines = append(lines, strings.Split(b.Text, "\n")...)
	}
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "    "); ok {
			lines = append(lines, rest)
		}
	}
	var joined []string
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(lines[i])
		}
		joined = append(joined, line)
	}
	for _, m := range code.FindAllString(prose(text), -1) {
		joined = append(joined, strings.Trim(m, "`"))
	}
	return joined
}

var (
	heapctlLine = regexp.MustCompile(`^(?:\$ |board# )?(?:build/bin/|go run \./cmd/)?heapctl ([a-z].*)$`)
	makeLine    = regexp.MustCompile(`^(?:\$ )?((?:[A-Z][A-Z0-9_]*=\S+ )*)make ([a-z][a-z-]*)\b(.*)$`)
	testLine    = regexp.MustCompile(`^(?:\$ )?((?:[A-Z][A-Z0-9_]*=\S+ )*)go test\b(.*)$`)
	scriptLine  = regexp.MustCompile(`^(?:\$ |[A-Z_]+=\S+ |[A-Z_]+=\$\()*((?:kernel-patches|test|release)/[\w/-]+\.sh)\b`)
	variable    = regexp.MustCompile(`\b([A-Z][A-Z0-9_]+|V)=`)
)

// Every command of heapctl that a document shows has its verb and its options,
// also where it is not run.
func TestCommandsExist(t *testing.T) {
	n := 0
	for file, lines := range shownCommands(t) {
		for _, line := range lines {
			m := heapctlLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			words := shellWords(m[1])
			root := cli.NewRoot(&cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: os.Getenv})
			root.InitDefaultHelpCmd()
			root.InitDefaultCompletionCmd()
			c, rest, err := root.Find(words)
			if err == nil && c == root {
				err = fmt.Errorf("no such command")
			}
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err != nil && !strings.Contains(err.Error(), "help requested") {
				t.Errorf("%s shows %q: %v", file, line, err)
			}
			n++
		}
	}
	if n < 30 {
		t.Errorf("found only %d commands; the test no longer understands the documents", n)
	}
}

// shellWords splits a command line up to where it is piped, redirected or
// commented on.
func shellWords(s string) []string {
	var words []string
	for _, w := range strings.Fields(s) {
		if strings.ContainsAny(w[:1], "|>;&#<") {
			break
		}
		words = append(words, strings.Trim(w, `"';,`))
	}
	return words
}

// A test that a document names is a test of that package, and a script is there.
func TestTestsAndScriptsExist(t *testing.T) {
	tests, scripts := 0, 0
	for file, lines := range shownCommands(t) {
		for _, line := range lines {
			if m := scriptLine.FindStringSubmatch(line); m != nil {
				scripts++
				if info, err := os.Stat(filepath.Join(top, m[1])); err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("%s shows %q, and there is no such script", file, line)
				}
			}
			m := testLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			tests++
			known(t, file, line, m[1])
			words := shellWords(m[2])
			var dir, run string
			for i, w := range words {
				switch {
				case strings.HasPrefix(w, "./"):
					dir = w
				case w == "-run" && i+1 < len(words):
					run = words[i+1]
				}
			}
			if dir == "./..." || dir == "./PACKAGE" {
				continue
			}
			sources, err := filepath.Glob(filepath.Join(top, dir, "*_test.go"))
			if err != nil || len(sources) == 0 {
				t.Errorf("%s shows %q: no tests in %q", file, line, dir)
			}
			found := run == ""
			for _, s := range sources {
				data, err := os.ReadFile(s)
				if err != nil {
					t.Fatal(err)
				}
				found = found || regexp.MustCompile(`(?m)^func \w*`+regexp.QuoteMeta(run)).Match(data)
			}
			if !found {
				t.Errorf("%s shows %q, and %s has no such test", file, line, dir)
			}
		}
	}
	if tests < 10 || scripts < 4 {
		t.Errorf("found only %d tests and %d scripts; the test no longer understands the documents", tests, scripts)
	}
}

// known fails on a variable that nothing of ours reads.
func known(t *testing.T, file, line, settings string) {
	t.Helper()
	for _, m := range variable.FindAllStringSubmatch(settings, -1) {
		name := m[1]
		if goEnv[name] {
			continue
		}
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(readers(t)) {
			t.Errorf("%s shows %q, and nothing reads %s", file, line, name)
		}
	}
}

// goEnv are variables that others read: Go, and the kernel's makefiles.
var goEnv = map[string]bool{"GOARCH": true, "DTC_FLAGS": true}

var readersText string

// readers is the text of what variables are read by.
func readers(t *testing.T) string {
	t.Helper()
	if readersText != "" {
		return readersText
	}
	var b strings.Builder
	for _, f := range tracked(t) {
		if f == "Makefile" || strings.HasSuffix(f, ".mk") || strings.HasSuffix(f, ".sh") || strings.HasSuffix(f, ".go") && !strings.HasPrefix(f, "test/docs/") {
			b.WriteString(read(t, f))
		}
	}
	readersText = b.String()
	return readersText
}

// The targets of make that are ours, and the variables they are given.
func TestTargetsExist(t *testing.T) {
	targets := map[string]bool{"dtbs": true, "olddefconfig": true} // of the kernel
	for _, f := range []string{"Makefile", "test/buildroot/targets.mk"} {
		data, err := os.ReadFile(filepath.Join(top, f))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(data), -1) {
			targets[m[1]] = true
		}
	}
	n := 0
	for file, lines := range shownCommands(t) {
		// Buildroot's manual is about Buildroot's own targets, mostly.
		buildroot := file == "docs/buildroot.md" || strings.HasPrefix(file, "buildroot-ext/")
		for _, line := range lines {
			m := makeLine.FindStringSubmatch(line)
			if m == nil || buildroot && !targets[m[2]] {
				continue
			}
			n++
			if !targets[m[2]] {
				t.Errorf("%s shows %q, and there is no such target", file, strings.TrimSpace(line))
			}
			rest, _, _ := strings.Cut(m[3], "#")
			known(t, file, line, m[1]+rest)
		}
	}
	if n < 10 {
		t.Errorf("found only %d targets; the test no longer understands the documents", n)
	}
}

// Whoever looks for a room finds it: the tour has every package, and the table
// of the tests every folder of theirs.
func TestRoomsAreListed(t *testing.T) {
	tour, table := read(t, "docs/architecture.md"), read(t, "test/README.md")
	rooms, tests := map[string]bool{}, map[string]bool{}
	for _, f := range tracked(t) {
		dir, _, _ := strings.Cut(f, "/")
		part := strings.Split(f, "/")
		switch {
		case dir == "test" && len(part) > 2:
			tests["`"+part[1]+"/`"] = true
		case dir == "test" && strings.HasSuffix(f, ".sh"):
			tests["`"+part[1]+"`"] = true
		case dir == "internal" || dir == "cmd":
			rooms["`"+dir+"/"+part[1]+"`"] = true
		case strings.HasPrefix(f, "heapcfg/") && len(part) > 2 && part[1] != "testdata":
			rooms["`heapcfg/"+part[1]+"`"] = true
		case strings.HasPrefix(dir, ".") || len(part) == 1 || dir == "docs" || dir == "examples":
		default:
			rooms["`"+dir+"`"] = true
		}
	}
	for room := range rooms {
		if !strings.Contains(tour, room) {
			t.Errorf("docs/architecture.md does not have the room %s", room)
		}
	}
	for name := range tests {
		if !strings.Contains(table, name) {
			t.Errorf("test/README.md does not have %s", name)
		}
	}
	if len(rooms) < 15 || len(tests) < 15 {
		t.Errorf("found only %d rooms and %d folders of tests", len(rooms), len(tests))
	}
}

// --- commands ----------------------------------------------------------------

// notHere are commands whose output is held against the documents elsewhere, or
// that take what a plain test has not: machines, kernels, a network.
var notHere = regexp.MustCompile(`^(make (demo|test|kernel|check|install|dist)|git clone|sudo )`)

// Every command at a "$" prompt is run, in the order of its document, in a copy
// of the repository as a clone has it, and prints what is shown.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("builds heapctl")
	}
	need(t, "dtc", "device-tree-compiler")
	need(t, "qemu-system-aarch64", "qemu-system-arm")
	texts := documents(t)
	clone := copyTree(t)
	if out, err := sh(clone, nil, "make -s heapctl"); err != nil {
		t.Fatalf("make heapctl: %v\n%s", err, out)
	}
	n := 0
	for file, text := range texts {
		var blocks []Block
		for _, b := range Blocks(file, text) {
			if b.Lang == "console" {
				blocks = append(blocks, b)
			}
		}
		if len(blocks) == 0 {
			continue
		}
		n++
		t.Run(file, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dmaheap")
			if out, err := exec.Command("cp", "-a", clone, dir).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v\n%s", err, out)
			}
			for _, b := range blocks {
				runBlock(t, dir, b)
			}
		})
	}
	if n < 2 {
		t.Errorf("only %d documents show commands", n)
	}
}

// copyTree copies the tracked files to a new folder.
func copyTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dmaheap")
	for _, f := range tracked(t) {
		from, to := filepath.Join(top, f), filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Lstat(from)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, to); err != nil {
				t.Fatal(err)
			}
			continue
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, fi.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sh(dir string, env []string, script string) (string, error) {
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "build", "bin")+":"+os.Getenv("PATH"), "NO_COLOR=1", "MAKEFLAGS=", "MAKELEVEL=")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const marker = "@@doc "

// runBlock runs the commands of a block in one shell.
func runBlock(t *testing.T, dir string, b Block) {
	t.Helper()
	var script strings.Builder
	list := b.Commands()
	for i, c := range list {
		if c.Text == "" {
			t.Errorf("%s:%d: output of no command", b.File, c.Line)
			return
		}
		if c.Board || notHere.MatchString(c.Text) {
			continue
		}
		// What the command leaves in $? is there for the next one.
		fmt.Fprintf(&script, "%s\ndoc=$?; echo; echo '%s%d'; (exit $doc)\n", c.Text, marker, i)
	}
	if script.Len() == 0 {
		return
	}
	out, _ := sh(dir, nil, "exec 2>&1\n"+script.String())
	rest := out
	for i, c := range list {
		if c.Board || notHere.MatchString(c.Text) {
			continue
		}
		printed, after, ok := strings.Cut(rest, marker+strconv.Itoa(i)+"\n")
		if !ok {
			t.Errorf("%s:%d: %s: ended the shell\n%s", b.File, c.Line, c.Text, rest)
			return
		}
		rest = after
		if diff := Mismatch(c.Shown, printed, false); diff != "" {
			t.Errorf("%s:%d: $ %s\n%s\nprinted:\n%s", b.File, c.Line, c.Text, diff, printed)
		}
	}
}

// The FIT image of the guide is source that dtc takes, and its configuration names
// images that are there.
func TestFITImage(t *testing.T) {
	need(t, "dtc", "device-tree-compiler")
	_, after, ok := strings.Cut(read(t, "docs/guide.md"), "\n    images {\n")
	body, _, ok2 := strings.Cut(after, "\n\n")
	if !ok || !ok2 {
		t.Fatal("docs/guide.md shows no FIT image")
	}
	dir := t.TempDir()
	for _, m := range regexp.MustCompile(`/incbin/\("([^"]+)"\)`).FindAllStringSubmatch(body, -1) {
		if err := os.WriteFile(filepath.Join(dir, m[1]), []byte("blob"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The reader's own kernel is not shown.
	source := "/dts-v1/;\n/ {\nimages { kernel { type = \"kernel\"; };\n" + body + "\n};\n"
	cmd := exec.Command("dtc", "-q", "-I", "dts", "-O", "dtb", "-o", filepath.Join(dir, "image.fit"), "-")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dtc: %v\n%s\n%s", err, out, source)
	}
	images := regexp.MustCompile(`(?m)^ *([\w-]+) \{ (?:type|data) =`).FindAllStringSubmatch(source, -1)
	named := regexp.MustCompile(`board \{ kernel = "([^"]+)"; fdt = "([^"]+)", "([^"]+)"; \};`).FindStringSubmatch(source)
	if named == nil {
		t.Fatalf("no configuration with a kernel, a base and an overlay\n%s", source)
	}
	for _, name := range named[1:] {
		found := strings.Contains(source, "images { "+name+" {")
		for _, m := range images {
			found = found || m[1] == name
		}
		if !found {
			t.Errorf("the configuration names %q, which is no image", name)
		}
	}
}

// --- programs ----------------------------------------------------------------

func TestPrograms(t *testing.T) {
	n := 0
	for file, text := range documents(t) {
		for _, b := range Blocks(file, text) {
			name := fmt.Sprintf("%s:%d", file, b.Line)
			switch b.Lang {
			case "go":
				n++
				t.Run(name, func(t *testing.T) { vetGo(t, b.Text) })
			case "c":
				n++
				t.Run(name, func(t *testing.T) { compileC(t, b.Text) })
			}
		}
	}
	if n < 3 {
		t.Errorf("only %d programs are shown", n)
	}
}

// vetGo compiles a program that is shown whole, inside of the module. The file
// is laid over the module, so that nothing is written into the tree.
func vetGo(t *testing.T, text string) {
	root, err := filepath.Abs(top)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "docs", "shown", "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{file: []byte(text), overlay: replace} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", filepath.Join(dir, "shown"), "./docs/shown")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go build: %v\n%s", err, out)
	}
	if out, err := exec.Command("gofmt", "-l", file).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("gofmt: %v %s", err, out)
	}
}

// ionHeader stands in for the kernel's where its source is not at hand.
const ionHeader = `#include <linux/ioctl.h>
#include <linux/types.h>
struct ion_allocation_data { __u64 len; __u32 heap_id_mask, flags, fd, unused; };
#define ION_FLAG_CACHED 1
#define ION_IOC_ALLOC _IOWR('I', 0, struct ion_allocation_data)
`

func compileC(t *testing.T, text string) {
	need(t, "gcc", "gcc")
	args := []string{"-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c"}
	if strings.Contains(text, `"ion.h"`) {
		// ION was never installed for user space; kernels up to 5.10 have it.
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		found, _ := filepath.Glob(filepath.Join(cache, "dmaheap", "source", "[^.]*", "drivers", "staging", "android", "uapi", "ion.h"))
		if len(found) == 0 {
			found = []string{filepath.Join(t.TempDir(), "ion.h")}
			if err := os.WriteFile(found[0], []byte(ionHeader), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args = append(args, "-I", filepath.Dir(found[0]))
	} else if _, err := os.Stat("/usr/include/linux/dma-heap.h"); err != nil {
		t.Skip("no linux/dma-heap.h: install Debian's linux-libc-dev")
	}
	cmd := exec.Command("gcc", append(args, "-")...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("gcc: %v\n%s", err, out)
	}
}

// --- facts -------------------------------------------------------------------

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// docs/ion.md has every compatible and property that heapctl import reads.
func TestImportIsDocumented(t *testing.T) {
	source, doc := read(t, "heapcfg/importer.go"), read(t, "docs/ion.md")
	n := 0
	for _, m := range regexp.MustCompile(`"((?:qcom|allwinner|rockchip|mediatek|exynos\d*|samsung|sprd|ion|dma-heap)[,-][\w,.-]+|heap-[a-z]+)"`).FindAllStringSubmatch(source, -1) {
		n++
		if name := m[1]; !strings.Contains(doc, name) && name != "heap-" {
			t.Errorf("docs/ion.md does not speak of %s", name)
		}
	}
	if n < 20 {
		t.Errorf("found only %d names in heapcfg/importer.go", n)
	}
}

// docs/kernel.md has every patch of every series.
func TestPatchesAreDocumented(t *testing.T) {
	series, err := filepath.Glob(filepath.Join(top, "kernel-patches", "*", "*.patch"))
	if err != nil || len(series) == 0 {
		t.Fatalf("no patches (%v)", err)
	}
	doc := strings.Join(strings.Fields(read(t, "docs/kernel.md")), " ")
	subject := regexp.MustCompile(`(?m)^Subject: \[PATCH[^]]*\] (.*(?:\n .*)*)`)
	for _, f := range series {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m := subject.FindSubmatch(data)
		if m == nil {
			t.Errorf("%s has no subject", f)
			continue
		}
		title := strings.Join(strings.Fields(string(m[1])), " ")
		// The patch for 6.1 stands below that for 5.10.
		title = strings.Replace(title, "dma-buf: heaps: do not let CMA", "do not let CMA", 1)
		if !strings.Contains(doc, title) {
			t.Errorf("docs/kernel.md does not speak of %q (%s)", title, f)
		}
	}
}

// The table in kernel-patches/README.md has each patch on the kernels whose series
// have it.
func TestKernelsOfPatches(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(top, "kernel-patches", "*", "series"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d series (%v)", len(files), err)
	}
	release := func(s string) heapcfg.Version {
		v, err := heapcfg.ParseVersion(s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	subject := regexp.MustCompile(`(?m)^Subject: \[PATCH[^]]*\] (.*(?:\n .*)*)`)
	has := map[string][]string{}
	var lines []string
	for _, f := range files {
		line := filepath.Base(filepath.Dir(f))
		lines = append(lines, line)
		patches, err := filepath.Glob(filepath.Join(filepath.Dir(f), "*.patch"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range patches {
			title := strings.Join(strings.Fields(string(subject.FindSubmatch([]byte(read(t, p[len(top)+1:])))[1])), " ")
			has[title] = append(has[title], line)
		}
	}
	// named returns the lines that a cell such as "from 5.10, but 6.1" means.
	named := func(cell string) []string {
		cell, but, _ := strings.Cut(strings.Replace(cell, "all but", "all, but", 1), ", but ")
		var list []string
		for _, line := range lines {
			from, isFrom := strings.CutPrefix(cell, "from ")
			before, isBefore := strings.CutPrefix(cell, "before ")
			word := func(in string) bool {
				return regexp.MustCompile(`(^|[ ,])` + regexp.QuoteMeta(line) + `($|[ ,])`).MatchString(in)
			}
			in := cell == "all" || isFrom && !release(line).Before(release(from)) || isBefore && release(line).Before(release(before)) || !isFrom && !isBefore && word(cell)
			if in && !word(but) {
				list = append(list, line)
			}
		}
		return list
	}
	rows := 0
	for _, m := range regexp.MustCompile(`(?m)^\| ((?:dma-buf|mm/cma|dt-bindings): [^|]*?) \| ([^|]*?) \|`).FindAllStringSubmatch(read(t, "kernel-patches/README.md"), -1) {
		rows++
		if want := has[m[1]]; !slices.Equal(named(m[2]), want) {
			t.Errorf("kernel-patches/README.md has %q on %q, which is %v; the series of %v have it", m[1], m[2], named(m[2]), want)
		}
	}
	if rows != len(has) {
		t.Errorf("kernel-patches/README.md has %d patches, the series %d", rows, len(has))
	}
}

// The numbers of ioctls in docs/ion.md are those of the headers.
func TestNumbers(t *testing.T) {
	const iow, iowr = 1, 3
	number := func(dir, size uint32, kind byte, n uint32) string {
		return fmt.Sprintf("%#x", dir<<30|size<<16|uint32(kind)<<8|n)
	}
	doc := read(t, "docs/ion.md")
	for name, want := range map[string]string{
		"ION_IOC_ALLOC":        number(iowr, 24, 'I', 0),
		"ION_IOC_HEAP_QUERY":   number(iowr, 24, 'I', 8),
		"DMA_HEAP_IOCTL_ALLOC": number(iowr, 24, 'H', 0),
		"DMA_BUF_IOCTL_SYNC":   number(iow, 8, 'b', 0),
	} {
		if !regexp.MustCompile("`" + name + "`[^`\n]*`" + want + "`").MatchString(doc) {
			t.Errorf("docs/ion.md does not say that %s is %s", name, want)
		}
	}
}
