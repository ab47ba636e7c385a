package service

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/leftfold/leftfold/es"
)

// etag returns the entity tag of a version. It is strong: a version has one content.
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// tag is an entity tag that a client sent.
type tag struct {
	weak   bool
	opaque string
}

// version returns the version that a tag names. A tag that this service never gave
// names none.
func (t tag) version() (uint64, bool) {
	v, err := strconv.ParseUint(t.opaque, 10, 64)
	return v, err == nil && strconv.FormatUint(v, 10) == t.opaque
}

// condition is an If-Match or If-None-Match: absent, any ("*"), or a list of tags.
type condition struct {
	present bool
	any     bool
	tags    []tag
}

// readCondition parses a header by RFC 9110, section 13.1.
func readCondition(r *http.Request, header string) (condition, error) {
	lines := r.Header.Values(header)
	if len(lines) == 0 {
		return condition{}, nil
	}
	bad := malformed(header + ` must be * or a list of entity tags, such as "3".`)
	rest := strings.Trim(strings.Join(lines, ","), " \t")
	c := condition{present: true}
	if rest == "*" {
		c.any = true
		return c, nil
	}
	for rest != "" {
		// Empty elements of a list are to be ignored (RFC 9110, section 5.6.1.2).
		if next, ok := strings.CutPrefix(rest, ","); ok {
			rest = strings.TrimLeft(next, " \t")
			continue
		}
		var t tag
		rest, t.weak = strings.CutPrefix(rest, "W/")
		quoted, ok := strings.CutPrefix(rest, `"`)
		if !ok {
			return c, bad
		}
		if t.opaque, rest, ok = strings.Cut(quoted, `"`); !ok || strings.ContainsFunc(t.opaque, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return c, bad
		}
		c.tags = append(c.tags, t)
		rest = strings.TrimLeft(rest, " \t")
		if rest != "" && rest[0] != ',' {
			return c, bad
		}
	}
	if len(c.tags) == 0 {
		return c, bad
	}
	return c, nil
}

// execute runs a command under If-Match. The comparison is strong: weak tags never
// match. Of several tags, any may match.
func (c condition) execute(run func(...es.Option) (es.Result, error)) (es.Result, error) {
	if !c.present || c.any {
		return run()
	}
	var versions []uint64
	for _, t := range c.tags {
		if v, ok := t.version(); ok && !t.weak {
			versions = append(versions, v)
		}
	}
	if len(versions) == 0 {
		return run(es.IfVersion(math.MaxUint64)) // no stream is there: the error says where it is
	}
	slices.Sort(versions)
	for version := versions[0]; ; {
		res, err := run(es.IfVersion(version))
		e, ok := errors.AsType[*es.VersionError](err)
		// Versions only rise, so each is tried at most once.
		if !ok || !slices.Contains(versions, e.Have) {
			return res, err
		}
		version = e.Have
	}
}

// known returns the newest version that an If-None-Match says the client has, 0 if
// none. The comparison is weak.
func (c condition) known() uint64 {
	if c.any {
		return math.MaxUint64
	}
	var known uint64
	for _, t := range c.tags {
		if v, ok := t.version(); ok {
			known = max(known, v)
		}
	}
	return known
}
