// SPDX-License-Identifier: MIT

package initramfs

import (
	"fmt"
	"slices"
	"strings"
)

// baseGroups are the groups that udev rules of heaps name most, with the ids
// Debian and OpenEmbedded give them.
var baseGroups = []string{"root:x:0:", "audio:x:29:", "video:x:44:"}

// Accounts returns the files by which [Init] finds the owners and
// groups that udev rules name. A board's root filesystem has them already; a
// name that no base system knows gets an id of its own here.
func Accounts(rules []byte) ([]File, error) {
	parsed, err := ParseRules(rules)
	if err != nil {
		return nil, err
	}
	groups := slices.Clone(baseGroups)
	users := []string{"root:x:0:0::/:/bin/false"}
	known := func(table []string, name string) bool {
		return name == "" || slices.ContainsFunc(table, func(l string) bool { return strings.HasPrefix(l, name+":") })
	}
	for i, rule := range parsed {
		if !known(groups, rule.Group) {
			groups = append(groups, fmt.Sprintf("%s:x:%d:", rule.Group, 900+i))
		}
		if !known(users, rule.Owner) {
			users = append(users, fmt.Sprintf("%s:x:%d:%d::/:/bin/false", rule.Owner, 900+i, 900+i))
		}
	}
	return []File{
		{Name: "/etc/group", Data: []byte(strings.Join(groups, "\n") + "\n")},
		{Name: "/etc/passwd", Data: []byte(strings.Join(users, "\n") + "\n")},
	}, nil
}
