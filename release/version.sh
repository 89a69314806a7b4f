#!/bin/sh
# SPDX-License-Identifier: MIT
#
# version.sh - print the version of this tree.
#
# usage: release/version.sh [--commit]
#
# In a release tarball it is what the file VERSION says. In a checkout it is
# what `git describe` makes of the tags vX.Y.Z: 0.1.0 on a tag, 0.1.0-14-g... 14
# commits later, with -dirty where files were changed. Before the first tag it
# counts from 0.0.0. --commit leaves out -dirty: the version of the commit.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
if [ -e "$top/VERSION" ]; then
	cat "$top/VERSION"
	exit
fi
# A copy of the files inside of somebody else's repository is not of its version.
if [ "$(git -C "$top" rev-parse --show-toplevel 2>/dev/null)" != "$top" ]; then
	echo devel
	exit
fi
# The length of the hash is fixed, or it would depend on how much history there
# is.
version=$(git -C "$top" describe --tags --match 'v[0-9]*' --abbrev=12 2>/dev/null) ||
	version=v0.0.0-$(git -C "$top" rev-list --count HEAD)-g$(git -C "$top" rev-parse --short=12 HEAD)
if [ "${1:-}" != --commit ] && [ -n "$(git -C "$top" status --porcelain --untracked-files=no)" ]; then
	version=$version-dirty
fi
echo "${version#v}"
