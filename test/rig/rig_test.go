// SPDX-License-Identifier: MIT

package rig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAccounts(t *testing.T) {
	files, err := Accounts([]byte(`
SUBSYSTEM=="dma_heap", KERNEL=="a", GROUP="video"
SUBSYSTEM=="dma_heap", KERNEL=="b", GROUP="camera", OWNER="cam"
SUBSYSTEM=="dma_heap", KERNEL=="c", GROUP="camera"
`))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		got[f.Name] = string(f.Data)
	}
	for file, want := range map[string]string{
		"/etc/group":  "root:x:0:\naudio:x:29:\nvideo:x:44:\ncamera:x:901:\n",
		"/etc/passwd": "root:x:0:0::/:/bin/false\ncam:x:901:901::/:/bin/false\n",
	} {
		if got[file] != want {
			t.Errorf("%s = %q, want %q", file, got[file], want)
		}
	}
}

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
