// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

func stressFake(t *testing.T, f faults, o StressOptions) *report.Report {
	t.Helper()
	b := sysinfo.New(videoBoard(), sysinfo.Options{Live: true, PageSize: 4096, Caller: &sysinfo.Caller{Groups: []int{0}}})
	r := &report.Report{}
	RunStress(context.Background(), b, newFakeKernel(videoSize, f), "video@54000000", o, r, func(report.Result) {})
	r.Finish(0)
	return r
}

func TestStress(t *testing.T) {
	o := StressOptions{Workers: 4, Count: 400, Seed: 1, Most: videoSize, Largest: videoSize / 4}
	for _, tt := range []struct {
		name string
		f    faults
		want string // id of the failure, "" for none
	}{
		{"healthy", faults{}, ""},
		{"overlap", faults{alias: true}, "stress-verify"},
		{"not zeroed", faults{dirty: true}, "stress-verify"},
		{"writes are lost", faults{lostWrites: true}, "stress-verify"},
		{"fault", faults{fault: true}, "stress-verify"},
		{"descriptors leak", faults{leakFD: true}, "stress-lost"},
		{"cannot open", faults{openErr: dmaheap.ErrNoHeap}, "stress-verify"},
	} {
		if o := &o; tt.f.alias {
			o.Workers = 1 // workers that share memory by mistake are a race, and not ours
		} else {
			o.Workers = 4
		}
		r := stressFake(t, tt.f, o)
		got := ""
		if f := r.Summary.First; f != nil {
			got = f.ID
			if f.Advice == "" || f.Expected == "" || f.Found == "" {
				t.Errorf("%s: the failure lacks a field: %+v", tt.name, *f)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q failed, want %q:\n%s", tt.name, got, tt.want, dump(r))
		}
	}
}

// The count is one of buffers: to find no room is none.
func TestStressCount(t *testing.T) {
	for _, workers := range []int{1, 4} {
		r := stressFake(t, faults{}, StressOptions{Workers: workers, Count: 300, Seed: 3, Most: videoSize / 8, Largest: videoSize / 16})
		x := result(t, r, "stress-verify", "video@54000000")
		if !strings.HasPrefix(x.Message, "300 buffers, ") || !strings.Contains(x.Message, " 0 times full") {
			t.Errorf("%d workers: %s, want 300 buffers", workers, x.Message)
		}
	}
}

// A kernel that never answers ends the run.
func TestStressStuck(t *testing.T) {
	r := stressFake(t, faults{hang: true}, StressOptions{Workers: 2, Count: 10, Seed: 1, Most: videoSize, Largest: 4096, Patience: 100 * time.Millisecond})
	if f := r.Summary.First; f == nil || f.ID != "stress-verify" || !strings.Contains(f.Message, "did not answer") {
		t.Errorf("first failure %+v, want stress-verify: did not answer", f)
	}
	if r.Summary.Failed != 1 {
		t.Errorf("%d failures, want one:\n%s", r.Summary.Failed, dump(r))
	}
}

// A heap that is always full is no success.
func TestStressFull(t *testing.T) {
	r := stressFake(t, faults{noMemory: true}, StressOptions{Workers: 1, Count: 10, Seed: 1, Most: videoSize, Largest: 4096})
	if r.Summary.Exit != report.ExitCannotTest {
		t.Errorf("exit %d without one buffer, want 3:\n%s", r.Summary.Exit, dump(r))
	}
}

// What the processor cannot see is left alone, and nobody is told that it is
// fine.
func TestStressDeviceOnly(t *testing.T) {
	fs := videoBoard()
	withTree(fs, "video@54000000", 0x54000000, videoSize, heapcfg.CompatCarveout, "no-map")
	b := sysinfo.New(fs, sysinfo.Options{Live: true, PageSize: 4096, Caller: &sysinfo.Caller{Groups: []int{0}}})
	r := &report.Report{}
	RunStress(context.Background(), b, newFakeKernel(videoSize, faults{fault: true}), "video@54000000",
		StressOptions{Workers: 1, Count: 10, Seed: 1, Most: videoSize, Largest: 4096}, r, func(report.Result) {})
	r.Finish(0)
	if r.Summary.Exit != report.ExitCannotTest || len(r.Results) != 1 || r.Results[0].Status != report.Skip {
		t.Errorf("exit %d, want 3 and one skip:\n%s", r.Summary.Exit, dump(r))
	}
}

func TestStressDuration(t *testing.T) {
	start := time.Now()
	r := stressFake(t, faults{}, StressOptions{Workers: 2, Duration: 50 * time.Millisecond, Seed: 1, Most: videoSize, Largest: 65536})
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("50 ms of stress took %v", took)
	}
	if r.Summary.Exit != report.ExitOK {
		t.Errorf("exit %d:\n%s", r.Summary.Exit, dump(r))
	}
}

func TestBench(t *testing.T) {
	o := BenchOptions{Sizes: []uint64{4096, 65536, 2 * videoSize}, Count: 5, Limit: time.Second}
	var sizes []uint64
	both, err := RunBench(context.Background(), newFakeKernel(videoSize, faults{}), []string{"video", "npu"}, 4096, o, func(size uint64) {
		sizes = append(sizes, size)
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(o.Sizes, sizes); d != "" {
		t.Errorf("sizes told (-want +got):\n%s", d)
	}
	if len(both) != 2 || both[0].Heap != "video" || both[1].Heap != "npu" {
		t.Fatalf("bench = %+v, want video and npu", both)
	}
	for _, b := range both {
		if len(b.Timings) != 2 || b.Timings[1].Count != 5 || b.Timings[1].Write == 0 || b.Short == "" {
			t.Errorf("bench = %+v, want two sizes measured and the third too large", b)
		}
	}
	if _, err := RunBench(context.Background(), newFakeKernel(videoSize, faults{fault: true}), []string{"video"}, 4096, o, nil); !errors.Is(err, errFault) {
		t.Errorf("bench of memory that faults = %v, want %v", err, errFault)
	}
	k := newFakeKernel(videoSize, faults{})
	k.deviceOK = false
	b, err := RunBench(context.Background(), k, []string{"video"}, 4096, o, nil)
	if err != nil || len(b[0].Timings) != 2 || b[0].Timings[0].Write != 0 {
		t.Errorf("bench of a device-only heap = %+v, %v; want allocation alone", b, err)
	}
	if k.files != 3 {
		t.Errorf("bench leaves %d descriptors open", k.files-3)
	}
}

// All of a buffer is looked at, also what lies behind the first mapping.
func TestPattern(t *testing.T) {
	const size = 2*window + 3*tile
	k := newFakeKernel(size, faults{})
	h, _ := k.Open("x")
	buf, err := h.AllocFlags(size, dmaheap.ReadWrite, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := buf.(*fakeBuffer).data
	if at, err := firstNonZero(buf); at != -1 || err != nil {
		t.Errorf("firstNonZero of a new buffer = %d, %v", at, err)
	}
	places := []int64{0, 7, tile - 1, window - 1, window, 2*window + tile + 5, size - 1}
	for _, at := range places {
		data[at] = 1
		if got, err := firstNonZero(buf); got != at || err != nil {
			t.Errorf("firstNonZero = %d, %v, want %d", got, err, at)
		}
		data[at] = 0
	}
	if err := fill(buf, 9); err != nil {
		t.Fatal(err)
	}
	if at, err := verify(buf, 9); at != -1 || err != nil {
		t.Errorf("verify of what was written = %d, %v", at, err)
	}
	if at, err := verify(buf, 10); at != 0 || err != nil {
		t.Errorf("verify with another seed = %d, %v, want 0", at, err)
	}
	for _, at := range places {
		data[at] ^= 0x80
		if got, err := verify(buf, 9); got != at/tile*tile || err != nil {
			t.Errorf("verify with a wrong byte at %d = %d, %v", at, got, err)
		}
		data[at] ^= 0x80
	}
	// A page in the place of another has its own pattern, and the wrong number.
	copy(data[window:window+tile], data[:tile])
	if at, err := verify(buf, 9); at != window || err != nil {
		t.Errorf("verify with a page of another place = %d, %v, want %d", at, err, window)
	}
}

func TestSpread(t *testing.T) {
	var d []time.Duration
	for i := 100; i > 0; i-- {
		d = append(d, time.Duration(i))
	}
	if got, want := spread(d), (Spread{50, 90, 99, 100}); got != want {
		t.Errorf("spread = %v, want %v", got, want)
	}
}

// Reading and writing memory runs at the speed of memory: four fifths of that
// of memcpy on the same core, at least. Both are measured in turn, and the best
// turn of each counts, so that other work on the machine does not.
func TestVerifyBandwidth(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector slows what it watches")
	}
	if strconv.IntSize == 32 {
		t.Skip("no board runs the 32-bit code of a PC, which compares at 77 to 97% of memcpy")
	}
	const size, turns = 64 << 20, 5 // more than the caches hold
	k := newFakeKernel(size, faults{})
	h, _ := k.Open("x")
	buf, err := h.AllocFlags(size, dmaheap.ReadWrite, 0)
	if err != nil {
		t.Fatal(err)
	}
	from, to := bytes.Repeat(pattern(2), size/tile), make([]byte, size)
	best := map[string]time.Duration{}
	measure := func(name string, fn func()) {
		start := time.Now()
		fn()
		if took := time.Since(start); best[name] == 0 || took < best[name] {
			best[name] = took
		}
	}
	share := func(name string) float64 { return float64(best["memcpy"]) / float64(best[name]) }
	good := func() bool {
		return share("look for old bytes") >= 0.8 && share("fill") >= 0.8 && share("verify") >= 0.8
	}
	for i := 0; i < turns || i < 10*turns && !good(); i++ {
		measure("memcpy", func() { copy(to, from) })
		clear(buf.(*fakeBuffer).data)
		measure("look for old bytes", func() {
			if at, err := firstNonZero(buf); at >= 0 || err != nil {
				t.Fatal(at, err)
			}
		})
		measure("fill", func() {
			if err := fill(buf, 1); err != nil {
				t.Fatal(err)
			}
		})
		measure("verify", func() {
			if at, err := verify(buf, 1); at >= 0 || err != nil {
				t.Fatal(at, err)
			}
		})
	}
	for name, took := range best {
		t.Logf("%s: %.0f MB/s, %.0f%% of memcpy", name, size/1e6/took.Seconds(), 100*share(name))
	}
	if !good() {
		t.Error("one of them runs at less than 80% of the speed of memcpy")
	}
}

// BenchmarkVerify shows how near verification comes to the speed of memory.
func BenchmarkVerify(b *testing.B) {
	k := newFakeKernel(16<<20, faults{})
	h, _ := k.Open("x")
	buf, err := h.AllocFlags(16<<20, dmaheap.ReadWrite, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := fill(buf, 1); err != nil {
		b.Fatal(err)
	}
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(16 << 20)
		for i := 0; i < b.N; i++ {
			if at, err := verify(buf, 1); at >= 0 || err != nil {
				b.Fatal(at, err)
			}
		}
	})
	b.Run("memcpy", func(b *testing.B) {
		b.SetBytes(16 << 20)
		from, to := make([]byte, 16<<20), make([]byte, 16<<20)
		for i := 0; i < b.N; i++ {
			copy(to, from)
		}
	})
}
