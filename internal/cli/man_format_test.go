// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"
	"regexp"
	"strings"
)

// formatPage makes the manual page of heaps.yaml from docs/format.md, of whose
// Markdown it knows what that document uses.
func formatPage(markdown string) string {
	var b strings.Builder
	b.WriteString(manHead)
	b.WriteString(".TH HEAPS.YAML 5 \"\" \"dmaheap\" \"dmaheap\"\n.SH NAME\nheaps.yaml \\- the DMA heaps of a board\n.SH DESCRIPTION\n")
	_, body, _ := strings.Cut(markdown, "\n# ")
	lines := strings.Split(body, "\n")[1:] // the title is the name
	fresh := true                          // a heading begins a paragraph by itself
	for i := 0; i < len(lines); i++ {
		switch line := lines[i]; {
		case line == "":
			continue
		case strings.HasPrefix(line, "```"):
			b.WriteString(".PP\n.RS 4\n.nf\n")
			for i++; !strings.HasPrefix(lines[i], "```"); i++ {
				b.WriteString(roff(lines[i]) + "\n")
			}
			b.WriteString(".fi\n.RE\n")
			fresh = false
		case strings.HasPrefix(line, "### "):
			fmt.Fprintf(&b, ".SS %s\n", roff(line[4:]))
			fresh = true
		case strings.HasPrefix(line, "## "):
			fmt.Fprintf(&b, ".SH %s\n", roff(strings.ToUpper(line[3:])))
			fresh = true
		case strings.HasPrefix(line, "|"):
			head := cells(line)
			for i += 2; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
				row := cells(lines[i])
				fmt.Fprintf(&b, ".TP\n%s\n%s\n", spans(row[0]), spans(row[1]))
				if len(row) > 2 && row[2] != "" {
					fmt.Fprintf(&b, "(%s: %s)\n", roff(head[2]), spans(row[2]))
				}
			}
			i--
			fresh = false
		default:
			text := line
			for i+1 < len(lines) && lines[i+1] != "" && !strings.HasPrefix(lines[i+1], "|") {
				i++
				text += " " + lines[i]
			}
			if !fresh {
				b.WriteString(".PP\n")
			}
			b.WriteString(spans(text) + "\n")
			fresh = false
		}
	}
	b.WriteString(".SH SEE ALSO\n.BR heapctl (1),\n.BR heapctl-compile (1),\n.BR heapctl-explain (1)\n")
	return b.String()
}

func cells(line string) []string {
	list := strings.Split(strings.Trim(line, "|"), "|")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

var (
	manLink = regexp.MustCompile(`\[([^]]*)\]\(([^)]*)\)`)
	manCode = regexp.MustCompile("`([^`]*)`")
)

// spans writes text with code in bold, and links as what they say; a document
// is named as it lies in the project's docs.
func spans(s string) string {
	s = manLink.ReplaceAllStringFunc(s, func(link string) string {
		m := manLink.FindStringSubmatch(link)
		if m[1] == m[2] {
			return "docs/" + m[1] + " of the project"
		}
		return m[1]
	})
	return manCode.ReplaceAllString(roff(s), `\fB$1\fR`)
}
