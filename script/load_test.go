package script

import (
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/plugin"
)

// What becomes of a promise of register is waited for, and what it has registered is
// there when the load is over.
func TestWhatARegisterPromises(t *testing.T) {
	for text, want := range map[string]string{
		"exports.register = async function () { await 1; throw new Error('not now') }":     "register: Error: not now",
		"exports.register = async function () { await 1; for (;;) {} }":                    "at a stretch",
		"exports.register = () => { Promise.reject(new Error('of nobody')) }":              "of nobody",
		"exports.register = () => new Promise((_, no) => setTimeout(no, 1, 'why'))":        "register: why",
		"exports.register = function () { this.inherits('parent') }":                       "register of parent: Error: in its parent",
		"exports.register = async function () { await 1; this.register_hook('mial', 'x')}": `there is no hook "mial"`,
		"exports.register = function () { this.register_hook('mail', 'nosuch') }":          `register_hook("mail", "nosuch"): bad exports no function nosuch`,
		"exports.register = function () { this.register_hook('mail', 'x') }; exports.x=1":  `bad exports no function x`,
	} {
		s := &stage{t: t, folder: t.TempDir(), log: &journal{}}
		s.write(map[string]string{
			"good.js": "exports.hook_mail = (next) => next()", "bad.js": text,
			"parent.js": "exports.register = async () => { await 1; throw new Error('in its parent') }",
		})
		err := s.open(Options{Turn: 50 * time.Millisecond}, "good", "bad")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plugin bad") {
			t.Errorf("%s: the error is %v, want one with %q", text, err, want)
		}
	}
}

func TestARegisterMayTakeItsTime(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{
		"slow.js": `
exports.register = async function () {
  await new Promise((done) => setTimeout(done, 5))
  this.register_hook('mail', 'made')
  await 1
  exports.made = (next) => next(DENY, 'slow was asked')
}`,
		"late.js": `
exports.refuse = (next) => next(DENY, 'late was asked')
exports.hook_connect = function (next) {
  try { this.register_hook('mail', 'refuse') } catch (e) { next(DENY, e.message) }
}`,
	}, "late", "slow")
	v := s.visit()
	v.want("a hook that is registered late", v.hook(plugin.Connect), plugin.Refuse, `register_hook("mail"): the load is over`)
	v.want("mail", v.mail("a@a.test"), plugin.Refuse, "slow was asked")
}
