package otp_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/examples/otp"
)

var start = time.Date(2026, 1, 2, 15, 4, 5, 600, time.UTC)

func address(t testing.TB, to string) otp.Address {
	t.Helper()
	a, err := otp.ParseAddress(to)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// requested returns the event of a request after some time.
func requested(after time.Duration) otp.Requested {
	at := start.Add(after)
	jane := must(otp.NewAddress(otp.Email, "jane@example.com"))
	return otp.Requested{Channel: otp.Email, Sealed: exampleCodes().Seal(jane), At: at, ExpiresAt: at.Add(10 * time.Minute)}
}

func TestAggregate(t *testing.T) {
	estest.TestAggregate(t, &otp.Aggregate, []otp.Event{
		requested(0),
		otp.Sent{Request: 1},
		otp.Rejected{Request: 1},
		requested(time.Minute),
		otp.SendFailed{Request: 4, Reason: otp.Unavailable},
		otp.Verified{Request: 4},
	})
}

func TestDecisions(t *testing.T) {
	codes := exampleCodes()
	to := address(t, "jane@example.com")
	id := codes.StreamID(to)
	request := func(after time.Duration) func(otp.State) ([]otp.Event, error) {
		return otp.Request(codes, to, start.Add(after))
	}
	// verify guesses the code of a request, or something else, some time after the start.
	verify := func(challenge uint64, code uint64, after time.Duration) func(otp.State) ([]otp.Event, error) {
		return otp.Verify(codes, id, codes.Challenge(id, challenge), codes.Code(id, code), start.Add(after))
	}
	guess := func(guess string) func(otp.State) ([]otp.Event, error) {
		return otp.Verify(codes, id, codes.Challenge(id, 1), guess, start)
	}
	given := func(e ...otp.Event) []otp.Event { return e }
	wrong := otp.Rejected{Request: 1}
	full := given(requested(0), requested(time.Minute), requested(2*time.Minute), requested(3*time.Minute), requested(4*time.Minute))
	slid := append(slices.Clone(full), requested(time.Hour)) // the first is out of the window

	estest.TestDecisions(t, &otp.Aggregate, []estest.Case[otp.State, otp.Event]{
		{Name: "request", When: request(0), Then: given(requested(0))},
		{Name: "request again", Given: given(requested(0)), When: request(time.Second), Then: given(requested(time.Second))},
		{Name: "the fifth in an hour", Given: full[:4], When: request(4 * time.Minute), Then: given(requested(4 * time.Minute))},
		{Name: "after an hour", Given: full, When: request(time.Hour), Then: given(requested(time.Hour))},

		{Name: "sent", Given: given(requested(0)), When: otp.ReportSent(1), Then: given(otp.Sent{Request: 1})},
		{Name: "sent, reported before", Given: given(requested(0), otp.Sent{Request: 1}), When: otp.ReportSent(1)},
		{Name: "sent, reported as failed", Given: given(requested(0), otp.SendFailed{Request: 1}), When: otp.ReportSent(1)},
		{Name: "sent, of no request", When: otp.ReportSent(1)},
		{Name: "sent, of another request", Given: given(requested(0), requested(1)), When: otp.ReportSent(1)},
		{Name: "sent, after a guess", Given: given(requested(0), wrong), When: otp.ReportSent(1), Then: given(otp.Sent{Request: 1})},
		{Name: "a late report is not that of the next", Given: given(requested(0), requested(1), otp.Sent{Request: 1}), When: otp.ReportSent(2), Then: given(otp.Sent{Request: 2})},
		{
			Name: "failed", Given: given(requested(0)),
			When: otp.ReportFailure(1, otp.Refused), Then: given(otp.SendFailed{Request: 1, Reason: otp.Refused}),
		},
		{Name: "failed, reported as sent", Given: given(requested(0), otp.Sent{Request: 1}), When: otp.ReportFailure(1, otp.Refused)},

		{Name: "right", Given: given(requested(0)), When: verify(1, 1, 0), Then: given(otp.Verified{Request: 1})},
		{Name: "right, of the second request", Given: given(requested(0), otp.Sent{Request: 1}, requested(1)), When: verify(3, 3, 0), Then: given(otp.Verified{Request: 3})},
		{Name: "right, in the last moment", Given: given(requested(0)), When: verify(1, 1, 10*time.Minute-1), Then: given(otp.Verified{Request: 1})},
		{Name: "right, too late", Given: given(requested(0)), When: verify(1, 1, 10*time.Minute), Err: otp.ErrDenied},
		{Name: "wrong", Given: given(requested(0)), When: verify(1, 2, 0), Then: given(wrong)},
		{Name: "wrong by form", Given: given(requested(0)), When: guess("12345"), Then: given(wrong)},
		{Name: "wrong, too late", Given: given(requested(0)), When: verify(1, 2, 10*time.Minute), Err: otp.ErrDenied},
		{Name: "right at the fifth attempt", Given: given(requested(0), wrong, wrong, wrong, wrong), When: verify(1, 1, 0), Then: given(otp.Verified{Request: 1})},
		{Name: "wrong at the fifth attempt", Given: given(requested(0), wrong, wrong, wrong, wrong), When: verify(1, 2, 0), Then: given(wrong)},
		{Name: "right, exhausted", Given: given(requested(0), wrong, wrong, wrong, wrong, wrong), When: verify(1, 1, 0), Err: otp.ErrDenied},
		{Name: "right, used", Given: given(requested(0), otp.Verified{Request: 1}), When: verify(1, 1, 0), Err: otp.ErrDenied},
		{Name: "wrong, used", Given: given(requested(0), otp.Verified{Request: 1}), When: verify(1, 2, 0), Err: otp.ErrDenied},
		{Name: "right code, wrong challenge", Given: given(requested(0)), When: verify(2, 1, 0), Err: otp.ErrDenied},
		{Name: "superseded", Given: given(requested(0), requested(1)), When: verify(1, 1, 0), Err: otp.ErrDenied},
		{Name: "unknown", When: verify(1, 1, 0), Err: otp.ErrDenied},
		{Name: "unknown, with the challenge of version 0", When: verify(0, 0, 0), Err: otp.ErrDenied},
		{Name: "a new code has attempts of its own", Given: given(requested(0), wrong, wrong, wrong, wrong, wrong, requested(1)), When: verify(7, 7, 0), Then: given(otp.Verified{Request: 7})},
		{Name: "a new code after a used one", Given: given(requested(0), otp.Verified{Request: 1}, requested(1)), When: verify(3, 3, 0), Then: given(otp.Verified{Request: 3})},
	})

	for _, tt := range []struct {
		given []otp.Event
		after time.Duration
		want  time.Duration
	}{
		{full, 4 * time.Minute, 56 * time.Minute},
		{full, time.Hour - 1, 1},
		{slid, time.Hour, time.Minute},
	} {
		var s otp.State
		for _, e := range tt.given {
			s = otp.Fold(s, e)
		}
		events, err := request(tt.after)(s)
		e, ok := errors.AsType[*otp.RateError](err)
		if !ok || e.RetryAfter != tt.want || len(events) > 0 {
			t.Errorf("the sixth request after %v: %v, %v; want to wait %v", tt.after, events, err, tt.want)
		}
	}
}

func TestToSend(t *testing.T) {
	for _, tt := range []struct {
		name  string
		given []otp.Event
		after time.Duration
		want  bool
	}{
		{"requested", []otp.Event{requested(0)}, 0, true},
		{"not in the state yet", nil, 0, true},
		{"guessed at", []otp.Event{requested(0), otp.Rejected{Request: 1}}, 0, true},
		{"expired", []otp.Event{requested(0)}, otp.Lifetime, false},
		{"expired, not in the state yet", nil, otp.Lifetime, false},
		{"sent", []otp.Event{requested(0), otp.Sent{Request: 1}}, 0, false},
		{"failed", []otp.Event{requested(0), otp.SendFailed{Request: 1}}, 0, false},
		{"used", []otp.Event{requested(0), otp.Verified{Request: 1}}, 0, false},
		{"superseded", []otp.Event{requested(0), requested(1)}, 0, false},
	} {
		var s otp.State
		for _, e := range tt.given {
			s = otp.Fold(s, e)
		}
		if got := s.ToSend(1, requested(0), start.Add(tt.after)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// What is stored is history, and must hold nothing that proves anything.
func TestStoredForm(t *testing.T) {
	is := is.New(t)
	for want, e := range map[string]otp.Event{
		`otp.requested {"channel":"email","sealed":"s4tTFtNC6CXD0t8Rr5YVA6LiehtGUAk3YIwmlpXDwIhniC+2J3FqBTSSlnJD+Kfl","at":"2026-01-02T15:04:05.0000006Z","expires_at":"2026-01-02T15:14:05.0000006Z"}`: requested(0),
		`otp.sent {"request":1}`:                           otp.Sent{Request: 1},
		`otp.send_failed {"request":1,"reason":"refused"}`: otp.SendFailed{Request: 1, Reason: otp.Refused},
		`otp.rejected {"request":1}`:                       otp.Rejected{Request: 1},
		`otp.verified {"request":1}`:                       otp.Verified{Request: 1},
	} {
		stored, err := otp.Aggregate.Events.Encode(e)
		is.NoErr(err)
		is.Equal(stored.Type+" "+stored.Data, want)
	}
}

func TestEventsHoldNoSecrets(t *testing.T) {
	is := is.New(t)
	codes := exampleCodes()
	to := address(t, "jane@example.com")
	id := codes.StreamID(to)
	var s otp.State
	var stored strings.Builder
	run := func(events []otp.Event, err error) {
		is.NoErr(err)
		for _, e := range events {
			s = otp.Fold(s, e)
			data, err := otp.Aggregate.Events.Encode(e)
			is.NoErr(err)
			fmt.Fprintf(&stored, "%s %s\n", data.Type, data.Data)
			if e, ok := e.(otp.Requested); ok { // JSON has it in base64
				fmt.Fprintf(&stored, "%s\n", e.Sealed)
			}
		}
		// The snapshot is stored as well.
		fmt.Fprintf(&stored, "%+v\n", s)
	}
	// A time with few digits: they are not to be taken for codes.
	run(otp.Request(codes, to, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))(s))
	now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	run(otp.ReportSent(1)(s))
	run(otp.Verify(codes, id, codes.Challenge(id, 1), codes.Code(id, 2), now)(s))
	run(otp.Verify(codes, id, codes.Challenge(id, 1), codes.Code(id, 1), now)(s))
	for _, secret := range []string{
		codes.Code(id, 1), codes.Code(id, 2), codes.Challenge(id, 1), strings.TrimPrefix(codes.Challenge(id, 1), id+"-1-"), codes.Subject(to),
		to.Reveal(), "jane", "example.com",
	} {
		if strings.Contains(stored.String(), secret) {
			t.Errorf("%q is stored:\n%s", secret, stored.String())
		}
	}
	is.True(!strings.Contains(id, "jane")) // the stream's name does not show the address
}

func TestView(t *testing.T) {
	wrong := otp.Rejected{Request: 1}
	for _, tt := range []struct {
		name  string
		given []otp.Event
		want  otp.Status // of the request at version 1
	}{
		{"requested", nil, otp.StatusRequested},
		{"sent", []otp.Event{otp.Sent{Request: 1}}, otp.StatusSent},
		{"failed", []otp.Event{otp.SendFailed{Request: 1}}, otp.StatusSendFailed},
		{"guessed at", []otp.Event{otp.Sent{Request: 1}, wrong, wrong, wrong, wrong}, otp.StatusSent},
		{"exhausted", []otp.Event{otp.Sent{Request: 1}, wrong, wrong, wrong, wrong, wrong}, otp.StatusExhausted},
		{"verified", []otp.Event{otp.Sent{Request: 1}, otp.Verified{Request: 1}}, otp.StatusVerified},
		{"verified before it was reported", []otp.Event{otp.Verified{Request: 1}, otp.Sent{Request: 1}}, otp.StatusVerified},
		{"exhausted before it was reported", []otp.Event{wrong, wrong, wrong, wrong, wrong, otp.Sent{Request: 1}}, otp.StatusExhausted},
		{"superseded", []otp.Event{otp.Sent{Request: 1}, requested(1)}, otp.StatusSuperseded},
		{"failed and superseded", []otp.Event{otp.SendFailed{Request: 1}, requested(1)}, otp.StatusSuperseded},
		{"superseded before it was reported", []otp.Event{requested(1), otp.Sent{Request: 1}}, otp.StatusSuperseded},
		{"verified and then another", []otp.Event{otp.Verified{Request: 1}, requested(1)}, otp.StatusVerified},
		{"exhausted and then another", []otp.Event{wrong, wrong, wrong, wrong, wrong, requested(1)}, otp.StatusExhausted},
		{"an event of a request that is not there", []otp.Event{otp.Sent{Request: 9}, otp.Rejected{Request: 9}, otp.Verified{Request: 9}}, otp.StatusRequested},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			v := otp.FoldView(otp.View{}, requested(0))
			for _, e := range tt.given {
				before := slices.Clone(v.Requests)
				next := otp.FoldView(v, e)
				is.Equal(v.Requests, before) // the fold leaves the view that it was given alone
				v = next
			}
			r, ok := v.Find(1)
			is.True(ok)
			is.Equal(r.Status, tt.want)
			is.Equal(r.ExpiresAt, requested(0).ExpiresAt)
			is.Equal(v.Version, uint64(1+len(tt.given)))
		})
	}
}

func TestViewKeepsTheLast16(t *testing.T) {
	is := is.New(t)
	var v otp.View
	for i := range 20 {
		v = otp.FoldView(v, requested(time.Duration(i)*time.Hour))
	}
	is.Equal(len(v.Requests), 16)
	_, ok := v.Find(4)
	is.True(!ok)
	r, ok := v.Find(5)
	is.True(ok)
	is.Equal(r.Status, otp.StatusSuperseded)
	r, ok = v.Find(20)
	is.True(ok)
	is.Equal(r.Status, otp.StatusRequested)
}

func TestAddress(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := "a@" + strings.Join([]string{label, label, label, strings.Repeat("b", 60)}, ".") // 254 bytes
	for _, tt := range []struct {
		channel otp.Channel
		in      string
		want    string // empty: refused
	}{
		{otp.Email, "jane@example.com", "jane@example.com"},
		{otp.Email, "Jane.DOE+Tag@Example.COM", "jane.doe+tag@example.com"},
		{otp.Email, " \tjane@example.com\n", "jane@example.com"},
		{otp.Email, "\u00a0jane@example.com\u00a0", "jane@example.com"},
		{otp.Email, "jane@localhost", "jane@localhost"},
		{otp.Email, ".jane..doe.@example.com", ".jane..doe.@example.com"}, // the pattern allows it
		{otp.Email, "!#$%&'*+/=?^_`{|}~-@a-b.c", "!#$%&'*+/=?^_`{|}~-@a-b.c"},
		{otp.Email, "j@" + label + ".de", "j@" + label + ".de"},
		{otp.Email, long, long},
		{otp.Email, "b" + long, ""},
		{otp.Email, "j@a" + label + ".de", ""},
		{otp.Email, "jane", ""},
		{otp.Email, "@example.com", ""},
		{otp.Email, "jane@", ""},
		{otp.Email, "jane@@example.com", ""},
		{otp.Email, "jane@example..com", ""},
		{otp.Email, "jane@example.com.", ""},
		{otp.Email, "jane@-example.com", ""},
		{otp.Email, "jane@example-.com", ""},
		{otp.Email, "jane@exa_mple.com", ""},
		{otp.Email, "jane doe@example.com", ""},
		{otp.Email, `"jane doe"@example.com`, ""},
		{otp.Email, "jane@example.com\r\nBcc: all@example.com", ""},
		{otp.Email, "jané@example.com", ""},
		{otp.Email, "jane@exämple.com", ""},
		{otp.Email, "jane\xff@example.com", ""},
		{otp.Email, "ＪＡＮＥ@example.com", ""},
		{otp.Email, "jane@example.com\x00", ""},
		{otp.Email, "", ""},
		{otp.Email, " ", ""},
		{otp.Email, "+4915112345678", ""},
		{otp.SMS, "+4915112345678", "+4915112345678"},
		{otp.SMS, " +49 (151) 123-45.678 ", "+4915112345678"},
		{otp.SMS, "+49 0151 12345678", "+4915112345678"},
		{otp.SMS, "+1 202-555-0123", "+12025550123"},
		{otp.SMS, "015112345678", ""},
		{otp.SMS, "004915112345678", ""},
		{otp.SMS, "+49", ""},
		{otp.SMS, "+", ""},
		{otp.SMS, "++4915112345678", ""},
		{otp.SMS, "+1-800-FLOWERS", ""},
		{otp.SMS, "+49 151 12345678 ext 5", ""},
		{otp.SMS, "tel:+4915112345678", ""},
		{otp.SMS, "+4915112345678;x", ""},
		{otp.SMS, "+999123456789", ""},
		{otp.SMS, "＋４９１５１１２３４５６７８", ""},
		{otp.SMS, "+491511234567812345", ""},
		{otp.SMS, "+49151" + strings.Repeat(" ", 60) + "12345678", ""},
		{otp.SMS, "jane@example.com", ""},
		{otp.SMS, "", ""},
		{"fax", "+4915112345678", ""},
		{"", "jane@example.com", ""},
		{"EMAIL", "jane@example.com", ""},
	} {
		a, err := otp.NewAddress(tt.channel, tt.in)
		if a.Reveal() != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s %q is %q, %v; want %q", tt.channel, tt.in, a.Reveal(), err, tt.want)
		}
		if e, ok := errors.AsType[*otp.FieldError](err); err != nil && (!ok || e.Field != "to" && e.Field != "channel") {
			t.Errorf("%s %q: %#v", tt.channel, tt.in, err)
		}
		if err == nil {
			if b, err := otp.ParseAddress(tt.in); err != nil || a != b || b.Channel() != tt.channel {
				t.Errorf("%q without its channel is %q, %v", tt.in, b.Reveal(), err)
			}
		}
	}
}

// htmlEmail is the pattern of the HTML standard, copied.
var htmlEmail = regexp.MustCompile("^[a-zA-Z0-9.!#$%&'*+\\/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$")

func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"jane@example.com", "a@b", "a@b-.c", "a@-b", "a@b..c", "@", "a@b@c", "a b@c", "a@" + strings.Repeat("x", 63), "a@" + strings.Repeat("x", 64),
		"\xff@a", "a@b\n", "+4915112345678", "+1 (202) 555-0123", "+", "+1;ext=5", "", "İ@example.com",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		trimmed := strings.TrimSpace(s)
		a, err := otp.NewAddress(otp.Email, s)
		if want := htmlEmail.MatchString(trimmed) && len(trimmed) <= otp.MaxEmail; want != (err == nil) {
			t.Fatalf("%q: %v, and the standard says %v", s, err, want)
		}
		for _, a := range []otp.Address{a, must(otp.NewAddress(otp.SMS, s))} {
			if a == (otp.Address{}) {
				continue
			}
			again, err := otp.NewAddress(a.Channel(), a.Reveal())
			if err != nil || again != a {
				t.Fatalf("%q became %q, which becomes %q, %v", s, a.Reveal(), again.Reveal(), err)
			}
		}
	})
}

// must returns the zero address for one that is refused.
func must(a otp.Address, _ error) otp.Address { return a }

func TestCodes(t *testing.T) {
	is := is.New(t)
	codes := exampleCodes()
	jane, phone := address(t, "jane@example.com"), address(t, "+4915112345678")
	id := codes.StreamID(jane)
	name := regexp.MustCompile(`^[a-z2-7]{26,}$`)
	is.True(name.MatchString(id))
	is.True(name.MatchString(codes.Subject(jane)))
	is.True(regexp.MustCompile(`^[0-9]{6}$`).MatchString(codes.Code(id, 1)))
	is.Equal(codes.StreamID(address(t, "JANE@example.com")), id) // one mailbox, one stream

	other, err := otp.NewCodes(bytes.Repeat([]byte("x"), 32))
	is.NoErr(err)
	different := []string{
		id, codes.Subject(jane), codes.StreamID(phone), codes.Subject(phone), other.StreamID(jane), other.Subject(jane),
		codes.Challenge(id, 1), codes.Challenge(id, 2), other.Challenge(id, 1), codes.Challenge(codes.StreamID(phone), 1),
		codes.Code(id, 1), codes.Code(id, 2), codes.Code(codes.StreamID(phone), 1), other.Code(id, 1),
		string(codes.Content("a", "b")), string(codes.Content("ab")), string(codes.Content("ab", "")), string(other.Content("ab")),
	}
	slices.Sort(different)
	is.Equal(len(slices.Compact(different)), 18)

	_, err = otp.NewCodes(make([]byte, 31))
	is.True(err != nil) // a key that is too short
}

// Whoever has the key can open an address in its stream; without it, or elsewhere, nobody can.
func TestSeal(t *testing.T) {
	is := is.New(t)
	codes := exampleCodes()
	other, err := otp.NewCodes(bytes.Repeat([]byte("x"), 32))
	is.NoErr(err)
	label := strings.Repeat("a", 63)
	all := make(map[string]bool)
	for to, size := range map[string]int{ // steps of 32 bytes, and a tag of 16
		"a@b": 48, "jane@example.com": 48, "joan@example.com": 48, "+4915112345678": 48, // "email:" is before it, or "sms:"
		strings.Repeat("a", 24) + "@b": 48, strings.Repeat("a", 25) + "@b": 80,
		"a@" + strings.Join([]string{label, label, label, strings.Repeat("b", 60)}, "."): 304,
	} {
		a := address(t, to)
		id, sealed := codes.StreamID(a), codes.Seal(a)
		is.Equal(len(sealed), size)
		is.True(!bytes.Contains(sealed, []byte(to)))
		opened, ok := codes.Open(id, sealed)
		is.True(ok)
		is.Equal(opened, a)
		is.Equal(codes.Seal(a), sealed) // a decision is pure

		for _, s := range [][]byte{sealed, other.Seal(a)} { // nothing is the same in two streams, or with two keys
			for block := range slices.Chunk(s, 16) {
				is.True(!all[string(block)])
				all[string(block)] = true
			}
		}
		_, ok = other.Open(id, sealed)
		is.True(!ok)
		_, ok = codes.Open(codes.StreamID(address(t, "somebody@example.com")), sealed)
		is.True(!ok)
		for i := range sealed { // every byte counts
			forged := bytes.Clone(sealed)
			forged[i] ^= 1
			opened, ok = codes.Open(id, forged)
			is.True(!ok)
			is.Equal(opened, otp.Address{})
		}
		for _, short := range [][]byte{nil, {}, sealed[:15], sealed[:16], sealed[:len(sealed)-1], sealed[1:]} {
			_, ok = codes.Open(id, short)
			is.True(!ok)
		}
	}
	// One mailbox, one stream, one plaintext: a key never seals two.
	is.Equal(codes.Seal(address(t, " JANE@Example.com ")), codes.Seal(address(t, "jane@example.com")))
}

func TestLocate(t *testing.T) {
	is := is.New(t)
	codes := exampleCodes()
	id := codes.StreamID(address(t, "jane@example.com"))
	challenge := codes.Challenge(id, 12)
	found, version, ok := codes.Locate(challenge)
	is.True(ok)
	is.Equal(found, id)
	is.Equal(version, uint64(12))
	for i := range len(challenge) { // every character counts
		forged := []byte(challenge)
		forged[i] ^= 1
		_, _, ok := codes.Locate(string(forged))
		is.True(!ok)
	}
	for _, forged := range []string{
		"", "-", "--", id, id + "-12", id + "-12-", challenge + "a", challenge + "-", strings.ToUpper(challenge),
		strings.Replace(challenge, "-12-", "-012-", 1), strings.Replace(challenge, "-12-", "-+12-", 1), strings.Replace(challenge, "-12-", "-99999999999999999999-", 1),
	} {
		_, _, ok := codes.Locate(forged)
		is.True(!ok)
	}
}

func TestNothingIsPrinted(t *testing.T) {
	is := is.New(t)
	codes, a := exampleCodes(), address(t, "jane@example.com")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		is.Equal(fmt.Sprintf(format, codes), "[codes]")
		is.Equal(fmt.Sprintf(format, a), "[email address]")
		is.Equal(fmt.Sprintf(format, struct{ C any }{&a}.C), "[email address]")
	}
	// Not even where fmt cannot ask the type.
	is.True(regexp.MustCompile(`^{c:{keys:0x[0-9a-f]+}}$`).MatchString(fmt.Sprintf("%+v", struct{ c otp.Codes }{codes})))
	is.Equal(codes.LogValue().String(), "[codes]")
	is.Equal(a.LogValue().String(), "[email address]")
	is.True(!strings.Contains((&otp.RateError{RetryAfter: time.Second}).Error(), "jane"))
}
