// SPDX-License-Identifier: MIT

package check

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// supported checks that the kernel has heaps at all. Without, nothing else can
// be tested, and the report says that the kernel is the reason.
func (r *run) supported(dirErr error) bool {
	start := time.Now()
	if dirErr == nil && len(r.nodes) > 0 {
		r.put(defSupported, "", pass("%s has %d entries", sysinfo.HeapDir, len(r.nodes)), time.Since(start))
		return true
	}
	if dirErr == nil {
		dirErr = errEmpty
	}
	o := r.whyUnsupported(dirErr)
	r.put(defSupported, "", o, time.Since(start))
	return false
}

var errEmpty = errors.New("an empty directory")

func (r *run) whyUnsupported(dirErr error) *outcome {
	want := "the directory " + sysinfo.HeapDir
	found := sysinfo.Reason(dirErr)
	if errors.Is(dirErr, fs.ErrPermission) {
		return blocked("%s cannot be read", sysinfo.HeapDir).because(want, found, sysinfo.HeapDir).
			advise("run as root, or give the caller access to %s", sysinfo.HeapDir)
	}
	if names, err := r.board.Registered(); err == nil && len(names) > 0 {
		have := strings.Join(names, ", ")
		if c := r.board.Container(); c != "" {
			return fail("the container was not given the heaps of its host").
				because(want, "the kernel has "+have+", the "+c+" container has no device nodes", "/sys/class/dma_heap").
				advise("%s", containerAdvice(c, names))
		}
		return fail("the kernel has heaps, but nothing made their device nodes").
			because(want, "the kernel has "+have, "/sys/class/dma_heap").
			advise("mount devtmpfs on /dev (CONFIG_DEVTMPFS=y, CONFIG_DEVTMPFS_MOUNT=y), or start udev or mdev")
	}
	r.rep.Unsupported = true
	cfg, err := r.board.Config()
	switch {
	case err == nil && cfg.Value("DMABUF_HEAPS") == "":
		o := fail("the kernel was built without CONFIG_DMABUF_HEAPS").because(want, "CONFIG_DMABUF_HEAPS is not set", cfg.Path)
		if _, err := r.board.FS.Lstat("dev/ion"); err == nil && cfg.Has("DMABUF_HEAPS") {
			o = fail("the kernel has ION (/dev/ion), the predecessor of DMA-BUF heaps, and was built without CONFIG_DMABUF_HEAPS").
				because(want, "/dev/ion, and CONFIG_DMABUF_HEAPS is not set", cfg.Path)
			return o.advise("build the kernel with the config fragment that heapctl compile writes beside the overlay; it begins with\nCONFIG_DMABUF_HEAPS=y\nprograms written for ION must be ported: it is gone since 5.11")
		}
		if !r.board.Kernel.IsZero() && !cfg.Has("DMABUF_HEAPS") && r.board.Kernel.Before(heapcfg.Version{Major: 5, Minor: 6}) {
			return r.tooOld(want, found)
		}
		return o.advise("build the kernel with the config fragment that heapctl compile writes beside the overlay; it begins with\nCONFIG_DMABUF_HEAPS=y")
	case !r.board.Kernel.IsZero() && r.board.Kernel.Before(heapcfg.Version{Major: 5, Minor: 6}):
		return r.tooOld(want, found)
	case err == nil:
		return fail("the kernel has the framework, but no heap is registered").because(want, found, cfg.Path).
			advise("set CONFIG_DMABUF_HEAPS_SYSTEM=y and CONFIG_DMABUF_HEAPS_CMA=y, or load the heap modules (CONFIG_...=m)")
	}
	return fail("the kernel has no DMA-BUF heaps").because(want, found, sysinfo.HeapDir).
		advise("build the kernel with CONFIG_DMABUF_HEAPS=y and the heaps that are wanted; CONFIG_IKCONFIG_PROC=y lets heapctl see what is missing")
}

func (r *run) tooOld(want, found string) *outcome {
	o := fail("Linux %s is older than DMA-BUF heaps, which came with 5.6", r.board.Release)
	if _, err := r.board.FS.Lstat("dev/ion"); err == nil {
		o = fail("Linux %s has ION (/dev/ion), the predecessor of DMA-BUF heaps", r.board.Release)
		found = "/dev/ion"
	}
	return o.because(want, found, "/proc/sys/kernel/osrelease").
		advise("use a kernel with the heaps backported, or one from 5.6 on; programs written for ION must be ported")
}

// containerAdvice says how the engine is told to let the heaps in.
func containerAdvice(engine string, heaps []string) string {
	if engine == "kubepods" {
		return "mount /dev/dma_heap of the node into the pod (hostPath) and add the group of the nodes to supplementalGroups"
	}
	var devs []string
	for _, h := range heaps {
		devs = append(devs, "--device /dev/dma_heap/"+h)
	}
	return fmt.Sprintf("start it with %s\nand --group-add with the number of the group that owns the nodes on the host (ls -ln /dev/dma_heap there)", strings.Join(devs, " "))
}

// treeMatches compares the regions of the lock with those of the live device
// tree: was the overlay applied, to this board, and did the boot loader leave
// the regions where they were.
func (r *run) treeMatches() {
	start := time.Now()
	if len(r.lock.Layout.Regions) == 0 && len(r.lock.Heaps) == 0 {
		return
	}
	if r.lock.Config == "" {
		return // the lock was made of this very tree
	}
	r.put(defTree, "", r.compareTrees(), time.Since(start))
}

func (r *run) compareTrees() *outcome {
	if r.layout == nil {
		_, err := r.board.Layout()
		return skip("the live device tree cannot be used: %s", sysinfo.Reason(err))
	}
	evidence := sysinfo.TreePath + "/reserved-memory"
	var missing, moved, resized, wanted []string
	for i := range r.lock.Layout.Regions {
		want := &r.lock.Layout.Regions[i]
		if !want.Active() || !want.FromConfig {
			continue
		}
		wanted = append(wanted, want.Node)
		got := r.liveRegion(want.Node)
		switch {
		case got == nil:
			missing = append(missing, want.Node)
		case !got.Active():
			missing = append(missing, want.Node+" (disabled)")
		case !want.Dynamic && !got.Dynamic && got.Range.Base == want.Range.Base && got.Range.Size != want.Range.Size:
			resized = append(resized, fmt.Sprintf("%s: meant %s, has %s", want.Node, heapcfg.FormatSize(want.Range.Size), heapcfg.FormatSize(got.Range.Size)))
		case !want.Dynamic && (got.Range != want.Range || got.Dynamic):
			moved = append(moved, fmt.Sprintf("%s: meant %v, has %v", want.Node, want.Range, got.Range))
		}
	}
	expected := "the regions " + strings.Join(wanted, ", ")
	if want, got := r.lock.Layout.Board.Compatible, r.layout.Board.Compatible; len(want) > 0 && len(got) > 0 && want[0] != got[0] {
		return fail("this board is not the one the heaps were compiled for").
			because("compatible "+want[0], "compatible "+got[0], sysinfo.TreePath+"/compatible").
			advise("compile heaps.yaml against the device tree of this board: heapctl compile heaps.yaml --base /sys/firmware/fdt")
	}
	switch {
	case len(wanted) == 0:
		return skip("the lock has no region of its own")
	case len(missing) == len(wanted):
		return fail("the overlay was not applied: none of its regions is in the live device tree").
			because(expected, r.liveRegions(), evidence).
			advise("%s", overlayAdvice)
	case len(missing) > 0:
		return fail("the live device tree lacks %s: another version of the overlay, or another base tree, was booted", strings.Join(missing, ", ")).
			because(expected, r.liveRegions(), evidence).
			advise("%s", overlayAdvice)
	case len(resized) > 0:
		return fail("a region has another size than was meant: %s", strings.Join(resized, ", ")).
			because("the sizes of "+r.lock.Config, strings.Join(resized, "\n"), evidence).
			advise("install the overlay and the lock of one and the same compile run: this overlay is older, or another one changes the region")
	case len(moved) > 0:
		return fail("the boot loader, or another overlay, moved a region").
			because("the addresses of "+r.lock.Config, strings.Join(moved, "\n"), evidence).
			advise("install the overlay and the lock of one and the same compile run; look for a fixup of /reserved-memory in the boot loader")
	}
	return pass("all %d regions of %s are in the live device tree", len(wanted), r.lock.Config)
}

// treeRules asks the compiler's rules about the live device tree. What the
// kernel confirmed in its log is a failure; the rest is a warning, since the
// board did boot.
func (r *run) treeRules() {
	if r.layout == nil || len(r.o.Heaps) > 0 {
		return
	}
	start := time.Now()
	r.put(defRules, "", r.brokenRules(), time.Since(start))
}

func (r *run) brokenRules() *outcome {
	lines, _ := r.board.Log()
	for i, line := range lines {
		if !strings.Contains(line, "OVERLAP DETECTED!") {
			continue
		}
		if i+1 < len(lines) && strings.Contains(lines[i+1], "overlaps with") {
			line = lines[i+1] // the kernel breaks the line after the exclamation mark
		}
		return fail("the kernel found regions that overlap: %s", line).
			because("regions apart from each other", fmt.Sprintf("%q", line), "dmesg").
			advise("move one of them in heaps.yaml or in the base tree; the kernel hands the shared pages out twice")
	}
	n := 0
	var first heapcfg.Finding
	for _, f := range heapcfg.Lint(r.layout) {
		if f.Level != heapcfg.Error {
			continue
		}
		if n == 0 {
			first = f
		}
		n++
	}
	if n == 0 {
		return pass("%d regions keep all rules", len(r.layout.Regions))
	}
	more := ""
	if n > 1 {
		more = fmt.Sprintf(" (and %d more)", n-1)
	}
	return warn("%s%s", first.Message, more).because("", "the rule "+first.ID+" is broken", first.Place.String()).advise("%s", first.Fix)
}

const overlayAdvice = "apply the .dtbo in the boot loader, before the kernel starts; the kernel reserves nothing for overlays applied later.\n" +
	"U-Boot: fdt addr ${fdt_addr_r}; fdt resize 8192; fdt apply ${fdtoverlay_addr_r}\n" +
	"or at build time: fdtoverlay -i base.dtb -o board.dtb heaps.dtbo"

// liveRegion returns a child of the live /reserved-memory by its node name.
func (r *run) liveRegion(node string) *heapcfg.Region {
	if r.layout == nil {
		return nil
	}
	for i := range r.layout.Regions {
		if r.layout.Regions[i].Node == node {
			return &r.layout.Regions[i]
		}
	}
	return nil
}

func (r *run) liveRegions() string {
	if r.layout == nil || len(r.layout.Regions) == 0 {
		return "no regions"
	}
	var out []string
	for _, x := range r.layout.Regions {
		out = append(out, x.Node)
	}
	return "the regions " + strings.Join(out, ", ")
}

// present checks that the heap is there under its name, and if not, why.
func (r *run) present(e heapcfg.Expected) (sysinfo.Node, *outcome) {
	want := fmt.Sprintf("the device node %s/%s", sysinfo.HeapDir, e.Name)
	if n := r.entry(e.Name); n != nil {
		switch {
		case n.Link != "":
			return *n, fail("%s is a symlink to %s, not a heap", n.Path(), n.Link).because(want, "a symlink", n.Path()).
				advise("remove it: rm %s\nand find what made it; the kernel has no heap of this name", n.Path())
		case !n.Device:
			return *n, fail("%s is no device node", n.Path()).because(want, n.Mode.String(), n.Path()).
				advise("remove it: rm %s\nand mount devtmpfs on /dev", n.Path())
		}
		return *n, pass("%s, %s", n.Path(), describe(e))
	}
	o := r.whyMissing(e)
	if o.expected == "" {
		o.expected = want
	}
	if o.found == "" {
		o.found = r.listing()
	}
	if o.evidence == "" {
		o.evidence = sysinfo.HeapDir
	}
	return sysinfo.Node{Name: e.Name}, o
}

// describe says in a few words what a heap is.
func describe(e heapcfg.Expected) string {
	s := string(e.Kind)
	if s == "" {
		s = "of a kind that is not known"
	}
	if e.Range.Size > 0 {
		s += ", " + heapcfg.FormatSize(e.Range.Size)
		if !e.Dynamic {
			s += fmt.Sprintf(" at %v", e.Range.Base)
		}
	}
	if e.Access != "" && e.Access != heapcfg.Cached {
		s += ", " + string(e.Access)
	}
	if e.SharedWith != "" {
		s += ", the same memory as " + e.SharedWith
	}
	return s
}

func (r *run) listing() string {
	var out []string
	for _, n := range r.nodes {
		if n.Link == "" {
			out = append(out, n.Name)
		}
	}
	if len(out) == 0 {
		return "no heap"
	}
	return "the heaps " + strings.Join(out, ", ")
}

// ownHeap reports whether kernels make the heap without being asked: the
// default CMA area, and heaps of the page allocator, which have no region
// (system, system-contig, system_cc_shared).
func ownHeap(name string) bool {
	return name == heapcfg.DefaultCMAName || name == "reserved" || strings.HasPrefix(name, "system")
}

// unexpected names the heaps and links that the lock does not know.
func (r *run) unexpected() {
	if r.ctx.Err() != nil {
		return
	}
	any := false
	for _, n := range r.nodes {
		start := time.Now()
		if len(r.o.Heaps) > 0 && !slices.Contains(r.o.Heaps, n.Name) {
			continue
		}
		expected := expects(r.meant, n.Name)
		if r.meant.Config == "" {
			expected = expects(r.lock, n.Name) || n.Link != "" && !n.Broken
		}
		if expected {
			continue
		}
		any = true
		r.put(defUnexpected, n.Name, r.strange(n), time.Since(start))
	}
	// The live tree is no list of what was meant, and a few heaps are not all.
	if !any && r.meant.Config != "" && len(r.o.Heaps) == 0 {
		r.put(defUnexpected, "", pass("every heap that is there was meant"), 0)
	}
}

func (r *run) strange(n sysinfo.Node) *outcome {
	const want = "only the heaps of the lock"
	switch {
	case n.Link != "" && n.Broken:
		return warn("a symlink that leads nowhere: %s", n.Link).because(want, "a broken symlink", n.Path()).advise("rm %s", n.Path())
	case n.Link != "":
		return warn("a symlink to %s that the lock does not know", n.Link).because(want, "a symlink", n.Path()).
			advise("if a program needs it, state it in heaps.yaml as the short name of the heap; else find the device rule or the script that makes it")
	case ownHeap(n.Name):
		return warn("the kernel brings this heap by itself").because(want, n.Name, n.Path()).
			advise("%s", r.ownAdvice(n.Name))
	}
	why := "nobody asked for it in the config"
	if reg := r.liveRegion(n.Name); reg != nil {
		why = "the live device tree has its region, the config has not"
	}
	return fail("an unexpected heap: %s", why).because(want, n.Name, n.Path()).
		advise("add it to heaps.yaml if it is wanted; else remove the node %s from /reserved-memory, or set status = \"disabled\"", n.Name)
}

func (r *run) ownAdvice(name string) string {
	switch name {
	case "reserved", heapcfg.DefaultCMAName:
		return r.otherDefaultAdvice()
	case "system":
		return "state it in heaps.yaml to have its mode and group checked, or build the kernel without CONFIG_DMABUF_HEAPS_SYSTEM"
	}
	return "build the kernel without the driver of this heap if nobody needs it; each heap is a way to memory"
}

// otherDefaultAdvice is about a default CMA area that is not the one of the lock.
func (r *run) otherDefaultAdvice() string {
	stated := r.lock.Layout.DefaultCMA()
	if stated == nil {
		return "it is the default CMA area (CONFIG_CMA_SIZE_MBYTES, or cma= on the command line); state a default CMA heap in heaps.yaml to have it where you want it"
	}
	if val, ok := r.board.Param("cma"); ok {
		return fmt.Sprintf("cma=%s on the kernel command line brings it, in the place of %s; remove cma=%s from there", val, stated.Node, val)
	}
	if r.entry(stated.Node) == nil {
		return "the kernel makes it because it has no " + stated.Node + ", which was to be the default CMA area: see why that is missing"
	}
	// arch/arm/mm/init.c, arm_memblock_init: dma_contiguous_reserve() comes
	// before the regions are set up. Seen on 7.3. riscv does so up to 6.18, where
	// that area is no heap.
	return "32-bit ARM reserves a default area of its own before it looks at the one in the device tree, which takes its place; a kernel with CONFIG_CMA_SIZE_MBYTES=0 does without (not cma=0: that turns off the other one)"
}
