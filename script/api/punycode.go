package api

import (
	"errors"
	"math"
	"slices"
	"strings"
)

// The parameters of RFC 3492 §5.
const (
	punyBase = 36
	punyMin  = 1
	punyMax  = 26
	punySkew = 38
	punyDamp = 700
	punyBias = 72
	punyN    = 128
)

// maxLabel bounds what is encoded and decoded: a domain's label has 63 octets, and the
// work grows with the square.
const maxLabel = 1024

var (
	errPunyInput = errors.New("invalid input")
	errPunyLong  = errors.New("overflow: input needs wider integers to process")
)

// punyAdapt is §6.1.
func punyAdapt(delta, count int, first bool) int {
	if first {
		delta /= punyDamp
	} else {
		delta /= 2
	}
	delta += delta / count
	k := 0
	for ; delta > (punyBase-punyMin)*punyMax/2; k += punyBase {
		delta /= punyBase - punyMin
	}
	return k + (punyBase-punyMin+1)*delta/(delta+punySkew)
}

func punyThreshold(k, bias int) int { return min(max(k-bias, punyMin), punyMax) }

// encodePuny is §6.3: the basic code points, a hyphen if there are any, the others.
func encodePuny(text string) (string, error) {
	in := []rune(text)
	if len(in) > maxLabel {
		return "", errPunyLong
	}
	var out strings.Builder
	for _, c := range in {
		if c < punyN {
			out.WriteByte(byte(c))
		}
	}
	basic := out.Len()
	if basic > 0 {
		out.WriteByte('-')
	}
	n, delta, bias := rune(punyN), 0, punyBias
	for done := basic; done < len(in); {
		next := rune(math.MaxInt32)
		for _, c := range in {
			if c >= n && c < next {
				next = c
			}
		}
		delta += int(next-n) * (done + 1)
		n = next
		for _, c := range in {
			if c < n {
				delta++
			}
			if c != n {
				continue
			}
			q := delta
			for k := punyBase; ; k += punyBase {
				t := punyThreshold(k, bias)
				if q < t {
					break
				}
				out.WriteByte(punyDigit(t + (q-t)%(punyBase-t)))
				q = (q - t) / (punyBase - t)
			}
			out.WriteByte(punyDigit(q))
			bias = punyAdapt(delta, done+1, done == basic)
			delta = 0
			done++
		}
		delta++
		n++
	}
	return out.String(), nil
}

func punyDigit(d int) byte {
	if d < 26 {
		return 'a' + byte(d)
	}
	return '0' + byte(d-26)
}

// decodePuny is §6.2.
func decodePuny(text string) (string, error) {
	if len(text) > maxLabel {
		return "", errPunyLong
	}
	basic := max(strings.LastIndexByte(text, '-'), 0)
	var out []rune
	for _, c := range text[:basic] {
		if c >= punyN {
			return "", errors.New("illegal input >= 0x80 (not a basic code point)")
		}
		out = append(out, c)
	}
	at := basic
	if basic > 0 {
		at++
	}
	n, i, bias := punyN, 0, punyBias
	for at < len(text) {
		old, w := i, 1
		for k := punyBase; ; k += punyBase {
			if at == len(text) {
				return "", errPunyInput
			}
			var d int
			switch c := text[at]; {
			case 'a' <= c && c <= 'z':
				d = int(c - 'a')
			case 'A' <= c && c <= 'Z':
				d = int(c - 'A')
			case '0' <= c && c <= '9':
				d = int(c-'0') + 26
			default:
				return "", errPunyInput
			}
			at++
			if d > (math.MaxInt32-i)/w {
				return "", errPunyLong
			}
			i += d * w
			t := punyThreshold(k, bias)
			if d < t {
				break
			}
			if w > math.MaxInt32/(punyBase-t) {
				return "", errPunyLong
			}
			w *= punyBase - t
		}
		bias = punyAdapt(i-old, len(out)+1, old == 0)
		n += i / (len(out) + 1)
		i %= len(out) + 1
		if n > 0x10ffff || n >= 0xd800 && n < 0xe000 {
			return "", errPunyInput
		}
		out = slices.Insert(out, i, rune(n))
		i++
	}
	return string(out), nil
}

func nativePunycode(r *Runtime) any {
	o := r.vm.NewObject()
	for name, f := range map[string]func(string) (string, error){"encode": encodePuny, "decode": decodePuny} {
		o.Set(name, func(s string) string {
			out, err := f(s)
			if err != nil {
				e, _ := r.vm.New(r.vm.GlobalObject().Get("RangeError"), r.vm.ToValue(err.Error()))
				panic(e)
			}
			return out
		})
	}
	return o
}
