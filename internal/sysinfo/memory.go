// SPDX-License-Identifier: MIT

package sysinfo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// A Resource is one line of /proc/iomem.
type Resource struct {
	Depth int
	Range heapcfg.Range
	Name  string
}

// errHidden is what an unprivileged reader of /proc/iomem finds: every address
// reads as 0 (kernel/resource.c).
var errHidden = errors.New("addresses are hidden without CAP_SYS_ADMIN")

// IOMem returns /proc/iomem in order.
func (b *Board) IOMem() ([]Resource, error) {
	return b.iomem.get(func() ([]Resource, error) {
		data, err := b.read("memory map", "proc/iomem")
		if err != nil {
			return nil, err
		}
		res, err := parseIOMem(data)
		b.note("memory map", "/proc/iomem", err)
		return res, err
	})
}

func parseIOMem(data []byte) ([]Resource, error) {
	var out []Resource
	hidden := true
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan() && len(out) < maxEntries; {
		line := s.Text()
		body := strings.TrimLeft(line, " ")
		span, name, ok := strings.Cut(body, " : ")
		lo, hi, ok2 := strings.Cut(span, "-")
		first, err1 := strconv.ParseUint(lo, 16, 64)
		last, err2 := strconv.ParseUint(hi, 16, 64)
		if !ok || !ok2 || err1 != nil || err2 != nil || last < first {
			return nil, fmt.Errorf("cannot read the line %q", line)
		}
		hidden = hidden && last == 0
		size := last - first + 1
		if size == 0 {
			continue // all of 64 bits
		}
		out = append(out, Resource{(len(line) - len(body)) / 2, heapcfg.Range{Base: heapcfg.Addr(first), Size: size}, name})
	}
	if len(out) > 0 && hidden {
		return nil, errHidden
	}
	return out, nil
}

// A Place is what the kernel's memory map says of a range.
type Place string

// The answers of Placed.
const (
	PlaceReserved Place = "reserved"   // kept from the buddy allocator
	PlaceRAM      Place = "system RAM" // ordinary memory: not reserved
	PlaceOutside  Place = "no RAM"     // the kernel knows of no memory there
	PlacePartly   Place = "partly reserved"
	PlaceUntold   Place = "" // it is RAM, and this kernel does not show what is reserved of that
)

// memblock is what early code reserved, where debugfs keeps it.
const memblock = "sys/kernel/debug/memblock/reserved"

// Placed tells whether all of a range is reserved in /proc/iomem. Both a
// no-map region and a CMA area show as "reserved" there; adjacent ones merge
// and have no names.
//
// Other architectures reserve their kernel at least, but 32-bit ARM shows RAM
// there and nothing of what is reserved (arch/arm/kernel/setup.c,
// request_standard_resources). The list of memblock is asked then.
func (b *Board) Placed(r heapcfg.Range) (Place, error) {
	res, err := b.IOMem()
	if err != nil {
		return "", err
	}
	var reserved, ram []heapcfg.Range
	for _, x := range res {
		switch {
		case strings.EqualFold(x.Name, "reserved"):
			reserved = append(reserved, x.Range)
		case x.Name == "System RAM":
			ram = append(ram, x.Range)
		}
	}
	untold := len(reserved) == 0
	if untold {
		if data, err := b.read("memory map", memblock); err == nil {
			reserved = parseMemblock(data)
			untold = len(reserved) == 0
		}
	}
	touched := false
	for _, m := range heapcfg.MergeRanges(reserved) {
		if m.Contains(r) {
			return PlaceReserved, nil
		}
		touched = touched || m.Overlaps(r)
	}
	if touched {
		return PlacePartly, nil
	}
	for _, m := range ram {
		switch {
		case m.Overlaps(r) && untold:
			return PlaceUntold, nil
		case m.Overlaps(r):
			return PlaceRAM, nil
		}
	}
	return PlaceOutside, nil
}

// parseMemblock reads lines such as "   0: 0x40008000..0x40ffffff NONE"
// (mm/memblock.c, memblock_debug_show).
func parseMemblock(data []byte) []heapcfg.Range {
	var out []heapcfg.Range
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan() && len(out) < maxEntries; {
		_, body, _ := strings.Cut(s.Text(), ": ")
		span, _, _ := strings.Cut(body, " ")
		lo, hi, ok := strings.Cut(span, "..")
		first, err1 := strconv.ParseUint(lo, 0, 64)
		last, err2 := strconv.ParseUint(hi, 0, 64)
		if !ok || err1 != nil || err2 != nil || last < first || last-first+1 == 0 {
			continue
		}
		out = append(out, heapcfg.Range{Base: heapcfg.Addr(first), Size: last - first + 1})
	}
	return out
}

// MemAvailable returns how many bytes the kernel could hand out without
// swapping (proc_meminfo(5)).
func (b *Board) MemAvailable() (uint64, bool) {
	data, err := b.read("free memory", "proc/meminfo")
	if err != nil {
		return 0, false
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, err := strconv.ParseUint(f[1], 10, 54)
			return kib << 10, err == nil
		}
	}
	return 0, false
}
