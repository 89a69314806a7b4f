// SPDX-License-Identifier: MIT

package check

import (
	"strings"
	"syscall"
	"testing"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
	"github.com/dmaheap/dmaheap/internal/sysinfo/sysinfotest"
)

// The classes of failure that boards have had in the field, each as people met
// it. What stands first in the report must name the cause, and the advice the
// way out. internal/check/vmfault makes what of it can be made in a booted
// machine.
func TestFieldFailures(t *testing.T) {
	const node = "dev/dma_heap/video@54000000"
	ann := &sysinfo.Caller{UID: 1000, Groups: []int{1000}}
	noLock := func(s *setup) { s.lock = heapcfg.NewLock("", &heapcfg.Layout{}) }
	bare := func() sysinfotest.FS {
		m := sysinfotest.FS{}
		m.File("proc/sys/kernel/osrelease", "6.12.117\n")
		m.File("proc/cmdline", "console=ttyAMA0\n")
		m.File("etc/group", "root:x:0:\nvideo:x:44:ann\n")
		m.File("run/udev/control", "")
		return m
	}
	for _, tt := range []struct {
		class  string
		name   string
		set    func(s *setup)
		id     string
		says   string
		advice string
	}{
		{"heap-perm", "nodes are 0600 and root's, as the kernel makes them", func(s *setup) {
			noLock(s)
			s.fs.Device(node, 0o600, sysinfo.Owner{})
			s.caller = ann
		}, "heap-access", "only root may open it", `SUBSYSTEM=="dma_heap", KERNEL=="video@54000000", MODE="0660", GROUP="video"`},
		{"heap-perm", "the user joined the group after this login", func(s *setup) { s.caller = ann }, "heap-access", "in group video since after this login", "log in again; until then: newgrp video"},
		{"heap-perm", "another rule decides", func(s *setup) {
			s.fs.Device(node, 0o660, sysinfo.Owner{GID: 105})
			s.fs.File("usr/lib/udev/rules.d/99-board.rules", `SUBSYSTEM=="dma_heap", GROUP="render"`+"\n")
		}, "heap-group", "not to video", "99-board.rules:1 decides"},
		{"heap-perm", "a rule that never matches", func(s *setup) {
			s.fs.Device(node, 0o600, sysinfo.Owner{})
			s.fs.File("etc/udev/rules.d/99-heap.rules", `KERNEL=="dma_heap/*", MODE="0660"`+"\n")
		}, "heap-mode", "0600, not 0660", "has no directory"},
		{"heap-perm-container", "the host is right, the container lacks the group", func(s *setup) {
			s.fs.File(".dockerenv", "")
			s.caller = ann
		}, "heap-access", "the docker container lacks the group", "--group-add 44"},
		{"heap-missing-kconfig", "no heaps in the kernel", func(s *setup) {
			s.fs = bare()
			config(s.fs, "# CONFIG_DMABUF_HEAPS is not set\n")
		}, "heaps-supported", "built without CONFIG_DMABUF_HEAPS", "CONFIG_DMABUF_HEAPS=y"},
		{"heap-missing-kconfig", "the default CMA heap went with an upgrade", func(s *setup) {
			s.fs = bare()
			s.fs.Device("dev/dma_heap/system", 0o660, sysinfo.Owner{GID: 44})
			config(s.fs, "CONFIG_DMABUF_HEAPS=y\nCONFIG_DMABUF_HEAPS_CMA=y\nCONFIG_DMA_CMA=y\nCONFIG_CMA_SIZE_MBYTES=0\n")
			s.lock = heapcfg.NewLock("heaps.yaml", &heapcfg.Layout{})
			s.lock.Heaps = []heapcfg.Expected{{Name: "reserved", Kind: heapcfg.CMA, Access: heapcfg.Cached}}
		}, "heap-present", "CONFIG_CMA_SIZE_MBYTES=0", "CONFIG_CMA_SIZE_MBYTES of more than 0"},
		{"heap-missing-kconfig", "the heap is a module", func(s *setup) {
			clearHeap(s.fs)
			config(s.fs, "CONFIG_DMABUF_HEAPS=y\nCONFIG_DMABUF_HEAPS_CARVEOUT=m\n")
		}, "heap-present", "a module that is not loaded", "modprobe"},
		{"heap-name", "a program looks for a name that this kernel does not give", func(s *setup) {
			noLock(s)
			s.fs = bare()
			s.fs.Device("dev/dma_heap/cma", 0o660, sysinfo.Owner{GID: 44})
			s.o.Profiles = []string{"libcamera"}
		}, "profile-libcamera", "none of the heaps it looks for", "the name linux,cma in heaps.yaml"},
		{"heap-name", "somebody made a link over it", func(s *setup) {
			clearHeap(s.fs)
			s.fs.Device("dev/dma_heap/default_cma_region", 0o660, sysinfo.Owner{GID: 44})
			delete(s.fs, "dev/dma_heap/system")
			s.fs.Link("dev/dma_heap/system", "default_cma_region")
			s.lock.Heaps = []heapcfg.Expected{{Name: "system", Kind: heapcfg.System, Access: heapcfg.Cached}}
		}, "heap-present", "a symlink to default_cma_region, not a heap", "rm /dev/dma_heap/system"},
		{"heap-wrong-kind", "a cached heap serves in silence", func(s *setup) {
			noLock(s)
			s.fs = bare()
			s.fs.Device("dev/dma_heap/system", 0o666, sysinfo.Owner{})
			s.dev = newFakeKernel(40<<20, faults{})
			s.o.Profiles = []string{"rockchip-mpp"}
		}, "profile-rockchip-mpp", "caches are not kept in step, which shows as stripes", "the name system-uncached"},
		{"heap-wrong-kind", "a display without an IOMMU gets scattered pages", func(s *setup) {
			s.fs.Device("dev/dma_heap/system", 0o660, sysinfo.Owner{})
			s.fs.Device("dev/dri/card0", 0o660, sysinfo.Owner{})
			s.lock.Heaps = []heapcfg.Expected{{Name: "system", Kind: heapcfg.System, Access: heapcfg.Cached}}
			refused := &dmaheap.Error{Op: dmaheap.OpImport, Err: syscall.EINVAL}
			s.dev = newFakeKernel(40<<20, faults{importErr: map[string]error{"/dev/dri/card0": refused}, referenceErr: refused})
			s.o = Options{Import: true, Heaps: []string{"system"}}
		}, "import-drm", "no device can import from this heap", "no IOMMU and takes contiguous memory only"},
		{"cma-too-small", "much is free, but in pieces", func(s *setup) {
			s.fs.File("sys/kernel/dma_heap/video@54000000/largest_free", "65536\n")
			s.o.Full = true
		}, "heap-free", "fragmented: 2MiB are free, but the largest block has only 64KiB", "allocate large buffers first"},
		{"cma-too-small", "another program holds it", func(s *setup) {
			s.fs.File("sys/kernel/dma_heap/video@54000000/used", "1900544\n")
			s.fs.File("proc/412/comm", "camera\n")
			s.fs.Link("proc/412/fd/5", "/dmabuf:frame")
			s.fs.File("proc/412/fdinfo/5", "size:\t1900544\nexp_name:\tvideo@54000000\n")
			s.o.Full = true
		}, "heap-free", "held by camera[412]", "end the programs that hold it"},
		{"cma-cmdline-conflict", "cma= takes the place of the region", func(s *setup) {
			s.fs = bare()
			s.fs.File("proc/cmdline", "console=ttyAMA0 cma=32M\n")
			s.fs.Device("dev/dma_heap/reserved", 0o660, sysinfo.Owner{GID: 44})
			withTree(s.fs, "linux,cma@50000000", 0x50000000, 64<<20, "shared-dma-pool", "reusable linux,cma-default")
			s.lock = nil
		}, "heap-present", "cma=32M on the kernel command line", "remove cma=32M"},
		{"region-rejected", "the cells of /reserved-memory differ from the root's", func(s *setup) {
			clearHeap(s.fs)
			s.fs.File(treeRoot+"reserved-memory/#size-cells", be(1))
			s.log = "OF: reserved mem: Reserved memory: unsupported node format, ignoring\n"
		}, "heap-present", "the kernel ignores all of /reserved-memory", "#size-cells"},
		{"region-rejected", "base and size are not aligned", func(s *setup) {
			s.fs = bare()
			s.fs.Device("dev/dma_heap/system", 0o660, sysinfo.Owner{GID: 44})
			config(s.fs, "CONFIG_DMABUF_HEAPS_CMA=y\nCONFIG_DMA_CMA=y\n")
			withTree(s.fs, "linux,cma@50100000", 0x50100000, 64<<20, "shared-dma-pool", "reusable linux,cma-default")
			s.lock, s.log = nil, "Reserved memory: incorrect alignment of CMA region\n"
		}, "heap-present", "not aligned as CMA needs it", "to 4MiB"},
		{"region-overlap", "two regions share pages", func(s *setup) {
			s.log = "OF: reserved mem: OVERLAP DETECTED!\nvideo@54000000 (0x54000000--0x54200000) overlaps with fw@54100000 (0x54100000--0x54200000)\n"
		}, "tree-rules", "overlaps with fw@54100000", "move one of them"},
		{"region-boot-collision", "the boot loader put the initrd there", func(s *setup) {
			clearHeap(s.fs)
			s.fs.File(treeRoot+"chosen/linux,initrd-start", be(0x54000000))
			s.fs.File(treeRoot+"chosen/linux,initrd-end", be(0x54100000))
			s.log = "OF: reserved mem: failed to reserve memory for node 'video@54000000': base 0x0000000054000000, size 2 MiB\n"
		}, "heap-present", "the initrd (0x54000000..0x540fffff) is already there", "move the region"},
		{"vendor-heap-absent", "a vendor's program on a mainline kernel", func(s *setup) {
			s.o.Profiles = []string{"ti-edgeai"}
			s.caller = ann
			s.caller = &sysinfo.Caller{Groups: []int{0}}
		}, "profile-ti-edgeai", "none of the heaps it looks for", "carveout_vision_apps_shared-memories in heaps.yaml"},
		{"stale-ion", "a kernel from before heaps", func(s *setup) {
			s.fs = bare()
			s.fs.File("proc/sys/kernel/osrelease", "4.19.232\n")
			s.fs.Device("dev/ion", 0o666, sysinfo.Owner{})
		}, "heaps-supported", "has ION (/dev/ion)", "programs written for ION must be ported"},
	} {
		s := setup{fs: videoBoard(), lock: videoLock()}
		tt.set(&s)
		if s.lock == nil {
			s.lock = liveLock(t, s.fs)
		}
		r := s.run(t)
		first := firstBad(r)
		if first.ID != tt.id || !strings.Contains(first.Message, tt.says) || !strings.Contains(first.Advice, tt.advice) {
			t.Errorf("[%s] %s: the first is %s %s: %s\nadvice: %s\nwant %s with %q, advice with %q\n%s",
				tt.class, tt.name, first.Status, first.ID, first.Message, first.Advice, tt.id, tt.says, tt.advice, dump(r))
		}
	}
}

// firstBad is the result a person looks at first: a failure, else what could
// not be tested, else a warning of an import or a profile.
func firstBad(r *report.Report) report.Result {
	if r.Summary.First != nil {
		return *r.Summary.First
	}
	if r.Summary.Blocked != nil {
		return *r.Summary.Blocked
	}
	for _, x := range r.Results {
		if x.Status == report.Warn && (strings.HasPrefix(x.ID, "import-") || strings.HasPrefix(x.ID, "profile-")) {
			return x
		}
	}
	return report.Result{Message: "nothing is wrong"}
}

// liveLock expects what the board's own device tree asks for.
func liveLock(t *testing.T, m sysinfotest.FS) *heapcfg.Lock {
	t.Helper()
	b := sysinfo.New(m, sysinfo.Options{PageSize: 4096})
	layout, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	return heapcfg.NewLock("", layout)
}
