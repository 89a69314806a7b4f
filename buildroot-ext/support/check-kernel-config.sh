#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-kernel-config.sh - name what a kernel configuration lacks of a fragment.
#
# usage: check-kernel-config.sh .config FRAGMENT
#
# Kconfig drops an option without a word when the kernel does not know it or
# when something it depends on is off, so only the final .config tells.
#
# exit: 0 all there, 1 something is missing, 2 usage or unreadable input
set -eu

if [ $# -ne 2 ]; then
	echo "usage: ${0##*/} .config FRAGMENT" >&2
	exit 2
fi
for f; do
	if [ ! -r "$f" ]; then
		echo "${0##*/}: cannot read $f" >&2
		exit 2
	fi
done

# The comment above an option in the fragment says what the option is for.
awk -v final="$1" '
	function name(line) {
		if (line ~ /^# CONFIG_[A-Za-z0-9_]+ is not set$/)
			return substr(line, 3, length(line) - 13)
		return substr(line, 1, index(line, "=") - 1)
	}
	function value(line) {
		return line ~ /^#/ ? "n" : substr(line, index(line, "=") + 1)
	}
	FILENAME == final {
		if ($0 ~ /^CONFIG_[A-Za-z0-9_]+=/)
			have[name($0)] = value($0)
		next
	}
	/^CONFIG_[A-Za-z0-9_]+=/ || /^# CONFIG_[A-Za-z0-9_]+ is not set$/ {
		n = name($0)
		want = value($0)
		got = (n in have) ? have[n] : "n"
		asked++
		if (got != want) {
			if (!missing++)
				print "ERROR: the kernel configuration lacks what the heaps need:"
			printf "  %s=%s, but it is %s", n, want, got
			print why != "" ? " (" why ")" : ""
		}
		why = ""
		next
	}
	/^# / { why = substr($0, 3); next }
	{ why = "" }
	END {
		if (missing) {
			print "Put the lines into a file of BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES. If"
			print "they are there, the kernel has no such option: for those from"
			print "kernel-patches, turn BR2_LINUX_KERNEL_EXT_DMAHEAP on."
			exit 1
		}
		if (!asked) {
			print "ERROR: the fragment asks for nothing; is it the right file?"
			exit 2
		}
		printf "kernel configuration: all %d options of the heaps are there\n", asked
	}
' "$1" "$2"
