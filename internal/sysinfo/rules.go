// SPDX-License-Identifier: MIT

package sysinfo

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// A Manager is what gives device nodes their mode, owner, group and links.
type Manager string

// The managers. NoManager is a board that shows neither: nodes stay as the
// kernel made them, 0600 and root's.
const (
	Udev      Manager = "udev"
	Mdev      Manager = "mdev"
	NoManager Manager = ""
)

// udevSigns are the files that say udev is at work: its run time directory
// first, then its daemon under the names of systemd and eudev.
var udevSigns = [...]string{"run/udev", "usr/lib/systemd/systemd-udevd", "lib/systemd/systemd-udevd",
	"sbin/udevd", "usr/sbin/udevd", "lib/udev/udevd"}

// mdevConf is the only file BusyBox mdev reads. Its applet is in most builds of
// BusyBox and says nothing.
const mdevConf = "etc/mdev.conf"

// DeviceManager returns what manages the board's device nodes.
func (b *Board) DeviceManager() Manager {
	for _, sign := range udevSigns {
		if exists(b.FS, sign) {
			return Udev
		}
	}
	if exists(b.FS, mdevConf) {
		return Mdev
	}
	for _, dir := range ruleDirs {
		if exists(b.FS, dir) {
			return Udev
		}
	}
	return NoManager
}

// A Rule is a udev rule that speaks of heaps, or a line of mdev that matches
// one.
type Rule struct {
	File  string
	Line  int
	Text  string
	Match []Pair // comparisons: == and !=
	Set   []Pair // assignments
	// Broken is why the rule cannot do what it means to, "" if it can.
	Broken string
}

// A Pair is one key of a rule, with its operator.
type Pair struct{ Key, Op, Value string }

// ruleDirs are the directories of udev(7), the one that wins first.
var ruleDirs = [...]string{"etc/udev/rules.d", "run/udev/rules.d", "usr/local/lib/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d"}

// Rules returns the udev rules that name dma_heap or one of the heaps, in the
// order udev reads them: by file name, over all directories; a file hides one
// of the same name in a later directory.
func (b *Board) Rules() ([]Rule, error) {
	return b.rules.get(func() ([]Rule, error) {
		files := map[string]string{}
		var names []string
		last := error(fs.ErrNotExist)
		found := false
		for _, dir := range ruleDirs {
			entries, err := readDir(b.FS, dir)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					b.note("udev rules", "/"+dir, err)
					last = err
				}
				continue
			}
			found = true
			for _, e := range entries {
				if !strings.HasSuffix(e.Name(), ".rules") || files[e.Name()] != "" {
					continue
				}
				files[e.Name()] = path.Join(dir, e.Name())
				names = append(names, e.Name())
			}
		}
		if !found {
			b.note("udev rules", "/"+ruleDirs[0], last)
			return nil, last
		}
		sort.Strings(names)
		var out []Rule
		for _, name := range names {
			data, err := readFile(b.FS, files[name], 1<<20)
			if err != nil {
				b.note("udev rules", "/"+files[name], err)
				continue
			}
			out = append(out, parseRules("/"+files[name], data)...)
		}
		return out, nil
	})
}

// parseRules returns the rules of a file that could match a heap: those that
// name the subsystem, and those that match a kernel name under no subsystem.
func parseRules(file string, data []byte) []Rule {
	var out []Rule
	lines := strings.Split(string(data), "\n")
	for i := 0; i < len(lines); i++ {
		start, text := i, strings.TrimSpace(lines[i])
		for strings.HasSuffix(text, `\`) && i+1 < len(lines) {
			i++
			text = strings.TrimSuffix(text, `\`) + strings.TrimSpace(lines[i])
		}
		if text == "" || text[0] == '#' || !strings.Contains(text, "dma_heap") {
			continue
		}
		r := Rule{File: file, Line: start + 1, Text: text}
		for _, tok := range splitRule(text) {
			p, ok := parsePair(tok)
			if !ok {
				continue
			}
			switch {
			case r.Broken != "":
			case !strings.Contains(tok, `"`):
				r.Broken = "udev ignores the line: " + strings.TrimSpace(tok) + " lacks its quotes"
			case p.Key == "KERNEL" && strings.Contains(p.Value, "/"):
				r.Broken = strings.TrimSpace(tok) + " never matches: the kernel's name of a heap has no directory"
			}
			if p.Op == "==" || p.Op == "!=" {
				r.Match = append(r.Match, p)
			} else {
				r.Set = append(r.Set, p)
			}
		}
		out = append(out, r)
	}
	return out
}

// splitRule splits at commas outside of quotes.
func splitRule(s string) []string {
	var out []string
	quoted, from := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

func parsePair(tok string) (Pair, bool) {
	tok = strings.TrimSpace(tok)
	for _, op := range []string{"==", "!=", "+=", "-=", ":=", "="} {
		if key, val, ok := strings.Cut(tok, op); ok && !strings.ContainsAny(key, `="!+:-`) {
			return Pair{strings.TrimSpace(key), op, strings.Trim(strings.TrimSpace(val), `"`)}, true
		}
	}
	return Pair{}, false
}

// Applies reports whether udev applies the rule to the heap. Keys other than
// those a heap has (KERNEL, SUBSYSTEM, ACTION) are taken to match, so that a
// rule is rather shown than missed.
func (r Rule) Applies(heap string) bool {
	if r.Broken != "" {
		return false
	}
	for _, p := range r.Match {
		var val string
		switch p.Key {
		case "KERNEL":
			val = heap
		case "SUBSYSTEM":
			val = "dma_heap"
		case "ACTION":
			val = "add"
		default:
			continue
		}
		if matchAny(p.Value, val) != (p.Op == "==") {
			return false
		}
	}
	return true
}

// matchAny matches udev's patterns: globs, alternatives divided by "|". What a
// range leaves out begins with "!" there.
func matchAny(patterns, s string) bool {
	glob := strings.NewReplacer(`\`, `\\`, "[!", "[^")
	for _, p := range strings.Split(patterns, "|") {
		if ok, err := path.Match(glob.Replace(p), s); err == nil && ok {
			return true
		}
	}
	return false
}

// Deciding returns the rule that sets one of the keys for the heap: of udev's
// the last, of mdev's the first line that matches.
func (b *Board) Deciding(heap, key string) (Rule, string, bool) {
	if b.DeviceManager() == Mdev {
		r, ok := b.mdevRule(heap)
		for _, p := range r.Set {
			if p.Key == key {
				return r, p.Value, ok
			}
		}
		return Rule{}, "", false
	}
	rules, _ := b.Rules()
	var found Rule
	var val string
	ok := false
	for _, r := range rules {
		if !r.Applies(heap) {
			continue
		}
		for _, p := range r.Set {
			if p.Key == key {
				found, val, ok = r, p.Value, true
				if p.Op == ":=" {
					return found, val, true
				}
			}
		}
	}
	return found, val, ok
}

// BrokenRule returns a udev rule that means to set the key and cannot.
func (b *Board) BrokenRule(key string) (Rule, bool) {
	rules, _ := b.Rules()
	for _, r := range rules {
		if r.Broken == "" {
			continue
		}
		for _, p := range r.Set {
			if p.Key == key {
				return r, true
			}
		}
	}
	return Rule{}, false
}

// mdevRule returns the line of /etc/mdev.conf that mdev applies to the heap:
// the first whose expression matches all of the name that the kernel gives the
// node, which has the directory in it (docs/mdev.txt of BusyBox).
func (b *Board) mdevRule(heap string) (Rule, bool) {
	data, err := b.read("mdev rules", mdevConf)
	if err != nil {
		return Rule{}, false
	}
	for i, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], "@") || strings.HasPrefix(f[0], "$") {
			continue
		}
		expr := strings.TrimPrefix(f[0], "-") // "-" is to go on after this line
		re, err := regexp.Compile("^(?:" + expr + ")$")
		if err != nil || len(expr) > 256 || !re.MatchString("dma_heap/"+heap) {
			continue
		}
		user, group, _ := strings.Cut(f[1], ":")
		r := Rule{File: "/" + mdevConf, Line: i + 1, Text: strings.TrimSpace(line), Set: []Pair{{"OWNER", "=", user}, {"GROUP", "=", group}}}
		if mode, err := strconv.ParseUint(f[2], 8, 12); err == nil {
			r.Set = append(r.Set, Pair{"MODE", "=", heapcfg.Mode(mode).String()})
		}
		if link, ok := strings.CutPrefix(f[len(f)-1], "/dev/"); ok && len(f) > 3 {
			r.Set = append(r.Set, Pair{"SYMLINK", "+=", link})
		}
		return r, true
	}
	return Rule{}, false
}
