// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
)

// An Addr is a physical address. In JSON it is a hexadecimal string, because
// JSON numbers lose bits above 2^53 in many readers.
type Addr uint64

// String returns the address in hexadecimal, at least eight digits wide.
func (a Addr) String() string { return fmt.Sprintf("0x%08x", uint64(a)) }

// MarshalText writes the address as text, for JSON.
func (a Addr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Addr) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 0, 64)
	if err != nil {
		return fmt.Errorf("%q is not an address", b)
	}
	*a = Addr(n)
	return nil
}

// A Range is Size bytes of physical memory from Base on. Base+Size may be
// 2^64 at most; a Range that goes beyond never enters a Layout.
type Range struct {
	Base Addr   `json:"base"`
	Size uint64 `json:"size"`
}

// Last returns the address of the last byte. The range must not be empty.
func (r Range) Last() Addr { return r.Base + Addr(r.Size-1) }

// Overlaps reports whether the two ranges share a byte.
func (r Range) Overlaps(o Range) bool {
	return r.Size > 0 && o.Size > 0 && r.Base <= o.Last() && o.Base <= r.Last()
}

// Contains reports whether all of o lies within r.
func (r Range) Contains(o Range) bool {
	return r.Size > 0 && o.Size > 0 && r.Base <= o.Base && o.Last() <= r.Last()
}

// Wraps reports whether the range goes past the end of the address space.
func (r Range) Wraps() bool { return r.Size > 0 && uint64(r.Base)+(r.Size-1) < uint64(r.Base) }

// String returns "first..last", both inclusive, as the kernel prints regions.
func (r Range) String() string {
	if r.Size == 0 {
		return r.Base.String() + " (empty)"
	}
	return fmt.Sprintf("%v..%v", r.Base, r.Last())
}

// Kind is what a heap, or a reserved region without one, is made of.
type Kind string

// The kinds of heaps, then those of regions that are no heap.
const (
	CMA      Kind = "cma"      // shared-dma-pool, reusable: the kernel lends it to movable pages
	Carveout Kind = "carveout" // linux,carveout-heap: set aside for good
	Chunk    Kind = "chunk"    // linux,chunk-heap: carveout handed out in fixed chunks
	System   Kind = "system"   // pages of the buddy allocator, no region
	Coherent Kind = "coherent" // shared-dma-pool, not reusable: for dma_alloc_coherent
	Swiotlb  Kind = "swiotlb"  // restricted-dma-pool
	Reserved Kind = "reserved" // any other reserved region
)

// Access is how the CPU may see the memory of a heap.
type Access string

// The ways. Cached is the default; DeviceOnly has no mmap and no vmap.
const (
	Cached       Access = "cached"
	WriteCombine Access = "write-combine"
	DeviceOnly   Access = "device-only"
)

// Compatibles of the heaps that the project's kernel patches bring.
const (
	CompatCarveout   = "linux,carveout-heap"
	CompatCarveoutTI = "dma-heap-carveout" // accepted as an alias
	CompatChunk      = "linux,chunk-heap"
	CompatPool       = "shared-dma-pool"
	CompatSwiotlb    = "restricted-dma-pool"
)

// A Heap is what user space gets from a region.
type Heap struct {
	// Short is the name in heaps.yaml, which udev makes a symlink of under
	// /dev/dma_heap. It is empty for heaps that a device tree brought.
	Short     string `json:"short,omitempty"`
	Access    Access `json:"access,omitempty"`
	Default   bool   `json:"default,omitempty"`
	ChunkSize uint64 `json:"chunk_size,omitempty"`
	Mode      Mode   `json:"mode,omitempty"`
	Owner     string `json:"owner,omitempty"`
	Group     string `json:"group,omitempty"`
	Devices   []User `json:"devices,omitempty"`
}

// A User is a device that takes its memory from the heap's region through a
// memory-region property.
type User struct {
	Node  string `json:"node"`            // path in the base tree
	Label string `json:"label,omitempty"` // label, where the base has one
	Name  string `json:"name,omitempty"`  // entry of memory-region-names
	// Reach is the memory that the dma-ranges of the buses above let the
	// device address; nothing limits it where Reach is empty.
	Reach []Range `json:"reach,omitempty"`
	// Disabled says that the base tree switches the device off.
	Disabled bool `json:"disabled,omitempty"`
}

// Mode is the permission bits of a device node; in JSON a string such as
// "0660". Zero stands for "not stated".
type Mode uint32

// String returns four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText writes the mode as octal text, for JSON.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Mode) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 8, 12)
	if err != nil {
		return fmt.Errorf("%q is not a mode such as 0660", b)
	}
	*m = Mode(n)
	return nil
}

// A Defect is a flaw of a node found while it was read: the id of the rule it
// breaks and the fact. The rules report it, so that it is levelled and
// explained like every other.
type Defect struct {
	Rule string `json:"rule"`
	Fact string `json:"fact"`
	// Path is the node, where it is neither the region nor
	// /reserved-memory itself.
	Path string `json:"path,omitempty"`
	// Fix is a nearer way out than the rule's own.
	Fix string `json:"fix,omitempty"`
}

// A Region is one child of /reserved-memory.
type Region struct {
	// Node is the full node name, with its unit address: the name the
	// kernel gives the heap.
	Node string `json:"node"`
	Kind Kind   `json:"kind"`
	// Range is where the region lies. Base is meaningless while Dynamic.
	Range      Range    `json:"range"`
	Dynamic    bool     `json:"dynamic,omitempty"` // size only: the kernel places it at boot
	Align      uint64   `json:"align,omitempty"`   // alignment property of a dynamic region
	Within     []Range  `json:"alloc_ranges,omitempty"`
	Extra      []Range  `json:"extra,omitempty"` // reg entries past the first
	NoMap      bool     `json:"no_map,omitempty"`
	Reusable   bool     `json:"reusable,omitempty"`
	Default    bool     `json:"cma_default,omitempty"`
	Disabled   bool     `json:"disabled,omitempty"`
	Compatible []string `json:"compatible,omitempty"`
	Heap       *Heap    `json:"heap,omitempty"` // nil: no heap comes of it
	// Users are the devices of the base tree that name the region; those
	// of heaps.yaml are in Heap.
	Users      []User   `json:"users,omitempty"`
	Defects    []Defect `json:"defects,omitempty"`
	dmaDefault bool     // linux,dma-default on a shared-dma-pool
	// FromConfig says that heaps.yaml asked for the region; else the base
	// tree brought it.
	FromConfig bool `json:"from_config,omitempty"`
	// Why says in words how the compiler came to the address.
	Why    string `json:"why,omitempty"`
	Source Source `json:"source"`
}

// A Source is where a region came from: the place of the whole, and of the
// fields that heaps.yaml stated.
type Source struct {
	Place
	Fields map[string]Place `json:"-"`
}

// At returns the place of a field, or of the whole where the field was not
// stated.
func (s Source) At(field string) Place {
	if p, ok := s.Fields[field]; ok {
		return p
	}
	return s.Place
}

// Name returns the short name of the region's heap, or the node name.
func (r *Region) Name() string {
	if r.Heap != nil && r.Heap.Short != "" {
		return r.Heap.Short
	}
	return r.Node
}

// users returns every device that takes its memory from the region.
func (r *Region) users() []User {
	if r.Heap == nil {
		return r.Users
	}
	return slices.Concat(r.Users, r.Heap.Devices)
}

// Active reports whether the kernel will try to reserve the region.
func (r *Region) Active() bool { return !r.Disabled }

// SwitchedOff reports whether it is the config that disables the region, and
// not the base tree itself.
func (r *Region) SwitchedOff() bool {
	_, named := r.Source.Fields["disable"]
	return named
}

// Placed reports whether the region has an address of its own.
func (r *Region) Placed() bool { return !r.Dynamic && r.Range.Size > 0 }

// What says what occupies memory outside /reserved-memory.
type What string

// What a boot loader or firmware puts into memory.
const (
	Kernel     What = "kernel"
	Initrd     What = "initrd"
	FDT        What = "fdt"
	Firmware   What = "firmware"
	BootLoader What = "boot-loader"
	MemReserve What = "memreserve"
)

// An Occupant is memory that something else already uses.
type Occupant struct {
	What  What   `json:"what"`
	Name  string `json:"name,omitempty"`
	Range Range  `json:"range"`
	// Assumed says that nobody stated the place: it is the customary one.
	Assumed bool   `json:"assumed,omitempty"`
	Source  Source `json:"source"`
}

// Title returns what a person would call the occupant.
func (o Occupant) Title() string {
	title := string(o.What)
	if o.Name != "" && o.Name != title {
		title += " " + o.Name
	}
	if o.Assumed {
		title += " (assumed)"
	}
	return title
}

// Cells are the #address-cells and #size-cells of a node.
type Cells struct {
	Address int `json:"address"`
	Size    int `json:"size"`
}

// A Board is what the device tree says the machine is.
type Board struct {
	Model      string   `json:"model,omitempty"`
	Compatible []string `json:"compatible,omitempty"`
}

// A Layout is the memory of one board as one kernel will see it: RAM, what
// occupies it, and the regions with their heaps. Every source produces one and
// every product is made from one.
type Layout struct {
	Board  Board   `json:"board"`
	Target Target  `json:"target"`
	Cells  Cells   `json:"cells"`
	Banks  []Range `json:"ram"`
	// RAMStated says that somebody told the Banks who knows what the boot
	// loader makes of the tree's own.
	RAMStated bool       `json:"-"`
	Occupied  []Occupant `json:"occupied,omitempty"`
	Regions   []Region   `json:"regions"`
	// System is the system heap where heaps.yaml speaks of it.
	System *Heap `json:"system,omitempty"`
	// HasReserved says that the base tree has a /reserved-memory node.
	HasReserved bool `json:"has_reserved,omitempty"`
	// Bootargs is the command line that the tree carries in /chosen. Boot
	// loaders often bring another.
	Bootargs string `json:"bootargs,omitempty"`
	// DMALimit is the first address beyond what the most limited bus can
	// address, or 0: on arm64 the kernel ends ZONE_DMA there.
	DMALimit Addr `json:"dma_limit,omitempty"`
	// Defects are flaws of the tree outside of single regions.
	Defects []Defect `json:"defects,omitempty"`
	// Variant is the variant of heaps.yaml that was compiled, if any.
	Variant string `json:"variant,omitempty"`
	// Source names the file the Layout was read from; BaseFile names the
	// device tree where that is another.
	Source   Source `json:"source"`
	BaseFile string `json:"-"`
}

// RAM returns the number of bytes in all banks together, each counted once.
func (l *Layout) RAM() uint64 {
	var n uint64
	for _, b := range MergeRanges(l.Banks) {
		n += b.Size
	}
	return n
}

// Bank returns the bank of RAM that holds all of r. Banks that touch count as
// one, as they do for the kernel.
func (l *Layout) Bank(r Range) (Range, bool) {
	for _, b := range MergeRanges(l.Banks) {
		if b.Contains(r) {
			return b, true
		}
	}
	return Range{}, false
}

// MergeRanges returns the ranges in address order, joined where they touch or
// overlap. Empty ranges vanish.
func MergeRanges(rs []Range) []Range {
	sorted := slices.DeleteFunc(slices.Clone(rs), func(r Range) bool { return r.Size == 0 })
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Base < sorted[j].Base })
	var out []Range
	for _, r := range sorted {
		if n := len(out); n > 0 && uint64(r.Base) <= uint64(out[n-1].Last())+1 && uint64(out[n-1].Last())+1 != 0 {
			if r.Last() > out[n-1].Last() {
				out[n-1].Size = uint64(r.Last()-out[n-1].Base) + 1
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// An Expected is one device node that the kernel must show under
// /dev/dma_heap when it booted this layout.
type Expected struct {
	Name   string `json:"name"`            // file name under /dev/dma_heap
	Short  string `json:"short,omitempty"` // symlink beside it
	Kind   Kind   `json:"kind"`
	Access Access `json:"access"`
	// Range is the memory behind the heap; its Base is 0 when Dynamic.
	Range     Range  `json:"range"`
	Dynamic   bool   `json:"dynamic,omitempty"`
	ChunkSize uint64 `json:"chunk_size,omitempty"`
	Mode      Mode   `json:"mode,omitempty"` // 0: not stated
	Owner     string `json:"owner,omitempty"`
	Group     string `json:"group,omitempty"`
	// SharedWith names another heap on the same memory: the default CMA
	// area is a heap under two names.
	SharedWith string `json:"shared_with,omitempty"`
}

// DefaultCMAName is the heap of the default CMA area since 6.17
// (drivers/dma-buf/heaps/cma_heap.c).
const DefaultCMAName = "default_cma_region"

// Expect returns the heaps the layout gives on its target kernel, in the order
// of the regions.
func (l *Layout) Expect() []Expected {
	var out []Expected
	if l.System != nil {
		out = append(out, Expected{Name: "system", Kind: System, Access: Cached,
			Mode: l.System.Mode, Owner: l.System.Owner, Group: l.System.Group})
	}
	def := l.defaultCMA()
	for i := range l.Regions {
		r := &l.Regions[i]
		if !r.Active() || r.Heap == nil {
			continue
		}
		e := Expected{
			Name: r.Node, Kind: r.Kind, Access: r.Heap.Access, Range: r.Range, Dynamic: r.Dynamic,
			ChunkSize: r.Heap.ChunkSize, Mode: r.Heap.Mode, Owner: r.Heap.Owner, Group: r.Heap.Group,
		}
		if r.Dynamic {
			e.Range.Base = 0
		}
		if r.Heap.Short != r.Node {
			e.Short = r.Heap.Short
		}
		switch {
		case r.Kind == CMA && i == def && l.Target.PerRegionCMA():
			out = append(out, e)
			e.Name, e.Short, e.SharedWith = DefaultCMAName, "", r.Node
			out = append(out, e)
		case r.Kind == CMA && i != def && !l.Target.PerRegionCMA():
		case (r.Kind == Carveout || r.Kind == Chunk) && !l.Target.Patched:
		default:
			out = append(out, e)
		}
	}
	return out
}

// defaultCMA returns the index of the region that becomes the default CMA
// area, or -1. Of several, the kernel takes the highest before 6.12 and the
// last in tree order since.
func (l *Layout) defaultCMA() int {
	def := -1
	for i := range l.Regions {
		r := &l.Regions[i]
		if r.Kind != CMA || !r.Default || !r.Active() {
			continue
		}
		if def >= 0 && l.Target.Kernel.Before(v6_12) && r.Range.Base < l.Regions[def].Range.Base {
			continue
		}
		def = i
	}
	return def
}

// DefaultCMA returns the region that becomes the default CMA area, or nil.
func (l *Layout) DefaultCMA() *Region {
	if i := l.defaultCMA(); i >= 0 {
		return &l.Regions[i]
	}
	return nil
}

// Sorted returns the indexes of the placed, active regions in address order.
func (l *Layout) Sorted() []int {
	var idx []int
	for i := range l.Regions {
		if l.Regions[i].Active() && l.Regions[i].Placed() {
			idx = append(idx, i)
		}
	}
	sort.SliceStable(idx, func(i, j int) bool {
		return l.Regions[idx[i]].Range.Base < l.Regions[idx[j]].Range.Base
	})
	return idx
}
