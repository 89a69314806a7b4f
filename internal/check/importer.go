// SPDX-License-Identifier: MIT

package check

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// importDRM lets every DRM device of the board import a buffer. It stands
// behind --import, since a device without a render node must be opened by its
// card node, which takes its mastership for a moment.
func (t *target) importDRM() *outcome {
	devices, err := t.board.DRMDevices()
	if err != nil || len(devices) == 0 {
		return skip("the board has no DRM device")
	}
	return t.importInto(devices, "DRM_IOCTL_PRIME_FD_TO_HANDLE",
		func(string) (uint64, error) { return t.share(), nil }, Buffer.ImportDRM)
}

// importV4L2 lets every video device import a buffer of the size of its frame.
func (t *target) importV4L2() *outcome {
	devices, err := t.board.VideoDevices()
	if err != nil || len(devices) == 0 {
		return skip("the board has no camera or codec")
	}
	return t.importInto(devices, "VIDIOC_QBUF", t.dev.FrameSize, Buffer.ImportV4L2)
}

// refusal is what a device that can import said to the heap's buffer.
type refusal int

const (
	accepts      refusal = iota
	refusesHeap          // but takes pages from anywhere
	refusesBoth          // pages from anywhere as well
	refusesSome          // and there is no /dev/udmabuf to compare with
	couldNotSay          // no rights, in use
	tooLarge             // its frame is more than this run takes
	cannotImport         // imports nothing at all
)

// importInto has each device import a buffer of the size it needs. Where one
// refuses, a buffer of ordinary memory tells whether it is the heap's fault.
func (t *target) importInto(devices []sysinfo.Importer, call string, need func(path string) (uint64, error), try func(b Buffer, path string) error) *outcome {
	var can, cannot []string
	found := map[refusal]bool{}
	for _, d := range devices {
		why, r := t.importOne(d.Path, need, try)
		found[r] = true
		if r == accepts {
			can = append(can, d.String())
			continue
		}
		cannot = append(cannot, d.String()+": "+why)
	}
	none := "no device can import from this heap: " + strings.Join(cannot, "; ")
	o := warn("%s", none).because("a device that imports", strings.Join(cannot, "\n"), call)
	switch {
	case len(can) > 0 && len(cannot) > 0:
		return pass("can import: %s; cannot: %s", strings.Join(can, ", "), strings.Join(cannot, "; "))
	case len(can) > 0:
		return pass("can import: %s", strings.Join(can, ", "))
	case found[refusesHeap] && t.exp.Access == heapcfg.DeviceOnly:
		return o.advise("the device takes ordinary memory, but not this: drivers that map a buffer for the CPU cannot use a device-only heap")
	case found[refusesHeap]:
		return o.advise("the device takes ordinary memory from /dev/udmabuf, so it is this heap that it refuses: see dmesg; most devices without an IOMMU need memory below 4GiB")
	case found[refusesBoth] && t.exp.Kind == heapcfg.System:
		return o.advise("the device refuses scattered pages: it has no IOMMU and takes contiguous memory only. Use a CMA or a carveout heap")
	case found[refusesBoth], found[refusesSome]:
		return o.advise("a device without an IOMMU takes contiguous memory within its reach only: use a CMA or carveout heap, below 4GiB for most")
	case found[couldNotSay]:
		o.status, o.blocked = report.Skip, true
		return o.advise("run as root, or as a member of the groups render and video, while no other program has the device")
	}
	return skip("%s", none)
}

func (t *target) importOne(path string, need func(path string) (uint64, error), try func(b Buffer, path string) error) (string, refusal) {
	n, err := need(path)
	switch {
	case err != nil:
		return said(err)
	case n == 0:
		return "it has no format yet", cannotImport
	case n > t.share() && !t.o.Full:
		return fmt.Sprintf("its frame of %s is more than a quick run takes, use --full", size(n)), tooLarge
	}
	n = (n + t.unit() - 1) / t.unit() * t.unit()
	b, err := t.alloc(n)
	if err != nil {
		return fmt.Sprintf("the heap has no buffer of %s", size(n)), cannotImport
	}
	err = try(b, path)
	b.Close()
	if err == nil {
		return "", accepts
	}
	why, r := said(err)
	if r != refusesSome {
		return why, r
	}
	ref, err := t.dev.Reference(n)
	if err != nil {
		return why, refusesSome
	}
	defer ref.Close()
	if try(ref, path) == nil {
		return why + " (memory from /dev/udmabuf it takes)", refusesHeap
	}
	return why + " (memory from /dev/udmabuf as well)", refusesBoth
}

// said puts an error of an import in few words.
func said(err error) (string, refusal) {
	switch {
	case errors.Is(err, dmaheap.ErrPermission):
		return "this user may not open it", couldNotSay
	case errors.Is(err, dmaheap.ErrBusy):
		return "in use by another program", couldNotSay
	case errors.Is(err, dmaheap.ErrUnsupported):
		return "imports nothing", cannotImport
	}
	return errText(err), refusesSome
}
