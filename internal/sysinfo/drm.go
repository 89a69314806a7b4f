// SPDX-License-Identifier: MIT

package sysinfo

import (
	"path"
	"strings"
)

// A DRMDevice is a node below /dev/dri that can import buffers.
type DRMDevice struct {
	Path   string
	Driver string // "" if sysfs does not tell
}

// DRMDevices returns the render nodes, and the card nodes of devices that have
// no render node.
func (b *Board) DRMDevices() ([]DRMDevice, error) {
	entries, err := readDir(b.FS, "dev/dri")
	b.note("DRM devices", "/dev/dri", err)
	if err != nil {
		return nil, err
	}
	rendered := map[string]bool{} // parents of render nodes
	var out []DRMDevice
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
			d := DRMDevice{Path: "/dev/dri/" + e.Name()}
			if driver, err := b.FS.ReadLink("sys/class/drm/" + e.Name() + "/device/driver"); err == nil {
				d.Driver = path.Base(driver)
			}
			out = append(out, d)
		}
	}
	return out, nil
}
