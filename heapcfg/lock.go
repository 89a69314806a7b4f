// SPDX-License-Identifier: MIT

package heapcfg

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dmaheap/dmaheap/internal/tinyjson"
)

// LockVersion is the version of the lock file's format. A reader refuses a
// newer one rather than guess.
const LockVersion = 1

// maxLock bounds a lock file in bytes; a real one has a few KiB.
const maxLock = 4 << 20

// A Lock is what the board must show: the heaps the compiler promised and the
// Layout they came from. `heapctl check` holds the booted board against it.
type Lock struct {
	Format  string     `json:"format"`
	Version int        `json:"version"`
	Config  string     `json:"config"` // name of the heaps.yaml
	Heaps   []Expected `json:"heaps"`
	Layout  Layout     `json:"layout"`
}

// ErrLock is returned for bytes that are no lock file this version can read.
var ErrLock = errors.New("not a heapctl lock file")

const lockFormat = "dmaheap-lock"

// NewLock makes the lock of a layout. File names lose their directories: the
// same config gives the same lock wherever it was compiled.
func NewLock(config string, l *Layout) *Lock {
	k := &Lock{Format: lockFormat, Version: LockVersion, Config: config, Heaps: l.Expect(), Layout: *l}
	base := func(s *Source) { s.File = s.File[strings.LastIndexByte(s.File, '/')+1:] }
	base(&k.Layout.Source)
	k.Layout.Regions = slices.Clone(l.Regions)
	for i := range k.Layout.Regions {
		base(&k.Layout.Regions[i].Source)
	}
	k.Layout.Occupied = slices.Clone(l.Occupied)
	for i := range k.Layout.Occupied {
		base(&k.Layout.Occupied[i].Source)
	}
	return k
}

// Marshal returns the lock file: JSON, indented, the same bytes every time.
func (k *Lock) Marshal() ([]byte, error) {
	return tinyjson.Marshal(k)
}

// IsLock reports whether the bytes claim to be a lock file, so that a reader
// of several formats can choose.
func IsLock(data []byte) bool {
	return len(data) > 0 && bytes.HasPrefix(bytes.TrimLeft(data[:min(len(data), 256)], " \t\r\n"), []byte("{")) &&
		bytes.Contains(data[:min(len(data), 256)], []byte(lockFormat))
}

// ParseLock reads a lock file.
func ParseLock(data []byte) (*Lock, error) {
	if len(data) > maxLock {
		return nil, fmt.Errorf("%w: larger than %s", ErrLock, FormatSize(maxLock))
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := tinyjson.UnmarshalHead(data, &head); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrLock, err)
	}
	if head.Format != lockFormat {
		return nil, fmt.Errorf("%w: format is %q, want %q", ErrLock, head.Format, lockFormat)
	}
	if head.Version != LockVersion {
		return nil, fmt.Errorf("%w: version %d, this heapctl reads version %d", ErrLock, head.Version, LockVersion)
	}
	var k Lock
	if err := tinyjson.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrLock, err)
	}
	for _, h := range k.Heaps {
		if err := validHeapName(h.Name); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrLock, err)
		}
		if h.Range.Wraps() {
			return nil, fmt.Errorf("%w: heap %s goes past the end of the address space", ErrLock, h.Name)
		}
	}
	return &k, nil
}

// validHeapName refuses a name that would leave /dev/dma_heap.
func validHeapName(name string) error {
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("heap name %q", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '/' {
			return fmt.Errorf("heap name %q has the byte %#x", name, c)
		}
	}
	return nil
}
