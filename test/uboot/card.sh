#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# card.sh - make an SD card for QEMU with one partition, and in it the files of a
# directory, of which U-Boot runs boot.scr by itself. It is made of boot.cmd.
#
# usage: test/uboot/card.sh DIRECTORY CARD
#
# exit: 0 made, 1 it does not fit or a tool failed, 2 usage
set -euo pipefail

if [ $# -ne 2 ] || [ ! -e "$1/boot.cmd" ]; then
	echo "usage: $0 DIRECTORY CARD; DIRECTORY has a boot.cmd" >&2
	exit 2
fi
mkimage -A arm64 -T script -C none -d "$1/boot.cmd" "$1/boot.scr" >/dev/null
# QEMU wants a size that is a power of two.
rm -f "$2"
truncate -s 64M "$2"
mke2fs -q -F -t ext2 -E offset=$((1 << 20)) -d "$1" "$2" 62M
# The partition table: an active one for Linux, from 1 MiB to the end.
printf '\x80\0\0\0\x83\0\0\0\0\x08\0\0\0\xf8\x01\0' | dd of="$2" bs=1 seek=446 conv=notrunc status=none
printf '\x55\xaa' | dd of="$2" bs=1 seek=510 conv=notrunc status=none
