// SPDX-License-Identifier: MIT

package heapcfg

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// An Import is a heaps.yaml made from the device tree of a board as it is.
type Import struct {
	YAML []byte
	// Nodes are the paths of what became heaps and must leave the board's tree
	// before the config is compiled against it. The config switches off the rest.
	Nodes []string
	Heaps int // how many heaps the config has
	Left  int // how many nodes could not be translated
}

// ImportTree writes the config of the heaps that a device tree has: CMA
// regions, carveout and chunk heaps, those of TI, and the heap nodes of the
// ION drivers of Qualcomm, HiSilicon, Allwinner, Rockchip, MediaTek, Samsung,
// Spreadtrum and the kernel's staging tree. What cannot be translated stands
// in a comment with the reason.
func ImportTree(name string, t *fdt.Tree, target Target) (*Import, []Finding) {
	l, findings := FromTree(name, t, target)
	if l == nil {
		return nil, findings
	}
	m := &importer{Layout: l, tree: t, file: name, names: map[string]bool{}}
	m.regions()
	_ = t.Walk(func(path string, n *fdt.Node) error {
		if strings.HasPrefix(path, "/__") {
			return fdt.SkipChildren
		}
		m.ion(path, n)
		return nil
	})
	nodes, _ := m.superseded()
	return &Import{YAML: m.yaml(), Nodes: nodes, Heaps: len(m.heaps), Left: len(m.left)}, findings
}

// importHeap is one heap to be written, with what a person should know.
type importHeap struct {
	HeapConfig
	notes []string
}

type importer struct {
	*Layout
	tree  *fdt.Tree
	file  string
	heaps []*importHeap
	left  []string // what could not be translated, and why
	nodes []string
	names map[string]bool
	seen  int // ION heaps
}

func (m *importer) skip(path, format string, args ...any) {
	m.left = append(m.left, path+": "+fmt.Sprintf(format, args...))
}

// add adds a heap under a name that the language takes and no other heap has.
func (m *importer) add(path, name string, h HeapConfig, notes ...string) *importHeap {
	want, _, _ := strings.Cut(name, "@")
	h.Name = strings.Map(func(c rune) rune {
		if c < 0x80 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(",._+-", c)) {
			return c
		}
		return '-'
	}, want)
	if h.Name == "" || !(h.Name[0] >= 'a' && h.Name[0] <= 'z' || h.Name[0] >= 'A' && h.Name[0] <= 'Z') {
		h.Name = "heap-" + h.Name
	}
	h.Name = h.Name[:min(len(h.Name), 31)]
	for base, i := h.Name, 2; m.names[h.Name] || h.Name == "system" && h.Kind != System; i++ {
		suffix := fmt.Sprintf("-%d", i)
		h.Name = base[:min(len(base), 31-len(suffix))] + suffix
	}
	m.names[h.Name] = true
	if h.Name != want {
		notes = append(notes, fmt.Sprintf("called %s in the tree", name))
	}
	out := &importHeap{HeapConfig: h, notes: append([]string{"from " + path}, notes...)}
	m.heaps = append(m.heaps, out)
	if !slices.Contains(m.nodes, path) {
		m.nodes = append(m.nodes, path)
	}
	return out
}

// regions translates the children of /reserved-memory.
func (m *importer) regions() {
	for i := range m.Regions {
		r := &m.Regions[i]
		path := r.Source.Path
		if !r.Active() {
			if r.Heap != nil {
				m.skip(path, "status says that it is switched off")
			}
			continue
		}
		switch r.Kind {
		case CMA, Carveout, Chunk:
			m.region(path, r)
		case Coherent:
			m.skip(path, "a coherent pool serves dma_alloc_coherent of its devices; it stays in the board's tree")
		case Swiotlb:
			m.skip(path, "a restricted-dma-pool is for bounce buffers; it stays in the board's tree")
		default:
			m.vendorRegion(path, r)
		}
	}
}

// heapOf makes the config of a region, without its name.
func (m *importer) heapOf(r *Region, kind Kind) (HeapConfig, []string) {
	h := HeapConfig{Kind: kind, Size: r.Range.Size, Access: Cached, Default: r.Default && kind == CMA}
	var notes []string
	switch {
	case r.Dynamic:
		h.Align, h.Within = r.Align, r.Within
		if !isPow2(h.Align) {
			h.Align = 0
		}
		notes = append(notes, "the kernel places it at boot; the compiler gives it an address")
	default:
		h.Base, h.HasBase = r.Range.Base, true
	}
	if len(r.Extra) > 0 {
		notes = append(notes, fmt.Sprintf("%d further reg entries are left out: no kernel makes a heap of them", len(r.Extra)))
	}
	for _, u := range r.Users {
		if m.isION(u.Node) {
			continue // the heap itself, in the old way of saying it
		}
		node := u.Node
		if labels := m.tree.Labels(u.Node); len(labels) > 0 {
			node = "&" + labels[0]
		}
		if u.Disabled {
			notes = append(notes, "used by "+u.Node+", which is disabled")
			continue
		}
		h.Devices = append(h.Devices, DeviceConfig{Node: node, Name: u.Name})
	}
	return h, notes
}

func (m *importer) region(path string, r *Region) {
	if r.Range.Size == 0 {
		m.skip(path, "it has no size")
		return
	}
	h, notes := m.heapOf(r, r.Kind)
	if r.Heap != nil {
		h.Access, h.ChunkSize = r.Heap.Access, r.Heap.ChunkSize
	}
	if r.Kind == Chunk && h.ChunkSize == 0 {
		m.skip(path, "a chunk heap without chunk-size")
		return
	}
	if slices.Contains(r.Compatible, CompatCarveoutTI) && !slices.Contains(r.Compatible, CompatCarveout) {
		notes = append(notes, "on TI's kernel the heap is called carveout_"+r.Node)
		if r.NoMap {
			h.Access = WriteCombine
			notes = append(notes, "TI's driver maps a no-map carveout uncached; write-combine is the nearest")
		}
	}
	m.add(path, r.Node, h, notes...)
}

// vendorRegion translates the regions that vendor kernels made heaps of.
func (m *importer) vendorRegion(path string, r *Region) {
	n := m.tree.Lookup(path)
	if n == nil {
		return
	}
	for _, c := range r.Compatible {
		switch {
		case c == "mediatek,ion-carveout-heap", c == "rockchip,ion-heap":
		case c == "exynos9820-ion", strings.HasPrefix(c, "exynos8890-ion,"):
		default:
			continue
		}
		if samsungProtected(n) {
			m.skip(path, "%s is protected memory: only the vendor's firmware interface can hand it out", c)
			return
		}
		kind := Carveout
		if r.Reusable || n.Has("ion,reusable") {
			kind = CMA
		}
		if r.Range.Size == 0 {
			m.skip(path, "%s without a size", c)
			return
		}
		h, notes := m.heapOf(r, kind)
		if r.NoMap && kind == Carveout {
			h.Access = DeviceOnly
		}
		m.add(path, r.Node, h, append(notes, "was "+c)...)
		return
	}
}

// ionDevice returns what translates the heaps below an ION device of a vendor
// kernel, or nil for any other device.
func (m *importer) ionDevice(n *fdt.Node) func(path string, n *fdt.Node) {
	for _, c := range n.Strings("compatible") {
		switch {
		case c == "qcom,msm-ion":
			return m.qualcomm
		case strings.HasPrefix(c, "hisilicon,") && strings.HasSuffix(c, "-ion"):
			return m.hisilicon
		case c == "allwinner,sunxi-ion":
			return m.allwinner
		case c == "rockchip,ion", c == "rockchip,ion-device":
			return m.rockchip
		case strings.HasPrefix(c, "sprd,ion"), c == "sprd,sprd-ion":
			return m.spreadtrum
		}
	}
	return nil
}

// samsungKind returns the kind of a heap that Samsung's kernels since 4.19
// describe by a node of its own, beside the region that it names.
func samsungKind(n *fdt.Node) (Kind, bool) {
	for _, c := range n.Strings("compatible") {
		switch c {
		case "exynos,ion,carveout_heap", "samsung,dma-heap-carveout":
			return Carveout, true
		case "exynos,ion,cma_heap", "samsung,dma-heap-cma":
			return CMA, true
		}
	}
	return "", false
}

func samsungProtected(n *fdt.Node) bool {
	return n.Has("ion,secure") || n.Has("ion,protection_id") || n.Has("dma-heap,secure")
}

func (m *importer) samsung(path string, n *fdt.Node, kind Kind) {
	name := oneOf(n.Strings("dma-heap,name"))
	if name == "" {
		name = n.Name
	}
	if samsungProtected(n) {
		m.skip(path, "heap %s is protected memory: only the vendor's firmware interface can hand it out", name)
		return
	}
	m.carve(path, name, n, kind)
}

// stagingKind returns the kind of a heap of the kernel's own staging driver.
func stagingKind(n *fdt.Node) (string, bool) {
	for _, c := range n.Strings("compatible") {
		if kind, ok := strings.CutPrefix(c, "linux,ion-heap-"); ok {
			return kind, true
		}
	}
	return "", false
}

// ownHeap returns what translates a node that says by itself that it is a heap,
// wherever in the tree it stands, or nil.
func (m *importer) ownHeap(n *fdt.Node) func(path string, n *fdt.Node) {
	if kind, ok := stagingKind(n); ok {
		return func(path string, n *fdt.Node) { m.staging(path, n, kind) }
	}
	if kind, ok := samsungKind(n); ok {
		return func(path string, n *fdt.Node) { m.samsung(path, n, kind) }
	}
	return nil
}

// ion translates the ION heaps at a node.
func (m *importer) ion(path string, n *fdt.Node) {
	if f := m.ionDevice(n); f != nil {
		for _, c := range n.Children {
			if m.ownHeap(c) == nil && !m.ionHeap(path+"/"+c.Name, c, f) {
				return
			}
		}
	} else if f := m.ownHeap(n); f != nil {
		m.ionHeap(path, n, f)
	}
}

// ionHeap translates one ION heap. It returns whether there may be another.
func (m *importer) ionHeap(path string, n *fdt.Node, f func(path string, n *fdt.Node)) bool {
	switch {
	case !m.another(path):
		return false
	case !enabled(n):
		m.skip(path, "status says that it is switched off")
	default:
		f(path, n)
	}
	return true
}

// maxION is how many ION heaps are read; vendors have had some twenty.
const maxION = 256

// another reports whether one more ION heap is to be read.
func (m *importer) another(path string) bool {
	m.seen++
	if m.seen == maxION+1 {
		m.skip(path, "more than %d ION heaps; this one and the rest are left out", maxION)
	}
	return m.seen <= maxION
}

// isION reports whether a node is an ION heap.
func (m *importer) isION(path string) bool {
	if n := m.tree.Lookup(path); n != nil && m.ownHeap(n) != nil {
		return true
	}
	parent := m.tree.Lookup(path[:max(1, strings.LastIndexByte(path, '/'))])
	return parent != nil && m.ionDevice(parent) != nil
}

// behind finds the region that a heap node names in memory-region.
func (m *importer) behind(n *fdt.Node) *Region {
	v, ok := n.Prop("memory-region")
	if !ok || len(v) < 4 {
		return nil
	}
	target := m.tree.Phandle(binary.BigEndian.Uint32(v))
	if target == nil {
		return nil
	}
	path := m.tree.Path(target)
	for i := range m.Regions {
		if m.Regions[i].Source.Path == path {
			return &m.Regions[i]
		}
	}
	return nil
}

// carve makes a heap of the region behind an ION heap. A CMA region is a heap
// already; then only the old name is noted.
func (m *importer) carve(path, name string, n *fdt.Node, kind Kind) {
	r := m.behind(n)
	if r == nil {
		m.skip(path, "ION heap %s has no memory-region: its driver placed it", name)
		return
	}
	note := "was the ION heap " + name
	for _, h := range m.heaps {
		if h.notes[0] == "from "+r.Source.Path {
			h.notes = append(h.notes, note)
			m.nodes = append(m.nodes, path)
			return
		}
	}
	if r.Range.Size == 0 || !r.Active() {
		m.skip(path, "the region %s behind ION heap %s has no memory", r.Node, name)
		return
	}
	h, notes := m.heapOf(r, kind)
	if r.NoMap && kind == Carveout {
		h.Access = DeviceOnly
	}
	m.add(r.Source.Path, r.Node, h, append(notes, note)...)
	m.nodes = append(m.nodes, path)
}

func (m *importer) system(path, name string) {
	if m.names["system"] {
		return
	}
	m.add(path, "system", HeapConfig{Kind: System}, "was the ION heap "+name)
	m.names["system"] = true
}

// qualcommNames are the driver's names of heap ids, up to kernel 4.19. That of 5.4
// counts in powers of two, so 8 is left out.
var qualcommNames = map[uint32]string{
	9: "secure_heap", 10: "secure_display", 13: "spss", 14: "secure_carveout", 19: "qsecom_ta", 20: "camera_preview",
	21: "kmalloc", 22: "adsp", 25: "system", 26: "user_contig", 27: "qsecom", 28: "audio",
}

func (m *importer) qualcomm(path string, n *fdt.Node) {
	id, _ := n.U32("reg")
	name := qualcommNames[id]
	if name == "" {
		name = fmt.Sprint(id)
	}
	switch kind := oneOf(n.Strings("qcom,ion-heap-type")); kind {
	case "SYSTEM", "MSM_SYSTEM":
		m.system(path, name)
	case "DMA":
		m.carve(path, name, n, CMA)
	case "CARVEOUT", "MSM_CARVEOUT":
		m.carve(path, name, n, Carveout)
	case "SYSTEM_CONTIG":
		m.skip(path, "ION heap %s gave contiguous pages of the whole system; use a CMA heap", name)
	case "CHUNK":
		m.skip(path, "ION heap %s has no chunk size in the tree; write a chunk heap by hand", name)
	case "":
		m.skip(path, "ION heap %s has no qcom,ion-heap-type", name)
	default:
		m.skip(path, "ION heap %s of type %s is protected or lent memory: only the vendor's firmware interface can hand it out", name, kind)
	}
}

func oneOf(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// ranged makes a heap of a base and a size; a base of 0 means that the driver
// chose the place.
func (m *importer) ranged(path, name string, kind Kind, base, size uint64) {
	switch {
	case size == 0 && kind == CMA:
		m.skip(path, "ION heap %s used the default CMA area; make that a heap with default: true", name)
	case size == 0:
		m.skip(path, "ION heap %s has no size", name)
	case base == 0:
		m.add(path, name, HeapConfig{Kind: kind, Size: size, Access: Cached}, "was an ION heap; its driver chose the place")
	case (Range{Addr(base), size}).Wraps():
		m.skip(path, "ION heap %s goes past the end of the address space", name)
	default:
		m.add(path, name, HeapConfig{Kind: kind, Size: size, Base: Addr(base), HasBase: true, Access: Cached}, "was an ION heap")
	}
}

// typed takes the word that vendors write into heap-type.
func (m *importer) typed(path, name, word string, base, size uint64) {
	switch strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(word), "ion_"), "_heap") {
	case "system":
		m.system(path, name)
	case "cma", "dma", "dma_pool":
		m.ranged(path, name, CMA, base, size)
	case "carveout":
		m.ranged(path, name, Carveout, base, size)
	case "":
		m.skip(path, "ION heap %s has no heap-type", name)
	default:
		m.skip(path, "ION heap %s of type %s has no counterpart", name, word)
	}
}

func (m *importer) hisilicon(path string, n *fdt.Node) {
	if !n.Has("heap-range") { // newer drivers have the properties of Allwinner's
		m.allwinner(path, n)
		return
	}
	base, size := pairProp(n, "heap-range")
	m.typed(path, nameProp(n, "heap-name"), nameProp(n, "heap-type"), base, size)
}

func nameProp(n *fdt.Node, prop string) string {
	if s := oneOf(n.Strings(prop)); s != "" {
		return s
	}
	if prop == "heap-name" {
		return n.Name
	}
	return ""
}

func (m *importer) allwinner(path string, n *fdt.Node) {
	base, _ := numProp(n, "heap-base")
	size, _ := numProp(n, "heap-size")
	m.typed(path, nameProp(n, "heap-name"), nameProp(n, "heap-type"), base, size)
}

// ionTypes are the values of the kernel's enum ion_heap_type.
var ionTypes = []string{"system", "system_contig", "carveout", "chunk", "dma"}

func (m *importer) numbered(path, name string, id uint32, base, size uint64) {
	if int(id) >= len(ionTypes) {
		m.skip(path, "ION heap %s of type %d is the vendor's own", name, id)
		return
	}
	m.typed(path, name, ionTypes[id], base, size)
}

func (m *importer) rockchip(path string, n *fdt.Node) {
	id, ok := n.U32("rockchip,ion_heap")
	if !ok {
		m.skip(path, "no rockchip,ion_heap")
		return
	}
	base, size := pairProp(n, "reg")
	m.numbered(path, n.Name, id, base, size)
}

// pairProp reads base and size of one or two cells each.
func pairProp(n *fdt.Node, prop string) (base, size uint64) {
	v, _ := n.Prop(prop)
	if len(v) != 8 && len(v) != 16 {
		return 0, 0
	}
	return cellNum(v[:len(v)/2]), cellNum(v[len(v)/2:])
}

func (m *importer) spreadtrum(path string, n *fdt.Node) {
	name := oneOf(n.Strings("reg-names"))
	if name == "" {
		name = n.Name
	}
	id, ok := n.U32("sprd,ion-heap-type")
	if !ok {
		m.skip(path, "no sprd,ion-heap-type")
		return
	}
	base, size := pairProp(n, "sprd,ion-heap-mem")
	m.numbered(path, name, id, base, size)
}

func (m *importer) staging(path string, n *fdt.Node, kind string) {
	switch kind {
	case "system":
		m.system(path, n.Name)
	case "dma":
		m.carve(path, n.Name, n, CMA)
	case "carveout":
		m.carve(path, n.Name, n, Carveout)
	case "system-contig":
		m.skip(path, "it gave contiguous pages of the whole system; use a CMA heap")
	default:
		m.skip(path, "an ION heap of kind %s has no counterpart in the tree alone", kind)
	}
}

// yaml writes the config.
func (m *importer) yaml() []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Imported by heapctl from %s.", m.file[strings.LastIndexByte(m.file, '/')+1:])
	line("version: 1")
	if len(m.Board.Compatible) > 0 {
		line("\nboard:\n  compatible: %s", quoted(m.Board.Compatible[0]))
	}
	if len(m.Banks) == 0 {
		line("  # The tree leaves RAM to the boot loader; U-Boot's bdinfo tells it. State it here:\n  # ram: [{base: 0x4000_0000, size: 512MiB}]")
	}
	line("\ntarget:\n  kernel: %q", m.Target.Kernel)
	if m.Target.PageSize != 4*KiB {
		line("  page-size: %s", FormatSize(m.Target.PageSize))
	}
	switch at, above := m.kernelGuess(); {
	case above != 0:
		line("\n# What boot loader and firmware put into memory is not in the tree. State it.\nkeep-clear:")
		line("  # A guess: with a region at %v the kernel can only lie below.\n  - {what: kernel, base: %v, size: %s}", above, at.Base, exactSize(at.Size))
	case at.Size > 0:
		line("\n# What boot loader and firmware put into memory is not in the tree. State it; the\n# compiler guesses the first of these, until it is told:\n# keep-clear:\n#   - {what: kernel, base: %v, size: %s}", at.Base, exactSize(at.Size))
		if end := m.endOfRAM(); end.Size > 0 {
			line("# U-Boot runs at the end of RAM, and may move initrd and tree below itself:\n#   - {what: boot-loader, base: %v, size: %s}", end.Base, exactSize(end.Size))
		}
	default:
		line("\n# What boot loader and firmware put into memory is not in the tree. State it:\n# keep-clear:\n#   - {what: kernel, base: 0x4020_0000, size: 32MiB}")
	}
	nodes, off := m.superseded()
	if len(nodes) > 0 {
		line("\n# Take these nodes out of the board's tree; the overlay brings the heaps:")
		for _, n := range nodes {
			line("#   %s", comment(n))
		}
	}
	if len(off) > 0 {
		line("\n# The overlay brings these regions, and switches off those of the tree.\ndisable: [%s]", strings.Join(off, ", "))
	}
	if len(m.left) > 0 {
		line("\n# Not translated:")
		// A reason stands once, with all it is the reason for.
		var reasons []string
		for _, s := range m.left {
			if _, why, _ := strings.Cut(s, ": "); !slices.Contains(reasons, why) {
				reasons = append(reasons, why)
			}
		}
		for _, why := range reasons {
			line("#   %s:", comment(why))
			for _, s := range m.left {
				if path, other, _ := strings.Cut(s, ": "); other == why {
					line("#     %s", comment(path))
				}
			}
		}
	}
	if len(m.heaps) == 0 {
		line("\n# The tree has no heap. This one is an example; a config needs one.\nheaps:\n  - name: video\n    kind: cma\n    size: 64MiB")
		return []byte(b.String())
	}
	line("\nheaps:")
	for i, h := range m.heaps {
		if i > 0 {
			line("")
		}
		m.heap(line, h)
	}
	return []byte(b.String())
}

// superseded returns the nodes that the overlay's take the place of: the paths
// of those that must leave the tree, since a name with an address would merge
// with the new node, and the names, quoted, of those that can be switched off.
func (m *importer) superseded() (nodes, off []string) {
	for _, n := range m.nodes {
		name, region := strings.CutPrefix(n, "/reserved-memory/")
		if quoted := strconv.Quote(name); region && !strings.Contains(name, "@") && len(quoted) == len(name)+2 {
			off = append(off, quoted)
		} else {
			nodes = append(nodes, n)
		}
	}
	return nodes, off
}

// kernelGuess returns where the compiler takes the kernel to be, or nothing
// where the tree says it or has no RAM. If a heap lies in that memory, the
// kernel must be below: above is the address of the heap.
func (m *importer) kernelGuess() (at Range, above Addr) {
	var taken []Range
	for _, o := range m.Occupied {
		if o.What == Kernel {
			return Range{}, 0
		}
		taken = append(taken, o.Range)
	}
	for i := range m.Regions {
		if r := &m.Regions[i]; r.Active() && r.Placed() && !slices.Contains(m.nodes, r.Source.Path) {
			taken = append(append(taken, r.Range), r.Extra...)
		}
	}
	at, ok := kernelGap(Subtract(m.Banks, taken))
	if !ok {
		return Range{}, 0
	}
	for _, h := range m.heaps {
		if h.HasBase && h.Base > at.Base && h.Base <= at.Last() {
			above, at.Size = h.Base, uint64(h.Base-at.Base)
		}
	}
	return at, above
}

// endOfRAM returns the last memory below 4 GiB, where U-Boot goes and where the
// compiler begins to place heaps; nothing on a board that is too small for that.
func (m *importer) endOfRAM() Range {
	var end Range
	for _, b := range m.Banks {
		b.Size = min(b.Size, 4*GiB-min(uint64(b.Base), 4*GiB))
		if b.Size >= 4*AssumedKernel && b.Base >= end.Base {
			end = Range{b.Base + Addr(b.Size-AssumedKernel), AssumedKernel}
		}
	}
	return end
}

func (m *importer) heap(line func(string, ...any), h *importHeap) {
	for _, n := range h.notes {
		line("  # %s", comment(n))
	}
	line("  - name: %s\n    kind: %s", quoted(h.Name), h.Kind)
	if h.Kind == System {
		return
	}
	line("    size: %s", exactSize(h.Size))
	if h.HasBase {
		line("    base: %v", h.Base)
	}
	if h.Align > 0 || len(h.Within) > 0 {
		line("    place:")
		if h.Align > 0 {
			line("      align: %s", exactSize(h.Align))
		}
		if len(h.Within) > 0 {
			line("      within:")
			for _, w := range h.Within {
				line("        - {base: %v, size: %s}", w.Base, exactSize(w.Size))
			}
		}
	}
	if h.Access != Cached {
		line("    access: %s", h.Access)
	}
	if h.ChunkSize > 0 {
		line("    chunk-size: %s", exactSize(h.ChunkSize))
	}
	if h.Default {
		line("    default: true")
	}
	if len(h.Devices) > 0 {
		line("    devices:")
		for _, d := range h.Devices {
			if d.Name == "" {
				line("      - %s", quoted(d.Node))
				continue
			}
			line("      - {node: %s, name: %s}", quoted(d.Node), quoted(d.Name))
		}
	}
}

// exactSize writes a size that the language reads back.
func exactSize(n uint64) string {
	if s := FormatSize(n); !strings.HasSuffix(s, "B") || strings.HasSuffix(s, "iB") {
		return s
	}
	return fmt.Sprintf("0x%x", n)
}

// quoted writes text as a YAML scalar that cannot be taken for anything else.
func quoted(s string) string {
	if plainScalar(s) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

func plainScalar(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != "" && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s))
}

// comment makes text of a foreign tree fit for a comment: one line, no control
// bytes.
func comment(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}
