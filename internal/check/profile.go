// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// A Profile is how a program that many boards run looks for its heap.
type Profile struct {
	Name  string
	About string
	// Heaps are tried in this order; the first that opens is used.
	Heaps []string
	// Write says that the heap is opened for writing as well.
	Write bool
	// Aborts says that a heap which exists but may not be opened ends the
	// search with an error, instead of trying the next.
	Aborts bool
	// Instead is a device that serves when no heap does.
	Instead string
	// Scattered is what goes wrong when the heap is not contiguous; "" when
	// nothing does.
	Scattered string
	// Vendor is what the program needs beside a heap and mainline has not.
	Vendor string
}

// Profiles returns the programs that are known, by name. Their names for heaps
// are in their sources, and so change rarely.
func Profiles() []Profile {
	return []Profile{
		{Name: "gstreamer", About: "GstUdmabufAllocator, since 1.28", Instead: "/dev/udmabuf"},
		{Name: "hailort", About: "HailoRT", Heaps: []string{"system"}},
		{Name: "imx", About: "libimxdmabuffer of NXP i.MX", Heaps: []string{"linux,cma", "linux,cma-uncached"}, Write: true,
			Scattered: "the codec needs contiguous memory",
			Vendor:    "the request DMA_BUF_IOCTL_PHYS, which kernels of NXP have and mainline has not"},
		{Name: "libcamera", About: "libcamera's DmaBufAllocator", Heaps: []string{"linux,cma", "reserved", "system"}, Instead: "/dev/udmabuf",
			Scattered: "cameras and displays without an IOMMU cannot use it"},
		{Name: "libiio", About: "libiio's local backend", Heaps: []string{"system"}},
		{Name: "picamera2", About: "picamera2 on Raspberry Pi", Heaps: []string{"vidbuf_cached", "linux,cma"}, Write: true, Aborts: true},
		{Name: "rockchip-mpp", About: "Rockchip's media library, for ffmpeg and GStreamer",
			Heaps: []string{"system-uncached", "system", "cma-uncached", "cma"}, Write: true},
		{Name: "rpi-ffmpeg", About: "ffmpeg of Raspberry Pi OS", Heaps: []string{"linux,cma", "reserved"}, Write: true},
		{Name: "sophgo", About: "Sophgo's NPU runtime", Heaps: []string{"carveout_npu"}, Write: true},
		{Name: "ti-edgeai", About: "TI's vision_apps and edge AI",
			Heaps: []string{"carveout_vision_apps_shared-memories", "carveout_edgeai_shared-memories", "linux,cma"}, Write: true,
			Vendor: "the device of the ti,dma-buf-phys driver, which kernels of TI have and mainline has not"},
	}
}

// profiles says of each program asked for whether it will find and open a heap
// it can use.
func (r *run) profiles() {
	for _, name := range r.o.Profiles {
		p, ok := profileByName(name)
		if !ok {
			continue // the command line knows them all
		}
		start := time.Now()
		r.put(p.def(), "", r.profile(p), time.Since(start))
	}
}

func (r *run) profile(p Profile) *outcome {
	expected := p.wants()
	var barred []string
	var first string // the heap that access is to be given to
	for _, name := range p.Heaps {
		node, ok := r.resolve(name)
		if !ok {
			continue
		}
		if !r.board.MayUse(node, p.Write) {
			if first == "" {
				first = node.Name
			}
			barred = append(barred, fmt.Sprintf("%s (mode %v, group %s)", name, heapcfg.Mode(node.Perm()), r.board.GroupName(node.Owner.GID)))
			if p.Aborts {
				break
			}
			continue
		}
		return r.usable(p, name, node, expected, barred)
	}
	if p.Instead != "" {
		if _, err := r.board.FS.Lstat(strings.TrimPrefix(p.Instead, "/")); err == nil {
			if len(p.Heaps) == 0 {
				return pass("%s is there", p.Instead)
			}
			return r.withoutCMA(p, warn("no heap; %s serves instead, with memory that is not contiguous", p.Instead).
				because(expected, r.listing(), sysinfo.HeapDir).advise("%s", shortNameAdvice(p)))
		}
	}
	switch {
	case len(barred) > 0:
		return fail("the heap is there, but this user may not open it: %s", strings.Join(barred, ", ")).
			because(expected, "permission denied", sysinfo.HeapDir).
			advise("state mode and group of the heap in heaps.yaml, and add the user of the program to the group; or add\n%s",
				r.deviceRule(heapcfg.Expected{Name: first, Mode: 0o660, Group: "video"}))
	case len(p.Heaps) == 0:
		return fail("%s is missing", p.Instead).because(expected, "no such file", "/dev").advise("build the kernel with CONFIG_UDMABUF=y")
	}
	return r.withoutCMA(p, fail("none of the heaps it looks for is there").because(expected, r.listing(), sysinfo.HeapDir).advise("%s", shortNameAdvice(p)))
}

// withoutCMA adds why a program that looks for the default CMA heap does not
// find it, where the kernel was built so.
func (r *run) withoutCMA(p Profile, o *outcome) *outcome {
	if !slices.Contains(p.Heaps, "linux,cma") && !slices.Contains(p.Heaps, "reserved") {
		return o
	}
	why, evidence, ok := r.cmaOff()
	if !ok {
		return o
	}
	o.message += "; " + why
	o.evidence += ", " + evidence
	return o.advise("%s", cmaOffAdvice)
}

// usable judges the heap that the program will take.
func (r *run) usable(p Profile, name string, node sysinfo.Node, expected string, barred []string) *outcome {
	leads := name
	if node.Name != name {
		leads += ", which is " + node.Name
	}
	why := ""
	switch {
	case p.Scattered != "" && strings.HasPrefix(node.Name, "system"):
		why = "it takes " + leads + ", which is not contiguous: " + p.Scattered
	case p.Name == "rockchip-mpp" && name != p.Heaps[0]:
		why = "it takes " + leads + " because " + p.Heaps[0] + " is missing: caches are not kept in step, which shows as stripes in encoded video"
	case len(barred) > 0:
		why = "it takes " + leads + " because it may not open " + strings.Join(barred, ", ")
	case p.Vendor != "":
		why = "it takes " + leads + ", and also needs " + p.Vendor
	}
	if why == "" {
		return pass("it takes %s", leads)
	}
	o := warn("%s", why).because(expected, leads, node.Path()).advise("%s", shortNameAdvice(p))
	if strings.HasPrefix(node.Name, "system") {
		return r.withoutCMA(p, o)
	}
	return o
}

func shortNameAdvice(p Profile) string {
	if len(p.Heaps) == 0 {
		return "build the kernel with CONFIG_UDMABUF=y"
	}
	return fmt.Sprintf("give the heap it shall use the name %s in heaps.yaml; the device rules then make that name a symlink to it", p.Heaps[0])
}

// resolve finds the heap behind a name, through a symlink if it is one.
func (r *run) resolve(name string) (sysinfo.Node, bool) {
	for range 2 {
		n := r.entry(name)
		if n == nil || n.Broken {
			break
		}
		if n.Link == "" {
			return *n, n.Device
		}
		name = n.Link
	}
	return sysinfo.Node{}, false
}

// ProfileNames returns the names of all profiles.
func ProfileNames() []string {
	var out []string
	for _, p := range Profiles() {
		out = append(out, p.Name)
	}
	return out
}

// def describes the profile as a check.
func (p *Profile) def() Def {
	return Def{"profile-" + p.Name, p.About + " finds a heap it can use",
		"With --profile " + p.Name + ": follows the search of the program, with the rights of the caller. It takes " + p.wants() + ".",
		"The program does not start, or takes a heap that does not suit it."}
}

// wants are the heaps of the profile, and what serves without one.
func (p *Profile) wants() string {
	wants := "one of " + strings.Join(p.Heaps, ", ")
	switch {
	case len(p.Heaps) == 0:
		return p.Instead
	case p.Instead != "":
		wants += ", or " + p.Instead
	}
	return wants
}

func profileByName(name string) (Profile, bool) {
	for _, p := range Profiles() {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}
