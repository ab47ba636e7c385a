package service_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// printer is a sender for the examples.
type printer struct{}

func (printer) Send(_ context.Context, m service.Message) error {
	fmt.Println("to", m.To, "a code of", len(m.Code), "digits")
	return nil
}

// assemble puts the service together from parts in memory.
func assemble(bus *memory.Bus) *service.Service {
	key := bytes.Repeat([]byte("k"), 32)
	codes, err := otp.NewCodes(key)
	if err != nil {
		panic(err)
	}
	tokens, err := service.NewTokens(key, "", 0)
	if err != nil {
		panic(err)
	}
	return &service.Service{
		Journal:  &es.Journal{Store: new(memory.Store), Publisher: bus},
		OrgViews: new(memory.Views[org.View]), OTPViews: new(memory.Views[otp.View]), Answers: new(memory.Views[service.Answer]),
		Codes: codes, Tokens: tokens, Sender: printer{},
	}
}

// The whole system in a few lines: what is published goes to Handle, what is asked
// goes to Handler.
func Example() {
	var bus memory.Bus
	s := assemble(&bus)
	bus.Subscribe("all", s.Handle)

	r := httptest.NewRequest("POST", "/otp", strings.NewReader(`{"channel":"email","to":"jane@example.com"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("ETag"))

	// Its code is sent by the event handler, a moment later.
	id := s.Codes.StreamID(must(otp.NewAddress(otp.Email, "jane@example.com")))
	for {
		state, _, err := es.Load(context.Background(), s.Journal, &otp.Aggregate, id)
		if err != nil || state.Code.Reported {
			fmt.Println("reported", err)
			break
		}
	}
	// Unordered output:
	// 202 "1"
	// to jane@example.com a code of 6 digits
	// reported <nil>
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Errors say all that is wrong at once, by RFC 9457.
func ExampleService_Handler() {
	handler := assemble(new(memory.Bus)).Handler()
	r := httptest.NewRequest("POST", "/otp", strings.NewReader(`{"channel":"fax","too":"jane"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, http.StatusText(w.Code), w.Header().Get("Content-Type"))
	fmt.Println(w.Body)
	// Output:
	// 422 Unprocessable Entity application/problem+json
	// {"type":"https://github.com/leftfold/leftfold/problems/invalid","title":"Invalid request","status":422,"detail":"The body is not valid; see errors for each member that is wrong.","errors":[{"pointer":"/too","detail":"is unknown"},{"pointer":"/channel","detail":"must be \"email\" or \"sms\""}]}
}

// Everything that is wrong with the environment is said at once, and no value is shown.
func ExampleReadConfig() {
	environment := map[string]string{"OTP_KEY": "dG9vIHNob3J0", "LOG_LEVEL": "loud"}
	_, err := service.ReadConfig(func(name string) string { return environment[name] }, "EVENT_TABLE", "OTP_KEY")
	fmt.Println(err)
	// Output:
	// EVENT_TABLE: is not set
	// OTP_KEY: has 9 bytes, at least 32 are needed
	// LOG_LEVEL: must be debug, info, warn or error
}
