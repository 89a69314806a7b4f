// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"strconv"
	"strings"
)

// A Version is a kernel release as far as rules depend on it: major and minor.
type Version struct{ Major, Minor int }

// Kernel releases at which the behaviour that the rules speak of changed.
var (
	v5_6  = Version{5, 6}  // drivers/dma-buf/heaps/cma_heap.c
	v5_10 = Version{5, 10} // 64 regions and not 32, ZONE_DMA by the tree's buses, cma= over the tree's default area: sources of 5.4 and 5.10
	v5_17 = Version{5, 17} // only children of /reserved-memory are regions, drivers/of/fdt.c
	v5_18 = Version{5, 18} // CMA alignment is one pageblock, mm/cma.c
	v6_4  = Version{6, 4}  // CONFIG_ARCH_FORCE_MAX_ORDER counts one less, include/linux/mmzone.h
	v6_12 = Version{6, 12} // pageblock follows THP as measured; OF regions counted dynamically
	v6_19 = Version{6, 19} // one heap per reusable region, drivers/dma-buf/heaps/cma_heap.c
)

// ParseVersion reads the first two numbers of "6.12", "6.12.117" or
// "6.12.117-yocto-standard".
func ParseVersion(s string) (Version, error) {
	major, rest, ok := strings.Cut(s, ".")
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	if !ok || end == 0 {
		return Version{}, fmt.Errorf("%q is not a kernel version such as 6.12", s)
	}
	maj, err1 := strconv.ParseUint(major, 10, 16)
	min, err2 := strconv.ParseUint(rest[:end], 10, 16)
	if err1 != nil || err2 != nil {
		return Version{}, fmt.Errorf("%q is not a kernel version such as 6.12", s)
	}
	return Version{int(maj), int(min)}, nil
}

// String returns "major.minor".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Before reports whether v is an older release than w.
func (v Version) Before(w Version) bool {
	return v.Major < w.Major || v.Major == w.Major && v.Minor < w.Minor
}

// IsZero reports whether the version was never stated.
func (v Version) IsZero() bool { return v == Version{} }

// MarshalText writes the version as text, for JSON.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Version) UnmarshalText(b []byte) error {
	w, err := ParseVersion(string(b))
	if err == nil {
		*v = w
	}
	return err
}

// A Target is the kernel that will read the device tree: every fact about it
// that changes what a rule says.
type Target struct {
	Kernel   Version `json:"kernel"`
	PageSize uint64  `json:"page_size"`
	// Arch is the architecture in the kernel's words: arm, arm64 or riscv.
	// Where nobody states it, the CPUs of the tree decide.
	Arch Arch `json:"arch,omitempty"`
	// Patched says that the project's kernel-patches are applied: carveout
	// and chunk heaps exist, and each reusable region is a heap.
	Patched bool `json:"patched"`
	// HugeTLB and THP are CONFIG_HUGETLB_PAGE and
	// CONFIG_TRANSPARENT_HUGEPAGE. Both shrink the CMA alignment on
	// 4 KiB-page kernels; false is the safe assumption.
	HugeTLB bool `json:"hugetlb_page,omitempty"`
	THP     bool `json:"transparent_hugepage,omitempty"`
	// ForceMaxOrder is CONFIG_ARCH_FORCE_MAX_ORDER, FORCE_MAX_ZONEORDER up
	// to 6.0, or 0 for what the page size has everywhere but on 32-bit ARM.
	ForceMaxOrder int `json:"arch_force_max_order,omitempty"`
	// CMAAreas is CONFIG_CMA_AREAS, or 0 for the release's own default.
	CMAAreas int `json:"cma_areas,omitempty"`
	// EFI is CONFIG_EFI, with which arm64 keeps eight times as many pieces
	// of memory apart at boot.
	EFI bool `json:"efi,omitempty"`
}

// An Arch is an architecture under the name of its folder in the kernel.
type Arch string

// The architectures whose kernels take reserved memory from a device tree and
// whose differences the rules know. Others are left empty.
const (
	Arm   Arch = "arm"
	Arm64 Arch = "arm64"
	Riscv Arch = "riscv"
)

// DefaultTarget is the kernel assumed where nothing else is said.
func DefaultTarget() Target {
	return Target{Kernel: v6_12, PageSize: 4 * KiB, Patched: true}
}

// CMAAlign returns the number of bytes that base and size of a CMA region must
// be multiples of. The kernel rejects the region otherwise, without printing
// the address or the alignment it wanted.
//
// Before 5.18 this is PAGE_SIZE << max(MAX_ORDER - 1, pageblock_order)
// (kernel/dma/contiguous.c, rmem_cma_setup); since then it is one pageblock,
// CMA_MIN_ALIGNMENT_BYTES (include/linux/cma.h), and pageblocks shrink to a
// huge page with CONFIG_HUGETLB_PAGE, or with CONFIG_TRANSPARENT_HUGEPAGE as
// booted on 6.12. 16 KiB pages give 32 MiB and 64 KiB pages 512 MiB on arm64,
// with or without huge pages; only kernels up to 5.10 without them would be
// content with half and an eighth of that.
func (t Target) CMAAlign() uint64 {
	order, huge := 10, 9
	switch t.PageSize {
	case 16 * KiB:
		order, huge = 11, 11
	case 64 * KiB:
		order, huge = 13, 13
	}
	if t.ForceMaxOrder > 0 {
		order = t.ForceMaxOrder
		if t.Kernel.Before(v6_4) {
			order--
		}
	}
	switch {
	case t.Kernel.Before(v5_18) && t.HugeTLB:
		order = max(order, huge)
	case !t.Kernel.Before(v5_18) && t.HugeTLB, !t.Kernel.Before(v6_12) && t.THP:
		order = min(order, huge)
	}
	return t.PageSize << order
}

// surestCMAAlign is the CMA alignment of most kernels that the target may turn
// out to be: 32-bit ARM has the order in its defconfigs, where it makes 8 MiB in
// multi_v7_defconfig and 32 MiB in imx_v6_v7_defconfig.
func (t Target) surestCMAAlign() uint64 {
	if t.Arch == Arm && t.ForceMaxOrder == 0 {
		t.ForceMaxOrder = 13
		if t.Kernel.Before(v6_4) {
			t.ForceMaxOrder = 14
		}
	}
	return t.CMAAlign()
}

// leastCMAAlign is the CMA alignment of the same kernel with huge pages: what
// a tree that was not made for a known configuration must meet at least.
func (t Target) leastCMAAlign() uint64 {
	t.HugeTLB, t.THP = true, true
	return t.CMAAlign()
}

// maxNoMapHoles returns how many separate holes no-map regions may cut into
// RAM. Each takes two of the fixed entries in which memblock keeps memory
// before it can grow the array (mm/memblock.c, INIT_MEMBLOCK_MEMORY_REGIONS).
func (t Target) maxNoMapHoles() int {
	if t.EFI && t.Arch == Arm64 {
		return 511
	}
	return 63
}

// MaxCMAAreas returns how many CMA areas the kernel can hold, the default one
// included (mm/cma.h, MAX_CMA_AREAS).
func (t Target) MaxCMAAreas() int {
	older := t.Kernel.Before(v6_12)
	switch {
	case t.CMAAreas > 0 && older:
		return t.CMAAreas + 1
	case t.CMAAreas > 0:
		return t.CMAAreas
	default:
		return 8 // 7 + 1 before, 8 since: the same number by two ways
	}
}

// DefaultFirst reports whether the kernel reserves a default CMA area of its own,
// of CONFIG_CMA_SIZE_MBYTES, before it looks at that of the device tree. Since 6.12
// regions are set up after paging_init, and these two architectures call
// dma_contiguous_reserve before it (arch/arm/mm/init.c; arch/riscv/mm/init.c of
// 6.12 and 6.18, no more of 7.3).
func (t Target) DefaultFirst() bool {
	return !t.Kernel.Before(v6_12) && (t.Arch == Arm || t.Arch == Riscv && t.Kernel.Before(v6_19))
}

// HasCMAHeap reports whether mainline has a CMA heap, with a symbol of its own.
// Where it has not, the one of the patches makes the heap of the default area
// as well.
func (t Target) HasCMAHeap() bool { return !t.Kernel.Before(v5_6) }

// NeedsCMARegions reports whether it is the project's patches that make a heap
// of each CMA region, and not the kernel itself, as it does since 6.19.
func (t Target) NeedsCMARegions() bool { return t.Patched && t.Kernel.Before(v6_19) }

// PerRegionCMA reports whether every reusable shared-dma-pool is a heap of its
// own, and not only the default one.
func (t Target) PerRegionCMA() bool { return t.Patched || !t.Kernel.Before(v6_19) }
