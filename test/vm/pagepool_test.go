// SPDX-License-Identifier: MIT

package vm

import (
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/internal/vmtest"
	"github.com/dmaheap/dmaheap/test/bench"
)

// The system heap keeps pages, and gives them up.
func TestPagePool(t *testing.T) {
	b, ctx := bench.Setup(t)
	if !b.HasPagePool() {
		t.Skipf("the patches for %v have no page pool", b.Line)
	}
	program, err := b.Guest(ctx, "test/pagepool")
	if err != nil {
		t.Fatal(err)
	}
	vm := b.VM(ctx, t, initramfs.Plan{Run: [][]string{{"/bin/pagepool"}}}, bench.File(t, "/bin/pagepool", program, 0o755))
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
