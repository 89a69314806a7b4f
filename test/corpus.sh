#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# corpus.sh - build the device tree of every arm and arm64 board of a kernel,
# with labels (dtc -@), and print the directory they are in
#
# usage: test/corpus.sh 6.12|7.3
#
# The source is Debian's linux-source of that line, see kernel-patches/source.sh.
# The trees are built once and kept in ${XDG_CACHE_HOME:-~/.cache}/dmaheap/boards,
# as ARCH/VENDOR/BOARD.dtb. A first run takes a minute or two of two processors.
#
# exit: 0 printed, 2 usage, 3 they could not be built
set -euo pipefail
export LC_ALL=C

top=$(cd "$(dirname "$0")/.." && pwd)
say() { echo "corpus: $*" >&2; }

[ $# -eq 1 ] || {
	say "usage: $0 6.12|7.3"
	exit 2
}
source=$("$top/kernel-patches/source.sh" "$1") || exit $?
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dmaheap
out=$cache/boards/$(basename "$source")
mkdir -p "$cache/boards" "$cache/lock"
exec 9>"$cache/lock/boards-$(basename "$source")"
flock 9
if [ -d "$out" ]; then
	echo "$out"
	exit 0
fi

work=$(mktemp -d "$cache/boards/.work-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/boards"
for arch in arm arm64; do
	objects=$work/$arch
	mkdir "$objects"
	# No compiler for the board is needed: the trees are preprocessed by the
	# host's, and OF_ALL_DTBS builds those of all platforms.
	kernel=(make -s -C "$source" "O=$objects" "ARCH=$arch" CROSS_COMPILE= "-j${JOBS:-$(nproc)}")
	say "building the boards of $(basename "$source"), $arch"
	{
		"${kernel[@]}" allnoconfig &&
			"$source/scripts/config" --file "$objects/.config" -e COMPILE_TEST -e OF_ALL_DTBS -e OF &&
			"${kernel[@]}" olddefconfig &&
			grep -qx CONFIG_OF_ALL_DTBS=y "$objects/.config" &&
			"${kernel[@]}" -k DTC_FLAGS="-@ -q" dtbs
	} >"$objects/log" 2>&1 || {
		grep -E 'Error|error' "$objects/log" | head -n 10 >&2
		tail -n 5 "$objects/log" >&2
		say "the boards could not be built"
		exit 3
	}
	(cd "$objects/arch/$arch/boot/dts" && find . -name '*.dtb' -print0 -o -name '*.dtbo' -print0 |
		tar --null -T - -cf -) | { mkdir "$work/boards/$arch" && tar -xf - -C "$work/boards/$arch"; }
	rm -rf "$objects"
done
mv "$work/boards" "$out"
say "$(find "$out" -name '*.dtb' | wc -l) boards"
echo "$out"
