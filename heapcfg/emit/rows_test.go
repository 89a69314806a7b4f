// SPDX-License-Identifier: MIT

package emit

import (
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
)

func TestMapSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 512: "512B", 4096: "4KiB", 12345: "12.0KiB", 4*heapcfg.GiB - 4096: "4095.9MiB", 1500 * heapcfg.KiB: "1500KiB",
		64 * heapcfg.MiB: "64MiB", 1408 * heapcfg.MiB: "1408MiB", 1313728 * heapcfg.KiB: "1282.9MiB",
		6 * heapcfg.GiB: "6GiB", 12801 * heapcfg.MiB: "12.5GiB", ^uint64(0): "17179869183.9GiB",
	} {
		if got := mapSize(n); got != want {
			t.Errorf("mapSize(%d) = %q, want %q", n, got, want)
		}
	}
}
