package api

import (
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
	"github.com/dop251/goja_nodejs/url"
)

// nativeURL is the URL of goja_nodejs.
func nativeURL(r *Runtime) any {
	mod := r.vm.NewObject()
	mod.Set("exports", r.vm.NewObject())
	url.Require(r.vm, mod)
	return mod.Get("exports")
}

// nativeUtil is what js/util.js leaves to Go.
func nativeUtil(r *Runtime) any {
	o := r.vm.NewObject()
	o.Set("wellFormed", func(c goja.FunctionCall) goja.Value {
		return asString(strings.ToValidUTF8(c.Argument(0).String(), "\ufffd"))
	})
	o.Set("encode", func(c goja.FunctionCall) goja.Value {
		return r.vm.ToValue(r.vm.NewArrayBuffer(decodeText(c.Argument(0).ToString(), "utf8")))
	})
	o.Set("decode", func(c goja.FunctionCall) goja.Value {
		b, _ := r.Octets(c.Argument(0))
		if c.Argument(1).ToBoolean() && !utf8.Valid(b) {
			return goja.Null()
		}
		return encodeText(b, "utf8")
	})
	return o
}
