package otp

import (
	_ "embed"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// phones is what package phonenumbers knows of the numbering plans of the world, as far as it
// takes to tell whether a number is valid: a line a region, the main region of a calling code
// first. The package itself takes longer to start than all the rest of a program, as it
// reads everything it knows, and needs more than two megabytes; here, nothing is read before the
// first number. A test compares both, number by number, and writes the file anew:
//
//	go test ./examples/otp -run TestPhones -update
//
//go:embed phones.tsv
var phones string

// region is a numbering plan. It is not for concurrent use.
type region struct {
	leading   *expression // if not nil: the region has the numbers that begin like this
	prefix    *expression // what is dialled within the region alone; nil: nothing
	transform string      // what takes the place of the prefix
	local     []int       // lengths of numbers without an area code
	general   plan
	kinds     []plan // mobile, fixed and so on
}

// plan is a form of national numbers.
type plan struct {
	lengths []int // possible ones, rising; nil: any
	*expression
}

func (p plan) matches(national string) bool {
	return (p.lengths == nil || slices.Contains(p.lengths, len(national))) && p.get().MatchString(national)
}

// expression is a regular expression that is compiled when it is needed: of most regions, few are.
type expression struct {
	source   string
	compiled *regexp.Regexp
}

func (e *expression) get() *regexp.Regexp {
	if e.compiled == nil {
		e.compiled = regexp.MustCompile(e.source)
	}
	return e.compiled
}

func (r region) valid(national string) bool {
	return r.general.matches(national) && slices.ContainsFunc(r.kinds, func(p plan) bool { return p.matches(national) })
}

// strip takes the prefix away that is not dialled from abroad, such as the 0 in +49 (0)151, if
// what is left can be a number.
func (r region) strip(national string) string {
	if r.prefix == nil {
		return national
	}
	found := r.prefix.get().FindStringSubmatchIndex(national)
	if found == nil {
		return national
	}
	rest := national[found[1]:]
	if last := found[len(found)-2]; r.transform != "" && last >= 0 {
		rest = r.prefix.get().ReplaceAllString(national, r.transform)
	}
	longest := r.general.lengths[len(r.general.lengths)-1]
	switch {
	case slices.Contains(r.local, len(rest)), !slices.Contains(r.general.lengths, len(rest)) && len(rest) <= longest:
		return national
	case r.general.get().MatchString(national) && !r.general.get().MatchString(rest):
		return national
	}
	return rest
}

// e164 returns the number of these digits, which begin with a calling code, without the plus sign.
func e164(digits string) (string, bool) {
	for n := 1; n <= min(3, len(digits)); n++ {
		if regions := regionsOf(digits[:n]); regions != nil {
			national, ok := validNational(regions, digits[n:])
			return digits[:n] + national, ok
		}
	}
	return "", false
}

// validNational returns what is left of a national number without a prefix, and whether it is
// valid in the region that it belongs to.
func validNational(regions []region, national string) (string, bool) {
	national = regions[0].strip(national)
	for _, r := range regions {
		if r.leading == nil || len(regions) == 1 {
			if r.valid(national) {
				return national, true
			}
		} else if r.leading.get().MatchString(national) {
			return national, r.valid(national)
		}
	}
	return "", false
}

// regionsOf returns the regions of a calling code, nil if there is none.
func regionsOf(code string) []region {
	var regions []region
	for line := range strings.Lines(phones) {
		if rest, ok := strings.CutPrefix(line, code+"\t"); ok {
			regions = append(regions, newRegion(strings.Split(strings.TrimSuffix(rest, "\n"), "\t")))
		}
	}
	return regions
}

// newRegion reads the fields of a line: leading digits, prefix, transformation, local lengths, and
// lengths and pattern of each plan, the general one first.
func newRegion(fields []string) region {
	begins := func(pattern string) *expression {
		if pattern == "" {
			return nil
		}
		return &expression{source: "^(?:" + pattern + ")"}
	}
	r := region{leading: begins(fields[0]), prefix: begins(fields[1]), transform: fields[2], local: lengths(fields[3])}
	for p := range slices.Chunk(fields[4:], 2) {
		r.kinds = append(r.kinds, plan{lengths(p[0]), &expression{source: "^(?:" + p[1] + ")$"}})
	}
	r.general, r.kinds = r.kinds[0], r.kinds[1:]
	return r
}

func lengths(field string) []int {
	var all []int
	for f := range strings.SplitSeq(field, ",") {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(all, n)
		}
	}
	return all
}
