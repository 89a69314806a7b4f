// SPDX-License-Identifier: MIT

package fdt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tool runs a reference tool on in and returns its standard output. A missing
// tool skips the test, except where CI says that it must be there.
func tool(t testing.TB, in []byte, name string, args ...string) []byte {
	t.Helper()
	out, stderr, err := tryTool(t, in, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\ninput:\n%s", name, strings.Join(args, " "), err, stderr, in)
	}
	return out
}

// tryTool is tool for runs that may fail.
func tryTool(t testing.TB, in []byte, name string, args ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	path, lookErr := exec.LookPath(name)
	if lookErr != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing, and CI needs it: apt-get install device-tree-compiler", name)
		}
		t.Skipf("%s is missing: apt-get install device-tree-compiler", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(in)
	var so, se bytes.Buffer
	cmd.Stdout, cmd.Stderr = &so, &se
	err = cmd.Run()
	return so.Bytes(), se.Bytes(), err
}

// compile is dtc with symbols, for a base or an overlay.
func compile(t testing.TB, source string, args ...string) []byte {
	t.Helper()
	return tool(t, []byte(source), "dtc", append([]string{"-q", "-@", "-I", "dts", "-O", "dtb"}, args...)...)
}

// decompile is what dtc reads in a blob, sorted.
func decompile(t testing.TB, blob []byte) string {
	t.Helper()
	return string(tool(t, blob, "dtc", "-q", "-s", "-I", "dtb", "-O", "dts"))
}

func mustParse(t testing.TB, blob []byte) *Tree {
	t.Helper()
	tree, err := Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func mustMarshal(t testing.TB, tree *Tree) []byte {
	t.Helper()
	blob, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// sources returns the committed .dts files.
func sources(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.dts")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/*.dts = %v, %v", files, err)
	}
	out := make(map[string]string)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = string(b)
	}
	return out
}

// TestRoundTrip holds reading, writing and the source text against dtc.
func TestRoundTrip(t *testing.T) {
	for name, src := range sources(t) {
		for _, flags := range [][]string{nil, {"-p", "4096"}, {"-S", "1048576"}, {"-R", "7"}, {"-b", "3"}} {
			t.Run(name+strings.Join(flags, ""), func(t *testing.T) {
				blob := compile(t, src, flags...)
				tree := mustParse(t, blob)
				again := mustMarshal(t, tree)
				if diff := cmp.Diff(decompile(t, blob), decompile(t, again)); diff != "" {
					t.Errorf("dtc reads another tree after Parse and Marshal:\n%s", diff)
				}
				if diff := cmp.Diff(tree, mustParse(t, again)); diff != "" {
					t.Errorf("Parse(Marshal(tree)) differs:\n%s", diff)
				}
				if diff := cmp.Diff(tree, tree.Clone()); diff != "" {
					t.Errorf("Clone differs:\n%s", diff)
				}
				fromText := mustParse(t, compile(t, tree.DTS()))
				fromText.BootCPU = tree.BootCPU // the text has no place for it
				if diff := cmp.Diff(tree, fromText); diff != "" {
					t.Errorf("dtc compiles DTS() to another tree:\n%s\n%s", diff, tree.DTS())
				}
			})
		}
	}
}

// blob builds a blob by hand, for what no compiler writes.
func blob(structure, strs []byte) []byte {
	reserve := make([]byte, 16)
	off := uint32(headerSize)
	h := []uint32{
		magic, 0, off + 16, off + 16 + uint32(len(structure)), off,
		17, 16, 0, uint32(len(strs)), uint32(len(structure)),
	}
	h[1] = h[3] + h[8]
	b := U32s(h...)
	b = append(b, reserve...)
	b = append(b, structure...)
	return append(b, strs...)
}

// begin, prop and end are tokens of the structure block.
func begin(name string) []byte {
	b := append(U32s(tokBegin), name...)
	b = append(b, 0)
	return append(b, make([]byte, align4(len(b))-len(b))...)
}

func prop(nameAt uint32, value []byte) []byte {
	b := append(U32s(tokProp, uint32(len(value)), nameAt), value...)
	return append(b, make([]byte, align4(len(b))-len(b))...)
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var end, last = U32s(tokEnd), U32s(tokLast)

// patch overwrites header word i.
func patch(b []byte, i int, v uint32) []byte {
	b = append([]byte(nil), b...)
	binary.BigEndian.PutUint32(b[4*i:], v)
	return b
}

func TestParseUnusual(t *testing.T) {
	root := &Tree{Root: &Node{}}
	tests := []struct {
		name string
		in   []byte
		want *Tree
	}{
		{"no property at all", blob(cat(begin(""), end, last), nil), root},
		{"bytes behind the blob", append(blob(cat(begin(""), end, last), nil), 1, 2, 3), root},
		{"padding behind FDT_END", blob(cat(begin(""), end, last, U32s(0, 0)), nil), root},
		{"FDT_NOP", blob(cat(U32s(tokNop), begin(""), U32s(tokNop), end, U32s(tokNop), last), nil), root},
		{"root with a name", blob(cat(begin("board"), end, last), nil), root},
		{"newer, compatible version", patch(blob(cat(begin(""), end, last), nil), 5, 18), root},
		{
			"shared suffix in the strings block",
			blob(cat(begin(""), prop(0, nil), prop(2, []byte{1}), end, last), []byte("a-b\x00")),
			&Tree{Root: &Node{Props: []Prop{{"a-b", nil}, {"b", []byte{1}}}}},
		},
		{
			// The reservation block first is the usual order and the only
			// one the reader below the guard knows.
			"strings before structure",
			cat(U32s(magic, 80, 60, 56, 40, 17, 16, 0, 2, 20), make([]byte, 16), []byte("x\x00\x00\x00"),
				begin(""), end, last, make([]byte, 4)),
			root,
		},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: Parse: -want +got\n%s", tt.name, diff)
		}
	}
}

// bound runs f and fails when it takes a second or 64 MiB, garbage included.
// The best of three runs counts for time, because the machine does other work.
func bound(t *testing.T, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	var took time.Duration
	for try := 0; try < 3; try++ {
		runtime.ReadMemStats(&before)
		start := time.Now()
		f()
		took = time.Since(start)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("allocated %d MiB", n>>20)
		}
		if took < time.Second {
			return
		}
	}
	t.Errorf("took %v", took)
}

func TestParseRefuses(t *testing.T) {
	good := blob(cat(begin(""), prop(0, []byte("v\x00")), begin("a"), end, end, last), []byte("p\x00"))
	if _, err := Parse(good); err != nil {
		t.Fatal(err)
	}
	nested := func(levels int) []byte {
		return blob(cat(bytes.Repeat(begin("a"), levels), bytes.Repeat(end, levels), last), nil)
	}
	many := func(n int, part []byte) []byte {
		return blob(cat(begin(""), bytes.Repeat(part, n), end, last), []byte("p\x00"))
	}
	tests := []struct {
		name string
		in   []byte
		want error
		say  string
	}{
		{"nothing", nil, ErrNotDTB, "empty"},
		{"text", []byte("hello, world"), ErrNotDTB, "0x68656c6c"},
		{"source", []byte("/dts-v1/;\n/ { };\n"), ErrNotDTB, "compile it first"},
		{"gzip", []byte{0x1f, 0x8b, 8, 0}, ErrNotDTB, "gzip"},
		{"swapped", []byte{0xed, 0xfe, 0x0d, 0xd0}, ErrNotDTB, "swapped"},
		{"half a magic", good[:3], ErrTruncated, "3 bytes"},
		{"half a header", good[:20], ErrTruncated, "20 bytes"},
		{"cut in the strings", good[:len(good)-1], ErrTruncated, "header says"},
		{"cut in the structure", good[:70], ErrTruncated, "header says"},
		{"version 16", patch(good, 5, 16), ErrVersion, "version 16"},
		{"version 18 only", patch(patch(good, 5, 18), 6, 18), ErrVersion, "version 18"},
		{"total size below the header", patch(good, 1, 12), ErrMalformed, "smaller than the header"},
		{"4 GiB", patch(good, 1, ^uint32(0)), ErrTooLarge, "4294967295"},
		{"structure outside", patch(good, 2, 1<<20), ErrMalformed, "structure block"},
		{"structure at 4 GiB", patch(good, 2, ^uint32(3)), ErrMalformed, "structure block"},
		{"structure unaligned", patch(good, 2, 57), ErrMalformed, "multiple of 4"},
		{"structure in the header", patch(good, 2, 4), ErrMalformed, "inside the header"},
		{"structure size 4 GiB", patch(good, 9, ^uint32(0)), ErrMalformed, "does not fit"},
		{"strings size 4 GiB", patch(good, 8, ^uint32(0)), ErrMalformed, "does not fit"},
		{"strings over the structure", patch(patch(blob(cat(begin(""), end, last), nil), 3, 56), 8, 4), ErrMalformed, "overlap"},
		{"reservations unaligned", patch(good, 4, 44), ErrMalformed, "multiple of 8"},
		{"reservations without end", patch(good, 4, 64), ErrMalformed, "no end"},
		{"value of 4 GiB", blob(cat(begin(""), U32s(tokProp, ^uint32(0), 0), end, last), []byte("p\x00")), ErrMalformed, "claims 4294967295 bytes"},
		{"value of 2 GiB", blob(cat(begin(""), U32s(tokProp, 1<<31-1, 0), end, last), []byte("p\x00")), ErrMalformed, "claims"},
		{"value cut", blob(cat(begin(""), U32s(tokProp, 4)), []byte("p\x00")), ErrMalformed, "cut off"},
		{"property name outside", blob(cat(begin(""), prop(2, nil), end, last), []byte("p\x00")), ErrMalformed, "strings block"},
		{"property name open", blob(cat(begin(""), prop(0, nil), end, last), []byte("p")), ErrMalformed, "no end"},
		{"property name empty", blob(cat(begin(""), prop(1, nil), end, last), []byte("p\x00")), ErrMalformed, "empty"},
		{"property name of bytes", blob(cat(begin(""), prop(0, nil), end, last), []byte("\xff\x00")), ErrMalformed, "not printable"},
		{"property after a node", blob(cat(begin(""), begin("a"), end, prop(0, nil), end, last), []byte("p\x00")), ErrMalformed, "after a child node"},
		{"property outside", blob(cat(prop(0, nil), begin(""), end, last), []byte("p\x00")), ErrMalformed, "outside"},
		{"node name empty", blob(cat(begin(""), begin(""), end, end, last), nil), ErrMalformed, "empty"},
		{"node name with a slash", blob(cat(begin(""), begin("a/b"), end, end, last), nil), ErrMalformed, "slash"},
		{"node name without end", blob(cat(U32s(tokBegin), bytes.Repeat([]byte{'a'}, 1<<20)), nil), ErrMalformed, "no end"},
		{"two roots", blob(cat(begin(""), end, begin(""), end, last), nil), ErrMalformed, "second root"},
		{"no root", blob(last, nil), ErrMalformed, "no root"},
		{"end too much", blob(cat(begin(""), end, end, last), nil), ErrMalformed, "never began"},
		{"end missing", blob(cat(begin(""), last), nil), ErrMalformed, "still open"},
		{"FDT_END missing", blob(cat(begin(""), end), nil), ErrMalformed, "without FDT_END"},
		{"unknown token", blob(cat(begin(""), U32s(5), end, last), nil), ErrMalformed, "token 0x5"},
		{"deeper than the limit", nested(MaxDepth + 1), ErrTooLarge, "nested"},
		{"very deep", nested(1 << 20), ErrTooLarge, "nested"},
		{"many nodes", many(MaxNodes, cat(begin("a"), end)), ErrTooLarge, "nodes"},
		{"many properties", many(MaxProps+1, prop(0, nil)), ErrTooLarge, "properties"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bound(t, func() {
				tree, err := Parse(tt.in)
				if tree != nil || !errors.Is(err, tt.want) {
					t.Fatalf("Parse = %v, %v; want %v", tree, err, tt.want)
				}
				if !strings.Contains(err.Error(), tt.say) {
					t.Errorf("Parse says %q, which does not mention %q", err, tt.say)
				}
			})
		})
	}
	// Every prefix of a good blob is an error, never a shorter tree.
	for n := range good {
		if tree, err := Parse(good[:n]); err == nil {
			t.Errorf("Parse of the first %d of %d bytes = %v, want an error", n, len(good), tree)
		}
	}
}

// TestParseLargest reads blobs at each limit: what is let through must stay
// within the promise as well.
func TestParseLargest(t *testing.T) {
	nested := blob(cat(bytes.Repeat(begin("a"), MaxDepth), bytes.Repeat(end, MaxDepth), last), nil)
	name := strings.Repeat("n", MaxName)
	long := blob(cat(begin(""), bytes.Repeat(prop(0, nil), maxNameBytes/MaxName), end, last), append([]byte(name), 0))
	big := blob(cat(begin(""), prop(0, make([]byte, MaxSize-200)), end, last), []byte("p\x00"))
	nodes := blob(cat(begin(""), bytes.Repeat(cat(begin("a"), prop(0, nil), prop(0, nil), end), MaxNodes-1), end, last), []byte("p\x00"))
	props := blob(cat(begin(""), bytes.Repeat(prop(0, []byte{1}), MaxProps), end, last), []byte("p\x00"))
	for _, tt := range []struct {
		name string
		in   []byte
	}{{"deep", nested}, {"long names", long}, {"large value", big}, {"nodes", nodes}, {"properties", props}} {
		t.Run(tt.name, func(t *testing.T) {
			bound(t, func() {
				if _, err := Parse(tt.in); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	deep := &Node{}
	for i, n := 0, deep; i < MaxDepth; i++ {
		n = n.AddChild(&Node{Name: "a"})
	}
	loop := &Node{}
	loop.AddChild(&Node{Name: "a"}).Children = []*Node{loop}
	loop.Children[0].Children[0] = loop.Children[0]
	tests := []struct {
		name string
		in   *Tree
		want error
	}{
		{"nil", nil, ErrMalformed},
		{"no root", &Tree{}, ErrMalformed},
		{"root with a name", &Tree{Root: &Node{Name: "a"}}, ErrMalformed},
		{"nil child", &Tree{Root: &Node{Children: []*Node{nil}}}, ErrMalformed},
		{"bad node name", &Tree{Root: &Node{Children: []*Node{{Name: "a\x00b"}}}}, ErrMalformed},
		{"bad property name", &Tree{Root: &Node{Props: []Prop{{Name: ""}}}}, ErrMalformed},
		{"empty reservation", &Tree{Root: &Node{}, Reserve: []Reserve{{}, {1, 2}}}, ErrMalformed},
		{"deep", &Tree{Root: deep}, ErrTooLarge},
		{"a tree in itself", &Tree{Root: loop}, ErrTooLarge},
		{"large", &Tree{Root: &Node{Props: []Prop{{"p", make([]byte, MaxSize)}}}}, ErrTooLarge},
	}
	for _, tt := range tests {
		b, err := tt.in.Marshal()
		if b != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: Marshal = %d bytes, %v; want %v", tt.name, len(b), err, tt.want)
		}
	}
}
