// SPDX-License-Identifier: MIT

package sysinfo

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
)

// A Group is a line of /etc/group.
type Group struct {
	Name    string
	GID     uint32
	Members []string
}

// Groups returns /etc/group.
func (b *Board) Groups() ([]Group, error) {
	return b.groups.get(func() ([]Group, error) {
		data, err := b.read("groups", "etc/group")
		if err != nil {
			return nil, err
		}
		var out []Group
		for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan() && len(out) < maxEntries; {
			f := strings.Split(s.Text(), ":")
			if len(f) < 3 || f[0] == "" {
				continue
			}
			gid, err := strconv.ParseUint(f[2], 10, 32)
			if err != nil {
				continue
			}
			g := Group{Name: f[0], GID: uint32(gid)}
			if len(f) > 3 && f[3] != "" {
				g.Members = strings.Split(f[3], ",")
			}
			out = append(out, g)
		}
		return out, nil
	})
}

// GroupID returns the number of a group. A number stands for itself.
func (b *Board) GroupID(name string) (gid uint32, ok bool, err error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), true, nil
	}
	if name == "root" {
		return 0, true, nil
	}
	groups, err := b.Groups()
	if err != nil {
		return 0, false, err
	}
	for _, g := range groups {
		if g.Name == name {
			return g.GID, true, nil
		}
	}
	return 0, false, nil
}

// GroupName returns the name of a group, or its number where it has none.
func (b *Board) GroupName(gid uint32) string {
	if gid == 0 {
		return "root"
	}
	groups, _ := b.Groups()
	for _, g := range groups {
		if g.GID == gid {
			return g.Name
		}
	}
	return strconv.FormatUint(uint64(gid), 10)
}

// UserID returns the number of a user, from /etc/passwd.
func (b *Board) UserID(name string) (uid uint32, ok bool, err error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), true, nil
	}
	if name == "root" {
		return 0, true, nil
	}
	data, err := b.read("users", "etc/passwd")
	if err != nil {
		return 0, false, err
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		f := strings.Split(s.Text(), ":")
		if len(f) > 2 && f[0] == name {
			n, err := strconv.ParseUint(f[2], 10, 32)
			return uint32(n), err == nil, err
		}
	}
	return 0, false, nil
}

// UserName returns the name of a user, from /etc/passwd.
func (b *Board) UserName(uid int) (name string, ok bool) {
	data, err := b.read("users", "etc/passwd")
	if err != nil {
		return "", false
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		f := strings.Split(s.Text(), ":")
		if len(f) > 2 && f[2] == strconv.Itoa(uid) {
			return f[0], true
		}
	}
	return "", false
}

// MayOpen reports whether the caller may open a node for reading by its mode
// bits. Root may open everything.
func (b *Board) MayOpen(n Node) bool { return b.MayUse(n, false) }

// MayUse is MayOpen for reading and, with write, for writing as well.
func (b *Board) MayUse(n Node, write bool) bool {
	if b.Caller.UID == 0 {
		return true
	}
	perm, want := n.Perm(), uint32(4)
	if write {
		want |= 2
	}
	if uint32(b.Caller.UID) == n.Owner.UID {
		return perm>>6&want == want
	}
	for _, g := range b.Caller.Groups {
		if uint32(g) == n.Owner.GID {
			return perm>>3&want == want
		}
	}
	return perm&want == want
}

// A Rule is a udev rule that speaks of heaps.
type Rule struct {
	File  string
	Line  int
	Text  string
	Match []Pair // comparisons: == and !=
	Set   []Pair // assignments
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

// matchAny matches udev's patterns: globs, alternatives divided by "|".
func matchAny(patterns, s string) bool {
	for _, p := range strings.Split(patterns, "|") {
		if ok, err := path.Match(strings.ReplaceAll(p, `\`, `\\`), s); err == nil && ok {
			return true
		}
	}
	return false
}

// Deciding returns the rule that last sets one of the keys for the heap.
func (b *Board) Deciding(heap, key string) (Rule, string, bool) {
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
