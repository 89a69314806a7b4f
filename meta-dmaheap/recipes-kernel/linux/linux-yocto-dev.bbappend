# SPDX-License-Identifier: MIT
require ${@bb.utils.contains("MACHINE_FEATURES", "dmaheap", "recipes-kernel/linux/linux-dmaheap.inc", "", d)}
