// SPDX-License-Identifier: MIT

package heapcfg

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Byte counts of the binary units the language knows.
const (
	KiB uint64 = 1 << 10
	MiB uint64 = 1 << 20
	GiB uint64 = 1 << 30
	TiB uint64 = 1 << 40
)

// The reasons ParseSize refuses a text. They are instructions, because they
// are shown under the offending line of heaps.yaml.
var (
	errSizeEmpty    = errors.New("a size is missing")
	errSizeSyntax   = errors.New("write a whole number with KiB, MiB or GiB, such as 64MiB, or hexadecimal bytes, such as 0x400_0000")
	errSizeFraction = errors.New("fractions are not sizes; write 1536KiB for 1.5MiB")
	errSizeDecimal  = errors.New("the unit is ambiguous; write KiB, MiB or GiB for powers of 1024")
	errSizeOctal    = errors.New("a leading zero reads as octal in some tools; drop it, or write 0x for hexadecimal")
	errSizeRange    = errors.New("the number does not fit into 64 bits")
)

// ParseSize reads "64MiB", "0x8000_0000" or "4096" exactly: no value goes
// through a floating-point number. The result is a count of bytes.
func ParseSize(s string) (uint64, error) {
	if s == "" {
		return 0, errSizeEmpty
	}
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		return parseDigits(rest, 16)
	}
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '_') {
		i++
	}
	digits, unit := s[:i], strings.TrimSpace(s[i:])
	if digits == "" {
		return 0, errSizeSyntax
	}
	if strings.HasPrefix(unit, ".") {
		return 0, errSizeFraction
	}
	if len(digits) > 1 && digits[0] == '0' {
		return 0, errSizeOctal
	}
	n, err := parseDigits(digits, 10)
	if err != nil {
		return 0, err
	}
	var mul uint64
	switch unit {
	case "":
		mul = 1
	case "KiB":
		mul = KiB
	case "MiB":
		mul = MiB
	case "GiB":
		mul = GiB
	case "TiB":
		mul = TiB
	case "K", "M", "G", "k", "m", "g", "KB", "MB", "GB", "kB", "kb", "mb", "gb", "B":
		return 0, errSizeDecimal
	default:
		return 0, errSizeSyntax
	}
	hi, lo := bits.Mul64(n, mul)
	if hi != 0 {
		return 0, errSizeRange
	}
	return lo, nil
}

// parseDigits reads digits that single underscores may group.
func parseDigits(s string, base int) (uint64, error) {
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") {
		return 0, errSizeSyntax
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), base, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errSizeRange
	}
	if err != nil {
		return 0, errSizeSyntax
	}
	return n, nil
}

// FormatSize writes bytes with the largest unit that divides them, so that
// what is printed is exact: 64 MiB + 4 KiB is "65540KiB", never "64MiB".
func FormatSize(n uint64) string {
	switch {
	case n == 0:
		return "0"
	case n%GiB == 0:
		return fmt.Sprintf("%dGiB", n/GiB)
	case n%MiB == 0:
		return fmt.Sprintf("%dMiB", n/MiB)
	case n%KiB == 0:
		return fmt.Sprintf("%dKiB", n/KiB)
	}
	return fmt.Sprintf("%dB", n)
}

// AboutSize is a size to look at, in no more than a digit behind the point: where
// the exact addresses stand beside it, 1282.9MiB tells more than 1313728KiB. It
// never says more than there is.
func AboutSize(n uint64) string {
	for _, u := range []struct {
		n    uint64
		name string
	}{{GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if n >= 10*u.n && n%u.n != 0 {
			return fmt.Sprintf("%d.%d%s", n/u.n, n%u.n*10/u.n, u.name)
		}
		if n >= u.n && n%u.n == 0 {
			break
		}
	}
	return FormatSize(n)
}

// alignUp rounds n up to a multiple of a, which is a power of two. It reports
// false when the result does not fit into 64 bits.
func alignUp(n, a uint64) (uint64, bool) {
	up := (n + a - 1) &^ (a - 1)
	return up, up >= n
}

func alignDown(n, a uint64) uint64 { return n &^ (a - 1) }

func isPow2(n uint64) bool { return n != 0 && n&(n-1) == 0 }
