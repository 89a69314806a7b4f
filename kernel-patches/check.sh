#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check.sh - hold the series against each other and against their kernels
#
# usage: kernel-patches/check.sh same
#        kernel-patches/check.sh apply [--orig] [VERSION]...
#        kernel-patches/check.sh bisect [VERSION]...
#        kernel-patches/check.sh style [VERSION]...
#
#   same    every file that the patches add is the same in all series that have
#           it, and every patch is listed, signed off, and says where upstream is
#   apply   every patch applies without fuzz or offset, with patch and with
#           git am, to Debian's source of its kernel, or to KERNEL_SRC; with
#           --orig to the upstream source that Debian's was made from
#   bisect  what the patches touch builds for arm64 after each of them, with
#           W=1 and without a warning, and sparse is silent about the last
#   style   checkpatch --strict of 7.3 has nothing to say but what excused,
#           below, names with its reason, and kernel-doc -Wall of 7.3 has no
#           complaint; without a version, of all series
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

orig=
source_of() {
	if [ ! -r "$here/$1/series" ]; then
		say "there is no series for $1; there are $(versions | paste -sd ' ')"
		return 1
	fi
	if [ -n "${KERNEL_SRC:-}" ]; then
		echo "$KERNEL_SRC"
	else
		"$here/source.sh" ${orig:+--orig} "$1"
	fi
}

apply() {
	local version source work patch out files=()
	for version in "$@"; do
		source=$(source_of "$version") || exit 3
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

# Everything that the patches add, and what it needs, as soon as it is there.
bisect_config() {
	cat "$here/configs/arm64-virt.config"
	echo CONFIG_KUNIT=y
	sed -n 's/^+config \(DMABUF_HEAPS_[A-Z_]*\)$/CONFIG_\1=y/p' "$@" | sort -u
}

# The variables are those of bisect().
bisect_step() (
	export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-
	# Stronger than what the Makefile of a vendor's tree sets.
	export MAKEFLAGS="ARCH=$ARCH CROSS_COMPILE=$CROSS_COMPILE"
	made=(make -C "$work/src" "O=$work/obj" "-j$(nproc)" -s)
	cd "$work/src" && scripts/kconfig/merge_config.sh -n -O "$work/obj" "$work/config" &&
		"${made[@]}" prepare && "${made[@]}" W=1 drivers/dma-buf/ mm/cma.o
)

# The tree of bisect() once more, by sparse. Version 0.6.4 lacks an operator that
# headers of 7.3 use, and takes the assertion in MODULE_DESCRIPTION() and its kin
# there for an error, after which it warns of nothing more in a file.
sparse() {
	local made=(make -C "$work/src" "O=$work/obj" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-
		"-j$(nproc)" -s C=2 CF="-D__typeof_unqual__=__typeof__ '-D_Static_assert(...)='")
	"${made[@]}" drivers/dma-buf/ >"$work/log" 2>&1 || complain "$1: make for sparse failed"
	if grep -E "($2):.*warning:|error:" "$work/log" >&2; then
		complain "$1: sparse"
	fi
	# Silence means something only if it is not silent about a plain fault.
	printf 'int sparse_sees(void __user *p);\nint sparse_sees(void __user *p)\n{\n\treturn *(int *)p;\n}\n' \
		>>"$work/src/drivers/dma-buf/heaps/carveout_heap.c"
	"${made[@]}" drivers/dma-buf/heaps/carveout_heap.o >"$work/log" 2>&1 || true
	grep -q 'carveout_heap.c:.*removes address space' "$work/log" || {
		complain "$1: sparse does not see a fault put there on purpose:"
		tail -n 20 "$work/log" >&2
	}
}

bisect() {
	local version source work patch file files=() ours
	"$(dirname "$here")/test/setup.sh" kernel sparse
	for version in "$@"; do
		source=$(source_of "$version") || exit 3
		mapfile -t files < <(patches "$version" | sed "s|^|$here/$version/|")
		work=$(mktemp -d "${TMPDIR:-/tmp}/bisect-XXXXXX")
		mkdir "$work/obj"
		cp -al "$source" "$work/src" 2>/dev/null || cp -a "$source" "$work/src"
		# Copies, not links: the source itself must not change.
		sed -n 's|^--- a/||p' "${files[@]}" | sort -u | while read -r file; do
			[ ! -e "$source/$file" ] || cp --remove-destination "$source/$file" "$work/src/$file"
		done
		# Warnings count in the files that the patches add.
		ours=$(sed -n '/^--- .dev.null/{ n; s|^+++ b/||p; }' "${files[@]}" | paste -sd '|')
		bisect_config "${files[@]}" >"$work/config"
		for patch in "${files[@]}"; do
			patch -d "$work/src" -p1 -F0 -s --no-backup-if-mismatch <"$patch" || exit 1
			if ! bisect_step >"$work/log" 2>&1; then
				complain "$version: after $(basename "$patch"):"
				tail -n 20 "$work/log" >&2
				break
			fi
			if grep -E "($ours):.*(warning|error):" "$work/log" >&2; then
				complain "$version: after $(basename "$patch")"
			fi
		done
		sparse "$version" "$ours"
		rm -rf "$work"
		say "$version: ${#files[@]} patches built on $(basename "$source")"
	done
}

# What is meant so: the file and the type of the message.
excused='
# One text serves all kernels from 4.19 on. Comparisons of versions look to
# checkpatch as if their constant stood on the wrong side.
heap-compat\.h:.*:(LINUX_VERSION_CODE|CONSTANT_COMPARISON)
heap-test\.h:.*:(LINUX_VERSION_CODE|CONSTANT_COMPARISON)
heaps/.*:ALLOC_WITH_SIZEOF
dma-heap\.c:.*:ALLOC_WITH_SIZEOF
# 5.10 does not take a const kobj_type.
heap-numbers\.c:.*:CONST_STRUCT
# It is a name.
heap-numbers\.c:.*:MACRO_ARG_REUSE
# 4.19 has no XArray.
drivers/dma-buf/dma-heap\.c:.*:DEPRECATED_API
# The files have no maintainer in the kernel yet.
FILE_PATH_CHANGES
'

style() {
	local tree version out work files=()
	tree=$("$here/source.sh" 7.3) || exit 3
	work=$(mktemp -d)
	# shellcheck disable=SC2064 # the name is gone by the time of the exit
	trap "rm -rf '$work'" EXIT
	for version in "$@"; do
		mapfile -t files < <(patches "$version" | sed "s|^|$here/$version/|")
		out=$(perl "$tree/scripts/checkpatch.pl" --no-tree --strict --terse --showfile --show-types "${files[@]}") || true
		# It counts where it finds something, and each series adds files.
		grep -q '^total: ' <<<"$out" || complain "$version: checkpatch did not run: $out"
		out=$(grep -vE -e '^total: |^$' -f <(sed '/^#/d; /^$/d' <<<"$excused") <<<"$out" || true)
		[ -z "$out" ] || complain "$version: checkpatch:
$out"
		say "${#files[@]} patches of $version read by checkpatch"

		mkdir "$work/$version"
		added_files "$version" "$work/$version"
		mapfile -t files < <(find "$work/$version/drivers" "$work/$version/include" -name '*.[ch]' 2>/dev/null | sort)
		[ ${#files[@]} -gt 0 ] || complain "$version: no files for kernel-doc"
		out=$(python3 "$tree/scripts/kernel-doc" -none -Wall "${files[@]}" 2>&1) || true
		[ -z "$out" ] || complain "$version: kernel-doc:
${out//$work\//}"
	done
}

verb=${1:-}
[ $# -eq 0 ] || shift
if [ "$verb" = apply ] && [ "${1:-}" = --orig ]; then
	orig=yes
	shift
fi
# Without a version, those that source.sh knows, or all where no source is needed.
mapfile -t all < <(versions | grep -xE '5\.10|6\.1|6\.12|7\.3')
[ "$verb" != style ] || mapfile -t all < <(versions)
case $verb in
same) same ;;
apply) apply "${@:-${all[@]}}" ;;
bisect) bisect "${@:-${all[@]}}" ;;
style) style "${@:-${all[@]}}" ;;
*)
	say "usage: $0 same | apply [--orig] [VERSION]... | bisect [VERSION]... | style [VERSION]..."
	exit 2
	;;
esac
exit $bad
