package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// minTokenKey is the least length of a token key in bytes: that of the hash (RFC 7518, section 3.2).
const minTokenKey = 32

// Tokens issues and checks bearer tokens: JWT, signed by HS256. Printing or logging it
// shows nothing of the key. Make one with [NewTokens].
type Tokens struct {
	key      Secret
	issuer   string
	lifetime time.Duration
}

// NewTokens returns the tokens of a key of at least 32 bytes. If the issuer is not
// empty, it is also the audience, and tokens of another issuer are not
// accepted. A token is valid for the lifetime; 0 means 1 hour.
func NewTokens(key []byte, issuer string, lifetime time.Duration) (Tokens, error) {
	if len(key) < minTokenKey {
		return Tokens{}, fmt.Errorf("the key has %d bytes, at least %d are needed", len(key), minTokenKey)
	}
	if lifetime == 0 {
		lifetime = time.Hour
	}
	return Tokens{key: newSecret(key), issuer: issuer, lifetime: lifetime}, nil
}

// issue returns a token and when it expires. It depends on the arguments alone, so that a
// command that is repeated gets the same token again; subject and version name it.
func (t Tokens) issue(subject string, at time.Time, version uint64) (string, time.Time, error) {
	at = at.UTC().Truncate(time.Second)
	expires := at.Add(t.lifetime)
	claims := jwt.RegisteredClaims{
		Subject:   subject,
		IssuedAt:  jwt.NewNumericDate(at),
		ExpiresAt: jwt.NewNumericDate(expires),
		ID:        subject + "-" + strconv.FormatUint(version, 10),
	}
	if t.issuer != "" {
		claims.Issuer, claims.Audience = t.issuer, jwt.ClaimStrings{t.issuer}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(t.key.Reveal())
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return token, expires, nil
}

// subject returns the subject of the request's bearer token, or a problem that says
// how to come by one.
func (t Tokens) subject(r *http.Request, now time.Time) (string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", unauthorized("Bearer", "Send a token as Authorization: Bearer. POST /otp and POST /otp/verify give one.")
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithStrictDecoding(),
	}
	if t.issuer != "" {
		options = append(options, jwt.WithIssuer(t.issuer), jwt.WithAudience(t.issuer))
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(strings.TrimSpace(token), &claims, func(*jwt.Token) (any, error) { return t.key.Reveal(), nil }, options...)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "", unauthorized(`Bearer error="invalid_token"`, "The token has expired. Get a new one with POST /otp and POST /otp/verify.")
	case err != nil || claims.Subject == "":
		return "", unauthorized(`Bearer error="invalid_token"`, "The token is not one of this service. Get one with POST /otp and POST /otp/verify.")
	}
	return claims.Subject, nil
}

func unauthorized(authenticate, detail string) *problem {
	p := newProblem(http.StatusUnauthorized, "unauthorized", "Unauthorized", detail)
	p.authenticate = authenticate
	return p
}

// Format keeps the key out of anything that is printed.
func (t Tokens) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[tokens]") }

// LogValue keeps the key out of logs.
func (t Tokens) LogValue() slog.Value { return slog.StringValue("[tokens]") }
