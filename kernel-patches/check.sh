#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check.sh - hold the series against each other and against their kernels
#
# usage: kernel-patches/check.sh same
#        kernel-patches/check.sh apply [VERSION]...
#
#   same    every file that the patches add is the same in all series that have
#           it, and every patch is listed, signed off, and says where upstream is
#   apply   every patch applies without fuzz or offset, with patch and with
#           git am, to Debian's source of its kernel, or to KERNEL_SRC
#
# exit: 0 all is well, 1 it is not, 2 usage, 3 no kernel source
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
bad=0
say() { echo "kernel-patches: $*" >&2; }
complain() {
	say "$*"
	bad=1
}

versions() { find "$here" -mindepth 2 -maxdepth 2 -name series -printf '%h\n' | xargs -n 1 basename | sort -V; }
patches() { sed 's/#.*//; /^[[:space:]]*$/d' "$here/$1/series"; }

# The files that a series adds, with what is in them.
added_files() {
	local version=$1 patch
	for patch in $(patches "$version"); do
		awk -v out="$2" '
			/^diff --git / { file = ""; fresh = 0 }
			/^new file mode/ { fresh = 1 }
			/^\+\+\+ b\// && fresh {
				file = out "/" substr($2, 3)
				dir = file
				sub(/\/[^\/]*$/, "", dir)
				system("mkdir -p \"" dir "\"")
				next
			}
			/^-- $/ { file = "" }
			/^\+/ && file != "" { print substr($0, 2) > file }
		' "$here/$version/$patch"
	done
}

same() {
	local work version file first patch count=0
	work=$(mktemp -d)
	# shellcheck disable=SC2064 # the name is gone by the time of the exit
	trap "rm -rf '$work'" EXIT
	for version in $(versions); do
		mkdir "$work/$version"
		added_files "$version" "$work/$version"
		for patch in "$here/$version"/*.patch; do
			patches "$version" | grep -qxF "$(basename "$patch")" ||
				complain "$version: $(basename "$patch") is not in the series"
			for line in 'Upstream-Status: .' 'Signed-off-by: .' 'Subject: \[PATCH\] [a-z/-]*: '; do
				grep -q "^$line" "$patch" ||
					complain "$version: $(basename "$patch") has no line '$line'"
			done
		done
	done
	while read -r file; do
		first=
		for version in $(versions); do
			[ -e "$work/$version/$file" ] || continue
			count=$((count + 1))
			if [ -z "$first" ]; then
				first=$version
			elif ! cmp -s "$work/$first/$file" "$work/$version/$file"; then
				complain "$file differs between $first and $version"
			fi
		done
	done < <(cd "$work" && find . -mindepth 2 -type f | cut -d/ -f3- | sort -u)
	# Nothing compared means that the patches were not understood.
	[ $count -gt 0 ] || complain "found no added file in any series"
	[ $bad -ne 0 ] || say "$count files in $(versions | wc -l) series are the same text"
}

apply() {
	local version source work patch out files=()
	for version in "$@"; do
		source=${KERNEL_SRC:-$("$here/source.sh" "$version")} || exit 3
		mapfile -t files < <(patches "$version" | sed "s|^|$here/$version/|")
		work=$(mktemp -d)
		# Only what the patches touch, to be quick.
		sed -n 's|^--- a/||p' "${files[@]}" | sort -u |
			while read -r file; do
				[ ! -e "$source/$file" ] || (cd "$source" && cp --parents "$file" "$work")
			done
		cp -r "$work" "$work.am"
		for patch in "${files[@]}"; do
			out=$(cd "$work" && patch -p1 -F0 --no-backup-if-mismatch <"$patch" 2>&1) ||
				complain "$version: $(basename "$patch"): $out"
			if grep -qE 'offset|fuzz' <<<"$out"; then
				complain "$version: $(basename "$patch"): $(grep -E 'offset|fuzz' <<<"$out")"
			fi
		done
		(cd "$work.am" && git init -q && git add -f -A . &&
			git -c user.name=t -c user.email=t@t commit -q -m base &&
			git -c user.name=t -c user.email=t@t am -q "${files[@]}" >/dev/null 2>&1) ||
			complain "$version: git am refuses the series"
		diff -r -x .git "$work" "$work.am" >/dev/null ||
			complain "$version: patch and git am do not agree"
		rm -rf "$work" "$work.am"
		say "$version: ${#files[@]} patches tried on $(basename "$source")"
	done
}

case ${1:-} in
same) same ;;
apply)
	shift
	# Without a tree, those that source.sh knows.
	[ $# -gt 0 ] || mapfile -t all < <(versions | grep -xE '5\.10|6\.1|6\.12|7\.3')
	apply "${@:-${all[@]}}"
	;;
*)
	say "usage: $0 same | apply [VERSION]..."
	exit 2
	;;
esac
exit $bad
