// SPDX-License-Identifier: MIT

//go:build linux

// Guestinit is the /init of the virtual machines of the tests.
package main

import "github.com/dmaheap/dmaheap/internal/initramfs"

func main() { initramfs.Init() }
