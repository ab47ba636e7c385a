package otp

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

var update = flag.Bool("update", false, "write phones.tsv anew")

// The file has what the library knows.
func TestPhones(t *testing.T) {
	collection, err := phonenumbers.MetadataCollection()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	regions := slices.Clone(collection.GetMetadata())
	place := func(m *phonenumbers.PhoneMetadata) int {
		return slices.Index(phonenumbers.GetRegionCodesForCountryCode(int(m.GetCountryCode())), m.GetId())
	}
	slices.SortStableFunc(regions, func(a, b *phonenumbers.PhoneMetadata) int {
		return cmp.Or(cmp.Compare(a.GetCountryCode(), b.GetCountryCode()), cmp.Compare(place(a), place(b)))
	})
	for _, m := range regions {
		if place(m) < 0 {
			continue // not a region of its calling code
		}
		fields := []string{
			fmt.Sprint(m.GetCountryCode()), m.GetLeadingDigits(), m.GetNationalPrefixForParsing(), m.GetNationalPrefixTransformRule(),
			list(m.GetGeneralDesc().GetPossibleLengthLocalOnly()),
		}
		for _, d := range descriptions(m) {
			if pattern := d.GetNationalNumberPattern(); pattern != "" && pattern != "NA" {
				fields = append(fields, list(d.GetPossibleLength()), pattern)
			}
		}
		out.WriteString(strings.Join(fields, "\t") + "\n")
	}
	if *update {
		if err := os.WriteFile("phones.tsv", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if phones != out.String() {
		t.Error("phones.tsv is not what the library knows: run this test with -update")
	}
}

// descriptions returns the general form, and then those of all kinds of numbers.
func descriptions(m *phonenumbers.PhoneMetadata) []*phonenumbers.PhoneNumberDesc {
	return []*phonenumbers.PhoneNumberDesc{
		m.GetGeneralDesc(), m.GetMobile(), m.GetFixedLine(), m.GetTollFree(), m.GetPremiumRate(), m.GetSharedCost(),
		m.GetVoip(), m.GetPersonalNumber(), m.GetPager(), m.GetUan(), m.GetVoicemail(),
	}
}

func list(numbers []int32) string {
	var s []string
	for _, n := range numbers {
		s = append(s, fmt.Sprint(n))
	}
	return strings.Join(s, ",")
}

// Numbers are valid, and written, as the library has it.
func TestPhonesAsTheLibrary(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	some := func(n int) string {
		digits := make([]byte, n)
		for i := range digits {
			digits[i] = byte('0' + random.IntN(10))
		}
		return string(digits)
	}
	collection, err := phonenumbers.MetadataCollection()
	if err != nil {
		t.Fatal(err)
	}
	var checked, valid int
	for code := range 1000 {
		regions := regionsOf(fmt.Sprint(code))
		check := func(national string) {
			t.Helper()
			checked++
			digits := fmt.Sprint(code) + national
			want, ok := byLibrary("+" + digits)
			got, gotOK := "", false
			if regions != nil {
				got, gotOK = validNational(regions, national)
				got = fmt.Sprint(code) + got
			}
			if gotOK != ok || ok && got != want {
				t.Errorf("+%s is %q, %t; want %q, %t", digits, got, gotOK, want, ok)
			}
			if ok {
				valid++
			}
			if checked%10 == 0 { // as people write them
				written := "+" + punctuate(random, digits)
				want, ok := byLibrary(written)
				a, err := NewAddress(SMS, written)
				if err == nil != ok || ok && a.Reveal() != "+"+want {
					t.Errorf("%s is %q, %v; want %q, %t", written, a.Reveal(), err, want, ok)
				}
			}
		}
		for _, rare := range []string{"43435191879957", "494969248799804", "49494001234266", "49493795468"} { // one plan takes them, and another not
			if national, ok := strings.CutPrefix(rare, fmt.Sprint(code)); ok && len(fmt.Sprint(code)) == 2 {
				check(national)
			}
		}
		if regions == nil {
			if code > 0 && phonenumbers.GetRegionCodeForCountryCode(code) != "ZZ" {
				t.Errorf("no region of +%d", code)
			}
			continue
		}
		for n := range 18 {
			check(some(n))
		}
		for _, m := range collection.GetMetadata() {
			if int(m.GetCountryCode()) != code {
				continue
			}
			for _, d := range descriptions(m) {
				example := d.GetExampleNumber()
				if example == "" {
					continue
				}
				check(example)
				for _, before := range []string{"", cmp.Or(m.GetNationalPrefix(), some(1)), some(1 + random.IntN(3))} {
					near := []byte(example)
					for range random.IntN(5) {
						near[random.IntN(len(near))] = byte('0' + random.IntN(10))
					}
					check(before + string(near))
					check(before + string(near) + some(1))
					check(before + string(near[random.IntN(2):len(near)-1]))
				}
			}
		}
	}
	t.Logf("%d numbers, %d of them valid", checked, valid)
	if checked < 10_000 || valid < 2_000 {
		t.Errorf("%d numbers, %d of them valid: this shows nothing", checked, valid)
	}
}

// punctuate divides digits by what is allowed between them.
func punctuate(random *rand.Rand, digits string) string {
	var s strings.Builder
	for _, d := range digits {
		for random.IntN(4) == 0 {
			s.WriteByte(" .-()"[random.IntN(5)])
		}
		s.WriteRune(d)
	}
	return s.String()
}

func byLibrary(number string) (string, bool) {
	n, err := phonenumbers.Parse(number, phonenumbers.UNKNOWN_REGION)
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return "", false
	}
	return phonenumbers.Format(n, phonenumbers.E164)[1:], true
}
