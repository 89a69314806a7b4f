# SPDX-License-Identifier: MIT
require recipes-core/images/core-image-minimal.bb

SUMMARY = "A small image that boots with the board's heaps and can check them"

inherit features_check
REQUIRED_MACHINE_FEATURES = "dmaheap"

# testimage runs its commands over ssh.
IMAGE_FEATURES += "ssh-server-dropbear"
IMAGE_INSTALL:append = " heapctl dmaheap-board dmaheap-board-overlay"

# Boot partitions take the overlay from the deploy directory.
do_image_wic[depends] += "dmaheap-board:do_deploy"
