// SPDX-License-Identifier: MIT

// Command heapctl carries a board's DMA heaps from heaps.yaml to a verified
// boot: it compiles and checks the config on the workstation, and tests the
// heaps on the board.
package main

import (
	"os"

	"github.com/dmaheap/dmaheap/internal/cli"
	"github.com/dmaheap/dmaheap/internal/initramfs"
)

func main() {
	if initramfs.IsInit() {
		initramfs.Init()
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
