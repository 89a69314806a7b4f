// SPDX-License-Identifier: MIT

package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/dmaheap/dmaheap/heapcfg"
)

// A Series is one line of a plot.
type Series struct {
	Name   string
	Points []Point // by size
}

// A Point is the latency of one buffer size.
type Point struct {
	Size     uint64 // bytes
	P50, P99 time.Duration
}

// colors tell the lines of the plot apart, also for readers who see no red or
// no green.
var colors = [...]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}

// Plot writes an SVG picture of latency over size, both logarithmic: the
// median as a line, up to the 99th percentile as a bar.
func Plot(w io.Writer, title string, series []Series) error {
	const width, height, left, right, top, bottom = 760, 420, 80, 180, 40, 60
	minX, maxX, minY, maxY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, line := range series {
		for _, p := range line.Points {
			minX, maxX = min(minX, math.Log2(float64(p.Size))), max(maxX, math.Log2(float64(p.Size)))
			minY, maxY = min(minY, math.Log10(float64(max(p.P50, 1)))), max(maxY, math.Log10(float64(max(p.P99, 1))))
		}
	}
	if math.IsInf(minX, 0) {
		minX, maxX, minY, maxY = 12, 25, 3, 6
	}
	minY, maxY = math.Floor(minY), math.Max(math.Ceil(maxY), math.Floor(minY)+1)
	maxX = math.Max(maxX, minX+1)
	x := func(size uint64) float64 {
		return left + (math.Log2(float64(size))-minX)/(maxX-minX)*(width-left-right)
	}
	y := func(d time.Duration) float64 {
		return height - bottom - (math.Log10(float64(max(d, 1)))-minY)/(maxY-minY)*(height-top-bottom)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height)
	fmt.Fprintf(&s, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"%d\" y=\"20\">%s</text>\n", left, svgText(title))
	for p := minY; p <= maxY; p++ {
		d := time.Duration(math.Pow(10, p))
		fmt.Fprintf(&s, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%v</text>\n", left, y(d), width-right, left-6, y(d)+4, d)
	}
	seen := map[uint64]bool{}
	for i, line := range series {
		color := colors[i%len(colors)]
		var path strings.Builder
		for _, p := range line.Points {
			if !seen[p.Size] {
				seen[p.Size] = true
				fmt.Fprintf(&s, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x(p.Size), height-bottom+20, heapcfg.FormatSize(p.Size))
			}
			fmt.Fprintf(&path, "%.1f,%.1f ", x(p.Size), y(p.P50))
			fmt.Fprintf(&s, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\" stroke-opacity=\"0.5\" stroke-width=\"3\"/>\n", x(p.Size), y(p.P50), y(p.P99), color)
		}
		fmt.Fprintf(&s, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", strings.TrimSpace(path.String()), color)
		fmt.Fprintf(&s, "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", width-right+10, top+10+18*i, color, svgText(line.Name))
	}
	s.WriteString("</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}

func svgText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(Clean(s))
}
