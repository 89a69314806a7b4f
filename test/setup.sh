#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# setup.sh - install the Debian packages a make target needs, and only those
# that are missing.
#
# usage: test/setup.sh [--arch ARCH] [boot] [kernel] [sparse] [check] [corpus] [labs] [uboot]
#
#   boot    read device trees and start virtual machines of ARCH, arm64 by default
#   kernel  build its kernel; the source package only for the default line
#   sparse  have it read by sparse
#   check   what `make check` runs beside Go
#   corpus  build the device trees of a kernel's boards
#   labs    what the examples for test labs are run with
#   uboot   make cards for U-Boot, which test/uboot/fetch.sh brings
#
# It is silent when nothing is missing. Without root and without a sudo that
# asks no password it prints the one command to run, and exits 3.
set -euo pipefail

here=$(dirname "$0")
missing=()

arch=arm64
if [ "${1:-}" = --arch ]; then
	arch=${2:-}
	shift 2
fi
case $arch in
arm64) qemu=qemu-system-aarch64 qemu_package=qemu-system-arm cross=aarch64-linux-gnu libc=arm64 ;;
arm) qemu=qemu-system-arm qemu_package=qemu-system-arm cross=arm-linux-gnueabihf libc=armhf ;;
riscv64) qemu=qemu-system-riscv64 qemu_package=qemu-system-misc cross=riscv64-linux-gnu libc=riscv64 ;;
amd64) qemu=qemu-system-x86_64 qemu_package=qemu-system-x86 cross=x86_64-linux-gnu libc=amd64 ;;
*)
	echo "setup: no machine of architecture '$arch' (arm64, arm, riscv64 or amd64)" >&2
	exit 2
	;;
esac

# What counts is that the tool is there, not which package brought it.
need_command() {
	command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

need_file() {
	[ -e "$1" ] || missing+=("$2")
}

[ $# -gt 0 ] || set -- boot kernel check
for group in "$@"; do
	case $group in
	boot)
		need_command dtc device-tree-compiler
		need_command fdtoverlay device-tree-compiler
		need_command "$qemu" "$qemu_package"
		# The kernel's own reader of test results, and a root file system.
		need_command python3 python3
		need_command mke2fs e2fsprogs
		;;
	uboot)
		need_command mkimage u-boot-tools
		need_command mke2fs e2fsprogs
		need_command cpp cpp
		;;
	labs)
		modules=/usr/lib/python3/dist-packages
		need_file "$modules/labgrid" labgrid
		need_file "$modules/pytest" python3-pytest
		need_file "$modules/lava_common" lava-common
		need_file "$modules/yaml" python3-yaml
		;;
	kernel)
		need_command gcc gcc
		need_file /usr/include/stdio.h libc6-dev
		# A PC's own compiler has the name of the one for PCs.
		if [ "$arch-$(uname -m)" != amd64-x86_64 ]; then
			need_command "$cross-gcc" "gcc-${cross/_/-}"
			# The selftest is linked statically against the target's libc.
			need_file "/usr/$cross/lib/libc.a" "libc6-dev-$libc-cross"
		fi
		# The kernel looks through its objects with a tool that wants it.
		[ "$arch" != amd64 ] || need_file /usr/include/libelf.h libelf-dev
		need_command make make
		need_command flex flex
		need_command bison bison
		need_command bc bc
		need_command perl perl
		need_command patch patch
		need_command xz xz-utils
		need_command flock util-linux
		# Other lines are not in this release of Debian; kernel-patches/source.sh
		# has them from elsewhere.
		line=$(V='' KERNEL_SRC='' "$here/kernel.sh" line)
		if [ -z "${KERNEL_SRC:-}" ] && [ "${V:-$line}" = "$line" ]; then
			need_file "/usr/src/linux-source-$line.tar.xz" "linux-source-$line"
		fi
		;;
	sparse) need_command sparse sparse ;;
	check)
		need_command shellcheck shellcheck
		need_command systemd-analyze systemd
		need_command python3 python3
		need_command rsync rsync
		need_command make make
		need_command patch patch
		need_command cpp cpp
		need_command mandoc mandoc
		# The C programs that the documents show.
		need_command gcc gcc
		need_file /usr/include/stdio.h libc6-dev
		need_file /usr/include/linux/dma-heap.h linux-libc-dev
		need_command dt-validate dt-schema
		# For test/yamlls.sh; elsewhere the test that wants it is skipped.
		if [ -n "${CI:-}" ]; then
			need_command node nodejs
			need_command npm npm
		fi
		# Debian's own Python: a python3 from elsewhere does not see its modules.
		/usr/bin/python3 -c 'import kconfiglib' 2>/dev/null || missing+=(python3-kconfiglib)
		;;
	corpus)
		need_command dtc device-tree-compiler
		need_command fdtoverlay device-tree-compiler
		need_command gcc gcc
		need_file /usr/include/stdio.h libc6-dev
		need_command make make
		need_command flex flex
		need_command bison bison
		need_command patch patch
		need_command xz xz-utils
		need_command flock util-linux
		;;
	*)
		echo "setup: unknown group '$group' (boot, kernel, sparse, check, corpus, labs or uboot)" >&2
		exit 2
		;;
	esac
done

# Debian 12's own Go is older than the module, so no package can help here.
if ! command -v go >/dev/null 2>&1; then
	echo "setup: no 'go' in PATH; install Go 1.22 or newer (https://go.dev/dl/)" >&2
	exit 3
fi

[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: this is no Debian; install what these Debian packages hold:" >&2
	echo "  ${missing[*]}" >&2
	exit 3
fi

if [ "$(id -u)" -eq 0 ]; then
	as_root=(env)
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	as_root=(sudo -n env)
else
	echo "setup: ${#missing[@]} Debian package(s) are missing and this needs root. Run:" >&2
	echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
	exit 3
fi

apt() {
	"${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# A person sees apt's own progress; a log keeps it out of everyone else's way.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
logged() {
	if [ -t 2 ]; then
		"$@" >&2
	else
		"$@" >"$log" 2>&1
	fi
}

have_candidates() {
	local p
	for p in "${missing[@]}"; do
		apt-cache show --no-all-versions "$p" >/dev/null 2>&1 || return 1
	done
}

echo "setup: installing ${missing[*]}" >&2
updated=no
if ! have_candidates; then
	logged apt update && updated=yes
fi
if ! logged apt install -y --no-install-recommends "${missing[@]}"; then
	# Package lists age: a version they name may be gone from the mirror.
	if [ $updated = yes ] || ! { logged apt update && logged apt install -y --no-install-recommends "${missing[@]}"; }; then
		tail -n 20 "$log" >&2
		echo "setup: could not install ${missing[*]}" >&2
		exit 3
	fi
fi
