// SPDX-License-Identifier: MIT

package sysinfo_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
	"github.com/dmaheap/dmaheap/internal/sysinfo/sysinfotest"
)

var root = &sysinfo.Caller{UID: 0, Groups: []int{0}}

func board(m sysinfotest.FS) *sysinfo.Board {
	return sysinfo.New(m, sysinfo.Options{PageSize: 4096, Caller: root})
}

func TestNodes(t *testing.T) {
	m := sysinfotest.FS{}
	m.Device("dev/dma_heap/system", 0o600, sysinfo.Owner{Major: 254})
	m.Device("dev/dma_heap/video@54000000", 0o660, sysinfo.Owner{GID: 44, Major: 254, Minor: 2})
	m.Link("dev/dma_heap/video", "video@54000000")
	m.Link("dev/dma_heap/gone", "../nowhere")
	m.File("dev/dma_heap/junk", "x")
	nodes, err := board(m).Nodes()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range nodes {
		s := n.Name
		if n.Device {
			s += " device"
		}
		if n.Link != "" {
			s += " -> " + n.Link
		}
		if n.Broken {
			s += " broken"
		}
		got = append(got, s)
	}
	want := []string{"gone -> ../nowhere broken", "junk", "system device", "video -> video@54000000", "video@54000000 device"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Nodes (-want +got):\n%s", d)
	}
	if o := nodes[4].Owner; o.GID != 44 || o.Minor != 2 {
		t.Errorf("owner of video@54000000 is %+v, want group 44 and minor 2", o)
	}
}

// Each kernel shows the memory of a heap in other files.
func TestUsage(t *testing.T) {
	const MiB = 1 << 20
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  map[string]uint64
		from  string
	}{
		{"our heaps", map[string]string{
			"sys/kernel/dma_heap/video@54000000/size": "33554432\n", "sys/kernel/dma_heap/video@54000000/used": "4096\n",
			"sys/kernel/dma_heap/video@54000000/largest_free": "33550336\n", "sys/kernel/dma_heap/video@54000000/buffers": "1\n",
		}, map[string]uint64{"size": 32 * MiB, "used": 4096, "largest": 32*MiB - 4096}, "/sys/kernel/dma_heap/video@54000000/size"},
		{"debugfs since 6.1", map[string]string{
			"sys/kernel/debug/cma/video@54000000/count": "8192\n", "sys/kernel/debug/cma/video@54000000/used": "16\n",
			"sys/kernel/debug/cma/video@54000000/maxchunk": "4096\n", "sys/kernel/debug/cma/video@54000000/base_pfn": "344064\n",
		}, map[string]uint64{"size": 32 * MiB, "used": 64 << 10, "largest": 16 * MiB, "base": 0x54000000}, "/sys/kernel/debug/cma/video@54000000/count"},
		{"debugfs of 5.10", map[string]string{"sys/kernel/debug/cma/cma-video@54000/count": "8192\n"},
			map[string]uint64{"size": 32 * MiB}, "/sys/kernel/debug/cma/cma-video@54000/count"},
		{"sysfs of 7.3", map[string]string{
			"sys/kernel/mm/cma/video@54000000/total_pages": "8192\n", "sys/kernel/mm/cma/video@54000000/available_pages": "8000\n",
		}, map[string]uint64{"size": 32 * MiB, "used": 192 * 4096}, "/sys/kernel/mm/cma/video@54000000/total_pages"},
		{"more pages than 64 bits hold", map[string]string{"sys/kernel/debug/cma/video@54000000/count": "18446744073709551615\n"},
			map[string]uint64{}, ""},
		{"no number", map[string]string{"sys/kernel/dma_heap/video@54000000/size": "lots\n"}, map[string]uint64{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := sysinfotest.FS{}
			for name, content := range tt.files {
				m.File(name, content)
			}
			u := board(m).Usage("video@54000000")
			got := map[string]uint64{}
			for name, q := range map[string]sysinfo.Quantity{"size": u.Size, "used": u.Used, "largest": u.Largest, "base": u.Base} {
				if q.Known() {
					got[name] = q.Value
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("Usage (-want +got):\n%s", d)
			}
			if u.Size.From != tt.from {
				t.Errorf("the size is from %q, want %q", u.Size.From, tt.from)
			}
		})
	}
}

const iomem = `40000000-55ffffff : System RAM
  40200000-4080ffff : Kernel code
  50000000-55ffffff : reserved
56000000-563fffff : reserved
56400000-5fffffff : System RAM
`

func TestPlaced(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("proc/iomem", iomem)
	b := board(m)
	for _, tt := range []struct {
		base heapcfg.Addr
		size uint64
		want sysinfo.Place
	}{
		{0x54000000, 32 << 20, sysinfo.PlaceReserved},
		{0x55000000, 20 << 20, sysinfo.PlaceReserved}, // two entries that touch
		{0x56000000, 4 << 20, sysinfo.PlaceReserved},
		{0x4f000000, 32 << 20, sysinfo.PlacePartly},
		{0x58000000, 4 << 20, sysinfo.PlaceRAM},
		{0x80000000, 4 << 20, sysinfo.PlaceOutside},
	} {
		got, err := b.Placed(heapcfg.Range{Base: tt.base, Size: tt.size})
		if err != nil || got != tt.want {
			t.Errorf("Placed(%v, %d) = %q, %v, want %q", tt.base, tt.size, got, err, tt.want)
		}
	}
	// 32-bit ARM shows RAM there, and what is reserved in debugfs or nowhere.
	arm := sysinfotest.FS{}
	arm.File("proc/iomem", "40000000-6f7fffff : System RAM\n  40208000-407fffff : Kernel code\n")
	video := heapcfg.Range{Base: 0x54000000, Size: 32 << 20}
	if got, err := board(arm).Placed(video); err != nil || got != sysinfo.PlaceUntold {
		t.Errorf("Placed on ARM without debugfs = %q, %v, want %q", got, err, sysinfo.PlaceUntold)
	}
	arm.File("sys/kernel/debug/memblock/reserved", "   0: 0x0000000040204000..0x0000000040ffffff    NONE\n   1: 0x54000000..0x55ffffff\n")
	if got, err := board(arm).Placed(video); err != nil || got != sysinfo.PlaceReserved {
		t.Errorf("Placed on ARM = %q, %v, want %q", got, err, sysinfo.PlaceReserved)
	}
	video.Base += 4 << 20
	if got, err := board(arm).Placed(video); err != nil || got != sysinfo.PlacePartly {
		t.Errorf("Placed on ARM = %q, %v, want %q", got, err, sysinfo.PlacePartly)
	}
	hidden := sysinfotest.FS{}
	hidden.File("proc/iomem", "00000000-00000000 : System RAM\n  00000000-00000000 : reserved\n")
	if _, err := board(hidden).Placed(heapcfg.Range{Base: 0x1000, Size: 4096}); err == nil {
		t.Error("Placed believes addresses that an unprivileged reader sees as 0")
	}
}

func TestRules(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("usr/lib/udev/rules.d/60-media.rules", `SUBSYSTEM=="dma_heap",GROUP="render",MODE="0660"`+"\n")
	m.File("etc/udev/rules.d/60-heaps.rules", "# heaps\n"+
		`SUBSYSTEM=="dma_heap", KERNEL=="video@*|npu", \`+"\n"+`  GROUP="video", SYMLINK+="dma_heap/video"`+"\n")
	m.File("etc/udev/rules.d/99-broken.rules", `KERNEL=="dma_heap/*", GROUP="wheel"`+"\n")
	m.File("lib/udev/rules.d/60-heaps.rules", `SUBSYSTEM=="dma_heap", GROUP="hidden"`+"\n")
	b := board(m)
	rules, err := b.Rules()
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) != 3 {
		t.Fatalf("%d rules, want 3: %+v", len(rules), rules)
	}
	if r := rules[0]; r.File != "/etc/udev/rules.d/60-heaps.rules" || r.Line != 2 {
		t.Errorf("the first rule is %s:%d, want /etc/udev/rules.d/60-heaps.rules:2", r.File, r.Line)
	}
	// 60-media sorts after 60-heaps, and so wins; the broken rule never
	// matches, since kernel names have no directory.
	for _, tt := range []struct{ heap, key, want string }{
		{"video@54000000", "GROUP", "render"}, {"system", "GROUP", "render"},
		{"npu", "SYMLINK", "dma_heap/video"}, {"system", "SYMLINK", ""},
	} {
		if _, got, _ := b.Deciding(tt.heap, tt.key); got != tt.want {
			t.Errorf("Deciding(%s, %s) = %q, want %q", tt.heap, tt.key, got, tt.want)
		}
	}
}

// The patterns of udev(7).
func TestRulePatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, heap string
		want          bool
	}{
		{"video@*", "video@54000000", true}, {"video", "video@54000000", false}, {"npu|video@*", "video@54000000", true}, {"np?", "npu", true},
		{"heap[0-3]", "heap2", true}, {"heap[0-3]", "heap7", false}, {"heap[!0-3]", "heap7", true}, {"heap[!0-3]", "heap2", false}, {"[", "[", false}, {`a\b`, `a\b`, true},
	} {
		r := sysinfo.Rule{Match: []sysinfo.Pair{{Key: "KERNEL", Op: "==", Value: tt.pattern}}}
		if got := r.Applies(tt.heap); got != tt.want {
			t.Errorf("a rule for %s applies to %s: %v, want %v", tt.pattern, tt.heap, got, tt.want)
		}
	}
}

// Rules as they were found in the wild: one matches a name with a directory,
// one lost its quotes to a shell.
func TestBrokenRules(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("etc/udev/rules.d/99-a.rules", `KERNEL=="dma_heap/*", GROUP="wheel"`+"\n")
	m.File("etc/udev/rules.d/99-b.rules", `SUBSYSTEM==dma_heap, MODE=0660`+"\n")
	b := board(m)
	for key, want := range map[string]string{"GROUP": "has no directory", "MODE": "lacks its quotes"} {
		if r, ok := b.BrokenRule(key); !ok || !strings.Contains(r.Broken, want) {
			t.Errorf("BrokenRule(%s) = %+v, %v, want %q", key, r, ok, want)
		}
		if r, _, ok := b.Deciding("video", key); ok {
			t.Errorf("%s of %+v is said to decide", key, r)
		}
	}
	if r, ok := b.BrokenRule("OWNER"); ok {
		t.Errorf("BrokenRule(OWNER) = %+v, want none", r)
	}
}

func TestMdev(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("etc/mdev.conf", "# heaps\n$MODALIAS=.* root:root 660 @modprobe \"$MODALIAS\"\n"+
		`dma_heap/linux,cma@50000000 root:video 660 @ln -sf linux,cma@50000000 /dev/dma_heap/cma`+"\n"+
		"-dma_heap/[v root:root 600\ndma_heap/.* root:render 640\n")
	b := board(m)
	if got := b.DeviceManager(); got != sysinfo.Mdev {
		t.Errorf("DeviceManager = %q, want mdev", got)
	}
	for _, tt := range []struct {
		heap, key, want string
		line            int
	}{
		{"linux,cma@50000000", "GROUP", "video", 3},
		{"linux,cma@50000000", "MODE", "0660", 3},
		{"linux,cma@50000000", "SYMLINK", "dma_heap/cma", 3},
		{"linux,cma@500000000", "GROUP", "render", 5}, // all of the name must match
		{"video", "MODE", "0640", 5},
	} {
		if r, got, ok := b.Deciding(tt.heap, tt.key); got != tt.want || !ok || r.Line != tt.line {
			t.Errorf("Deciding(%s, %s) = line %d, %q, %v; want line %d, %q", tt.heap, tt.key, r.Line, got, ok, tt.line, tt.want)
		}
	}
	m.File("run/udev/control", "")
	if got := board(m).DeviceManager(); got != sysinfo.Udev {
		t.Errorf("DeviceManager with /run/udev = %q, want udev", got)
	}
	if got := board(sysinfotest.FS{}).DeviceManager(); got != sysinfo.NoManager {
		t.Errorf("DeviceManager of a bare board = %q, want none", got)
	}
}

func TestAccess(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("etc/group", "root:x:0:\nvideo:x:44:ann,bob\nbroken\n")
	b := sysinfo.New(m, sysinfo.Options{Caller: &sysinfo.Caller{UID: 1000, Groups: []int{1000, 44}}})
	for _, tt := range []struct {
		mode uint32
		o    sysinfo.Owner
		want bool
	}{
		{0o600, sysinfo.Owner{}, false},
		{0o660, sysinfo.Owner{GID: 44}, true},
		{0o606, sysinfo.Owner{GID: 44}, false}, // the group's bits decide for its members
		{0o660, sysinfo.Owner{GID: 45}, false},
		{0o664, sysinfo.Owner{GID: 45}, true},
		{0o600, sysinfo.Owner{UID: 1000}, true},
	} {
		n := sysinfo.Node{Mode: 0, Owner: tt.o}
		n.Mode |= 0o777 & (1<<9 - 1) & fileMode(tt.mode)
		if got := b.MayOpen(n); got != tt.want {
			t.Errorf("MayOpen(%o, %+v) = %v, want %v", tt.mode, tt.o, got, tt.want)
		}
	}
	if gid, ok, err := b.GroupID("video"); gid != 44 || !ok || err != nil {
		t.Errorf("GroupID(video) = %d, %v, %v, want 44", gid, ok, err)
	}
	if _, ok, err := b.GroupID("render"); ok || err != nil {
		t.Errorf("GroupID(render) = %v, %v, want neither", ok, err)
	}
	if got := b.GroupName(44); got != "video" {
		t.Errorf("GroupName(44) = %q, want video", got)
	}
}

func fileMode(m uint32) os.FileMode { return os.FileMode(m) }

func TestConfig(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte("CONFIG_DMABUF_HEAPS=y\n# CONFIG_DMABUF_HEAPS_CMA is not set\nCONFIG_DMABUF_HEAPS_SYSTEM=m\nCONFIG_CMA_AREAS=20\n"))
	w.Close()
	m := sysinfotest.FS{}
	m.File("proc/config.gz", z.String())
	m.File("proc/sys/kernel/osrelease", "6.12.117-yocto\n")
	b := board(m)
	c, err := b.Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.Value("DMABUF_HEAPS") != "y" || c.Value("DMABUF_HEAPS_SYSTEM") != "m" || c.Value("DMABUF_HEAPS_CMA") != "" {
		t.Errorf("config = %+v", c)
	}
	if !c.Has("DMABUF_HEAPS_CMA") || c.Has("DMABUF_HEAPS_CARVEOUT") {
		t.Error("a symbol that is not set is not told from one that does not exist")
	}
	if got := b.Target(); got.Kernel.String() != "6.12" || got.CMAAreas != 20 {
		t.Errorf("Target() = %+v, want 6.12 with 20 areas", got)
	}
}

// Kernels without sysctl tell their release in another file.
func TestRelease(t *testing.T) {
	for _, tt := range []struct{ file, content, want string }{
		{"proc/sys/kernel/osrelease", "6.12.117-yocto\n", "6.12"},
		{"proc/version", "Linux version 7.3.4 (a@b) (gcc 12.2.0) #1 SMP\n", "7.3"},
		{"proc/version", "Darwin\n", "0.0"},
	} {
		m := sysinfotest.FS{}
		m.File(tt.file, tt.content)
		if got := board(m).Kernel.String(); got != tt.want {
			t.Errorf("the kernel of %q is %s, want %s", tt.content, got, tt.want)
		}
	}
}

func TestLog(t *testing.T) {
	log := "<6>[    0.000000] Linux version 6.12\n<3>[    0.000001] Reserved memory: incorrect alignment of CMA region\nno stamp\n"
	b := sysinfo.New(sysinfotest.FS{}, sysinfo.Options{Caller: root, Log: func() ([]byte, error) { return []byte(log), nil }})
	got, err := b.Log()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Linux version 6.12", "Reserved memory: incorrect alignment of CMA region", "no stamp"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Log (-want +got):\n%s", d)
	}
	for _, s := range b.Sources() {
		if s.Name == "kernel log" && s.Err != nil {
			t.Errorf("the log reaches back to the boot, but is noted with %v", s.Err)
		}
	}
}

func TestHolders(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("proc/412/comm", "camera\n")
	for fd, size := range map[string]string{"7": "8388608", "8": "4096"} {
		m.Link("proc/412/fd/"+fd, "/dmabuf:")
		m.File("proc/412/fdinfo/"+fd, "pos:\t0\nsize:\t"+size+"\ncount:\t2\nexp_name:\tvideo@54000000\n")
	}
	m.Link("proc/412/fd/1", "/dev/console")
	m.File("proc/9/comm", "sh\n")
	m.File("proc/cpuinfo", "")
	got, hidden, err := board(m).Holders()
	if err != nil || hidden != 0 {
		t.Fatalf("Holders: %d hidden, %v", hidden, err)
	}
	want := []sysinfo.Holder{{PID: 412, Comm: "camera", Heap: "video@54000000", Buffers: 2, Bytes: 8392704}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Holders (-want +got):\n%s", d)
	}
}

// Whose descriptors were not to be seen is said, not left out.
func TestHiddenHolders(t *testing.T) {
	m := sysinfotest.FS{}
	m.Forbid("proc/1/fd")
	m.Forbid("proc/2/fd")
	b := board(m)
	holders, hidden, err := b.Holders()
	if err != nil || hidden != 2 || len(holders) != 0 {
		t.Errorf("Holders = %v, %d hidden, %v; want none and 2 hidden", holders, hidden, err)
	}
	if !slices.ContainsFunc(b.Sources(), func(s sysinfo.Source) bool {
		return s.Path == "/proc" && s.Err != nil && strings.Contains(s.Err.Error(), "2 processes")
	}) {
		t.Errorf("no source tells of it: %v", b.Sources())
	}
}

// Without a device tree the names that the kernel gives by itself tell the kind.
func TestKinds(t *testing.T) {
	want := map[string]heapcfg.Kind{"system": heapcfg.System, "system-contig": heapcfg.System,
		"reserved": heapcfg.CMA, "default_cma_region": heapcfg.CMA, "vendor": ""}
	m := sysinfotest.FS{}
	for name := range want {
		m.Device("dev/dma_heap/"+name, 0o600, sysinfo.Owner{})
	}
	heaps, err := board(m).Heaps()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]heapcfg.Kind{}
	for _, h := range heaps {
		got[h.Name] = h.Kind
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("kinds (-want +got):\n%s", d)
	}
}

// A configuration that unpacks to more than a kernel has is not unpacked.
func TestConfigBomb(t *testing.T) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	for range 5 {
		if _, err := z.Write(bytes.Repeat([]byte("CONFIG_A=y\n"), 1<<20/11)); err != nil {
			t.Fatal(err)
		}
	}
	z.Close()
	m := sysinfotest.FS{}
	m.File("proc/config.gz", buf.String())
	if c, err := board(m).Config(); err == nil {
		t.Errorf("Config took %s, want an error", c.Path)
	}
}

// A program that closed its descriptors still holds what it has mapped, and one
// that has two of a buffer holds it once.
func TestHoldersByMapping(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("sys/kernel/debug/dma_buf/bufinfo", "00004096\t00000002\t00080007\t00000001\tvideo@54000000\t00000021\tframe\n"+
		"00008192\t00000002\t00080007\t00000001\tvideo@54000000\t00000022\t<none>\n")
	m.File("proc/7/comm", "player\n")
	m.File("proc/7/fd/0", "")
	for _, fd := range []string{"5", "6"} {
		m.Link("proc/7/fd/"+fd, "/dmabuf:")
		m.File("proc/7/fdinfo/"+fd, "ino:\t22\nsize:\t8192\nexp_name:\tvideo@54000000\n")
	}
	m.File("proc/7/maps", "ffff8000-ffff9000 rw-s 00000000 00:0b 21 /dmabuf:frame\n"+
		"ffffa000-ffffc000 rw-s 00000000 00:0b 22 /dmabuf:\nffffd000-ffffe000 r--p 00000000 00:01 9 /lib/x.so\nbroken\n")
	got, _, err := board(m).Holders()
	if err != nil {
		t.Fatal(err)
	}
	want := []sysinfo.Holder{{PID: 7, Comm: "player", Heap: "video@54000000", Buffers: 2, Bytes: 12288}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Holders (-want +got):\n%s", d)
	}
}

func TestContainer(t *testing.T) {
	for _, tt := range []struct{ file, content, want string }{
		{".dockerenv", "", "docker"},
		{"run/.containerenv", "", "podman"},
		{"proc/1/environ", "HOME=/\x00container=lxc\x00", "lxc"},
		{"proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "kubepods"},
		{"proc/1/cgroup", "0::/init.scope\n", ""},
	} {
		m := sysinfotest.FS{}
		m.File(tt.file, tt.content)
		if got := board(m).Container(); got != tt.want {
			t.Errorf("Container() with %s %q = %q, want %q", tt.file, tt.content, got, tt.want)
		}
	}
}

// A source that does not answer is remembered, with its reason.
func TestSources(t *testing.T) {
	m := sysinfotest.FS{}
	m.Forbid("proc/iomem")
	b := board(m)
	if _, err := b.IOMem(); err == nil {
		t.Fatal("IOMem read a file that is forbidden")
	}
	if _, err := b.Tree(); err == nil {
		t.Fatal("Tree found a device tree on a board without")
	}
	var got []string
	for _, s := range b.Sources() {
		got = append(got, s.Path+": "+sysinfo.Reason(s.Err))
	}
	want := []string{
		"/proc/version: file does not exist", "/proc/cmdline: file does not exist",
		"/proc/iomem: permission denied", "/proc/device-tree: this machine was not booted with a device tree",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Sources (-want +got):\n%s", d)
	}
}

// A file that does not end is refused, not read into memory.
func TestEndlessFile(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("proc/iomem", strings.Repeat("00000000-00000fff : x\n", 1<<18))
	if _, err := board(m).IOMem(); err == nil {
		t.Error("IOMem read more than a kernel writes")
	}
}

// DirFS must not wait for the writer of a pipe, nor leave its directory by
// name.
func TestDirFS(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	fsys := sysinfo.DirFS(dir)
	if _, err := fsys.Open("../a"); err == nil {
		t.Error("DirFS opens a path outside of it")
	}
	if fi, err := fsys.Lstat("a"); err != nil || fi.Size() != 1 {
		t.Errorf("Lstat(a) = %v, %v", fi, err)
	}
	if _, err := fsys.ReadLink("a"); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadLink of a plain file = %v", err)
	}
}

// FuzzText feeds one text to every reader of board files. None may panic, and
// each must give an answer or an error.
func FuzzText(f *testing.F) {
	f.Add([]byte(iomem))
	f.Add([]byte(`SUBSYSTEM=="dma_heap", KERNEL=="[x", GROUP="video", \` + "\n"))
	f.Add([]byte("CONFIG_X=\"\nvideo:x:44:a,b\n<6>[ 0.0] text\nsize:\t18446744073709551616\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := sysinfotest.FS{}
		for _, name := range []string{
			"proc/iomem", "proc/config.gz", "boot/config-6.12", "etc/group", "etc/passwd", "etc/udev/rules.d/1.rules", "proc/cmdline",
			"proc/1/environ", "proc/1/cgroup", "proc/7/comm", "proc/7/maps", "sys/kernel/debug/dma_buf/bufinfo", "proc/7/fdinfo/3", "sys/kernel/dma_heap/x/size", "sys/kernel/debug/cma/x/count",
		} {
			m.File(name, string(data))
		}
		m.File("proc/sys/kernel/osrelease", "6.12")
		m.Link("proc/7/fd/3", "/dmabuf:")
		b := sysinfo.New(m, sysinfo.Options{Caller: root, PageSize: 4096, Log: func() ([]byte, error) { return data, nil }})
		if res, err := b.IOMem(); err != nil && res != nil {
			t.Error("IOMem gives both a result and an error")
		}
		b.Config()
		b.Log()
		b.Groups()
		b.GroupID("video")
		b.UserID("video")
		b.Deciding("x", "GROUP")
		b.Holders()
		b.Container()
		b.Param("cma")
		b.Usage("x")
		b.Placed(heapcfg.Range{Base: 0x1000, Size: 0x1000})
	})
}
