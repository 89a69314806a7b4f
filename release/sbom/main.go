// SPDX-License-Identifier: MIT

// Sbom writes the software bill of materials of a release, in CycloneDX JSON:
// what the Go toolchain recorded in the programs of the release, with the
// checksums of go.sum and the licenses of vendor/.
//
//	sbom -version VERSION -time SECONDS HEAPCTL... > dmaheap.cdx.json
//
// It runs at the top of the unpacked tarball.
package main

import (
	"bufio"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
		os.Exit(1)
	}
}

const own = "github.com/dmaheap/dmaheap"

// The parts of a CycloneDX 1.5 document that are needed here.
type (
	bom struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string      `json:"type"`
		Ref        string      `json:"bom-ref"`
		Name       string      `json:"name"`
		Version    string      `json:"version"`
		About      string      `json:"description,omitempty"`
		Hashes     []hash      `json:"hashes,omitempty"`
		Licenses   []license   `json:"licenses"`
		PURL       string      `json:"purl,omitempty"`
		References []reference `json:"externalReferences,omitempty"`
		Parts      []component `json:"components,omitempty"`
	}
	hash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	license struct {
		License struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	reference struct {
		Type string `json:"type"`
		URL  string `json:"url"`
	}
	dependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn"`
	}
)

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("sbom", flag.ContinueOnError)
	version := fs.String("version", "", "`version` of the release")
	seconds := fs.Int64("time", 0, "time of the release, in `seconds` since 1970")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *version == "" || fs.NArg() == 0 {
		return errors.New("usage: sbom -version VERSION -time SECONDS HEAPCTL [HEAPCTL ...]")
	}
	sums, err := readSums("go.sum")
	if err != nil {
		return err
	}

	const root, kernel = "pkg:generic/dmaheap", "pkg:generic/dmaheap/kernel-patches"
	heapctl := "pkg:golang/" + own + "@" + *version + "#cmd/heapctl"
	b := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
		Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata: metadata{
			Timestamp: time.Unix(*seconds, 0).UTC().Format(time.RFC3339),
			Component: component{
				Type: "application", Ref: root, Name: "dmaheap", Version: *version,
				Licenses:   licenses("MIT", "GPL-2.0-only"),
				References: []reference{{"vcs", "https://" + own}},
				Parts: []component{
					{Type: "application", Ref: heapctl, Name: "heapctl", Version: *version, Licenses: licenses("MIT"), PURL: heapctl,
						About: "the program; checksums of those of the release, one for each architecture"},
					{Type: "library", Ref: kernel, Name: "kernel-patches", Version: *version, Licenses: licenses("GPL-2.0-only"),
						About: "patches for the Linux kernel; nothing of them is linked into heapctl"},
				},
			},
		},
	}

	modules := map[string]component{}
	for _, name := range fs.Args() {
		info, err := buildinfo.ReadFile(name)
		if err != nil {
			return err
		}
		if info.Main.Path != own {
			return fmt.Errorf("%s is a program of %s", name, info.Main.Path)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		program := &b.Metadata.Component.Parts[0]
		program.Hashes = append(program.Hashes, hash{"SHA-256", fmt.Sprintf("%x", sha256.Sum256(data))})

		goVersion := strings.TrimPrefix(info.GoVersion, "go")
		std := component{Type: "library", Name: "std", Version: goVersion, PURL: "pkg:golang/std@" + goVersion,
			Licenses: licenses("BSD-3-Clause"), About: "the Go runtime and standard library"}
		std.Ref = std.PURL
		modules[std.Ref] = std
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version}
			c.Ref = c.PURL
			sum, ok := sums[m.Path+" "+m.Version]
			if !ok {
				return fmt.Errorf("go.sum has no checksum of %s %s", m.Path, m.Version)
			}
			c.Hashes = []hash{{"SHA-256", sum}}
			if c.Licenses, err = licenseOf(filepath.Join("vendor", filepath.FromSlash(m.Path))); err != nil {
				return err
			}
			modules[c.Ref] = c
		}
	}
	on := dependency{Ref: heapctl, On: []string{}}
	for _, c := range modules {
		b.Components = append(b.Components, c)
		on.On = append(on.On, c.Ref)
	}
	sort.Slice(b.Components, func(i, j int) bool { return b.Components[i].Ref < b.Components[j].Ref })
	sort.Strings(on.On)
	b.Dependencies = []dependency{{root, []string{kernel, heapctl}}, on}

	// The serial number identifies the document, so it is made of its content.
	content, err := json.Marshal(b)
	if err != nil {
		return err
	}
	id := sha256.Sum256(content)
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8, a UUID of one's own making
	b.Serial = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])

	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(b)
}

func licenses(ids ...string) []license {
	list := make([]license, len(ids))
	for i, id := range ids {
		list[i].License.ID = id
	}
	return list
}

// readSums reads the checksums of modules from go.sum, as hexadecimal digits.
func readSums(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sums := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) != 3 || !strings.HasPrefix(w[2], "h1:") || strings.HasSuffix(w[1], "/go.mod") {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(w[2][3:])
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, w[0], err)
		}
		sums[w[0]+" "+w[1]] = hex.EncodeToString(sum)
	}
	return sums, nil
}

// words tell a license by what only its text says.
var words = []struct{ id, words string }{
	{"Apache-2.0", "Apache License"},
	{"BSD-3-Clause", "Neither the name"},
	{"MIT", "Permission is hereby granted, free of charge"},
}

// licenseOf reads the license of a module from its folder.
func licenseOf(dir string) ([]license, error) {
	names, err := filepath.Glob(filepath.Join(dir, "LICENSE*"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("%s has no license file (%v)", dir, err)
	}
	var text strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		text.Write(data)
	}
	all := strings.Join(strings.Fields(text.String()), " ")
	var ids []string
	for _, w := range words {
		if strings.Contains(all, w.words) {
			ids = append(ids, w.id)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: a license this program does not know", dir)
	}
	return licenses(ids...), nil
}
