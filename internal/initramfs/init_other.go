// SPDX-License-Identifier: MIT

//go:build !linux

package initramfs

// IsInit is false: there is no initramfs but Linux's.
func IsInit() bool { return false }

// Init does nothing.
func Init() {}
