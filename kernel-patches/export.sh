#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# export.sh - write the branch of a tree made by tree.sh back to its series
#
# usage: kernel-patches/export.sh VERSION [DIR]
#
# Replaces the patches of kernel-patches/VERSION by the commits between the tag
# "base" and the branch "dmaheap" of DIR. Every commit needs an Upstream-Status
# and a Signed-off-by line.
#
# exit: 0 written, 1 a commit is not fit for the series, 2 usage
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
say() { echo "export: $*" >&2; }

version=${1:-}
if [ -z "$version" ]; then
	say "usage: $0 VERSION [DIR]"
	exit 2
fi
dir=${2:-$(dirname "$here")/build/linux-$version}
if ! git -C "$dir" rev-parse -q --verify base >/dev/null 2>&1; then
	say "$dir is no tree made by tree.sh"
	exit 2
fi

bad=0
for commit in $(git -C "$dir" rev-list --reverse base..dmaheap); do
	message=$(git -C "$dir" log -1 --format=%B "$commit")
	for line in Upstream-Status Signed-off-by; do
		if ! grep -q "^$line: ." <<<"$message"; then
			say "$(git -C "$dir" log -1 --format='%h "%s"' "$commit") has no $line line"
			bad=1
		fi
	done
done
[ $bad -eq 0 ] || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$dir" format-patch -q -N --zero-commit --no-signature --no-renames --full-index \
	-o "$work" base..dmaheap
{
	echo "# SPDX-License-Identifier: GPL-2.0-only"
	find "$work" -name '*.patch' -printf '%f\n' | sort
} >"$work/series"
mkdir -p "$here/$version"
rm -f "$here/$version"/*.patch "$here/$version/series"
cp "$work"/*.patch "$work/series" "$here/$version/"
say "$(($(wc -l <"$here/$version/series") - 1)) patches in kernel-patches/$version"
