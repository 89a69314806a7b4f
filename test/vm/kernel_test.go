// SPDX-License-Identifier: MIT

package vm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/test/bench"
)

// kernelSh runs test/kernel.sh with a cache of its own and returns what it
// said and its exit code.
func kernelSh(t *testing.T, env []string, args ...string) (said string, code int) {
	t.Helper()
	bench.SkipIfAsked(t) // test/kernel.sh may install packages
	if _, err := exec.LookPath("aarch64-linux-gnu-gcc"); err != nil && !bench.Required() {
		t.Skip(err)
	}
	cmd := exec.Command(filepath.Join("..", "kernel.sh"), args...)
	cmd.Env = append(append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir()), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// tree makes the least that passes for a kernel source tree.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"Makefile": "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 99\nEXTRAVERSION =\nNAME = Test\n",
		"Kbuild":   "# nothing\n",
		"a/b.c":    "int one;\nint two;\nint three;\n",
	})
	return dir
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot maps each file below dir to its text.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		rel, _ := filepath.Rel(dir, file)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const patchHead = "diff --git a/a/b.c b/a/b.c\n--- a/a/b.c\n+++ b/a/b.c\n@@ -1,3 +1,3 @@\n int one;\n"

func TestKernelScriptBadInput(t *testing.T) {
	notTree := t.TempDir()
	good := tree(t)
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		code int
		want string
	}{
		{"no such tree", []string{"KERNEL_SRC=/nonexistent"}, nil, 2, "KERNEL_SRC"},
		{"not a tree", []string{"KERNEL_SRC=" + notTree}, nil, 2, "is no kernel tree"},
		{"no such fragment", nil, []string{"--config", "/nonexistent"}, 2, "/nonexistent"},
		{"no such option", nil, []string{"--nonsense"}, 2, "--nonsense"},
		{"no patches for it", []string{"KERNEL_SRC=" + good, "V=6.99"}, nil, 2, "kernel-patches/6.99"},
		{"nothing cached", []string{"KERNEL_SRC=" + good, "DMAHEAP_PATCHES=none"}, []string{"--cached"}, 3, "not built yet"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, code := kernelSh(t, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(said, tt.want) {
				t.Errorf("exit %d, want %d and %q\n%s", code, tt.code, tt.want, said)
			}
		})
	}
}

// A patch that does not apply is named, and the tree it was meant for is not
// touched, not even by the patches before it.
func TestKernelScriptPatchFails(t *testing.T) {
	src, patches := tree(t), t.TempDir()
	write(t, patches, map[string]string{
		"0001-applies.patch":  patchHead + "-int two;\n+int 2;\n int three;\n",
		"0002-does-not.patch": patchHead + "-int four;\n+int 4;\n int three;\n",
	})
	before := snapshot(t, src)
	said, code := kernelSh(t, []string{"KERNEL_SRC=" + src, "DMAHEAP_PATCHES=" + patches})
	if code != 1 || !strings.Contains(said, "0002-does-not.patch does not apply to 6.12.99") {
		t.Errorf("exit %d, want 1 and the patch's name\n%s", code, said)
	}
	if d := cmp.Diff(before, snapshot(t, src)); d != "" {
		t.Errorf("KERNEL_SRC was changed (-before +after):\n%s", d)
	}
}
