package cluster

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestHelloRoundTrip(t *testing.T) {
	h := hello{kindRaft, protocolVersion, "mx", "0011", "node1", "node2-0a1b2c3d"}
	r := bytes.NewReader(append(h.append(nil), "rest"...))
	got, err := readHello(r)
	if err != nil || got != h {
		t.Fatalf("%+v, %v", got, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Fatalf("%q is left of what follows", rest)
	}
	a := helloAnswer{helloForeign, protocolVersion, "mx", "0011", "node2", "node2-0a1b2c3d", strings.Repeat("x", 300)}
	back, err := readAnswer(bytes.NewReader(a.append(nil)))
	a.Reason = a.Reason[:255]
	if err != nil || back != a {
		t.Fatalf("%+v, %v", back, err)
	}
}

func TestHelloRefusals(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "EOF"},
		{"R", "EOF"},
		{"R\x01\x05abc", "unexpected EOF"},
		{"R\x02", "speaks version 2"},
		{"\x16\x03\x01", "it speaks TLS"},
		{"GET / HTTP/1.1\r\n", "first octet 0x47"},
	} {
		if _, err := readHello(strings.NewReader(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.in, err, tt.want)
		}
	}
	h, err := readHello(strings.NewReader("S\x01\x04a\nb\xff\x00\x00\x00"))
	if err != nil || h.Cluster != "a?b?" {
		t.Errorf("%q, %v", h.Cluster, err)
	}
}

// What strangers send is refused or understood, and what is understood is what was meant.
func FuzzHello(f *testing.F) {
	f.Add(hello{kindStatus, protocolVersion, "mx", "", "node1", ""}.append(nil))
	f.Add([]byte("\x16\x03\x01\x00\xff"))
	f.Add([]byte("R\x01\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := readHello(bytes.NewReader(h.append(nil)))
		if err != nil || again != h {
			t.Fatalf("%+v is read again as %+v, %v", h, again, err)
		}
		judgeHello(identity{Cluster: "mx", Node: "a"}, h, nil, &kind{}).append(nil)
		var q statusRequest
		readJSON(bytes.NewReader(b), &q)
	})
}
