// SPDX-License-Identifier: MIT

// Package vmfault holds tests that make real faults on a booted board, and
// look whether heapctl check names them: a diagnosis that was only ever tried
// on a fake is a guess.
package vmfault
