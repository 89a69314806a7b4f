// SPDX-License-Identifier: MIT

// Package yocto holds the layer meta-dmaheap to its rules where no bitbake is
// at hand. What needs one is in run.sh.
package yocto

import (
	"os"
	"path/filepath"
	"testing"
)

var (
	repo  = filepath.Join("..", "..")
	layer = filepath.Join(repo, "meta-dmaheap")
)

// needed ends a test that something is missing for: in CI, which installs it,
// that is a failure.
func needed(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
