package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

var update = flag.Bool("update", false, "write the tables into docs/performance.md")

func TestDocumentation(t *testing.T) {
	const file = "../../docs/performance.md"
	is := is.New(t)
	text, err := os.ReadFile(file)
	is.NoErr(err)
	doc := string(text)
	for _, table := range tables(load{peak: 3, item: kb, message: 600}) {
		begin, end := "<!-- begin "+table.name+" -->\n", "<!-- end "+table.name+" -->\n"
		before, rest, begins := strings.Cut(doc, begin)
		is.True(begins) // the page has a place for the table
		old, after, ends := strings.Cut(rest, end)
		is.True(ends) // which ends
		if old != table.text && !*update {
			t.Errorf("%s has another table of %s; go test ./internal/cost -update writes it:\n%s", file, table.name, table.text)
		}
		doc = before + begin + table.text + end + after
	}
	if *update {
		is.NoErr(os.WriteFile(file, []byte(doc), 0o644))
	}
}

// What a command takes of DynamoDB is what the README says, which a test compares with a real engine.
func TestUnitsAreMeasured(t *testing.T) {
	is := is.New(t)
	readme, err := os.ReadFile("../../README.md")
	is.NoErr(err)
	for _, row := range []string{
		fmt.Sprintf("| command on 100 000 events | %d | %d | %d | %d |\n", requests, loadReads, tableWrites, indexWrites),
		fmt.Sprintf("| view update | 2 | %d | %d | 0 |\n", viewReads, viewWrites),
	} {
		is.True(strings.Contains(string(readme), row)) // as in the table of the README
	}
}

func TestArithmetic(t *testing.T) {
	is := is.New(t)
	l := load{day: 864000, peak: 2, item: 1500, message: 30 * kb, batch: 4}
	is.Equal(l.rate(), 20.0)
	is.Equal(l.month(), 864000*365.0/12)
	is.Equal(l.writes(), 2.0*2+2+1) // an item of 1500 bytes is two units, whatever is written of it
	is.Equal(l.reads(), 1.0)
	is.Equal(load{item: 5000}.reads(), 2.0)
	is.Equal(l.polls(), 1+(2+1)/4.0) // four messages of 30 KB are received as two requests, and deleted as one

	tiered := price{per: 10, tiers: []tier{{0, 5}, {100, 4}, {200, 1}}}
	is.Equal(tiered.of(0), 0.0)
	is.Equal(tiered.of(50), 25.0)
	is.Equal(tiered.of(100), 50.0)
	is.Equal(tiered.of(150), 70.0)
	is.Equal(tiered.of(300), 100.0)
	is.Equal([]string{num(0.5), num(99.94), num(1234567), num(999)}, []string{"0.5", "99.9", "1 234 567", "999"})
}
