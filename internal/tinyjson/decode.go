// SPDX-License-Identifier: MIT

package tinyjson

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting; the documents of heapctl have less than ten levels.
const maxDepth = 64

// Unmarshal reads one document into v, a pointer to a struct, and refuses what
// it does not know: a misspelt key is a mistake to be found, not to be passed
// over. A key that stands twice is refused as well.
func Unmarshal(data []byte, v any) error { return unmarshal(data, v, true) }

// UnmarshalHead reads the keys that v has and passes over all others, to learn
// the version of a document that may have more than this program knows.
func UnmarshalHead(data []byte, v any) error { return unmarshal(data, v, false) }

func unmarshal(data []byte, v any, strict bool) error {
	d := decoder{data: data, strict: strict, types: types{}}
	err := d.value(reflect.ValueOf(v).Elem(), 0)
	if d.space(); err == nil && d.at < len(data) {
		err = errors.New("data after the end of the document")
	}
	if err != nil {
		return fmt.Errorf("byte %d: %w", d.at, err)
	}
	return nil
}

type decoder struct {
	data   []byte
	at     int
	strict bool
	types  types
}

var errCut = errors.New("the document ends here, half-way")

func (d *decoder) space() {
	for d.at < len(d.data) && strings.IndexByte(" \t\r\n", d.data[d.at]) >= 0 {
		d.at++
	}
}

// peek returns the next byte that is no blank, 0 at the end.
func (d *decoder) peek() byte {
	if d.space(); d.at < len(d.data) {
		return d.data[d.at]
	}
	return 0
}

// take takes one of the bytes wanted.
func (d *decoder) take(want string) (byte, error) {
	c := d.peek()
	if d.at == len(d.data) {
		return 0, errCut
	}
	if strings.IndexByte(want, c) < 0 {
		return 0, fmt.Errorf("%q where one of %q is wanted", c, want)
	}
	d.at++
	return c, nil
}

// value reads a value into v; an invalid v passes over it.
func (d *decoder) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deep")
	}
	c := d.peek()
	if c == 'n' {
		if err := d.literal("null"); err != nil {
			return err
		}
		if v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) {
			v.SetZero()
		}
		return nil
	}
	if v.IsValid() && v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch c {
	case '{':
		return d.object(v, depth)
	case '[':
		return d.list(v, depth)
	case '"':
		s, err := d.text()
		if err != nil || !v.IsValid() {
			return err
		}
		if v.CanAddr() {
			if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
				return u.UnmarshalText([]byte(s))
			}
		}
		if v.Kind() != reflect.String {
			return fmt.Errorf("text where a %v is wanted", v.Kind())
		}
		v.SetString(s)
		return nil
	case 't', 'f':
		word := "true"
		if c == 'f' {
			word = "false"
		}
		if err := d.literal(word); err != nil || !v.IsValid() {
			return err
		}
		if v.Kind() != reflect.Bool || isText(v) {
			return fmt.Errorf("%s where a %v is wanted", word, v.Kind())
		}
		v.SetBool(c == 't')
		return nil
	}
	return d.number(v)
}

// isText reports whether the value is written as text, whatever its kind.
func isText(v reflect.Value) bool {
	if !v.CanAddr() {
		return false
	}
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

func (d *decoder) literal(word string) error {
	if string(d.data[d.at:min(d.at+len(word), len(d.data))]) != word {
		return errors.New("not a value")
	}
	d.at += len(word)
	return nil
}

func (d *decoder) object(v reflect.Value, depth int) error {
	if v.IsValid() && (v.Kind() != reflect.Struct || isText(v)) {
		return fmt.Errorf("an object where a %v is wanted", v.Kind())
	}
	d.at++
	seen := map[string]bool{}
	if d.peek() == '}' {
		d.at++
		return nil
	}
	for {
		if d.peek() != '"' {
			return errors.New("a key is wanted")
		}
		key, err := d.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("the key %q stands twice", key)
		}
		seen[key] = true
		into, ok := reflect.Value{}, false
		if v.IsValid() {
			if into, ok = d.member(v, key); !ok && d.strict {
				return fmt.Errorf("unknown key %q", key)
			}
		}
		if _, err := d.take(":"); err != nil {
			return err
		}
		if err := d.value(into, depth+1); err != nil {
			return err
		}
		c, err := d.take(",}")
		if err != nil {
			return err
		}
		if c == '}' {
			return nil
		}
	}
}

func (d *decoder) member(v reflect.Value, key string) (reflect.Value, bool) {
	for _, f := range d.types.of(v.Type()) {
		if f.name == key {
			return v.FieldByIndex(f.index), true
		}
	}
	return reflect.Value{}, false
}

func (d *decoder) list(v reflect.Value, depth int) error {
	if v.IsValid() && (v.Kind() != reflect.Slice || isText(v)) {
		return fmt.Errorf("a list where a %v is wanted", v.Kind())
	}
	d.at++
	if v.IsValid() {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	if d.peek() == ']' {
		d.at++
		return nil
	}
	for {
		into := reflect.Value{}
		if v.IsValid() {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			into = v.Index(v.Len() - 1)
		}
		if err := d.value(into, depth+1); err != nil {
			return err
		}
		c, err := d.take(",]")
		if err != nil {
			return err
		}
		if c == ']' {
			return nil
		}
	}
}

func (d *decoder) number(v reflect.Value) error {
	from := d.at
	for d.at < len(d.data) && strings.IndexByte("+-.0123456789eE", d.data[d.at]) >= 0 {
		d.at++
	}
	s := string(d.data[from:d.at])
	if !validNumber(s) {
		d.at = from
		if from == len(d.data) {
			return errCut
		}
		return errors.New("not a value")
	}
	if !v.IsValid() {
		return nil
	}
	err := fmt.Errorf("the number %s where a %v is wanted", s, v.Kind())
	if isText(v) {
		return err
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, e := strconv.ParseInt(s, 10, 64); e == nil && !v.OverflowInt(n) {
			v.SetInt(n)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, e := strconv.ParseUint(s, 10, 64); e == nil && !v.OverflowUint(n) {
			v.SetUint(n)
			return nil
		}
	case reflect.Float64:
		if f, e := strconv.ParseFloat(s, 64); e == nil {
			v.SetFloat(f)
			return nil
		}
	}
	return err
}

// validNumber holds a number against the grammar of JSON, which knows no plus
// sign, no leading zero and no bare point.
func validNumber(s string) bool {
	digits := func() bool {
		n := len(s)
		s = strings.TrimLeft(s, "0123456789")
		return len(s) < n
	}
	s = strings.TrimPrefix(s, "-")
	if zero, ok := strings.CutPrefix(s, "0"); ok {
		s = zero
	} else if !digits() {
		return false
	}
	if frac, ok := strings.CutPrefix(s, "."); ok {
		if s = frac; !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}

// text reads a string that begins at the position. Broken UTF-8 and halves of
// surrogate pairs become U+FFFD, as encoding/json has it.
func (d *decoder) text() (string, error) {
	d.at++
	// Most texts end before anything in them needs a second look.
	from := d.at
	for d.at < len(d.data) && plain(d.data[d.at]) {
		d.at++
	}
	if d.at < len(d.data) && d.data[d.at] == '"' {
		d.at++
		return string(d.data[from : d.at-1]), nil
	}
	var b strings.Builder
	b.Write(d.data[from:d.at])
	for d.at < len(d.data) {
		c := d.data[d.at]
		switch {
		case c == '"':
			d.at++
			return b.String(), nil
		case c == '\\':
			r, err := d.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		case c < ' ':
			return "", fmt.Errorf("the byte %#x within a text", c)
		default:
			r, n := utf8.DecodeRune(d.data[d.at:])
			b.WriteRune(r)
			d.at += n
		}
	}
	return "", errCut
}

// plain is a character that stands for itself.
func plain(c byte) bool { return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' }

func (d *decoder) escape() (rune, error) {
	if d.at+1 >= len(d.data) {
		return 0, errCut
	}
	c := d.data[d.at+1]
	if c == 'u' {
		r, ok := d.unicode()
		if !ok {
			return 0, errors.New(`\u wants four digits`)
		}
		if utf16.IsSurrogate(r) {
			if at := d.at; at+1 < len(d.data) && d.data[at] == '\\' && d.data[at+1] == 'u' {
				if low, ok := d.unicode(); ok {
					if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
						return pair, nil
					}
				}
				d.at = at // it is a character of its own
			}
			return utf8.RuneError, nil
		}
		return r, nil
	}
	at := strings.IndexByte(`"\/bfnrt`, c)
	if at < 0 {
		return 0, fmt.Errorf(`\%c within a text`, c)
	}
	d.at += 2
	return rune("\"\\/\b\f\n\r\t"[at]), nil
}

// unicode reads \uXXXX.
func (d *decoder) unicode() (rune, bool) {
	if d.at+6 > len(d.data) {
		return 0, false
	}
	var r rune
	for _, c := range d.data[d.at+2 : d.at+6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	d.at += 6
	return r, true
}
