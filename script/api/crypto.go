package api

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/subtle"
	"encoding"
	"hash"
	"math/big"
	"slices"
	"strings"

	"github.com/dop251/goja"
)

// hashes are those of Node's that the standard library has. md5 and sha1 are there for
// the protocols that want them, such as CRAM-MD5.
var hashes = map[string]func() hash.Hash{
	"md5":        md5.New,
	"sha1":       sha1.New,
	"sha224":     sha256.New224,
	"sha256":     sha256.New,
	"sha384":     sha512.New384,
	"sha512":     sha512.New,
	"sha512-224": sha512.New512_224,
	"sha512-256": sha512.New512_256,
	"sha3-224":   func() hash.Hash { return sha3.New224() },
	"sha3-256":   func() hash.Hash { return sha3.New256() },
	"sha3-384":   func() hash.Hash { return sha3.New384() },
	"sha3-512":   func() hash.Hash { return sha3.New512() },
}

// maxRandom bounds what randomBytes gives at once, in octets.
const maxRandom = 1 << 20

func hashNames() []string {
	var all []string
	for n := range hashes {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

func nativeCrypto(r *Runtime) any {
	vm := r.vm
	find := func(name string) func() hash.Hash {
		key := strings.ToLower(name)
		if k, ok := strings.CutPrefix(key, "rsa-"); ok {
			key = k
		}
		if key == "sha-1" || key == "sha-256" || key == "sha-512" {
			key = "sha" + key[4:]
		}
		f := hashes[key]
		if f == nil {
			r.throw("ERR_CRYPTO_INVALID_DIGEST", "Invalid digest: %s; there are %s", name, strings.Join(hashNames(), ", "))
		}
		return f
	}
	octets := func(v goja.Value) []byte {
		b, ok := r.Octets(v)
		if !ok {
			panic(vm.NewTypeError("the data must be a string, a Buffer, a TypedArray or a DataView"))
		}
		return b
	}
	hasher := func(h hash.Hash) goja.Value {
		o := vm.NewObject()
		o.Set("update", func(c goja.FunctionCall) goja.Value { h.Write(octets(c.Argument(0))); return goja.Undefined() })
		o.Set("digest", func() goja.Value { return r.Buffer(h.Sum(nil)) })
		return o
	}
	o := vm.NewObject()
	o.Set("names", hashNames())
	o.Set("hash", func(name string) goja.Value {
		made := find(name)
		h := made()
		v := hasher(h).ToObject(vm)
		v.Set("copy", func() goja.Value { return hasher(copyHash(h, made)) })
		return v
	})
	o.Set("hmac", func(c goja.FunctionCall) goja.Value {
		return hasher(hmac.New(find(c.Argument(0).String()), octets(c.Argument(1))))
	})
	o.Set("random", func(n int64) goja.Value {
		if n < 0 || n > maxRandom {
			r.throw("ERR_OUT_OF_RANGE", "The value of \"size\" is out of range. It must be >= 0 and <= %d. Received %d", maxRandom, n)
		}
		b := make([]byte, n)
		rand.Read(b) // never fails
		return r.Buffer(b)
	})
	o.Set("below", func(n int64) int64 {
		x, err := rand.Int(rand.Reader, big.NewInt(max(n, 1)))
		if err != nil {
			r.throw("", "%s", err)
		}
		return x.Int64()
	})
	o.Set("equal", func(c goja.FunctionCall) goja.Value {
		a, b := octets(c.Argument(0)), octets(c.Argument(1))
		return vm.ToValue(subtle.ConstantTimeCompare(a, b) == 1)
	})
	return o
}

// copyHash makes another of the same state.
func copyHash(h hash.Hash, made func() hash.Hash) hash.Hash {
	out := made()
	if m, ok := h.(encoding.BinaryMarshaler); ok {
		if state, err := m.MarshalBinary(); err == nil {
			if u, ok := out.(encoding.BinaryUnmarshaler); ok && u.UnmarshalBinary(state) == nil {
				return out
			}
		}
	}
	return nil
}
