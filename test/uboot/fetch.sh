#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# fetch.sh - print the path of Debian's U-Boot for the Raspberry Pi 3.
#
# usage: test/uboot/fetch.sh [--cached]
#
# It is the one board with a U-Boot in Debian that applies overlays and that QEMU
# can be. The package is one of arm64, so apt gets lists and a cache of its own,
# and the machine's are left alone. With --cached nothing is fetched.
#
# exit: 0 printed, 2 usage, 3 it could not be had
set -euo pipefail
export LC_ALL=C

case $* in
'' | --cached) ;;
*)
	echo "usage: $0 [--cached]" >&2
	exit 2
	;;
esac

dir=${XDG_CACHE_HOME:-$HOME/.cache}/dmaheap/uboot
program=$dir/u-boot-rpi/usr/lib/u-boot/rpi_3/u-boot.bin
if [ ! -e "$program" ] && [ $# -eq 0 ]; then
	mkdir -p "$dir"
	work=$(mktemp -d "$dir/.work-XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mkdir -p "$work/lists/partial" "$work/archives/partial"
	options=(
		-q -o APT::Architecture=arm64 -o APT::Architectures::=arm64
		-o "Dir::State::lists=$work/lists" -o Dir::State::status=/dev/null
		-o "Dir::Cache=$work" -o APT::Sandbox::User=root
		-o Acquire::Languages=none
	)
	echo "uboot: fetching u-boot-rpi" >&2
	# A source without arm64 is no matter as long as another one has the package.
	(
		cd "$work"
		apt-get "${options[@]}" update || true
		apt-get "${options[@]}" download u-boot-rpi
	) >"$work/log" 2>&1 || {
		tail -n 20 "$work/log" >&2
		echo "uboot: u-boot-rpi could not be fetched" >&2
		exit 3
	}
	dpkg-deb -x "$work"/u-boot-rpi_*.deb "$work/package"
	rm -rf "$dir/u-boot-rpi"
	mv "$work/package" "$dir/u-boot-rpi"
fi
if [ ! -e "$program" ]; then
	echo "uboot: $program is not there" >&2
	exit 3
fi
echo "$program"
