// SPDX-License-Identifier: MIT

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/initramfs"
	"github.com/dmaheap/dmaheap/test/bench"
)

const mib = 1 << 20

// A region is a child of /reserved-memory and what must come of it.
type region struct {
	name       string
	compatible string
	reg        string // cells
	more       string // other properties, as source
	base, size uint64

	heap bool   // it becomes a heap
	says string // the one line of the log that says why not, behind the name
	// before612 is says where an older kernel sees it differently.
	before612 string
	before510 string
	// fatal: no kernel before 5.10 survives it, with the patches or without.
	fatal bool
	// free: no page of it is the region's own, since the kernel could not
	// reserve it.
	free bool
}

func cells(base, size uint64) string {
	return fmt.Sprintf("%#x %#x %#x %#x", base>>32, base&(1<<32-1), size>>32, size&(1<<32-1))
}

// asks returns a region whose node asks to be a heap.
func asks(compatible, name string, base, size uint64) region {
	return region{name: name, compatible: compatible, reg: cells(base, size), base: base, size: size}
}

func carveout(name string, base, size uint64) region {
	return asks(heapcfg.CompatCarveout, name, base, size)
}

func (r region) with(more string) region { r.more += more + " "; return r }
func (r region) isHeap() region          { r.heap = true; return r }
func (r region) refused(s string) region { r.says = s; return r }
func (r region) older(s string) region   { r.before612 = s; return r }
func (r region) oldest(s string) region  { r.before510 = s; return r }
func (r region) killsOldest() region     { r.fatal = true; return r }
func (r region) unreserved() region      { r.free = true; return r }

// source returns the node as device tree source.
func (r region) source() string {
	s := r.name + " { " + r.more
	if r.compatible != "" {
		s += fmt.Sprintf("compatible = %q; ", r.compatible)
	}
	if r.reg != "" {
		s += "reg = <" + r.reg + ">; "
	}
	return s + "};\n"
}

const notReserved = "the kernel did not reserve it; an earlier 'reserved mem' line says why"

// overInitrd is what becomes of a region on the initrd, whether that is being
// unpacked still or was given back already.
const (
	overInitrd  = "covers the initrd; move the region or the initrd"
	afterInitrd = "is in use by the kernel; move the region"
)

// broken is one tree with a mistake of every kind, and heaps between them that
// must not be affected. 4 KiB pages.
func broken() []region {
	chunk := func(name string, base uint64, size uint32) region {
		return asks(heapcfg.CompatChunk, name, base, mib).with(fmt.Sprintf("chunk-size = <%#x>;", size))
	}
	long := "long" + strings.Repeat("g", 300) + "@51f00000"
	two := carveout("two@50c00000", 0x50c0_0000, mib)
	two.reg += " " + cells(0x50d0_0000, mib)
	return []region{
		carveout("first@50000000", 0x5000_0000, mib).isHeap(),
		carveout("unaligned@50200800", 0x5020_0800, mib).
			refused("0x0000000050200800+0x100000 is not a multiple of the page size, 0x1000; align address and size"),
		carveout("odd@50400000", 0x5040_0000, mib+0x800).
			refused("0x0000000050400000+0x100800 is not a multiple of the page size, 0x1000; align address and size"),
		carveout("zero@50600000", 0x5060_0000, 0).refused(notReserved).unreserved(),
		carveout("reusable@50800000", 0x5080_0000, mib).with("reusable;").
			refused("'reusable' memory belongs to the page allocator; remove 'reusable', or make it a \"shared-dma-pool\""),
		carveout("combine@50a00000", 0x50a0_0000, mib).with("write-combining;").
			refused("'write-combining' needs 'no-map', or the kernel maps the memory cached as well; add 'no-map'"),
		two.refused("'reg' has more than one entry; give each its own node"),
		carveout("left@50e00000", 0x50e0_0000, mib).isHeap(),
		carveout("right@50e80000", 0x50e8_0000, mib).
			refused("0x0000000050e80000+0x100000 overlaps heap left@50e00000; correct 'reg'"),
		asks("", "firmware@51080000", 0x5108_0000, mib),
		carveout("over@51000000", 0x5100_0000, mib).
			refused("0x0000000051000000+0x100000 overlaps region firmware@51080000; correct 'reg'"),
		chunk("odd-chunks@51400000", 0x5140_0000, 0x30000).
			refused("'chunk-size' 0x30000 does not divide the region, 0x100000; correct either"),
		chunk("no-chunks@51500000", 0x5150_0000, 0).
			refused("'chunk-size' 0x0 is not a multiple of the page size, 0x1000; correct it"),
		chunk("half-chunks@51600000", 0x5160_0000, 0x1800).
			refused("'chunk-size' 0x1800 is not a multiple of the page size, 0x1000; correct it"),
		chunk("large-chunks@51700000", 0x5170_0000, 4*mib).
			refused("'chunk-size' 0x400000 does not divide the region, 0x100000; correct either"),
		asks(heapcfg.CompatChunk, "some-chunks@51800000", 0x5180_0000, mib).
			refused("it has no 'chunk-size'; add one, in bytes"),
		chunk("chunks@51a00000", 0x51a0_0000, 0x10000).isHeap(),
		carveout("twin@51c00000", 0x51c0_0000, mib).isHeap(),
		carveout("twin@51c00000", 0x51d0_0000, mib).refused("another heap has this name; rename the node"),
		carveout(long, 0x51f0_0000, mib).refused("the name is longer than 255 characters; shorten it"),
		carveout("name-of-its-own-length-"+strings.Repeat("n", 100)+"@52100000", 0x5210_0000, mib).isHeap(),
		carveout("kernel@40200000", 0x4020_0000, mib).
			refused("0x0000000040200000+0x100000 covers the kernel image; move the region"),
		carveout("initrd@48000000", 0x4800_0000, mib).
			refused("0x0000000048000000+0x100000 " + overInitrd).unreserved(),
		carveout("outside@80000000", 0x8000_0000, mib).
			refused("0x0000000080000000+0x100000 is not all RAM; correct 'reg', or add 'no-map' if it is device memory").unreserved(),
		carveout("edge@5ff80000", 0x5ff8_0000, mib).
			refused("0x000000005ff80000+0x100000 is not all RAM; correct 'reg', or add 'no-map' if it is device memory").unreserved(),
		carveout("mapped@40300000", 0x4030_0000, mib).with("no-map;").
			refused("0x0000000040300000+0x100000 is mapped by the kernel in spite of 'no-map'; move the region").unreserved().
			killsOldest(), // it takes the kernel image out of the linear map
		{name: "dynamic", compatible: heapcfg.CompatCarveout, more: "size = <0 0x30000000>; ", says: notReserved, free: true},
		carveout("last@52300000", 0x5230_0000, mib).isHeap(),
	}
}

// many are 65 regions: before 6.12 the kernel keeps track of 64, before 5.10 of
// 32.
func many() []region {
	var out []region
	for i := range uint64(65) {
		base := 0x5000_0000 + i*mib
		r := carveout(fmt.Sprintf("r%d@%x", i, base), base, mib).isHeap()
		if i == 64 {
			r = r.older(notReserved)
		}
		if i >= 32 {
			r = r.oldest(notReserved)
		}
		out = append(out, r)
	}
	return out
}

// A hostile or broken tree costs the heap concerned and nothing else: one line
// says why, the other heaps are there, and the memory stays reserved.
func TestHostileTrees(t *testing.T) {
	b, ctx := bench.SetupAny(t)
	for name, regions := range map[string][]region{"broken": broken(), "65-regions": many()} {
		t.Run(name, func(t *testing.T) { bootRegions(ctx, t, b, regions) })
	}
}

var noHeap = regexp.MustCompile(`(?m)^.*\] \w+: (.*: no heap: .*)$`)

func bootRegions(ctx context.Context, t *testing.T, b *bench.Bench, regions []region) {
	old := b.Line.Before(heapcfg.Version{Major: 6, Minor: 12})
	oldest := b.Line.Before(heapcfg.Version{Major: 5, Minor: 10})
	var nodes string
	var wantLines, wantHeaps, kept []string
	for _, r := range regions {
		if oldest && r.fatal {
			continue
		}
		nodes += r.source()
		if oldest && r.before510 != "" {
			r.heap, r.says = false, r.before510
		}
		if old && r.before612 != "" {
			r.heap, r.says = false, r.before612
		}
		if r.heap {
			wantHeaps = append(wantHeaps, r.name)
		}
		if r.says != "" {
			wantLines = append(wantLines, r.name[:min(len(r.name), 64)]+": no heap: "+r.says)
		}
		if !r.free {
			kept = append(kept, fmt.Sprintf("%#x+%#x", r.base, r.size))
		}
	}
	inside, err := b.GuestTest(ctx, "test/inside")
	if err != nil {
		t.Fatal(err)
	}
	vm := b.VM(ctx, t, initramfs.Plan{KeepGoing: true, Run: [][]string{
		{"/bin/inside", "ls", "/dev/dma_heap"},
		{"/bin/inside", "-inside", "-test.v", "-test.run", "^(TestReserved|TestImporter)$", "-reserved", strings.Join(kept, ",")},
		{"/bin/inside", "log"},
	}}, bench.File(t, "/bin/inside", inside, 0o755))
	vm.DTB = forced(ctx, t, b, nodes)
	res := bench.Boot(ctx, t, vm)
	if len(res.Commands) != 3 || res.Exit != 0 {
		t.Fatalf("exit %d after %d commands", res.Exit, len(res.Commands))
	}
	var lines []string
	for _, m := range noHeap.FindAllStringSubmatch(res.Commands[2].Output, -1) {
		line := m[1]
		if strings.HasPrefix(line, "initrd@") {
			line = strings.Replace(line, afterInitrd, overInitrd, 1)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	slices.Sort(wantLines)
	if d := cmp.Diff(wantLines, lines); d != "" {
		t.Errorf("the kernel log (-want +got):\n%s", d)
	}
	var heaps []string
	for _, h := range strings.Fields(res.Commands[0].Output) {
		if h != "system" && h != "system-contig" && !strings.HasPrefix(h, "default_cma") && h != "reserved" && h != "linux,cma" {
			heaps = append(heaps, h)
		}
	}
	slices.Sort(heaps)
	slices.Sort(wantHeaps)
	if d := cmp.Diff(wantHeaps, heaps); d != "" {
		t.Errorf("the heaps (-want +got):\n%s", d)
	}
}

// forced returns the base tree with nodes that dtc refuses unless it is forced.
func forced(ctx context.Context, t *testing.T, b *bench.Bench, nodes string) string {
	t.Helper()
	dir := t.TempDir()
	source, dtb := filepath.Join(dir, "board.dts"), filepath.Join(dir, "board.dtb")
	base, err := exec.CommandContext(ctx, "dtc", "-q", "-I", "dtb", "-O", "dts", b.Base).Output()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s\n/ { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;\n%s}; };\n", base, nodes)
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(ctx, "dtc", "-q", "-f", "-I", "dts", "-O", "dtb", "-o", dtb, source).CombinedOutput(); err != nil {
		t.Fatalf("dtc: %v\n%s", err, said)
	}
	return dtb
}
