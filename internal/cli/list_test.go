// SPDX-License-Identifier: MIT

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
	"github.com/dmaheap/dmaheap/internal/sysinfo/sysinfotest"
)

// inventory is a board in memory with a CMA heap under two names, whose node
// tries to clear the reader's screen, and the system heap.
func inventory(t *testing.T) (*sysinfo.Board, []sysinfo.Heap) {
	t.Helper()
	m := sysinfotest.FS{}
	m.File("proc/sys/kernel/osrelease", "6.12.117\n")
	m.File("etc/group", "video:x:44:\n")
	m.File("etc/udev/rules.d/60-heaps.rules", `SUBSYSTEM=="dma_heap", KERNEL=="video@54000000", MODE="0660", GROUP="video"`+"\n")
	m.Device("dev/dma_heap/system", 0o600, sysinfo.Owner{Major: 254})
	m.Device("dev/dma_heap/video@54000000", 0o660, sysinfo.Owner{GID: 44, Major: 254, Minor: 1})
	m.Device("dev/dma_heap/evil\x1b[2J", 0o600, sysinfo.Owner{Major: 254, Minor: 2})
	m.Link("dev/dma_heap/video", "video@54000000")
	for name, val := range map[string]string{"size": "33554432\n", "used": "4096\n", "largest_free": "33550336\n", "buffers": "1\n"} {
		m.File("sys/kernel/dma_heap/video@54000000/"+name, val)
	}
	m.File("sys/kernel/debug/dma_buf/bufinfo", "\nDma-buf Objects:\nsize\tflags\tmode\tcount\texp_name\tino\tname\n"+
		"00004096\t00000002\t00080007\t00000003\tvideo@54000000\t00000021\tframe 1\n\tAttached Devices:\n\tfe000000.vpu\nTotal 1 devices attached\n\n")
	m.File("proc/412/comm", "camera\n")
	m.Link("proc/412/fd/7", "/dmabuf:")
	m.File("proc/412/fdinfo/7", "size:\t4096\nexp_name:\tvideo@54000000\n")
	b := sysinfo.New(m, sysinfo.Options{PageSize: 4096, Caller: &sysinfo.Caller{Groups: []int{0}}})
	heaps, err := b.Heaps()
	if err != nil {
		t.Fatal(err)
	}
	return b, heaps
}

func TestHeapsJSON(t *testing.T) {
	b, heaps := inventory(t)
	var buf bytes.Buffer
	if err := writeHeapsJSON(&buf, b, heaps); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Heaps []heapJSON
	}
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Heaps) != 3 {
		t.Fatalf("%d heaps, want 3 without the link", len(got.Heaps))
	}
	if s := got.Heaps[1]; s.Name != "system" || s.Size != nil || s.Kind != heapcfg.System {
		t.Errorf("system = %+v, want no size rather than 0", s)
	}
	v := got.Heaps[2]
	if v.Size == nil || *v.Size != 32<<20 || *v.Used != 4096 || v.Mode != 0o660 || v.Group != "video" ||
		len(v.Links) != 1 || len(v.Holders) != 1 || v.Holders[0].PID != 412 {
		t.Errorf("video = %+v", v)
	}
}

func TestInfoText(t *testing.T) {
	b, heaps := inventory(t)
	var buf bytes.Buffer
	if err := printInfo(&buf, b, heaps[2]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"short names     video\n", "32MiB         (/sys/kernel/dma_heap/video@54000000/size)", "0660 root:video",
		"video  (/etc/udev/rules.d/60-heaps.rules:1)", "camera[412]  4KiB in 1 buffers", `3 references  "frame 1"  attached to fe000000.vpu`,
		"address         not told", "\nsources that said nothing\n",
	} {
		if strings.Count(buf.String(), want) != 1 {
			t.Errorf("info lacks %q:\n%s", want, buf.String())
		}
	}
}

func TestListText(t *testing.T) {
	b, heaps := inventory(t)
	var buf bytes.Buffer
	if err := printList(&buf, b, heaps); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(buf.String(), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "NAME") ||
		strings.Join(strings.Fields(lines[2]), " ") != "system system - - - - 0600 root:root" ||
		strings.Join(strings.Fields(lines[3]), " ") != "video@54000000 ? 32MiB 4KiB 32764KiB ? 0660 root:video video" {
		t.Errorf("the list is\n%s", buf.String())
	}
	buf.Reset()
	if err := printList(&buf, b, nil); err != nil || buf.String() != "/dev/dma_heap is empty: the kernel has the framework and no heap\n" {
		t.Errorf("the list of no heap is %q, %v", buf.String(), err)
	}
}

func TestPick(t *testing.T) {
	_, heaps := inventory(t)
	for name, want := range map[string]string{"video@54000000": "video@54000000", "video": "video@54000000", "system": "system"} {
		if h, err := pick(heaps, name); err != nil || h.Name != want {
			t.Errorf("pick(%s) = %s, %v, want %s", name, h.Name, err, want)
		}
	}
	var exit *ExitError
	if _, err := pick(heaps, "vidoe"); !errors.As(err, &exit) || exit.Code != ExitUsage || !strings.Contains(err.Error(), "system, video@54000000") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("pick(vidoe) = %v, want exit 2 and the heaps", err)
	}
}

func TestTableHidesControlBytes(t *testing.T) {
	_, heaps := inventory(t)
	var buf bytes.Buffer
	if err := writeTable(&buf, [][]string{{"NAME"}, {heaps[0].Name}}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(buf.String(), "\x1b") || !strings.Contains(buf.String(), `evil\x1b[2J`) {
		t.Errorf("the table is %q", buf.String())
	}
}

func TestListWithoutHeaps(t *testing.T) {
	env := &Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Getenv: func(string) string { return "" }}
	var exit *ExitError
	err := (&boardFlags{format: "text", root: filepath.Join(boardDir(t), "proc")}).list(env)
	if !errors.As(err, &exit) || exit.Code != ExitUnsupported || !strings.Contains(err.Error(), "heapctl check") {
		t.Errorf("list without heaps = %v, want exit 4 and where to look", err)
	}
	err = (&boardFlags{format: "text", root: boardDir(t)}).info(env, "video")
	if !errors.As(err, &exit) || exit.Code != ExitUsage {
		t.Errorf("info of no heap = %v, want exit 2", err)
	}
}
