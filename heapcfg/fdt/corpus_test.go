// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// corpus returns the blobs below the directory that DTB_CORPUS names, such as
// what test/corpus.sh builds.
func corpus(t testing.TB, ext string) (files []string) {
	t.Helper()
	dir := os.Getenv("DTB_CORPUS")
	if dir == "" {
		t.Skip("DTB_CORPUS names no directory of .dtb and .dtbo files; `make corpus` builds one")
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ext {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s files below %s (%v)", ext, dir, err)
	}
	return files
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCorpus is TestRoundTrip for real boards.
func TestCorpus(t *testing.T) {
	for _, path := range append(corpus(t, ".dtb"), corpus(t, ".dtbo")...) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			blob := readFile(t, path)
			tree := mustParse(t, blob)
			if diff := cmp.Diff(decompile(t, blob), decompile(t, mustMarshal(t, tree))); diff != "" {
				t.Errorf("dtc reads another tree after Parse and Marshal:\n%s", diff)
			}
			// Forced: boards of old kernels have what dtc calls an error.
			fromText := mustParse(t, tool(t, []byte(tree.DTS()), "dtc", "-q", "-f", "-I", "dts", "-O", "dtb"))
			fromText.BootCPU = tree.BootCPU
			if diff := cmp.Diff(tree, fromText); diff != "" {
				t.Errorf("dtc compiles DTS() to another tree:\n%s", diff)
			}
			useTree(t, tree)
		})
	}
}

// TestCorpusApply gives each real overlay to the boards whose file name starts
// the same way, and to one that it is not for.
func TestCorpusApply(t *testing.T) {
	bases := corpus(t, ".dtb")
	applied := 0
	for _, path := range corpus(t, ".dtbo") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			o := mustParse(t, readFile(t, path))
			family := filepath.Base(path)
			if i := strings.IndexByte(family, '-'); i >= 0 {
				if j := strings.IndexByte(family[i+1:], '-'); j >= 0 {
					family = family[:i+1+j]
				}
			}
			tried := []string{bases[0]}
			for _, b := range bases {
				if strings.HasPrefix(filepath.Base(b), family) && len(tried) < 5 {
					tried = append(tried, b)
				}
			}
			for _, b := range tried {
				base := mustParse(t, readFile(t, b))
				checkApply(t, base, o)
				_, err := Apply(base, o)
				if err == nil {
					applied++
					continue
				}
				var ae *ApplyError
				if !errors.As(err, &ae) {
					t.Errorf("%s: Apply = %v, which is no *ApplyError", b, err)
				}
			}
		})
	}
	t.Logf("%d pairs of board and overlay apply", applied)
}

// TestCorpusHeap adds a node to the root of each board, which all of them
// have.
func TestCorpusHeap(t *testing.T) {
	n := &SourceNode{}
	n.AddChild(&SourceNode{Name: "dmaheap-test@0", Labels: []string{"dmaheap_test"}}).Set("self", Ref("dmaheap_test"))
	o := mustTree(t, &Overlay{Fragments: []*Fragment{{TargetPath: "/", Node: n}}})
	for _, path := range corpus(t, ".dtb") {
		t.Run(filepath.Base(path), func(t *testing.T) { checkApply(t, mustParse(t, readFile(t, path)), o) })
	}
}
