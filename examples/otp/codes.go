package otp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	upstream "github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

// MinKey is the least length of a server key, in bytes.
const MinKey = 32

// Codes derives everything that is secret or must not be guessed from one server
// key: codes, challenges, and the names that stand for addresses; and it seals the
// addresses themselves. The same key gives the same values, so nothing of it need be
// stored; who changes the key ends all codes, gives everybody a new name, and can open
// no address that was sealed before. It is safe for concurrent use, and
// printing or logging it shows nothing. Make one with [NewCodes]; the zero value panics.
type Codes struct {
	// A pointer: package fmt prints a field that is not exported without asking the
	// type, but it does not follow pointers there.
	keys *keys
}

// keys has one for each purpose.
type keys struct{ stream, subject, code, challenge, content, address []byte }

// NewCodes returns the codes of a server key of at least [MinKey] bytes.
func NewCodes(key []byte) (Codes, error) {
	if len(key) < MinKey {
		return Codes{}, fmt.Errorf("the key has %d bytes, at least %d are needed", len(key), MinKey)
	}
	var k keys
	for purpose, to := range map[string]*[]byte{
		"stream": &k.stream, "subject": &k.subject, "code": &k.code, "challenge": &k.challenge, "content": &k.content, "address": &k.address,
	} {
		var err error
		if *to, err = hkdf.Key(sha256.New, key, nil, "leftfold otp "+purpose, sha256.Size); err != nil {
			return Codes{}, fmt.Errorf("derive the %s key: %w", purpose, err)
		}
	}
	return Codes{&k}, nil
}

// StreamID returns the ID of an address's stream, from which the address cannot be found
// without the key: 32 lower-case letters and digits.
func (c Codes) StreamID(a Address) string { return name(c.keys.stream, string(a.channel), a.to) }

// Subject returns the name of an address in tokens, as [Codes.StreamID] and unlike it.
func (c Codes) Subject(a Address) string { return name(c.keys.subject, string(a.channel), a.to) }

// Content returns a digest of a request that may be stored as the content of a named
// command (see [es.Named]): without the key it says nothing of the request.
func (c Codes) Content(parts ...string) []byte { return mac(c.keys.content, parts...) }

// Code returns the code of a request, 6 digits: HOTP (RFC 4226) with a secret for each
// stream, and the version of the [Requested] event as the counter.
func (c Codes) Code(id string, request uint64) string {
	return code(mac(c.keys.code, id), request)
}

func code(secret []byte, counter uint64) string {
	s, err := hotp.GenerateCodeCustom(base32.StdEncoding.EncodeToString(secret), counter,
		hotp.ValidateOpts{Digits: upstream.DigitsSix, Algorithm: upstream.AlgorithmSHA1})
	if err != nil {
		panic("otp: " + err.Error()) // only base32 can fail, and it was encoded just here
	}
	return s
}

// Seal returns the address for an event: encrypted and authenticated, so that whoever reads
// the event without the key learns no more than its length, and that in steps of 32 bytes.
// The same address always gives the same bytes, in its own stream alone.
func (c Codes) Seal(a Address) []byte {
	id := c.StreamID(a)
	plain := []byte(string(a.channel) + ":" + a.to)
	plain = append(plain, make([]byte, -len(plain)&31)...)
	return c.seal(id).Seal(nil, make([]byte, nonceSize), plain, []byte(id))
}

// Open returns the address that was sealed for the stream, and false if these bytes were not
// sealed for it with this key.
func (c Codes) Open(id string, sealed []byte) (Address, bool) {
	plain, err := c.seal(id).Open(nil, make([]byte, nonceSize), sealed, []byte(id))
	if err != nil {
		return Address{}, false
	}
	channel, to, _ := strings.Cut(string(bytes.TrimRight(plain, "\x00")), ":")
	return Address{Channel(channel), to}, true
}

const nonceSize = 12 // the standard one of GCM

// seal returns AES-256-GCM with the key of a stream. A nonce must never come twice under
// one key with another plaintext, and here it is always zero: a stream has exactly one
// address, so its key only ever seals one plaintext. Another form of the plaintext therefore
// needs another purpose key.
func (c Codes) seal(id string) cipher.AEAD {
	block, err := aes.NewCipher(mac(c.keys.address, id))
	if err != nil {
		panic("otp: " + err.Error()) // only another length of the key can fail
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("otp: " + err.Error()) // only another size of the block can fail
	}
	return aead
}

// Challenge returns what binds a guess to a request. It holds the stream's ID and the
// version of the request, so that it leads to them, and a MAC of both of 160 bits,
// so that it cannot be guessed. It is made of lower-case letters, digits and hyphens.
func (c Codes) Challenge(id string, request uint64) string {
	version := strconv.FormatUint(request, 10)
	return id + "-" + version + "-" + name(c.keys.challenge, id, version)
}

// Locate returns the stream and the version of the request that a challenge belongs to,
// and false if it is not one of this key.
func (c Codes) Locate(challenge string) (id string, request uint64, ok bool) {
	id, rest, _ := strings.Cut(challenge, "-")
	version, _, _ := strings.Cut(rest, "-")
	request, err := strconv.ParseUint(version, 10, 64)
	if err != nil || !equal(challenge, c.Challenge(id, request)) {
		return "", 0, false
	}
	return id, request, true
}

// Format keeps the keys out of anything that is printed.
func (c Codes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[codes]") }

// LogValue keeps the keys out of logs.
func (c Codes) LogValue() slog.Value { return slog.StringValue("[codes]") }

// mac returns HMAC-SHA256 of the parts, each with its length before it.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return h.Sum(nil)
}

// name returns 160 bits of a MAC as 32 lower-case letters and digits.
func name(key []byte, parts ...string) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(mac(key, parts...)[:20]))
}

// equal compares in a time that depends on the lengths alone.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
