// SPDX-License-Identifier: MIT

package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// A Rule is one line of a udev rules file, of the kind that heapctl writes.
type Rule struct {
	Line      int
	Subsystem string
	Kernel    string // pattern as udev's, which is that of path.Match
	Mode      os.FileMode
	HasMode   bool
	Owner     string
	Group     string
	Symlinks  []string // below /dev
}

// ParseRules reads a udev rules file. There is no udev in an initramfs, and an
// imitation that skips what it does not know would test something else than
// what udev does on the board; so anything beyond the five keys that heapctl
// writes is an error.
func ParseRules(data []byte) ([]Rule, error) {
	var rules []Rule
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		r := Rule{Line: i + 1}
		for _, term := range splitTerms(line) {
			if err := r.add(strings.TrimSpace(term)); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
		if r.Subsystem == "" || r.Kernel == "" {
			return nil, fmt.Errorf("line %d: a rule needs SUBSYSTEM== and KERNEL==", i+1)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// splitTerms cuts a rule at the commas outside quotes: heap names such as
// "linux,cma@50000000" have commas of their own.
func splitTerms(line string) []string {
	var terms []string
	start, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ',' && !quoted:
			terms = append(terms, line[start:i])
			start = i + 1
		}
	}
	return append(terms, line[start:])
}

func (r *Rule) add(term string) error {
	quote := strings.IndexByte(term, '"')
	if quote < 0 || len(term) < quote+2 || term[len(term)-1] != '"' {
		return fmt.Errorf("%q is not KEY==\"value\" or KEY=\"value\"", term)
	}
	key, value := term[:quote], term[quote+1:len(term)-1]
	if strings.ContainsAny(value, `"\$%`) {
		return fmt.Errorf("%s: quotes, escapes and substitutions are not supported", term)
	}
	switch key {
	case "SUBSYSTEM==":
		r.Subsystem = value
	case "KERNEL==":
		if _, err := path.Match(value, ""); err != nil || strings.Contains(value, "|") {
			return fmt.Errorf("%s: not a pattern this reader knows", term)
		}
		r.Kernel = value
	case "MODE=":
		m, err := strconv.ParseUint(value, 8, 12)
		if err != nil {
			return fmt.Errorf("%s: not an octal mode", term)
		}
		r.Mode, r.HasMode = os.FileMode(m&0o777), true
	case "OWNER=":
		r.Owner = value
	case "GROUP=":
		r.Group = value
	case "SYMLINK+=":
		for _, s := range strings.Fields(value) {
			if !filepath.IsLocal(s) {
				return fmt.Errorf("%s: %q leaves /dev", term, s)
			}
			r.Symlinks = append(r.Symlinks, s)
		}
	default:
		return fmt.Errorf("%q: only SUBSYSTEM==, KERNEL==, MODE=, OWNER=, GROUP= and SYMLINK+= are supported", term)
	}
	return nil
}

// Applied is what [ApplyRules] did, in words, for the console.
type Applied []string

// ApplyRules does to the nodes of dir, such as /dev/dma_heap, what udev would
// do to the devices of the subsystem of the same name. Owners and groups are
// looked up in the texts of /etc/passwd and /etc/group. A rule that matches no
// device is worth a line but is no error: that the heap is missing is for the
// checks to say.
func ApplyRules(rules []Rule, dev, subsystem, passwd, group string) (Applied, error) {
	dir := filepath.Join(dev, subsystem)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var done Applied
	for _, r := range rules {
		if r.Subsystem != subsystem {
			continue
		}
		matched := false
		for _, e := range entries {
			// What an earlier rule linked is no device.
			if ok, _ := path.Match(r.Kernel, e.Name()); !ok || e.Type()&os.ModeSymlink != 0 {
				continue
			}
			matched = true
			if err := r.apply(dev, filepath.Join(dir, e.Name()), passwd, group); err != nil {
				return done, fmt.Errorf("rules line %d: %w", r.Line, err)
			}
			done = append(done, fmt.Sprintf("line %d applied to %s/%s", r.Line, subsystem, e.Name()))
		}
		if !matched {
			done = append(done, fmt.Sprintf("line %d: no device matches KERNEL==%q", r.Line, r.Kernel))
		}
	}
	return done, nil
}

func (r Rule) apply(dev, node, passwd, group string) error {
	uid, gid := -1, -1
	var err error
	if r.Owner != "" {
		if uid, err = lookupID(passwd, r.Owner); err != nil {
			return fmt.Errorf("OWNER: %w", err)
		}
	}
	if r.Group != "" {
		if gid, err = lookupID(group, r.Group); err != nil {
			return fmt.Errorf("GROUP: %w", err)
		}
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(node, uid, gid); err != nil {
			return err
		}
	}
	if r.HasMode {
		if err := os.Chmod(node, r.Mode); err != nil {
			return err
		}
	}
	for _, name := range r.Symlinks {
		link := filepath.Join(dev, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		target, err := filepath.Rel(filepath.Dir(link), node)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}

// lookupID finds the third field of the line of that name, in the format
// that /etc/passwd and /etc/group share. A number stands for itself.
func lookupID(table, name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	for _, line := range strings.Split(table, "\n") {
		f := strings.Split(line, ":")
		if len(f) < 3 || f[0] != name {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 31)
		if err != nil {
			return 0, fmt.Errorf("%q has the bad id %q", name, f[2])
		}
		return int(n), nil
	}
	return 0, fmt.Errorf("%q is unknown in the initramfs", name)
}
