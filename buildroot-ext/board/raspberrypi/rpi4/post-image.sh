#!/bin/sh
# SPDX-License-Identifier: MIT
#
# post-image.sh - have the firmware of the Raspberry Pi apply the heaps.
#
# The firmware fills in the device tree at boot and applies overlays then. Runs
# before Buildroot's own script, which puts rpi-firmware/ into the image.
set -eu

firmware=$1/rpi-firmware

install -D -m 0644 "$1/heaps.dtbo" "$firmware/overlays/heaps.dtbo"
if ! grep -q '^dtoverlay=heaps$' "$firmware/config.txt"; then
	printf '\n# The DMA heaps; kept out of filters such as [pi4].\n[all]\ndtoverlay=heaps\n' \
		>>"$firmware/config.txt"
fi
