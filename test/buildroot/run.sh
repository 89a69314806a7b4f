#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh - what only Buildroot itself can tell of the external tree.
#
# usage: BUILDROOT_DIR=/path/to/buildroot test/buildroot/run.sh [STEP]...
#
#   symbols     every symbol the defconfigs and the stand-in use is there
#   defconfigs  each defconfig is what savedefconfig makes of it
#   inert       the tree, with nothing ticked, changes nothing
#   package     check-package has nothing to say
#   info        show-info knows version and license of our packages
#   upstream    the boards' defconfigs against Buildroot's own
#   build       host-heapctl, heapctl and dmaheap, if BUILDROOT_DEFCONFIG names a
#               defconfig with a toolchain at hand
#
# All but build run by default; build does when BUILDROOT_DEFCONFIG is set. It
# names a file, and BR2_DL_DIR in the environment may help it along.
#
# Without BUILDROOT_DIR nothing is run, nothing is fetched, and the exit code is
# 0: SKIP is not a pass, and is printed as what it is.
#
# exit: 0 all that was run is fine or nothing was run, 1 something is not,
#       2 usage
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
ext=$(cd "$here/../../buildroot-ext" && pwd)

if [ -z "${BUILDROOT_DIR:-}" ]; then
	echo "buildroot: SKIP (set BUILDROOT_DIR to a Buildroot tree; 2025.02.x, 2026.02.x and master are supported)"
	exit 0
fi
if [ ! -e "$BUILDROOT_DIR/support/kconfig/merge_config.sh" ]; then
	echo "buildroot: BUILDROOT_DIR=$BUILDROOT_DIR is no Buildroot tree" >&2
	exit 2
fi
br=$(cd "$BUILDROOT_DIR" && pwd)

# Outside of the repository: legal-info copies all of it.
out=$(mktemp -d)
log=$out/log
trap 'rm -rf "$out"' EXIT

failed=0
passed=0
ok() {
	printf 'ok    %s\n' "$*"
	passed=$((passed + 1))
}
bad() {
	printf 'FAIL  %s\n' "$1"
	shift
	[ $# -eq 0 ] || printf '%s\n' "$@" | sed 's/^/      /'
	failed=$((failed + 1))
}
br_make() {
	env -u MAKEFLAGS -u MAKELEVEL make -s --no-print-directory -C "$br" "O=$1" "${@:2}" 2>>"$log"
}
with_ext() { br_make "$1" "BR2_EXTERNAL=$ext" "${@:2}"; }

step_symbols() {
	local s missing=()
	while read -r s; do
		grep -qrE --include='Config*.in*' "^[[:space:]]*(menu)?config $s\$" "$br" "$ext" || missing+=("$s")
	done < <({
		cat "$here/testdata/symbols.txt"
		sed -n 's/^config //p' "$here/testdata/Kconfig"
	} | grep '^BR2_' | sort -u)
	if [ ${#missing[@]} -gt 0 ]; then
		bad "symbols that this Buildroot does not have" "${missing[@]}"
	else
		ok "every symbol is there"
	fi
}

step_defconfigs() {
	local f name
	for f in "$ext"/configs/*_defconfig; do
		name=$(basename "$f")
		if ! with_ext "$out/o" "$name" >>"$log"; then
			bad "$name: cannot be loaded" "$(tail -n 5 "$log")"
		elif ! with_ext "$out/o" savedefconfig "BR2_DEFCONFIG=$out/saved" >>"$log"; then
			bad "$name: savedefconfig" "$(tail -n 5 "$log")"
		elif ! diff -u "$f" "$out/saved" >"$out/diff"; then
			bad "$name is not what savedefconfig writes" "$(cat "$out/diff")"
		else
			ok "$name"
		fi
	done
}

# Of two outputs of one Buildroot, one with the external tree, all that a build
# depends on must be the same: the configuration, the packages with all their
# properties, and the steps of the kernel.
step_inert() {
	local o what
	printf 'BR2_aarch64=y\nBR2_LINUX_KERNEL=y\nBR2_LINUX_KERNEL_USE_ARCH_DEFAULT_CONFIG=y\nBR2_LINUX_KERNEL_DTS_SUPPORT=y\nBR2_LINUX_KERNEL_INTREE_DTS_NAME="x"\n' >"$out/plain_defconfig"
	for o in without with; do
		local args=("$out/$o")
		[ $o = without ] || args+=("BR2_EXTERNAL=$ext")
		br_make "${args[@]}" defconfig "BR2_DEFCONFIG=$out/plain_defconfig" >>"$log"
		br_make "${args[@]}" show-info >"$out/$o.info"
		br_make "${args[@]}" show-build-order >"$out/$o.order"
		br_make "${args[@]}" printvars \
			VARS='PACKAGES TARGETS_ROOTFS LINUX_KCONFIG_DEPENDENCIES LINUX_DEPENDENCIES LINUX_PATCH_DEPENDENCIES LINUX_PRE_PATCH_HOOKS LINUX_POST_PATCH_HOOKS LINUX_EXTENSIONS PACKAGES_LINUX_CONFIG_FIXUPS PACKAGES_USERS PACKAGES_PERMISSIONS_TABLE TARGET_FINALIZE_HOOKS ROOTFS_PRE_CMD_HOOKS' >"$out/$o.vars"
		grep '^BR2_' "$out/$o/.config" | grep -vE '^BR2_(EXTERNAL|DEFCONFIG)' >"$out/$o.config"
		sed -i "s#$out/$o#OUT#g" "$out/$o".{info,order,vars}
	done
	for what in config info order vars; do
		if [ ! -s "$out/without.$what" ]; then
			bad "inert, $what: Buildroot printed nothing" "$(tail -n 5 "$log")"
		elif ! diff "$out/without.$what" "$out/with.$what" >"$out/diff"; then
			bad "the tree with nothing ticked changes the $what" "$(head -c 2000 "$out/diff")"
		else
			ok "nothing ticked, same $what"
		fi
	done
}

step_package() {
	# Buildroot's own target asks git for the list of files; what is not
	# committed is checked as well.
	local said python=python3
	"$python" -c 'import magic, flake8' 2>/dev/null || python=/usr/bin/python3
	if ! "$python" -c 'import magic, flake8' 2>/dev/null; then
		bad "check-package needs python3-magic and python3-flake8"
		return
	fi
	said=$(cd "$br" && find "$ext" -type f | sort | xargs "$python" utils/check-package -b 2>&1)
	case $said in
	*" 0 warnings generated"* | "0 warnings generated"* | *$'\n'"0 warnings generated"*) ok "check-package" ;;
	*) bad "check-package" "$said" ;;
	esac
}

step_info() {
	with_ext "$out/o" dmaheap_qemu_aarch64_virt_defconfig >>"$log"
	with_ext "$out/o" show-info >"$out/info.json"
	python3 - "$out/info.json" >"$out/said" 2>&1 <<'PY'
import json
import sys

info = json.load(open(sys.argv[1]))
bad = []
for name in "host-heapctl", "heapctl", "dmaheap":
    p = info.get(name)
    if p is None:
        bad.append("no package " + name)
        continue
    if not p.get("licenses", "").startswith("MIT"):
        bad.append("%s: licenses %r" % (name, p.get("licenses")))
    if name != "dmaheap" and p.get("version") in (None, "", "custom"):
        bad.append("%s: version %r" % (name, p.get("version")))
for dep, of in ("host-heapctl", "dmaheap"), ("linux", "dmaheap"), ("host-heapctl", "linux"):
    if dep not in info.get(of, {}).get("dependencies", []):
        bad.append("%s does not depend on %s: %s" % (of, dep, info.get(of, {}).get("dependencies")))
print("\n".join(bad))
sys.exit(1 if bad else 0)
PY
	case $? in
	0) ok "show-info has the packages" ;;
	*) bad "show-info" "$(cat "$out/said")" ;;
	esac
}

# What a board needs to boot is Buildroot's knowledge. A symbol that its own
# defconfig sets and ours does not is forgotten, unless it is one of those that
# ours answers in another way.
step_upstream() {
	local pair ours theirs lacks
	for pair in ti_am62x_sk:ti_am62x_sk imx8mp_evk:imx8mp-evk raspberrypi4_64:raspberrypi4_64; do
		ours=$ext/configs/dmaheap_${pair%%:*}_defconfig
		theirs=$br/configs/${pair##*:}_defconfig
		if [ ! -e "$theirs" ]; then
			bad "Buildroot has no ${pair##*:}_defconfig any more"
			continue
		fi
		# The toolchain; releases; and for the kernel headers that go
		# with Buildroot's own toolchain.
		lacks=$(comm -23 <(names "$theirs") <(names "$ours") |
			grep -vE '^BR2_(TOOLCHAIN_|PACKAGE_HOST_LINUX_HEADERS_|TARGET_ARM_TRUSTED_FIRMWARE_(CUSTOM|LATEST_LTS)[A-Z0-9_]*VERSION)')
		if [ -n "$lacks" ]; then
			bad "$(basename "$ours") lacks of Buildroot's own" "$lacks"
		else
			ok "$(basename "$ours") has all of Buildroot's own"
		fi
	done
}
names() { sed -nE 's/^(# )?(BR2_[A-Za-z0-9_]+)(=| is not set).*/\2/p' "$1" | sort -u; }

step_build() {
	local target
	with_ext "$out/b" defconfig "BR2_DEFCONFIG=$BUILDROOT_DEFCONFIG" >>"$log"
	for target in host-heapctl heapctl dmaheap; do
		if with_ext "$out/b" $target >>"$log"; then
			ok "make $target"
		else
			bad "make $target" "$(tail -n 20 "$log")"
			return
		fi
	done
}

steps=("$@")
if [ ${#steps[@]} -eq 0 ]; then
	steps=(symbols defconfigs inert package info upstream)
	if [ -n "${BUILDROOT_DEFCONFIG:-}" ]; then
		steps+=(build)
	fi
fi
echo "buildroot: $(sed -n 's/^export BR2_VERSION := //p' "$br/Makefile")"
for s in "${steps[@]}"; do
	case $s in
	build)
		if [ -z "${BUILDROOT_DEFCONFIG:-}" ]; then
			echo "buildroot: build needs BUILDROOT_DEFCONFIG" >&2
			exit 2
		fi
		step_build
		;;
	symbols | defconfigs | inert | package | info | upstream) "step_$s" ;;
	*)
		echo "buildroot: no step '$s'" >&2
		exit 2
		;;
	esac
done
[ -n "${BUILDROOT_DEFCONFIG:-}" ] || echo "SKIP  build (set BUILDROOT_DEFCONFIG to a defconfig with a toolchain at hand)"
echo "buildroot: $passed passed, $failed failed"
[ $failed -eq 0 ]
