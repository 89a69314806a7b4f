// SPDX-License-Identifier: MIT

package rig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindProducts(t *testing.T) {
	dir := t.TempDir()
	create := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	create("heaps.dtbo")
	create("heaps.config")
	create("60-heaps.rules")
	if _, err := FindProducts(dir); err == nil || !strings.Contains(err.Error(), "*.lock.json") {
		t.Errorf("FindProducts without a lock file: %v, want that to be said", err)
	}
	create("heaps.lock.json")
	p, err := FindProducts(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "60-heaps.rules"); p.Rules != want {
		t.Errorf("Rules = %q, want %q", p.Rules, want)
	}
	create("other.dtbo")
	if _, err := FindProducts(dir); err == nil {
		t.Error("FindProducts with two overlays gave no error")
	}
}
