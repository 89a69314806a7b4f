// SPDX-License-Identifier: MIT

package sysinfo

import (
	"path"
	"strconv"
	"strings"
)

// An Importer is a device node that can import buffers.
type Importer struct {
	Path   string
	Driver string // "" if sysfs does not tell
	IOMMU  bool   // it sits behind one, so that scattered pages do
}

// String returns "video0 (vivid)".
func (i Importer) String() string {
	switch name := path.Base(i.Path); {
	case i.Driver == "":
		return name
	case i.IOMMU:
		return name + " (" + i.Driver + ", behind an IOMMU)"
	default:
		return name + " (" + i.Driver + ")"
	}
}

// importer fills in what sysfs tells of a node of a class.
func (b *Board) importer(class, name, node string) Importer {
	dev := "sys/class/" + class + "/" + name + "/device"
	i := Importer{Path: node, IOMMU: exists(b.FS, dev+"/iommu_group")}
	if driver, err := b.FS.ReadLink(dev + "/driver"); err == nil {
		i.Driver = path.Base(driver)
	}
	return i
}

// VideoDevices returns the nodes of cameras and codecs, /dev/video0 and so on.
func (b *Board) VideoDevices() ([]Importer, error) {
	entries, err := readDir(b.FS, "sys/class/video4linux")
	b.note("video devices", "/sys/class/video4linux", err)
	if err != nil {
		return nil, err
	}
	var out []Importer
	for _, e := range entries {
		// vbi, radio and sub-devices have no frames.
		number, ok := strings.CutPrefix(e.Name(), "video")
		if _, err := strconv.ParseUint(number, 10, 16); !ok || err != nil || !exists(b.FS, "dev/"+e.Name()) {
			continue
		}
		out = append(out, b.importer("video4linux", e.Name(), "/dev/"+e.Name()))
	}
	return out, nil
}

// DRMDevices returns the render nodes, and the card nodes of devices that have
// no render node.
func (b *Board) DRMDevices() ([]Importer, error) {
	entries, err := readDir(b.FS, "dev/dri")
	b.note("DRM devices", "/dev/dri", err)
	if err != nil {
		return nil, err
	}
	rendered := map[string]bool{} // parents of render nodes
	var out []Importer
	for _, prefix := range []string{"renderD", "card"} {
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), prefix) {
				continue
			}
			// Two nodes of one device have one parent in sysfs.
			parent, err := b.FS.ReadLink("sys/class/drm/" + e.Name() + "/device")
			if err == nil && rendered[parent] {
				continue
			}
			if err == nil && prefix == "renderD" {
				rendered[parent] = true
			}
			out = append(out, b.importer("drm", e.Name(), "/dev/dri/"+e.Name()))
		}
	}
	return out, nil
}
