// SPDX-License-Identifier: MIT

package emit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// FuzzLock reads lock files that somebody else wrote and does with them what
// heapctl map, diff and check do. What is accepted must not hurt afterwards.
func FuzzLock(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*", "golden", "*.lock.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no lock files to begin with: %q, %v", files, err)
	}
	for _, file := range files[:min(len(files), 8)] {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := heapcfg.ParseLock(data)
		if err != nil {
			if lock != nil {
				t.Error("ParseLock gives both a result and an error")
			}
			return
		}
		l := &lock.Layout
		heapcfg.Lint(l)
		heapcfg.Diff(l, l)
		l.Expect()
		TextMap(l)
		SVGMap(l)
		HTMLMap(l)
	})
}
