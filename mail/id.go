package mail

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

const idAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford: no I, L, O, U to misread on the telephone

// NewID returns a message id: 9 characters of time (milliseconds) and 11 of
// chance (55 bits), so that ids sort by age and no two nodes need to agree.
func NewID(now time.Time) string {
	var b [20]byte
	ms := uint64(now.UnixMilli())
	for i := 8; i >= 0; i-- {
		b[i] = idAlphabet[ms&31]
		ms >>= 5
	}
	var r [11]byte
	_, _ = rand.Read(r[:]) // never fails (crypto/rand)
	for i, c := range r {
		b[9+i] = idAlphabet[c&31]
	}
	return string(b[:])
}

// DeliveryID joins a message id and a delivery's index: "01K9…X.0".
func DeliveryID(message string, index int) string {
	return message + "." + strconv.Itoa(index)
}

// SplitDeliveryID takes a delivery id apart. index is -1 when id names a whole message.
// What has a tail that is no index of ours is a message id that nothing has: it must not
// be taken for the whole message.
func SplitDeliveryID(id string) (message string, index int) {
	message, tail, ok := strings.Cut(id, ".")
	if !ok {
		return id, -1
	}
	n, err := strconv.Atoi(tail)
	if err != nil || n < 0 || strconv.Itoa(n) != tail {
		return id, -1
	}
	return message, n
}

// IDTime is when the message of an id came in; ok is false for what is no id of ours.
func IDTime(id string) (t time.Time, ok bool) {
	if len(id) != 20 {
		return t, false
	}
	var ms uint64
	for i := range 20 {
		n := strings.IndexByte(idAlphabet, id[i])
		if n < 0 {
			return t, false
		}
		if i < 9 {
			ms = ms<<5 | uint64(n)
		}
	}
	return time.UnixMilli(int64(ms)).UTC(), true
}
