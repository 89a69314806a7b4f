#!/bin/sh
# SPDX-License-Identifier: MIT
#
# dist.sh - make the release tarball: the committed tree with the Go modules in
# it, so that builders without network can use it.
#
# usage: dist.sh [DIRECTORY]    (default: build/dist in the repository)
#
# The same commit gives the same bytes. Prints the path of the tarball.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$top/build/dist}
version=$(sed -n 's/^HEAPCTL_VERSION = //p' "$top/buildroot-ext/package/heapctl/heapctl.mk")
name=dmaheap-$version

commit=$(git -C "$top" rev-parse HEAD)
if [ -n "$(git -C "$top" status --porcelain --untracked-files=no)" ]; then
	echo "dist: uncommitted changes are left out; this is $commit" >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$top" archive --prefix="$name/" HEAD | tar -C "$work" -xf -
(cd "$work/$name" && GOFLAGS=-mod=mod go mod vendor)

mkdir -p "$out"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
	--mtime="@$(git -C "$top" log -1 --format=%ct)" -cf - "$name" |
	gzip -9n >"$out/$name.tar.gz"
echo "$out/$name.tar.gz"
