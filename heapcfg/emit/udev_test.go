// SPDX-License-Identifier: MIT

package emit_test

import (
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/emit"
)

func TestMdevLine(t *testing.T) {
	for _, tt := range []struct {
		heap heapcfg.Expected
		want string
	}{
		{heapcfg.Expected{Name: "video@50000000", Short: "video", Mode: 0o660, Group: "video"}, "dma_heap/video@50000000 root:video 660 @ln -sf video@50000000 /dev/dma_heap/video"},
		{heapcfg.Expected{Name: "a.b+c,d@0"}, `dma_heap/a\.b\+c,d@0 root:root 600`},
		// A name of a foreign tree must not become fields of the line.
		{heapcfg.Expected{Name: "a 0:0 666 @reboot"}, "dma_heap/a.0.0.666.@reboot root:root 600"},
	} {
		if got := emit.MdevLine(tt.heap); got != tt.want {
			t.Errorf("MdevLine(%q) = %q, want %q", tt.heap.Name, got, tt.want)
		}
	}
}
