package auth_test

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/tarishi/tarishi/auth"
)

// file has ann (cheap argon2id and SCRAM), bob (bcrypt, tenant acme) and old (clear).
func file(t testing.TB) *auth.Users {
	t.Helper()
	c, _ := scram.SHA256.NewClient("ann", "pencil", "")
	k, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt of ann", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	text := "# users\n\n" +
		"ann:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$" + argon + "\n" +
		"ann:SCRAM-SHA-256$4096:" + b64("salt of ann") + "$" + b64(string(k.StoredKey)) + ":" + b64(string(k.ServerKey)) + "\n" +
		"bob:" + bcrypt4 + ":acme\n" +
		"old:{CLEAR}tanstaaf:tanstaaf\n"
	u, err := auth.ParseUsers("users", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestCheck(t *testing.T) {
	u := file(t)
	for _, c := range []struct {
		name, password string
		want           auth.Identity
	}{
		{"ann", "pencil", auth.Identity{User: "ann"}},
		{"bob", "hunter2", auth.Identity{User: "bob", Tenant: "acme"}},
		{"old", "tanstaaf:tanstaaf", auth.Identity{User: "old"}},
		{"ann", "Pencil", auth.Identity{}},
		{"bob", "", auth.Identity{}},
		{"Ann", "pencil", auth.Identity{}},
		{"nobody", "pencil", auth.Identity{}},
	} {
		got, err := u.Check(t.Context(), c.name, c.password)
		if c.want.User != "" { // and what it was proved with, which no log shows
			c.want.Password = auth.Secret(c.password)
			if text := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, c.password) {
				t.Errorf("%s: the password shows: %s", c.name, text)
			}
		}
		if got != c.want || (err == nil) != (c.want.User != "") || err != nil && !errors.Is(err, auth.ErrDenied) {
			t.Errorf("%s with %q: %v, %v", c.name, c.password, got, err)
		}
	}
}

// talk runs a dialogue with those answers; nil is nothing yet.
func talk(d auth.Dialogue, answers ...[]byte) (asked []string, done bool, err error) {
	for _, a := range answers {
		var ask []byte
		if ask, done, err = d.Next(context.Background(), a); err != nil || done {
			return asked, done, err
		}
		asked = append(asked, string(ask))
	}
	return asked, done, err
}

func TestPlain(t *testing.T) {
	u := file(t)
	for _, c := range []struct {
		said string
		who  string
		bad  bool
	}{
		{"\x00bob\x00hunter2", "bob", false},
		{"bob\x00bob\x00hunter2", "bob", false},
		{"ann\x00bob\x00hunter2", "", false},
		{"\x00bob\x00wrong", "", false},
		{"\x00bob", "", true},
		{"", "", true},
		{"\x00\x00hunter2", "", true},
		{"\x00bob\x00hunter2\x00", "", true},
	} {
		d, first := u.Begin(auth.Plain)
		if !first {
			t.Fatal("PLAIN has the client speak first")
		}
		_, done, err := talk(d, []byte(c.said))
		var syntax *auth.SyntaxError
		if done != (c.who != "") || d.Identity().User != c.who || errors.As(err, &syntax) != c.bad || !done && !c.bad && !errors.Is(err, auth.ErrDenied) {
			t.Errorf("%q: %v %q %v", c.said, done, d.Identity().User, err)
		}
	}
}

func TestLogin(t *testing.T) {
	u := file(t)
	d, _ := u.Begin(auth.Login)
	asked, done, err := talk(d, nil, []byte("bob"), []byte("hunter2"))
	if strings.Join(asked, " ") != "Username: Password:" || !done || err != nil || d.Identity().Tenant != "acme" {
		t.Errorf("%v %v %v", asked, done, err)
	}
	d, _ = u.Begin(auth.Login)
	if asked, done, err = talk(d, []byte("bob"), []byte("hunter2")); len(asked) != 1 || !done || err != nil {
		t.Errorf("with the name at once: %v %v %v", asked, done, err)
	}
	d, _ = u.Begin(auth.Login)
	if _, done, err = talk(d, nil, []byte("bob"), []byte("x")); done || !errors.Is(err, auth.ErrDenied) {
		t.Errorf("a wrong password: %v %v", done, err)
	}
}

func TestScram(t *testing.T) {
	u := file(t)
	try := func(name, password string) (auth.Dialogue, bool, error) {
		c, err := scram.SHA256.NewClient(name, password, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := c.NewConversation()
		d, _ := u.Begin(auth.Scram)
		said, _ := conv.Step("")
		for range 4 {
			ask, done, err := d.Next(t.Context(), []byte(said))
			if err != nil || done {
				return d, done && conv.Valid(), err
			}
			if said, err = conv.Step(string(ask)); err != nil {
				return d, false, fmt.Errorf("client: %w", err)
			}
		}
		return d, false, errors.New("it does not end")
	}
	if d, done, err := try("ann", "pencil"); !done || err != nil || d.Identity().User != "ann" {
		t.Errorf("ann: %v %v", done, err)
	}
	for _, c := range [][2]string{{"ann", "pen"}, {"nobody", "pencil"}, {"bob", "hunter2"}} {
		if _, done, err := try(c[0], c[1]); done || !errors.Is(err, auth.ErrDenied) {
			t.Errorf("%s: %v %v", c[0], done, err)
		}
	}
	d, _ := u.Begin(auth.Scram)
	var syntax *auth.SyntaxError
	if _, _, err := d.Next(t.Context(), []byte("hello")); !errors.As(err, &syntax) {
		t.Errorf("nonsense: %v", err)
	}
}

func TestCramMD5(t *testing.T) {
	u := file(t)
	answer := func(user, password, challenge string) []byte {
		h := hmac.New(md5.New, []byte(password))
		h.Write([]byte(challenge))
		return []byte(user + " " + hex.EncodeToString(h.Sum(nil)))
	}
	for _, c := range []struct {
		user, password string
		ok             bool
	}{{"old", "tanstaaf:tanstaaf", true}, {"old", "x", false}, {"bob", "hunter2", false}, {"nobody", "", false}} {
		d, first := u.Begin(auth.CramMD5)
		if first {
			t.Fatal("CRAM-MD5 has us speak first")
		}
		ask, _, _ := d.Next(t.Context(), nil)
		_, done, err := d.Next(t.Context(), answer(c.user, c.password, string(ask)))
		if done != c.ok || !c.ok && !errors.Is(err, auth.ErrDenied) {
			t.Errorf("%s: %v %v", c.user, done, err)
		}
	}
	a, _ := u.Begin(auth.CramMD5)
	b, _ := u.Begin(auth.CramMD5)
	x, _, _ := a.Next(t.Context(), nil)
	y, _, _ := b.Next(t.Context(), nil)
	if string(x) == string(y) {
		t.Error("the same challenge twice")
	}
}

func TestOffers(t *testing.T) {
	u, err := auth.ParseUsers("users", []byte("bob:"+bcrypt4+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for m, want := range map[auth.Mechanism]bool{auth.Plain: true, auth.Login: true, auth.Scram: false, auth.CramMD5: false, "NTLM": false} {
		if d, _ := u.Begin(m); u.Offers(m) != want || (d != nil) != want {
			t.Errorf("%s: %v", m, u.Offers(m))
		}
	}
}

func TestParseUsers_refused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"ann\n", "users:1: write name:secret"},
		{"\nann:secret\n", "users:2: the secret is of no kind"},
		{"a b:{CLEAR}x\n", "no blanks"},
		{"ann:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$" + argon + ":a b\n", `"a b" is no tenant`},
		{"ann:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$" + argon + ":a:b\n", `"a:b" is no tenant`},
		{"ann:$2b$31$abc\n", "no bcrypt hash"},
		{"ann:$argon2id$v=19$m=64$c2FsdHNhbHRzYWx0$x\n", "no argon2id hash"},
		{"ann:$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHRzYWx0$" + argon + "\n", "at most m="},
		{"ann:SCRAM-SHA-256$1:a$b:c\n", "no SCRAM secret"},
		{"ann:{CLEAR}\n", "empty"},
		{"ann:{CLEAR}x\nann:{CLEAR}y\n", "users:2: user ann has a secret of this kind"},
		{"ann:" + bcrypt4 + ":a\nann:{CLEAR}y\n", "another tenant"},
	} {
		_, err := auth.ParseUsers("users", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "{CLEAR}x") {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}

func TestHash(t *testing.T) {
	for _, kind := range []string{"argon2id", "bcrypt", "scram-sha-256"} {
		h, err := auth.Hash(kind, "s3cret")
		if err != nil {
			t.Fatal(err)
		}
		u, err := auth.ParseUsers("users", []byte("ann:"+h+":acme\n"))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if who, err := u.Check(t.Context(), "ann", "s3cret"); err != nil || who.Tenant != "acme" {
			t.Errorf("%s: %v %v", kind, who, err)
		}
	}
	for _, c := range [][2]string{{"md5", "x"}, {"bcrypt", ""}} {
		if _, err := auth.Hash(c[0], c[1]); err == nil {
			t.Errorf("%v was taken", c)
		}
	}
}

// Whatever a stranger answers, a dialogue ends or goes on; it does not panic, and it
// does not let him in.
func FuzzDialogue(f *testing.F) {
	u := file(f)
	f.Add(byte(0), []byte("\x00ann\x00x"), []byte(""))
	f.Add(byte(2), []byte("n,,n=ann,r=abc"), []byte("c=biws,r=abc,p=AAAA"))
	f.Fuzz(func(t *testing.T, which byte, one, two []byte) {
		m := []auth.Mechanism{auth.Plain, auth.Login, auth.Scram, auth.CramMD5}[which%4]
		d, _ := u.Begin(m)
		if strings.Contains(string(one)+string(two), "pencil") || strings.Contains(string(one)+string(two), "hunter2") || strings.Contains(string(one)+string(two), "tanstaaf") {
			return
		}
		if _, done, _ := talk(d, one, two); done {
			t.Fatalf("%s: %q %q was let in", m, one, two)
		}
	})
}
