// SPDX-License-Identifier: MIT

package check

import "strings"

// A Def describes a check. Its id is a promise to scripts; the rest is for
// people, and for docs/checks.md, which is generated from it.
type Def struct {
	ID    string
	Title string // what must hold, in one sentence
	Does  string // what is read or done to find out
	Means string // what a failure means for those who use the heap
}

// The checks of the board, whose functions are methods of run.
var (
	defSupported = Def{"heaps-supported", "the kernel has DMA-BUF heaps",
		"Looks for entries in /dev/dma_heap. Without any, /sys/class/dma_heap, the kernel's configuration, its release, /dev/ion and signs of a container tell why.",
		"No program can allocate from any heap. Nothing else is tested, and heapctl ends with 4 where the kernel is the reason, with 1 where only the device nodes are missing."}
	defTree = Def{"tree-matches", "the kernel was booted with the device tree that was meant",
		"Compares the board's compatible and the regions of the lock file with /proc/device-tree.",
		"The overlay was not applied, an older one was, it is another board's, or the boot loader moved a region. What follows from it is reported below, but this is where to begin."}
	defRules = Def{"tree-rules", "the live device tree breaks no rule of the compiler",
		"Asks the rules of docs/rules.md about /proc/device-tree, and reads the kernel log for regions that overlap.",
		"An overlap that the kernel itself reports fails: it hands the shared pages out twice. Any other broken rule is a warning, since the board did boot."}
	defUnexpected = Def{"heap-unexpected", "there is no heap that nobody asked for",
		"Compares /dev/dma_heap with the heaps and short names of the lock file.",
		"A heap is a way to memory. One that nobody asked for comes from another overlay or a vendor's driver. Heaps that the kernel makes by itself are a warning."}
	defPresent = Def{"heap-present", "the heap exists under its name",
		"Looks for the device node. If it is missing, the causes are tried in turn: /sys/class/dma_heap, the live device tree, cma= on the command line, the kernel log, other names, the kernel's configuration and modules, and the rules of the compiler.",
		"Programs get \"no such file or directory\". The message is the first cause that holds; the checks of the heap are skipped."}

	defStress = Def{"stress-verify", "buffers keep their bytes under parallel allocation, and are zeroed before",
		"heapctl stress only: allocates, maps, fills, verifies and frees buffers of random sizes in parallel.",
		"Two buffers share memory, something else writes into the region, or old bytes leak from one user to the next. The seed in the message repeats the run."}
	defStressLost = Def{"stress-lost", "everything that was taken came back",
		"heapctl stress only: compares the memory in use and the open descriptors with those before the run.",
		"The driver loses memory or descriptors, unless another program took some meanwhile."}
)

// heapDefs are the checks of one heap that is there, in the order of the run:
// what tells most about why the rest may fail comes first.
var heapDefs = []check{
	{Def{"heap-mode", "the device node has the mode that was meant",
		"Compares the permission bits of the node with the lock file, and looks for the rule of udev or mdev that decides them.",
		"Too few bits lock the users of the heap out, too many let everybody in. The kernel's own default is 0600."}, needNode, (*target).mode},
	{Def{"heap-owner", "the device node has the owner that was meant",
		"Compares the owner of the node with the lock file and /etc/passwd.",
		"A service that runs as that user cannot open the heap."}, needNode, (*target).owner},
	{Def{"heap-group", "the device node has the group that was meant",
		"Compares the group of the node with the lock file and /etc/group.",
		"Members of the group cannot open the heap. A group that the image has not is ignored by udev and mdev without a word."}, needNode, (*target).group},
	{Def{"heap-link", "the short name leads to the heap",
		"Follows the symlink of the short name in /dev/dma_heap.",
		"Programs that open the heap by its short name do not find it; the full name has the address in it and moves with the region."}, needNode, (*target).link},
	{Def{"heap-access", "the caller may open the heap",
		"Holds the user, the groups of this process and the node's mode against each other.",
		"Nothing about the memory can be tested by this user. The message tells the usual reasons apart: not in the group, in the group only since after this login, a container without the group, root only."}, needNode, (*target).access},
	{Def{"heap-size", "the heap has the size that was meant",
		"Compares the size in /sys/kernel/dma_heap, /sys/kernel/mm/cma or /sys/kernel/debug/cma with the lock file.",
		"Buffers that fit on paper will not. The usual causes are cma= on the command line and an overlay of another compile run."}, needNode, (*target).size},
	{Def{"heap-place", "the heap lies where it was meant to, in reserved memory",
		"Looks for the range in /proc/iomem, and compares the base address where the kernel tells it.",
		"The kernel uses the same memory for something else, or there is no RAM."}, needNode, (*target).place},
	{Def{"heap-free", "the heap is not held or fragmented by others",
		"Reads how much is used and the largest free block, and finds the processes and devices that hold buffers through /proc/PID/fd, /proc/PID/maps and debugfs.",
		"Large buffers cannot be had although the heap is large enough. A quick run only warns, since a camera may be running."}, needNode, (*target).free},
	{Def{"alloc-page", "the smallest allocation is one page",
		"Opens the heap, allocates one byte and looks at the size of the buffer.",
		"Nothing can be allocated, and the rest is skipped; or sizes are rounded in an unusual way, which breaks programs that compute offsets."}, needOpen, (*target).allocPage},
	{Def{"alloc-sizes", "allocation from one page up to the share of this run",
		"Allocates and frees sizes that double, none a multiple of the page.",
		"Some sizes fail although there is room."}, needOpen, (*target).allocSizes},
	{Def{"bad-args", "wrong arguments are refused",
		"Sends DMA_HEAP_IOCTL_ALLOC with sizes, flags and descriptors that mainline refuses.",
		"A program's mistake becomes a crash or a hang of the kernel later."}, needOpen, (*target).badArgs},
	{Def{"struct-size", "programs built from older and newer headers work",
		"Calls with the shorter struct of old headers and a longer one of the future.",
		"Programs break when the kernel or their headers are updated."}, needOpen, (*target).structSize},
	{Def{"mmap-refused", "device-only memory cannot be mapped",
		"Tries to map a buffer of a heap whose access is device-only.",
		"The CPU can see memory that was meant for devices alone."}, needOpen, (*target).mmapRefused},
	{Def{"zeroed", "new buffers hold no old bytes",
		"Reads a new buffer of the size of the run's share.",
		"One program reads what another, or the boot loader, left."}, needMap, (*target).zeroed},
	{Def{"write-read", "what is written is read back through another mapping",
		"Fills a buffer with a pattern that differs from page to page, unmaps, maps again and compares.",
		"The memory is not what it seems: no RAM behind it, or something else writes there."}, needMap, (*target).writeRead},
	{Def{"place-pages", "the pages of a buffer are contiguous and inside the region",
		"Reads the page frames of a mapping from /proc/self/pagemap, where the kernel shows them: it does to root, and to 6.1 of CMA heaps; later kernels map by frame number and show none.",
		"The heap takes its memory from elsewhere, or devices without an IOMMU cannot use it."}, needMap, (*target).placePages},
	{Def{"mmap-partial", "mapping with offset and partial length",
		"Maps four pages one by one and compares each with its place in the buffer.",
		"Programs that map the planes of a frame one by one see the wrong plane."}, needMap, (*target).mmapPartial},
	{Def{"mmap-beyond", "mapping past the end is refused",
		"Tries three mappings that end behind the buffer.",
		"A program can see memory of others."}, needMap, (*target).mmapBeyond},
	{Def{"mmap-readonly", "a read-only buffer cannot be mapped for writing",
		"Allocates with O_RDONLY and tries to map for writing.",
		"A buffer cannot be handed out for reading only."}, needMap, (*target).mmapReadOnly},
	{Def{"sync", "CPU access begins and ends, and wrong flags are refused",
		"Sends DMA_BUF_IOCTL_SYNC for reading, writing, both, and with wrong flags.",
		"Caches and devices disagree: stripes and stale frames."}, needMap, (*target).sync},
	{Def{"zeroed-reuse", "memory is zeroed before it is used again",
		"Fills buffers, frees them, allocates again and looks; large ones and small ones.",
		"One program reads what another left."}, needMap, (*target).zeroedReuse},
	{Def{"zeroed-process", "memory of a program that died is zeroed before another gets it",
		"Has a second process fill a buffer and be killed, then allocates as much and looks.",
		"A crash hands the memory of one program to the next."}, needMap, (*target).zeroedProcess},
	{Def{"exporter-death", "a buffer outlives the program that allocated it",
		"Has a second process fill a buffer, pass it here through a unix socket, and be killed.",
		"A display or an encoder loses its frame when the camera program ends."}, needMap, (*target).exporterDeath},
	{Def{"no-alias", "no two live buffers share a byte",
		"Fills up to 16 live buffers with patterns of their own, and only then compares them.",
		"Programs overwrite each other: regions overlap, or the driver hands memory out twice."}, needMap, (*target).noAlias},
	{Def{"fd-pass", "a buffer survives being passed on and its first owner closing it",
		"Passes a buffer through a unix socket, or a second descriptor where there are no sockets, and closes the first.",
		"Buffers cannot be shared between programs."}, needOpen, (*target).fdPass},
	{Def{"import-drm", "which display and render devices can import from the heap (--import)",
		"With --import: has each node below /dev/dri import a buffer for a moment (DRM_IOCTL_PRIME_FD_TO_HANDLE).",
		"No display or GPU can use the heap. It is a warning: nothing says that one was meant to."}, needOpen, (*target).importDRM},
	{Def{"import-v4l2", "which cameras and codecs can import from the heap (--import)",
		"With --import: has each capture device below /dev take a buffer of the size of its frame, and give it back before anything streams (VIDIOC_REQBUFS, VIDIOC_QBUF).",
		"No camera or codec can use the heap. It is a warning: nothing says that one was meant to."}, needOpen, (*target).importV4L2},
	{Def{"alloc-largest", "one buffer as large as the region allows",
		"With --full: allocates the largest free block, or finds the largest that works, and writes and reads all of it.",
		"The heap is fragmented, pages in a CMA area cannot be moved away, or the region is not all there."}, needWhole, (*target).allocLargest},
	{Def{"alloc-exhaust", "exhaustion gives ENOMEM, and everything comes back",
		"With --full: takes the heap in pieces until it is empty, frees all, and takes the largest block again.",
		"Programs that wait for memory get the wrong error, or the driver loses memory."}, needWhole, (*target).allocExhaust},
	{Def{"fd-leak", "no descriptor was left open",
		"Counts /proc/self/fd before and after all checks of the heap.",
		"A long-running program runs out of descriptors."}, needOpen, (*target).fdLeak},
}

// heapChecks returns the checks of one heap.
func heapChecks() []check { return heapDefs }

// Defs returns all checks of a run, in their order.
func Defs() []Def {
	out := []Def{defSupported, defTree, defRules, defPresent}
	for _, c := range heapChecks() {
		out = append(out, c.Def)
	}
	return append(out, defUnexpected)
}

// AllDefs returns Defs and what other verbs report under ids of their own.
func AllDefs() []Def { return append(Defs(), defStress, defStressLost) }

// DefByID returns the check with an id.
func DefByID(id string) (Def, bool) {
	for _, d := range AllDefs() {
		if d.ID == id {
			return d, true
		}
	}
	if name, ok := strings.CutPrefix(id, "profile-"); ok {
		p, ok := profileByName(name)
		return p.def(), ok
	}
	return Def{}, false
}
