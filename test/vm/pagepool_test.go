// SPDX-License-Identifier: MIT

package vm

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
	"github.com/dmaheap/dmaheap/test/rig"
)

// The system heap's page pool is an option of its own, so it has a kernel of
// its own.
func TestPagePool(t *testing.T) {
	b, ctx := bench.Setup(t)
	// The system heap of 5.10 has no large pages.
	patches, err := filepath.Glob(filepath.Join(b.Root, "kernel-patches", b.Line.String(), "*-keep-large-pages-*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(patches) == 0 {
		t.Skipf("kernel %v has no page pool", b.Line)
	}
	program, err := b.Guest(ctx, "test/pagepool")
	if err != nil {
		t.Fatal(err)
	}
	vm := b.VM(ctx, t, initramfs.Plan{Run: [][]string{{"/bin/pagepool"}}}, bench.File(t, "/bin/pagepool", program, 0o755))
	fragment := filepath.Join(b.Root, "kernel-patches", "configs", "page-pool.config")
	vm.Kernel = b.Kernel(ctx, t, rig.Kernel{Fragments: []string{b.Example.Config, fragment}})
	res, err := vmtest.Run(ctx, vm)
	if err != nil {
		t.Fatal(err)
	}
	said := res.Commands[0].Output
	if res.Exit != 0 {
		t.Fatalf("exit %d\n%s", res.Exit, res.Console)
	}
	if got := strings.Count(said, "ok: "); got != 5 {
		t.Errorf("%d of 5 tries passed", got)
	}
	t.Logf("kernel %v:\n%s", b.Line, said)
}
