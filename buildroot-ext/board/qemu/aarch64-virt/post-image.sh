#!/bin/sh
# SPDX-License-Identifier: MIT
#
# post-image.sh - apply the heaps to the device tree of the virtual machine.
#
# QEMU applies no overlays, so the tree it boots with must have them in it. On
# a board this is the work of the boot loader, or of BR2_PACKAGE_DMAHEAP_APPLY
# where the kernel builds the device tree.
set -eu

images=$1

# The kernel builds fdtoverlay for itself, whenever it builds dtc.
fdtoverlay=
for f in "$HOST_DIR/bin/fdtoverlay" "$BUILD_DIR"/linux-*/scripts/dtc/fdtoverlay; do
	if [ -x "$f" ]; then
		fdtoverlay=$f
		break
	fi
done
if [ -z "$fdtoverlay" ]; then
	echo "post-image: no fdtoverlay; turn BR2_PACKAGE_HOST_DTC on" >&2
	exit 1
fi

"$fdtoverlay" -i "$images/dmaheap/base.dtb" -o "$images/virt-heaps.dtb" \
	"$images/heaps.dtbo"
