// SPDX-License-Identifier: MIT

package fdt

import "strings"

// Nearest returns the name that is the most like the one looked for, or "". It
// stays within two edits, or the same name at another unit address.
func Nearest(want string, names []string) string {
	const limit = 2
	best, found := limit+1, ""
	for _, have := range names {
		d := distance(want, have, limit)
		if d > limit && strings.Contains(have, "@") && baseName(have) == baseName(want) {
			d = limit
		}
		if d < best || d == best && d <= limit && have < found {
			best, found = d, have
		}
	}
	// Half of a short name is not a typing error.
	if 2*best > len(want) {
		return ""
	}
	return found
}

// distance is the number of single-character edits between two strings, or
// anything above limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > MaxName {
		return limit + 1
	}
	var rows [2][MaxName + 4]int
	prev, cur := rows[0][:], rows[1][:]
	for j := 0; j <= len(b); j++ {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		low := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j-1]+cost, prev[j]+1, cur[j-1]+1)
			low = min(low, cur[j])
		}
		if low > limit {
			return limit + 1
		}
		prev, cur = cur, prev
	}
	return prev[len(b)]
}
