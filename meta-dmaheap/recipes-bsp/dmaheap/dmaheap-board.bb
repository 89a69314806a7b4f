# SPDX-License-Identifier: MIT
SUMMARY = "The DMA heaps of this board, compiled from its heaps.yaml"
DESCRIPTION = "Device tree overlay, device rules and lock file of the board's DMA heaps."
HOMEPAGE = "https://github.com/dmaheap/dmaheap"

inherit dmaheap
