#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# tree.sh - make a git tree of a kernel with its series applied
#
# usage: kernel-patches/tree.sh VERSION [DIR]
#
# DIR is build/linux-VERSION unless given, and must not exist. The plain source
# is the tag "base", the series is the branch "dmaheap" on top of it, a commit
# for each patch. Edit it as any branch, then write it back with export.sh.
#
# With KERNEL_SRC it may be a tree of another version, for which a series is to
# be made: where a patch does not apply, git merges it, or stops in DIR for you to.
#
# environment: KERNEL_SRC  a kernel tree to use instead of Debian's
# exit: 0 made, 1 a patch does not apply, 2 usage, 3 no source
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
say() { echo "tree: $*" >&2; }

version=${1:-}
if [ ! -r "$here/$version/series" ]; then
	series=$(find "$here" -mindepth 2 -name series -printf '%h\n' | sed 's|.*/||' | sort -V | paste -sd ' ')
	[ -z "$version" ] || say "there is no series for $version; for a kernel of that line, take the nearest older one, and set KERNEL_SRC"
	say "usage: $0 VERSION [DIR], for a VERSION of $series"
	exit 2
fi
dir=${2:-$(dirname "$here")/build/linux-$version}
if [ -e "$dir" ]; then
	say "$dir exists already; remove it, or name another"
	exit 2
fi

source=${KERNEL_SRC:-$("$here/source.sh" "$version")} || exit 3
mkdir -p "$(dirname "$dir")"
work=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$work" "$work.origin"' EXIT
say "copying $(basename "$source")"
tar -C "$source" --exclude=./.git -cf - . | tar -C "$work" -xf -

mapfile -t patches < <(sed 's/#.*//; /^[[:space:]]*$/d' "$here/$version/series")
patches=("${patches[@]/#/$here/$version/}")

# repository DIR makes one of the files in DIR. Nothing is ignored: Debian's
# tree ignores all that was not there before.
repository() {
	git -C "$1" init -q
	git -C "$1" config user.name "${GIT_AUTHOR_NAME:-dmaheap maintainers}"
	git -C "$1" config user.email "${GIT_AUTHOR_EMAIL:-maintainers@dmaheap.example}"
	git -C "$1" config core.excludesFile /dev/null
	git -C "$1" add -f -A .
	git -C "$1" commit -q -m "linux $version"
}

repository "$work"
git -C "$work" tag base
git -C "$work" checkout -q -b dmaheap

# git can merge what does not apply if it has the files that the patches were
# made from.
origin=
if [ -n "${KERNEL_SRC:-}" ] && origin=$("$here/source.sh" "$version" 2>/dev/null); then
	mkdir "$work.origin"
	sed -n 's|^--- a/||p' "${patches[@]}" | sort -u | while read -r file; do
		[ ! -e "$origin/$file" ] || (cd "$origin" && cp --parents "$file" "$work.origin")
	done
	repository "$work.origin"
	git -C "$work.origin" am -q "${patches[@]}"
	git -C "$work" fetch -q "$work.origin" HEAD
	rm -rf "$work.origin"
fi

failed=
git -C "$work" am -q ${origin:+-3} "${patches[@]}" || failed=yes
mv "$work" "$dir"
trap - EXIT
if [ -n "$failed" ]; then
	say "a patch of kernel-patches/$version does not apply to $(basename "$source"); $dir is in the middle of it."
	say "mend the files, then: cd $dir && git add FILE... && git am --continue"
	line=$(sed -nE 's/^(VERSION|PATCHLEVEL) = //p' "$source/Makefile" | head -n 2 | paste -sd .)
	say "when the last one is in: $here/export.sh ${line:-VERSION} $dir"
	exit 1
fi
say "${#patches[@]} patches on branch dmaheap"
echo "$dir"
