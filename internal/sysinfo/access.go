// SPDX-License-Identifier: MIT

package sysinfo

import (
	"bufio"
	"bytes"
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
