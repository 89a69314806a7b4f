#!/bin/sh
# SPDX-License-Identifier: MIT
#
# dist.sh - make a release of the last commit: a tarball with the Go modules in
# it, so that builders without network can use it, heapctl built from that
# tarball, the list of what is in it, and the checksums of all of them.
#
# usage: release/dist.sh [DIRECTORY]    (default: build/dist in the repository)
#
#   dmaheap-VERSION.tar.gz
#   dmaheap-VERSION.cdx.json          software bill of materials, CycloneDX
#   heapctl-VERSION-linux-ARCH        for each ARCH of ARCHS, default below
#   SHA256SUMS
#
# The same commit and the same Go give the same bytes. Prints the path of the
# tarball.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$top/build/dist}
archs=${ARCHS-amd64 arm64 arm riscv64}

commit=$(git -C "$top" rev-parse HEAD)
version=$("$top/release/version.sh" --commit)
name=dmaheap-$version
if [ -n "$(git -C "$top" status --porcelain --untracked-files=no)" ]; then
	echo "dist: uncommitted changes are left out; this is $commit" >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$top" archive --prefix="$name/" HEAD | tar -C "$work" -xf -
echo "$version" >"$work/$name/VERSION"
(cd "$work/$name" && GOFLAGS=-mod=mod go mod vendor)

mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/dmaheap-*.tar.gz "$out"/dmaheap-*.cdx.json "$out"/heapctl-*-linux-* "$out/SHA256SUMS"
time=$(git -C "$top" log -1 --format=%ct)
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
	--mtime="@$time" -cf - "$name" |
	gzip -9n >"$out/$name.tar.gz"

# Built from what the tarball holds, without network.
export GOFLAGS=-mod=vendor GOPROXY=off
set --
for arch in $archs; do
	GOOS=linux GOARCH=$arch "$work/$name/release/build.sh" "$out/heapctl-$version-linux-$arch"
	set -- "$@" "$out/heapctl-$version-linux-$arch"
done
if [ $# -gt 0 ]; then
	(cd "$work/$name" && go run ./release/sbom -version "$version" -time "$time" "$@") >"$out/$name.cdx.json"
fi
(
	cd "$out"
	set -- "$name".*
	for file in heapctl-"$version"-linux-*; do
		[ ! -e "$file" ] || set -- "$@" "$file"
	done
	sha256sum "$@" >SHA256SUMS
)
echo "$out/$name.tar.gz"
