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
# environment: KERNEL_SRC  a kernel tree to use instead of Debian's
# exit: 0 made, 1 a patch does not apply, 2 usage, 3 no source
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
say() { echo "tree: $*" >&2; }

version=${1:-}
if [ -z "$version" ] || [ ! -r "$here/$version/series" ]; then
	say "usage: $0 VERSION [DIR], for a VERSION with a folder in kernel-patches/"
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
trap 'rm -rf "$work"' EXIT
say "copying $(basename "$source")"
tar -C "$source" --exclude=./.git -cf - . | tar -C "$work" -xf -

cd "$work"
git init -q
git config user.name "${GIT_AUTHOR_NAME:-dmaheap maintainers}"
git config user.email "${GIT_AUTHOR_EMAIL:-maintainers@dmaheap.example}"
# Nothing is ignored: Debian's tree ignores all that was not there before.
git config core.excludesFile /dev/null
git add -f -A .
git commit -q -m "linux $version"
git tag base
git checkout -q -b dmaheap
mapfile -t patches < <(sed 's/#.*//; /^[[:space:]]*$/d' "$here/$version/series")
if ! git am -q "${patches[@]/#/$here/$version/}"; then
	say "a patch of kernel-patches/$version does not apply"
	exit 1
fi
cd - >/dev/null
mv "$work" "$dir"
trap - EXIT
say "${#patches[@]} patches on branch dmaheap"
echo "$dir"
