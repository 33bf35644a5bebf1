package api

import (
	"encoding/base64"
	"encoding/hex"
	"reflect"
	"strings"
	"unicode/utf16"

	"github.com/dop251/goja"
	"golang.org/x/text/encoding/unicode"
)

// maxBuffer bounds one Buffer, in octets.
const maxBuffer = 64 << 20

// nativeBuffer is what js/buffer.js leaves to Go: the encodings.
func nativeBuffer(r *Runtime) any {
	o := r.vm.NewObject()
	o.Set("max", maxBuffer)
	o.Set("decode", func(c goja.FunctionCall) goja.Value {
		b := decodeText(c.Argument(0).ToString(), c.Argument(1).String())
		if len(b) > maxBuffer {
			r.throw("ERR_BUFFER_TOO_LARGE", "a Buffer has at most %d octets", maxBuffer)
		}
		return r.vm.ToValue(r.vm.NewArrayBuffer(b))
	})
	o.Set("encode", func(c goja.FunctionCall) goja.Value {
		b, _ := r.Octets(c.Argument(0))
		return encodeText(b, c.Argument(1).String())
	})
	o.Set("index", func(c goja.FunctionCall) goja.Value {
		b, _ := r.Octets(c.Argument(0))
		what, _ := r.Octets(c.Argument(1))
		if c.Argument(2).ToBoolean() {
			return r.vm.ToValue(strings.LastIndex(string(b), string(what)))
		}
		return r.vm.ToValue(strings.Index(string(b), string(what)))
	})
	return o
}

// Buffer gives a script the octets as a Buffer, which keeps them.
func (r *Runtime) Buffer(b []byte) goja.Value {
	class := r.modules.builtin("buffer").ToObject(r.vm).Get("Buffer")
	o, err := r.vm.New(class, r.vm.ToValue(r.vm.NewArrayBuffer(b)))
	if err != nil {
		r.modules.rethrow(err)
	}
	return o
}

var typeArrayBuffer = reflect.TypeFor[goja.ArrayBuffer]()

// Octets are those of a Buffer, a typed array, an ArrayBuffer or a string.
func (r *Runtime) Octets(v goja.Value) ([]byte, bool) {
	switch x := v.(type) {
	case nil:
		return nil, false
	case goja.String:
		return decodeText(x, "utf8"), true
	case *goja.Object:
		if b, ok := x.Get("buffer").(*goja.Object); ok { // a typed array or a DataView
			if ab, ok := b.Export().(goja.ArrayBuffer); ok {
				at, n := x.Get("byteOffset").ToInteger(), x.Get("byteLength").ToInteger()
				if all := ab.Bytes(); at >= 0 && n >= 0 && at+n <= int64(len(all)) {
					return all[at : at+n], true
				}
			}
			return nil, false
		}
		if x.ExportType() == typeArrayBuffer {
			if ab, ok := x.Export().(goja.ArrayBuffer); ok {
				return ab.Bytes(), true
			}
		}
	}
	return nil, false
}

// decodeText makes octets of a string in one of Node's encodings. Whether there is
// such an encoding, js/buffer.js has looked.
func decodeText(s goja.Value, encoding string) []byte {
	switch encoding {
	case "latin1", "ascii", "utf16le":
		units := utf16Of(s.String())
		if t, ok := s.(goja.String); ok {
			units = units[:0]
			for i := range t.Length() {
				units = append(units, t.CharAt(i))
			}
		}
		var b []byte
		for _, u := range units {
			b = append(b, byte(u))
			if encoding == "utf16le" {
				b = append(b, byte(u>>8))
			}
		}
		return b
	case "hex":
		t := s.String()
		b := make([]byte, len(t)/2)
		n, _ := hex.Decode(b, []byte(t[:len(t)/2*2]))
		return b[:n]
	case "base64", "base64url":
		return decodeBase64(s.String())
	}
	// Halves of a surrogate pair become U+FFFD.
	return []byte(strings.ToValidUTF8(s.String(), "\ufffd"))
}

func utf16Of(s string) []uint16 { return utf16.Encode([]rune(s)) }

// decodeBase64 is as lenient as Node's: both alphabets, and what is in neither is
// passed over; padding ends it.
func decodeBase64(s string) []byte {
	clean := make([]byte, 0, len(s))
loop:
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/':
			clean = append(clean, c)
		case c == '-':
			clean = append(clean, '+')
		case c == '_':
			clean = append(clean, '/')
		case c == '=':
			break loop
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	b := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, _ := base64.RawStdEncoding.Decode(b, clean)
	return b[:n]
}

// encodeText makes a string of octets.
func encodeText(b []byte, encoding string) goja.Value {
	switch encoding {
	case "latin1", "ascii", "utf16le":
		units := make([]uint16, 0, len(b))
		for i := 0; i < len(b); i++ {
			switch {
			case encoding == "latin1":
				units = append(units, uint16(b[i]))
			case encoding == "ascii":
				units = append(units, uint16(b[i]&0x7f))
			case i+1 < len(b):
				units = append(units, uint16(b[i])|uint16(b[i+1])<<8)
				i++
			}
		}
		return goja.StringFromUTF16(units)
	case "hex":
		return asString(hex.EncodeToString(b))
	case "base64":
		return asString(base64.StdEncoding.EncodeToString(b))
	case "base64url":
		return asString(base64.RawURLEncoding.EncodeToString(b))
	}
	// What is not UTF-8 becomes U+FFFD, once for every maximal part (as WHATWG has it).
	t, err := unicode.UTF8.NewDecoder().Bytes(b)
	if err != nil {
		t = []byte(strings.ToValidUTF8(string(b), "\ufffd"))
	}
	return asString(string(t))
}

// asString makes a script's string of UTF-8.
func asString(s string) goja.Value {
	var b goja.StringBuilder
	b.WriteUTF8String(s)
	return b.String()
}
