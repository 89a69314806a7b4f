// SPDX-License-Identifier: MIT

package check

import (
	"errors"
	"path"
	"strings"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// importDRM lets every DRM device of the board import a buffer. It stands
// behind --import, since a device without a render node must be opened by its
// card node, which takes its mastership for a moment.
func (t *target) importDRM() *outcome {
	devices, err := t.board.DRMDevices()
	if err != nil || len(devices) == 0 {
		return skip("the board has no DRM device")
	}
	b, err := t.alloc(t.share())
	if err != nil {
		return t.allocFailed(t.share(), err)
	}
	defer b.Close()
	var can, cannot []string
	refused := false
	for _, d := range devices {
		name := path.Base(d.Path)
		if d.Driver != "" {
			name += " (" + d.Driver + ")"
		}
		err := b.ImportDRM(d.Path)
		switch {
		case err == nil:
			can = append(can, name)
		case errors.Is(err, dmaheap.ErrPermission):
			cannot = append(cannot, name+": this user may not open it")
		case errors.Is(err, dmaheap.ErrUnsupported):
			cannot = append(cannot, name+": imports nothing")
		default:
			refused = true
			cannot = append(cannot, name+": "+errText(err))
		}
	}
	none := "no device can import from this heap"
	switch {
	case len(can) == 0 && !refused:
		return blocked("%s: %s", none, strings.Join(cannot, "; ")).
			because("a device that imports", strings.Join(cannot, "\n"), "DRM_IOCTL_PRIME_FD_TO_HANDLE").
			advise("run as root, or as a member of the groups render and video")
	case len(can) == 0:
		return warn("%s", none).because("a device that imports", strings.Join(cannot, "\n"), "DRM_IOCTL_PRIME_FD_TO_HANDLE").
			advise("a device without an IOMMU takes contiguous memory within its reach only: use a CMA or carveout heap, below 4GiB for most")
	case len(cannot) > 0:
		return pass("can import: %s; cannot: %s", strings.Join(can, ", "), strings.Join(cannot, "; "))
	}
	return pass("can import: %s", strings.Join(can, ", "))
}
