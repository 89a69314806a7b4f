// SPDX-License-Identifier: MIT

package heapcfg

import (
	"errors"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want uint64
		err  error
	}{
		{"0", 0, nil},
		{"4096", 4096, nil},
		{"64_000", 64000, nil},
		{"64MiB", 64 * MiB, nil},
		{"64 MiB", 64 * MiB, nil},
		{"4KiB", 4 * KiB, nil},
		{"2GiB", 2 * GiB, nil},
		{"0x8000_0000", 0x80000000, nil},
		{"0xFFFFFFFFFFFFFFFF", 1<<64 - 1, nil},
		{"18446744073709551615", 1<<64 - 1, nil},
		{"9007199254740993", 9007199254740993, nil}, // lost by float64
		{"18446744073709551616", 0, errSizeRange},
		{"16777216TiB", 0, errSizeRange},
		{"0x1_0000_0000_0000_0000", 0, errSizeRange},
		{"", 0, errSizeEmpty},
		{"1.5MiB", 0, errSizeFraction},
		{"64M", 0, errSizeDecimal},
		{"64MB", 0, errSizeDecimal},
		{"010", 0, errSizeOctal},
		{"00", 0, errSizeOctal},
		{"1e6", 0, errSizeSyntax},
		{"0b101", 0, errSizeSyntax},
		{"0X10", 0, errSizeSyntax},
		{"0x", 0, errSizeSyntax},
		{"_1", 0, errSizeSyntax},
		{"1__0", 0, errSizeSyntax},
		{"-1", 0, errSizeSyntax},
		{"+1", 0, errSizeSyntax},
		{"64MiB64KiB", 0, errSizeSyntax},
		{"lots", 0, errSizeSyntax},
	} {
		got, err := ParseSize(tc.in)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, %v", tc.in, got, err, tc.want, tc.err)
		}
	}
}

func TestFormatSizeIsExact(t *testing.T) {
	for _, n := range []uint64{0, 1, 4095, 4 * KiB, 6 * MiB, 64*MiB + 4*KiB, 3 * GiB, 1<<64 - 1} {
		text := FormatSize(n)
		if n%KiB != 0 {
			text = text[:len(text)-1] // bare bytes are read without the B
		}
		got, err := ParseSize(text)
		if err != nil || got != n {
			t.Errorf("ParseSize(FormatSize(%d)) = %d, %v", n, got, err)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"64MiB", "0x8000_0000", "010", "1.5", "18446744073709551616"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil && n != 0 {
			t.Errorf("ParseSize(%q) = %d and error %v", s, n, err)
		}
	})
}

func TestAboutSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 512: "512B", 4096: "4KiB", 12345: "12.0KiB", 4*GiB - 4096: "4095.9MiB", 1500 * KiB: "1500KiB",
		64 * MiB: "64MiB", 1408 * MiB: "1408MiB", 1313728 * KiB: "1282.9MiB",
		6 * GiB: "6GiB", 12801 * MiB: "12.5GiB", ^uint64(0): "17179869183.9GiB",
	} {
		if got := AboutSize(n); got != want {
			t.Errorf("AboutSize(%d) = %q, want %q", n, got, want)
		}
	}
}
