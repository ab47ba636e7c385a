package otp_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/leftfold/leftfold/examples/otp"
)

// A server keeps one key; this one is for the examples alone.
func exampleCodes() otp.Codes {
	codes, err := otp.NewCodes(bytes.Repeat([]byte("k"), otp.MinKey))
	if err != nil {
		panic(err)
	}
	return codes
}

// One mailbox is one address, and printing it reveals nothing.
func ExampleNewAddress() {
	a, _ := otp.NewAddress(otp.Email, " Jane@Example.COM ")
	b, _ := otp.NewAddress(otp.SMS, "+49 (151) 123-45678")
	fmt.Println(a.Reveal(), b.Reveal())
	fmt.Println(a, b)

	_, err := otp.NewAddress(otp.Email, "jane@")
	fmt.Println(err)
	// Output:
	// jane@example.com +4915112345678
	// [email address] [sms address]
	// to is not an email address
}

// A challenge leads to its request, and cannot be made up.
func ExampleCodes_Locate() {
	codes := exampleCodes()
	to, _ := otp.NewAddress(otp.Email, "jane@example.com")
	id := codes.StreamID(to)

	challenge := codes.Challenge(id, 7)
	found, version, ok := codes.Locate(challenge)
	fmt.Println(found == id, version, ok)

	_, _, ok = codes.Locate(challenge[:len(challenge)-1])
	fmt.Println(ok)
	// Output:
	// true 7 true
	// false
}

// An address in an event can be read with the key, and only as that of its stream.
func ExampleCodes_Open() {
	codes := exampleCodes()
	to, _ := otp.NewAddress(otp.Email, "jane@example.com")
	id := codes.StreamID(to)

	sealed := codes.Seal(to)
	fmt.Println(len(sealed), "bytes")
	opened, ok := codes.Open(id, sealed)
	fmt.Println(opened.Reveal(), ok)

	_, ok = codes.Open("another", sealed)
	fmt.Println(ok)
	// Output:
	// 48 bytes
	// jane@example.com true
	// false
}

// A wrong guess is an event as well: it counts.
func ExampleVerify() {
	codes := exampleCodes()
	to, _ := otp.NewAddress(otp.Email, "jane@example.com")
	id, now := codes.StreamID(to), time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

	var state otp.State
	apply := func(events []otp.Event, err error) {
		for _, e := range events {
			state = otp.Fold(state, e)
			fmt.Printf("%d %T\n", state.Version, e)
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	apply(otp.Request(codes, to, now)(state))
	challenge, code := codes.Challenge(id, 1), codes.Code(id, 1)
	apply(otp.ReportSent(1)(state))
	apply(otp.Verify(codes, id, challenge, "guess", now)(state))
	apply(otp.Verify(codes, id, challenge, code, now)(state))
	apply(otp.Verify(codes, id, challenge, code, now)(state))
	// Output:
	// 1 otp.Requested
	// 2 otp.Sent
	// 3 otp.Rejected
	// 4 otp.Verified
	// no such code, or it cannot be used any more
}

// What a client sees while its code is on the way.
func ExampleFoldView() {
	var view otp.View
	for _, e := range []otp.Event{
		otp.Requested{}, otp.Sent{Request: 1}, otp.Requested{}, otp.SendFailed{Request: 3, Reason: otp.Unavailable},
	} {
		view = otp.FoldView(view, e)
	}
	for _, r := range view.Requests {
		fmt.Println(r.Version, r.Status)
	}
	// Output:
	// 1 superseded
	// 3 send_failed
}
