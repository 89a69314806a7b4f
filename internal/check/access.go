// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// deviceRule is the rule by which the board's device manager gives a heap what
// the lock says.
func (r *run) deviceRule(e heapcfg.Expected) string {
	switch r.board.DeviceManager() {
	case sysinfo.Mdev:
		return emit.MdevLine(e)
	case sysinfo.Udev:
		return emit.UdevRule(e)
	}
	return strings.Join(byHand(e), "\n")
}

// byHand are the commands that do what a rule would.
func byHand(e heapcfg.Expected) []string {
	var out []string
	node := sysinfo.HeapDir + "/" + e.Name
	switch {
	case e.Owner != "" && e.Group != "":
		out = append(out, "chown "+e.Owner+":"+e.Group+" "+node)
	case e.Owner != "":
		out = append(out, "chown "+e.Owner+" "+node)
	case e.Group != "":
		out = append(out, "chgrp "+e.Group+" "+node)
	}
	if e.Mode != 0 {
		out = append(out, "chmod "+e.Mode.String()+" "+node)
	}
	if e.Short != "" {
		out = append(out, "ln -s "+e.Name+" "+sysinfo.HeapDir+"/"+e.Short)
	}
	return out
}

// accessAdvice names the rule that decides now, or the line that is missing.
func (t *target) accessAdvice(key, want string) string {
	manager, line := t.board.DeviceManager(), t.deviceRule(t.exp)
	if manager == sysinfo.NoManager {
		return "neither udev nor mdev is on this board, so nothing sets it; add one of them to the image, or have a boot script run\n" + line
	}
	apply := "udevadm control --reload && udevadm trigger --subsystem-match=dma_heap"
	if manager == sysinfo.Mdev {
		apply = "mdev -s"
	}
	rule, val, ok := t.board.Deciding(t.exp.Name, key)
	switch {
	case ok && val != want && manager == sysinfo.Mdev:
		return fmt.Sprintf("%s:%d matches first, and says %s %s; put before it\n%s\nthen: %s", rule.File, rule.Line, strings.ToLower(key), val, line, apply)
	case ok && val != want:
		return fmt.Sprintf("%s:%d decides, and says %s=\"%s\"; install the rules file of the compiler under a name that sorts after it, with\n%s", rule.File, rule.Line, key, val, line)
	case ok:
		return fmt.Sprintf("%s:%d has the right rule, but it was not applied to this node:\n%s", rule.File, rule.Line, apply)
	case manager == sysinfo.Mdev:
		return fmt.Sprintf("no line of /etc/mdev.conf sets it; add the lines of the compiler's .mdev.conf before any catch-all line, with\n%s\nthen: %s", line, apply)
	}
	if rule, ok := t.board.BrokenRule(key); ok {
		return fmt.Sprintf("%s:%d means to set it, but %s; write\n%s\nthen: %s", rule.File, rule.Line, rule.Broken, line, apply)
	}
	return fmt.Sprintf("no udev rule sets it; install the rules file of the compiler into /etc/udev/rules.d, with\n%s\nthen: %s", line, apply)
}

// ignores says who will not take an owner or a group that the board has not.
func (t *target) ignores() string {
	if m := t.board.DeviceManager(); m != sysinfo.NoManager {
		return fmt.Sprintf("%s ignores the rule", m)
	}
	return "nothing can give it the heap"
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
		return fail("the board has no user %s, so %s", t.exp.Owner, t.ignores()).
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
		return fail("the board has no group %s, so %s", t.exp.Group, t.ignores()).
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
	if n := t.entry(t.exp.Short); n != nil {
		switch n.Link {
		case t.exp.Name:
			return pass("%s leads to %s", n.Path(), t.exp.Name)
		case "":
			return fail("%s is a heap of its own, not the short name of %s", n.Path(), t.exp.Name).because(want, "a device node", n.Path()).
				advise("give the heap another short name in heaps.yaml")
		}
		return fail("%s leads to %s, not to %s", n.Path(), n.Link, t.exp.Name).because(want, "a symlink to "+n.Link, n.Path()).
			advise("%s", t.accessAdvice("SYMLINK", "dma_heap/"+t.exp.Short))
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
				advise("if programs of other users need the heap, state a group and a mode in heaps.yaml, or add the rule\n%s", t.deviceRule(orVideo(t.exp)))
		}
		return pass("the caller may open it")
	}
	if c := t.board.Container(); c != "" {
		return blocked("the %s container lacks the group of the node", c).because("access to "+n.Path(), found, n.Path()).
			advise("start it with --group-add %d", n.Owner.GID)
	}
	member := false
	if user := t.userName(); user != "" {
		groups, _ := t.board.Groups()
		for _, g := range groups {
			member = member || g.GID == n.Owner.GID && slices.Contains(g.Members, user)
		}
	}
	switch {
	case member:
		return blocked("the user is in group %s since after this login", gid).because("access to "+n.Path(), found, n.Path()).
			advise("log in again; until then: newgrp %s", gid)
	case n.Perm()&0o040 == 0:
		who := "root"
		if n.Owner.UID != 0 {
			who = fmt.Sprintf("its owner, user %d,", n.Owner.UID)
		}
		return blocked("only %s may open it", who).because("access to "+n.Path(), found, n.Path()).
			advise("run as root, or give the heap to a group, with\n%s", t.deviceRule(orVideo(t.exp)))
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
