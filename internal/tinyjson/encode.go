// SPDX-License-Identifier: MIT

// Package tinyjson writes and reads the JSON documents of heapctl: structs with
// json tags, slices, pointers, text and numbers. What it writes is what
// encoding/json writes, byte for byte; what it reads, encoding/json reads in
// the same way. A twentieth of heapctl is the price of that package, which
// knows maps, streams and more that no document here has.
package tinyjson

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Marshal returns a document, indented by two blanks and with a line break at
// its end. Only a programming mistake, a type it does not know, is an error.
func Marshal(v any) ([]byte, error) {
	e := encoder{types: types{}}
	if err := e.value(reflect.ValueOf(v), 0); err != nil {
		return nil, err
	}
	return append(e.out, '\n'), nil
}

type encoder struct {
	out   []byte
	types types
}

func (e *encoder) line(depth int) {
	e.out = append(e.out, '\n')
	for range depth {
		e.out = append(e.out, "  "...)
	}
}

func (e *encoder) value(v reflect.Value, depth int) error {
	if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.Interface) && v.IsNil() {
		e.out = append(e.out, "null"...)
		return nil
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			return err
		}
		e.text(string(text))
		return nil
	}
	switch v.Kind() {
	case reflect.Bool:
		e.out = strconv.AppendBool(e.out, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.out = strconv.AppendInt(e.out, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.out = strconv.AppendUint(e.out, v.Uint(), 10)
	case reflect.Float64:
		return e.float(v.Float())
	case reflect.String:
		e.text(v.String())
	case reflect.Pointer, reflect.Interface:
		return e.value(v.Elem(), depth)
	case reflect.Slice:
		return e.list(v, depth)
	case reflect.Struct:
		return e.object(v, depth)
	default:
		return fmt.Errorf("tinyjson: no way to write a %v", v.Type())
	}
	return nil
}

// float writes numbers as JavaScript does: with an exponent only where they are
// very large or very small.
func (e *encoder) float(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("tinyjson: JSON has no %v", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	e.out = strconv.AppendFloat(e.out, f, format, -1, 64)
	if n := len(e.out); format == 'e' && n >= 4 && e.out[n-4] == 'e' && e.out[n-3] == '-' && e.out[n-2] == '0' {
		e.out[n-2] = e.out[n-1] // e-09 is e-9
		e.out = e.out[:n-1]
	}
	return nil
}

func (e *encoder) list(v reflect.Value, depth int) error {
	if v.Len() == 0 {
		e.out = append(e.out, "[]"...)
		return nil
	}
	for i := range v.Len() {
		e.out = append(e.out, "[,"[min(i, 1)])
		e.line(depth + 1)
		if err := e.value(v.Index(i), depth+1); err != nil {
			return err
		}
	}
	e.line(depth)
	e.out = append(e.out, ']')
	return nil
}

func (e *encoder) object(v reflect.Value, depth int) error {
	n := 0
	for _, f := range e.types.of(v.Type()) {
		val := v.FieldByIndex(f.index)
		if f.omitEmpty && empty(val) {
			continue
		}
		e.out = append(e.out, "{,"[min(n, 1)])
		n++
		e.line(depth + 1)
		e.text(f.name)
		e.out = append(e.out, ": "...)
		if err := e.value(val, depth+1); err != nil {
			return err
		}
	}
	if n == 0 {
		e.out = append(e.out, "{}"...)
		return nil
	}
	e.line(depth)
	e.out = append(e.out, '}')
	return nil
}

// field is a field of a struct that is in the document.
type field struct {
	name      string
	omitEmpty bool
	index     []int
}

// types remembers the fields of the structs of one document: reading their
// tags takes longer than reading the document.
type types map[reflect.Type][]field

// of returns the fields of a struct. Those of an embedded struct stand beside
// the others.
func (ts types) of(t reflect.Type) []field {
	if known, ok := ts[t]; ok {
		return known
	}
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		if tag == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct {
			for _, inner := range ts.of(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" {
			name = f.Name
		}
		out = append(out, field{name, options == "omitempty", []int{i}})
	}
	ts[t] = out
	return out
}

// empty is what omitempty leaves out: everything zero but structs.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Struct:
		return false
	case reflect.Slice, reflect.String:
		return v.Len() == 0
	}
	return v.IsZero()
}

// text writes a string. Broken UTF-8 becomes U+FFFD, and the two line ends of
// JavaScript that JSON does not know are escaped.
func (e *encoder) text(s string) {
	const hex = "0123456789abcdef"
	e.out = append(e.out, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				e.out = append(e.out, '\\', c)
			case c >= ' ':
				e.out = append(e.out, c)
			default:
				if at := strings.IndexByte("\b\f\n\r\t", c); at >= 0 {
					e.out = append(e.out, '\\', "bfnrt"[at])
				} else {
					e.out = append(e.out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
				}
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			e.out = append(e.out, `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			e.out = append(e.out, `\u202`...)
			e.out = append(e.out, hex[r&15])
		default:
			e.out = append(e.out, s[i:i+n]...)
		}
		i += n
	}
	e.out = append(e.out, '"')
}
