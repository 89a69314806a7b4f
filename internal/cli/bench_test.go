// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dmaheap/dmaheap/internal/check"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
	"github.com/dmaheap/dmaheap/internal/sysinfo/sysinfotest"
)

func benchSample() benchResult {
	s := func(us int) check.Spread {
		d := time.Duration(us) * time.Microsecond
		return check.Spread{P50: d, P90: 2 * d, P99: 3 * d, Max: 4 * d}
	}
	return benchResult{Format: "heapctl-bench", Version: 1, Kernel: "6.12", MemoryWrite: 5e9, MemoryRead: 9e9, Heaps: []check.Bench{
		{Heap: "a<b", Short: "no buffer of 32MiB", Timings: []check.Timing{
			{Size: 4096, Count: 200, Alloc: s(10), Map: s(5), Touch: s(1), Free: s(7), Sync: s(2), Write: 1e9, Read: 2e9},
			{Size: 1 << 20, Count: 200, Alloc: s(900)},
		}},
		{Heap: "empty", Timings: []check.Timing{}},
	}}
}

func TestBenchText(t *testing.T) {
	var buf bytes.Buffer
	if err := benchText(&buf, benchSample()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10µs", "900µs", "1000 MB/s", "a<b: no buffer of 32MiB", "ordinary memory: write 5000 MB/s"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, buf.String())
		}
	}
}

func TestBenchMeasured(t *testing.T) {
	r := benchSample()
	if err := measured(r.Heaps); err != nil {
		t.Errorf("measured = %v, want nil", err)
	}
	var exit *ExitError
	if err := measured(r.Heaps[1:]); !errors.As(err, &exit) || exit.Code != ExitCannotTest {
		t.Errorf("measured of a full heap = %v, want exit 3", err)
	}
}

func TestBenchSVG(t *testing.T) {
	for _, r := range []benchResult{benchSample(), {}} {
		var buf bytes.Buffer
		if err := check.PlotAlloc(&buf, r.Kernel, r.Heaps); err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(&buf); ; {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("no XML: %v", err)
			}
		}
		if strings.Contains(buf.String(), "NaN") || strings.Contains(buf.String(), "Inf") {
			t.Errorf("a coordinate is no number:\n%s", buf.String())
		}
	}
}

func TestLoadUsage(t *testing.T) {
	env := &Env{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" }}
	for _, tt := range []struct {
		args string
		says string
	}{
		{"-o yaml", "unknown output format"},
		{"--workers 0", "--workers"},
		{"--duration 0s", "state --duration or --count"},
		{"--count -1", "cannot be negative"},
		{"--most 1MiB --largest 2MiB", "no less than"},
		{"--most lots", "--most lots"},
	} {
		c := newStress(env)
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(strings.Fields(tt.args))
		var exit *ExitError
		if err := c.Execute(); !errors.As(err, &exit) || exit.Code != ExitUsage || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("stress %s = %v, want exit 2 with %q", tt.args, err, tt.says)
		}
	}
	for _, args := range []string{"-o yaml", "--size 0", "--size x", "--count 0"} {
		c := newBench(env)
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(strings.Fields(args))
		var exit *ExitError
		if err := c.Execute(); !errors.As(err, &exit) || exit.Code != ExitUsage {
			t.Errorf("bench %s = %v, want exit 2", args, err)
		}
	}
}

// A misspelt heap is wrong usage, and a kernel without heaps is no failure.
func TestNamedHeaps(t *testing.T) {
	m := sysinfotest.FS{}
	m.Device("dev/dma_heap/video@54000000", 0o600, sysinfo.Owner{})
	m.Link("dev/dma_heap/video", "video@54000000")
	board := sysinfo.New(m, sysinfo.Options{PageSize: 4096})
	if got, err := heapNames(board, []string{"video", "video@54000000"}); err != nil || len(got) != 2 {
		t.Errorf("heapNames = %q, %v", got, err)
	}
	var exit *ExitError
	if _, err := heapNames(board, []string{"video", "vidoe"}); !errors.As(err, &exit) || exit.Code != ExitUsage || !strings.Contains(err.Error(), "there are: video, video@54000000") {
		t.Errorf("heapNames of a misspelt heap = %v, want exit 2 and the heaps", err)
	}
	if _, err := heapNames(sysinfo.New(sysinfotest.FS{}, sysinfo.Options{}), []string{"video"}); !errors.As(err, &exit) || exit.Code != ExitUnsupported {
		t.Errorf("heapNames without heaps = %v, want exit 4", err)
	}
}

// Ordinary memory is taken from what is free, never from what is not there.
func TestPressure(t *testing.T) {
	m := sysinfotest.FS{}
	m.File("proc/meminfo", "MemTotal: 16384 kB\nMemAvailable:    8192 kB\n")
	board := sysinfo.New(m, sysinfo.Options{PageSize: 4096})
	if data, err := load(board, 8<<20); err != nil || len(data) != 8<<20 {
		t.Errorf("load of all that is free = %d bytes, %v", len(data), err)
	}
	var exit *ExitError
	if _, err := load(board, 8<<20+1); !errors.As(err, &exit) || exit.Code != ExitCannotTest || !strings.Contains(err.Error(), "8MiB") {
		t.Errorf("load of more = %v, want exit 3 and what is free", err)
	}
	if _, err := load(sysinfo.New(sysinfotest.FS{}, sysinfo.Options{}), 1<<63); !errors.As(err, &exit) || exit.Code != ExitCannotTest {
		t.Errorf("load of half the address space = %v, want exit 3", err)
	}
}
