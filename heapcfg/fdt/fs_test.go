// SPDX-License-Identifier: MIT

package fdt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// asFS lays a tree out as the kernel does, with the "name" property it adds.
func asFS(tree *Tree) fstest.MapFS {
	m := fstest.MapFS{".": {Mode: fs.ModeDir | 0o755}}
	if err := tree.Walk(func(path string, n *Node) error {
		dir := strings.TrimPrefix(path, "/")
		if dir != "" {
			m[dir] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
			dir += "/"
		}
		m[dir+"name"] = &fstest.MapFile{Data: StringList(baseName(n.Name)), Mode: 0o444}
		for _, p := range n.Props {
			m[dir+p.Name] = &fstest.MapFile{Data: p.Value, Mode: 0o444}
		}
		return nil
	}); err != nil {
		panic(err) // the function above returns none
	}
	return m
}

// sorted is a tree in the order FromFS gives.
func sorted(t *Tree) *Tree {
	t = &Tree{Root: t.Root.Clone()}
	if err := t.Walk(func(_ string, n *Node) error {
		sort.Slice(n.Props, func(i, j int) bool { return n.Props[i].Name < n.Props[j].Name })
		sort.Slice(n.Children, func(i, j int) bool { return n.Children[i].Name < n.Children[j].Name })
		return nil
	}); err != nil {
		panic(err)
	}
	return t
}

func TestFromFS(t *testing.T) {
	want := sorted(board(t))
	m := asFS(want)
	got, err := FromFS(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("FromFS: -want +got\n%s", diff)
	}
	// A real "name" property, which says something else than the node, stays.
	m["soc/name"] = &fstest.MapFile{Data: []byte("other\x00")}
	if got, err = FromFS(m); err != nil || got.Lookup("/soc").Strings("name")[0] != "other" {
		t.Errorf("FromFS dropped a name property that differs: %v", err)
	}
}

// faultFS fails to open what its table names.
type faultFS struct {
	fs.FS
	faults map[string]error
}

func (f faultFS) Open(name string) (fs.File, error) {
	if err, ok := f.faults[name]; ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f.FS.Open(name)
}

func TestFromFSFaults(t *testing.T) {
	base := &Tree{Root: &Node{
		Props: []Prop{{"a", U32s(1)}, {"security-key", U32s(2)}},
		Children: []*Node{
			{Name: "gone", Props: []Prop{{"x", nil}}},
			{Name: "here"},
		},
	}}
	eio := errors.New("input/output error")
	tests := []struct {
		name   string
		faults map[string]error
		want   string // paths and properties left
		err    error
	}{
		{"none", nil, "a security-key /gone /here", nil},
		{"property vanishes", map[string]error{"a": fs.ErrNotExist}, "security-key /gone /here", nil},
		{"node vanishes", map[string]error{"gone": fs.ErrNotExist}, "a security-key /here", nil},
		{"root is not there", map[string]error{".": fs.ErrNotExist}, "", fs.ErrNotExist},
		{"secret", map[string]error{"security-key": fs.ErrPermission}, "a /gone /here", nil},
		{"other property forbidden", map[string]error{"a": fs.ErrPermission}, "", fs.ErrPermission},
		{"node forbidden", map[string]error{"here": fs.ErrPermission}, "", fs.ErrPermission},
		{"broken", map[string]error{"a": eio}, "", eio},
	}
	for _, tt := range tests {
		tree, err := FromFS(faultFS{asFS(base), tt.faults})
		if !errors.Is(err, tt.err) || (err == nil) != (tree != nil) {
			t.Errorf("%s: FromFS = %v, %v; want %v", tt.name, tree, err, tt.err)
			continue
		}
		if tree == nil {
			continue
		}
		var left []string
		for _, p := range tree.Root.Props {
			left = append(left, p.Name)
		}
		for _, c := range tree.Root.Children {
			left = append(left, "/"+c.Name)
		}
		if got := strings.Join(left, " "); got != tt.want {
			t.Errorf("%s: FromFS kept %q, want %q", tt.name, got, tt.want)
		}
	}
}

// endless is a property file that never ends, and a directory that never ends.
type endless struct{ fs.FS }

func (e endless) Open(name string) (fs.File, error) {
	f, err := e.FS.Open(name)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasSuffix(name, "long"):
		return endlessFile{f}, nil
	case strings.HasSuffix(name, "wide"):
		return &endlessDir{File: f}, nil
	}
	return f, nil
}

type endlessFile struct{ fs.File }

func (endlessFile) Read(p []byte) (int, error) { return len(p), nil }

type endlessDir struct {
	fs.File
	n int
}

func (d *endlessDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		return nil, errors.New("asked for all of it")
	}
	info, err := fstest.MapFS{"p": {Mode: 0o444}}.Stat("p")
	if err != nil {
		return nil, err
	}
	out := make([]fs.DirEntry, n)
	for i := range out {
		out[i] = renamed{fs.FileInfoToDirEntry(info), fmt.Sprintf("p%d", d.n)}
		d.n++
	}
	return out, nil
}

type renamed struct {
	fs.DirEntry
	name string
}

func (r renamed) Name() string { return r.name }

var _ io.Reader = endlessFile{}

func TestFromFSHostile(t *testing.T) {
	deep := fstest.MapFS{strings.Repeat("d/", MaxDepth) + "p": {Data: []byte{1}}}
	tests := []struct {
		name string
		in   fs.FS
		want error
	}{
		{"endless property", endless{fstest.MapFS{"soc/long": {}}}, ErrTooLarge},
		{"endless directory", endless{fstest.MapFS{"soc/wide": {Mode: fs.ModeDir}}}, ErrTooLarge},
		{"deep", deep, ErrTooLarge},
		{"line feed in a name", fstest.MapFS{"a\nb": {}}, ErrMalformed},
		{"long name", fstest.MapFS{strings.Repeat("a", MaxName+1): {}}, ErrMalformed},
		{"node name of bytes", fstest.MapFS{"caf\u00e9/p": {}}, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bound(t, func() {
				if tree, err := FromFS(tt.in); tree != nil || !errors.Is(err, tt.want) {
					t.Errorf("FromFS = %v, %v; want %v", tree, err, tt.want)
				}
			})
		})
	}
}
