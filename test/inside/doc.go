// SPDX-License-Identifier: MIT

// Package inside holds tests of the kernel's heaps that run in the machine
// itself. test/vm builds them for the guest, boots it, and looks which of them
// passed; anywhere else they skip.
package inside
