// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"slices"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// udevLine is the one rule that gives a heap what the lock says.
func udevLine(e heapcfg.Expected) string {
	s := fmt.Sprintf(`SUBSYSTEM=="dma_heap", KERNEL=="%s"`, e.Name)
	if e.Owner != "" {
		s += fmt.Sprintf(`, OWNER="%s"`, e.Owner)
	}
	if e.Group != "" {
		s += fmt.Sprintf(`, GROUP="%s"`, e.Group)
	}
	if e.Mode != 0 {
		s += fmt.Sprintf(`, MODE="%v"`, e.Mode)
	}
	if e.Short != "" {
		s += fmt.Sprintf(`, SYMLINK+="dma_heap/%s"`, e.Short)
	}
	return s
}

// accessAdvice names the rule that decides now, or the line that is missing.
func (t *target) accessAdvice(key, want string) string {
	line := udevLine(t.exp)
	rule, val, ok := t.board.Deciding(t.exp.Name, key)
	switch {
	case ok && val != want:
		return fmt.Sprintf("%s:%d decides, and says %s=\"%s\"; install the rules file of the compiler under a name that sorts after it, with\n%s", rule.File, rule.Line, key, val, line)
	case ok:
		return fmt.Sprintf("%s:%d has the right rule, but it was not applied to this node:\nudevadm control --reload && udevadm trigger --subsystem-match=dma_heap", rule.File, rule.Line)
	}
	return fmt.Sprintf("no udev rule sets it; install the rules file of the compiler into /etc/udev/rules.d, with\n%s\nthen: udevadm control --reload && udevadm trigger --subsystem-match=dma_heap", line)
}

func (t *target) mode() *outcome {
	got := heapcfg.Mode(t.node.Perm())
	if got == t.exp.Mode {
		return pass("mode %v", got)
	}
	return fail("the device node has mode %v, not %v", got, t.exp.Mode).
		because("mode "+t.exp.Mode.String(), "mode "+got.String(), t.node.Path()).
		advise("%s", t.accessAdvice("MODE", t.exp.Mode.String()))
}

func (t *target) owner() *outcome {
	if !t.node.Owned {
		return blocked("this system does not tell owners")
	}
	uid, ok, err := t.board.UserID(t.exp.Owner)
	switch {
	case err != nil:
		return blocked("the user %s has no number: /etc/passwd: %s", t.exp.Owner, sysinfo.Reason(err))
	case !ok:
		return fail("the board has no user %s, so udev ignores the rule", t.exp.Owner).
			because("user "+t.exp.Owner, "no such line", "/etc/passwd").advise("add the user in the image build, or state another owner in heaps.yaml")
	case uid == t.node.Owner.UID:
		return pass("owner %s", t.exp.Owner)
	}
	return fail("the device node belongs to user %d, not to %s", t.node.Owner.UID, t.exp.Owner).
		because(fmt.Sprintf("user %s (%d)", t.exp.Owner, uid), fmt.Sprintf("user %d", t.node.Owner.UID), t.node.Path()).
		advise("%s", t.accessAdvice("OWNER", t.exp.Owner))
}

func (t *target) group() *outcome {
	if !t.node.Owned {
		return blocked("this system does not tell groups")
	}
	gid, ok, err := t.board.GroupID(t.exp.Group)
	switch {
	case err != nil:
		return blocked("the group %s has no number: /etc/group: %s", t.exp.Group, sysinfo.Reason(err))
	case !ok:
		return fail("the board has no group %s, so udev ignores the rule", t.exp.Group).
			because("group "+t.exp.Group, "no such line", "/etc/group").
			advise("add the group in the image build (groupadd --system %s), or state another group in heaps.yaml", t.exp.Group)
	case gid == t.node.Owner.GID:
		return pass("group %s (%d)", t.exp.Group, gid)
	}
	return fail("the device node belongs to group %s, not to %s", t.board.GroupName(t.node.Owner.GID), t.exp.Group).
		because(fmt.Sprintf("group %s (%d)", t.exp.Group, gid), fmt.Sprintf("group %s (%d)", t.board.GroupName(t.node.Owner.GID), t.node.Owner.GID), t.node.Path()).
		advise("%s", t.accessAdvice("GROUP", t.exp.Group))
}

func (t *target) link() *outcome {
	want := fmt.Sprintf("%s/%s, a symlink to %s", sysinfo.HeapDir, t.exp.Short, t.exp.Name)
	for _, n := range t.nodes {
		if n.Name != t.exp.Short {
			continue
		}
		switch {
		case n.Link == t.exp.Name:
			return pass("%s leads to %s", n.Path(), t.exp.Name)
		case n.Link == "":
			return fail("%s is a heap of its own, not the short name of %s", n.Path(), t.exp.Name).because(want, "a device node", n.Path()).
				advise("give the heap another short name in heaps.yaml")
		default:
			return fail("%s leads to %s, not to %s", n.Path(), n.Link, t.exp.Name).because(want, "a symlink to "+n.Link, n.Path()).
				advise("%s", t.accessAdvice("SYMLINK", "dma_heap/"+t.exp.Short))
		}
	}
	return fail("the short name %s is missing, so programs that use it do not find the heap", t.exp.Short).
		because(want, "no such file", sysinfo.HeapDir).
		advise("%s", t.accessAdvice("SYMLINK", "dma_heap/"+t.exp.Short))
}

// access tells whether the caller may open the heap and, if not, which of the
// usual reasons it is.
func (t *target) access() *outcome {
	n := t.node
	gid := t.board.GroupName(n.Owner.GID)
	found := fmt.Sprintf("mode %v, user %d, group %s (%d); the caller is user %d with the groups %v",
		heapcfg.Mode(n.Perm()), n.Owner.UID, gid, n.Owner.GID, t.board.Caller.UID, t.board.Caller.Groups)
	if t.board.MayOpen(n) {
		if t.board.Caller.UID == 0 && n.Perm()&0o066 == 0 && t.exp.Mode == 0 && n.Owner.UID == 0 {
			return warn("only root can open it").because("", found, n.Path()).
				advise("if programs of other users need the heap, state a group and a mode in heaps.yaml, or add the rule\n%s", udevLine(orVideo(t.exp)))
		}
		return pass("the caller may open it")
	}
	if c := t.board.Container(); c != "" {
		return blocked("the %s container lacks the group of the node", c).because("access to "+n.Path(), found, n.Path()).
			advise("start it with --group-add %d", n.Owner.GID)
	}
	member := false
	if groups, err := t.board.Groups(); err == nil {
		member = slices.ContainsFunc(groups, func(g sysinfo.Group) bool {
			return g.GID == n.Owner.GID && len(g.Members) > 0 && slices.Contains(g.Members, t.userName())
		})
	}
	switch {
	case member:
		return blocked("the user is in group %s since after this login", gid).because("access to "+n.Path(), found, n.Path()).
			advise("log in again; until then: newgrp %s", gid)
	case n.Perm()&0o040 == 0:
		return blocked("only root may open it").because("access to "+n.Path(), found, n.Path()).
			advise("run as root, or install a udev rule such as\n%s", udevLine(orVideo(t.exp)))
	}
	return blocked("the caller is not in group %s", gid).because("access to "+n.Path(), found, n.Path()).
		advise("usermod -aG %s $USER, then log in again", gid)
}

// orVideo fills in what most distributions use, for an example.
func orVideo(e heapcfg.Expected) heapcfg.Expected {
	if e.Group == "" {
		e.Group = "video"
	}
	if e.Mode == 0 {
		e.Mode = 0o660
	}
	return e
}

// userName returns the name of the caller, "" if it has none.
func (t *target) userName() string {
	name, _ := t.board.UserName(t.board.Caller.UID)
	return name
}
