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
#
# and with a defconfig whose toolchain and sources are at hand, which means
# minutes to an hour:
#
#   build       host-heapctl, heapctl and dmaheap, which builds the kernel, and
#               the comparison of the kernel's configuration
#   series      a kernel without patches stops the build with a reason
#   legal       legal-info has the program, its modules, the kernel's patches
#   dist        the release tarball builds without a proxy for Go modules
#   image       the whole image; that of dmaheap_qemu_aarch64_virt_defconfig is
#               booted, and checks itself
#   tree        the same with the device tree of the kernel, TI's SK-AM62, that
#               gets the heaps at build time; only on arm64
#
#   BUILDROOT_DEFCONFIG  the defconfig of these steps, a file; without it they
#                        are skipped. BR2_DL_DIR in the environment helps along
#   BUILDROOT_OUTPUT     keep what they build in this directory, and the console
#                        of the boot, which makes the next run short; outside of
#                        this repository
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
keep=$(realpath -m "${BUILDROOT_OUTPUT:-$out/keep}")
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
# properties, the steps of the kernel, and every variable there is, which the
# recipes are.
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
		br_make "${args[@]}" printvars VARS=% RAW_VARS=1 QUOTED_VARS=1 >"$out/$o.all"
		sed -i "s#$out/$o#OUT#g" "$out/$o.all"
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
	if python3 - "$out/without.all" "$out/with.all" >"$out/said" 2>&1 <<'PY'; then
import re
import sys


def variables(path):
    text = open(path, errors="replace").read()
    return dict(re.findall(r"^([^\s=]+)='((?:[^']|'\\'')*)'$", text, re.M))


plain, ours = (variables(p) for p in sys.argv[1:])
# What Buildroot keeps of external trees, and the variables of our packages,
# which nothing else reads.
for name in list(ours):
    if re.match(r"(BR2_EXTERNAL|(HOST_)?(HEAPCTL|DMAHEAP)_|(MAKEFILE_LIST|PACKAGES_ALL)$)", name):
        plain.pop(name, None)
        del ours[name]
other = sorted(n for n in plain.keys() | ours.keys() if plain.get(n) != ours.get(n))
print("\n".join(other[:20]) if other else len(ours))
sys.exit(1 if other or len(ours) < 10000 else 0)
PY
		ok "nothing ticked, same $(cat "$out/said") variables"
	else
		bad "the tree with nothing ticked changes variables" "$(cat "$out/said")"
	fi
}

step_package() {
	local said path=$PATH
	if ! python3 -c 'import magic, flake8' 2>/dev/null; then
		# Debian has both for its own python3 only.
		path=/usr/bin:$PATH
	fi
	if ! PATH=$path python3 -c 'import magic, flake8' 2>/dev/null; then
		bad "check-package needs python3-magic and python3-flake8"
		return
	fi
	# Buildroot's own target asks git for the list of files; what is not
	# committed is checked as well.
	said=$(cd "$br" && find "$ext" -type f | sort | PATH=$path xargs utils/check-package -b 2>&1)
	if grep -q '^0 warnings generated' <<<"$said"; then
		ok "check-package"
	else
		bad "check-package" "$said"
	fi
	if ! git -C "$ext" rev-parse -q --verify HEAD >/dev/null 2>&1; then
		echo "SKIP  check-package-external (asks git for the files, and this is no git tree)"
		return
	fi
	: >"$log"
	said=$(PATH=$path with_ext "$out/o" check-package-external && cat "$log")
	if grep -q '^0 warnings generated' <<<"$said"; then
		ok "check-package-external"
	else
		bad "check-package-external" "$said" "$(tail -n 5 "$log")"
	fi
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

# ours DIRECTORY ARGUMENT...: make with the external tree, loud about failures.
ours() {
	if with_ext "$@" >>"$log"; then
		ok "make ${*:2}"
	else
		bad "make ${*:2}" "$(tail -n 20 "$log")"
		return 1
	fi
}
configure() { with_ext "$1" defconfig "BR2_DEFCONFIG=$BUILDROOT_DEFCONFIG" >>"$log"; }

step_build() {
	local target said want
	configure "$keep/image" || { bad "$BUILDROOT_DEFCONFIG" "$(tail -n 5 "$log")" && return; }
	for target in host-heapctl heapctl dmaheap dmaheap-check-kernel-config; do
		ours "$keep/image" $target || return
	done
	for target in bin/heapctl share/man/man1/heapctl.1 share/man/man1/heapctl-compile.1 share/man/man5/heaps.yaml.5 share/bash-completion/completions/heapctl; do
		[ -s "$keep/image/host/$target" ] || bad "host/$target is not there"
	done
	# What is built from files changed since says so; the commit is the same.
	said=$("$keep/image/host/bin/heapctl" --version) want=$("$here/../../release/version.sh" --commit)
	if [ "${said%-dirty}" != "heapctl version $want" ]; then
		bad "heapctl --version says '$said', this tree is $want"
	fi
}

# The extension looks at nothing but the Makefile of the kernel.
step_series() {
	local name=linux-4.4-dmaheap-has-no-series said
	mkdir "$out/$name"
	printf 'VERSION = 4\nPATCHLEVEL = 4\nSUBLEVEL = 1\nNAME = x\n' >"$out/$name/Makefile"
	# The same bytes each time, since it stays among Buildroot's downloads.
	tar -C "$out" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$out/$name.tar" "$name"
	{
		grep -vE '^(# )?BR2_(LINUX_KERNEL_(CUSTOM_[VT]|LATEST)|DOWNLOAD_FORCE_CHECK_HASHES)' "$BUILDROOT_DEFCONFIG"
		echo BR2_LINUX_KERNEL_CUSTOM_TARBALL=y
		echo "BR2_LINUX_KERNEL_CUSTOM_TARBALL_LOCATION=\"file://$out/$name.tar\""
	} >"$out/series_defconfig"
	with_ext "$keep/series" defconfig "BR2_DEFCONFIG=$out/series_defconfig" >>"$log"
	with_ext "$keep/series" linux-dirclean >>"$log"
	if said=$(with_ext "$keep/series" linux-patch 2>&1); then
		bad "a kernel without patches is built" "$said"
	elif grep -q '^ERROR: dmaheap has no patches for Linux 4.4, only for:' <<<"$said"; then
		ok "a kernel without patches stops the build"
	else
		bad "a kernel without patches" "$said" "$(tail -n 5 "$log")"
	fi
}

# legal DIRECTORY: what legal-info must have.
legal() {
	local info=$1/legal-info version f lacks=()
	version=$("$ext/../release/version.sh" --commit)
	for f in manifest.csv host-manifest.csv; do
		grep -q "^\"heapctl\",\"$version\",\"MIT, Apache-2.0 (cobra)" "$info/$f" || lacks+=("$f: heapctl $version")
	done
	for f in licenses host-licenses; do
		f=$f/heapctl-$version
		[ -s "$info/$f/LICENSE" ] || lacks+=("$f/LICENSE")
		[ -s "$info/$f/vendor/github.com/spf13/cobra/LICENSE.txt" ] || lacks+=("$f: the licenses of the modules")
	done
	for f in sources host-sources; do
		ls "$info/$f/heapctl-$version"/*.tar.gz >/dev/null 2>&1 || lacks+=("$f: the source of heapctl")
	done
	if grep -i heapctl "$info/.warnings" "$info/README" 2>/dev/null | grep -q 'WARNING\|not saved'; then
		lacks+=("$(grep -hi heapctl "$info/README")")
	fi
	printf '%s\n' "${lacks[@]+"${lacks[@]}"}"
	[ ${#lacks[@]} -eq 0 ]
}

step_legal() {
	local said info=$keep/image/legal-info
	# Not all of legal-info: what others keep of theirs is their affair.
	configure "$keep/image" &&
		ours "$keep/image" legal-info-clean legal-info-prepare host-heapctl-legal-info heapctl-legal-info linux-legal-info || return
	if said=$(legal "$keep/image"); then
		ok "legal-info has heapctl, its modules and all licenses"
	else
		bad "legal-info lacks" "$said"
	fi
	if ls "$info"/sources/linux-*/*-dma-buf-heaps-add-a-carveout-heap.patch >/dev/null 2>&1; then
		ok "legal-info has the patches of the kernel"
	else
		bad "legal-info lacks the patches of the kernel"
	fi
}

step_dist() {
	local tarball said
	if ! tarball=$(ARCHS='' "$here/../../release/dist.sh" "$out/dist" 2>>"$log"); then
		bad "make dist" "$(tail -n 5 "$log")"
		return
	fi
	mkdir "$out/unpacked"
	tar -C "$out/unpacked" --strip-components=1 -xf "$tarball"
	local ext=$out/unpacked/buildroot-ext
	configure "$keep/dist" || { bad "$BUILDROOT_DEFCONFIG" "$(tail -n 5 "$log")" && return; }
	with_ext "$keep/dist" host-heapctl-dirclean heapctl-dirclean >>"$log"
	if GOPROXY=off GOFLAGS='' ours "$keep/dist" host-heapctl heapctl legal-info-prepare host-heapctl-legal-info heapctl-legal-info; then
		if said=$(legal "$keep/dist"); then
			ok "the release tarball builds, without a proxy for Go modules"
		else
			bad "legal-info of the release tarball lacks" "$said"
		fi
	fi
}

step_image() {
	local images=$keep/image/images
	configure "$keep/image" && ours "$keep/image" all || return
	if [ ! -e "$images/virt-heaps.dtb" ]; then
		echo "SKIP  boot (not an image for QEMU)"
	elif "$here/boot.sh" "$images" "$keep/console" >"$out/said" 2>&1; then
		ok "the image boots, and checks itself"
	else
		bad "the image in QEMU" "$(cat "$out/said")"
	fi
}

# What the demo does not have: the tree of the kernel for a base, its kernel
# configured before there is a tree, the heaps put into it at build time, neither
# mdev nor udev, and a heaps.yaml that asks for more than that configuration has.
step_tree() {
	local o=$keep/tree dtb=k3-am625-sk.dtb f said nodes
	if ! grep -q '^BR2_aarch64=y' "$BUILDROOT_DEFCONFIG"; then
		echo "SKIP  tree (not for arm64)"
		return
	fi
	{
		grep -vE '^(# )?BR2_(ROOTFS_(POST_IMAGE_SCRIPT|DEVICE_CREATION)|PACKAGE_DMAHEAP_(CONFIG|BASE_DTB|APPLY)|LINUX_KERNEL_(DTS_SUPPORT|INTREE_DTS_NAME|INSTALL_TARGET))' "$BUILDROOT_DEFCONFIG"
		echo BR2_LINUX_KERNEL_DTS_SUPPORT=y
		echo 'BR2_LINUX_KERNEL_INTREE_DTS_NAME="ti/k3-am625-sk"'
		echo BR2_LINUX_KERNEL_INSTALL_TARGET=y
		echo BR2_PACKAGE_DMAHEAP_APPLY=y
		echo "BR2_PACKAGE_DMAHEAP_CONFIG=\"$keep/heaps.yaml\""
	} >"$out/tree_defconfig"
	mkdir -p "$keep"
	cp "$ext/../examples/ti-am62x/heaps.yaml" "$keep/heaps.yaml"
	with_ext "$o" defconfig "BR2_DEFCONFIG=$out/tree_defconfig" >>"$log"
	# A kept output has the products of another heaps.yaml.
	with_ext "$o" dmaheap-dirclean >>"$log"
	ours "$o" all || return
	for f in images target/boot; do
		nodes=$("$o/host/bin/fdtget" -l "$o/$f/$dtb" /reserved-memory 2>&1 | grep -cE '^(camera|linux,cma)@')
		if [ "$nodes" -eq 2 ]; then
			ok "the heaps are in $f/$dtb"
		else
			bad "$f/$dtb: $nodes heaps, want 2" "$("$o/host/bin/fdtget" -l "$o/$f/$dtb" /reserved-memory 2>&1)"
		fi
	done
	sed -i 's/^  page-size:.*/&\n  kconfig: {CMA_AREAS: 12}/' "$keep/heaps.yaml"
	if said=$(with_ext "$o" dmaheap-rebuild 2>&1); then
		bad "a kernel without what heaps.yaml asks for is no error" "$said"
	elif grep -q 'CONFIG_CMA_AREAS=12, but it is [0-9]* (stated under target.kconfig)' <<<"$said"; then
		ok "a kernel without what heaps.yaml asks for stops the build"
	else
		bad "a kernel without what heaps.yaml asks for" "$said" "$(tail -n 5 "$log")"
	fi
}

slow=(build series legal dist image tree)
steps=("$@")
if [ ${#steps[@]} -eq 0 ]; then
	steps=(symbols defconfigs inert package info upstream "${slow[@]}")
fi
echo "buildroot: $(sed -n 's/^export BR2_VERSION := //p' "$br/Makefile")"
for s in "${steps[@]}"; do
	case $s in
	build | series | legal | dist | image | tree)
		if [ -z "${BUILDROOT_DEFCONFIG:-}" ]; then
			echo "SKIP  $s (set BUILDROOT_DEFCONFIG to a defconfig with a toolchain at hand)"
			continue
		fi
		BUILDROOT_DEFCONFIG=$(realpath "$BUILDROOT_DEFCONFIG")
		"step_$s"
		;;
	symbols | defconfigs | inert | package | info | upstream) "step_$s" ;;
	*)
		echo "buildroot: no step '$s'" >&2
		exit 2
		;;
	esac
done
echo "buildroot: $passed passed, $failed failed"
[ $failed -eq 0 ]
