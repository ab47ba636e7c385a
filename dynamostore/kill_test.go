package dynamostore

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
)

const (
	victimVariable = "LEFTFOLD_TEST_VICTIM" // the table of the process to be killed
	brokerVariable = "LEFTFOLD_TEST_BROKER" // the URL of its broker
)

// distant is a publisher in another process: it outlives the one that publishes.
type distant struct{ url string }

func (d distant) Publish(ctx context.Context, c es.Commit) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("broker: %s", res.Status)
	}
	return nil
}

// TestVictim is not a test, but the process that TestKill kills: it runs commands on
// a few streams, one after the other, and prints each that was accepted.
func TestVictim(t *testing.T) {
	table := os.Getenv(victimVariable)
	if table == "" {
		return // run by TestKill alone
	}
	j := &es.Journal{
		Store:     New(live(t), table, nil),
		Publisher: distant{os.Getenv(brokerVariable)},
		Grace:     20 * time.Millisecond,
	}
	for n := 0; ; n++ {
		id := fmt.Sprint(n % 3)
		text := fmt.Sprint(os.Getpid(), ".", n)
		if result, err := es.Execute(t.Context(), j, &notes, id, note(text), es.Named(text, nil)); err == nil {
			fmt.Printf("accepted %s %s %d\n", id, text, result.Version)
		}
	}
}

// Processes that run commands are killed at random moments. What was acknowledged
// is there; and after a relay everything is settled and published, once by version.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 200
	ctx, client := t.Context(), live(t)
	table := newTable(t, client)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	broker := &ledger{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c es.Commit
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = broker.Publish(context.WithoutCancel(r.Context()), c)
	}))
	defer server.Close()

	accepted := map[string]string{} // command → stream@version
	for range kills {
		victim := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestVictim$")
		victim.Env = append(os.Environ(), victimVariable+"="+table, brokerVariable+"="+server.URL)
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		// It lives for a number of commands, and then a moment of the next.
		lines := bufio.NewScanner(out)
		for n := 1 + random.IntN(6); n > 0 && lines.Scan(); n-- {
			var stream, command string
			var version uint64
			if _, err := fmt.Sscanf(lines.Text(), "accepted %s %s %d", &stream, &command, &version); err == nil {
				accepted[command] = fmt.Sprintf("%s@%d", stream, version)
			}
		}
		kill := time.AfterFunc(time.Duration(random.IntN(10_000))*time.Microsecond, func() { _ = victim.Process.Kill() })
		for lines.Scan() {
			var stream, command string
			var version uint64
			if _, err := fmt.Sscanf(lines.Text(), "accepted %s %s %d", &stream, &command, &version); err == nil {
				accepted[command] = fmt.Sprintf("%s@%d", stream, version)
			}
		}
		kill.Stop()
		_ = victim.Wait() // killed
	}

	store := healthy(client, table)
	j := &es.Journal{Store: store, Publisher: broker, Timeout: patient, Grace: -1}
	n, err := j.Relay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for id := range 3 {
		stream := es.StreamID{Category: "notes", ID: fmt.Sprint(id)}
		if err := checkHistory(ctx, store, stream, broker); err != nil {
			t.Errorf("%s: %v", stream, err)
		}
		for c, err := range store.Load(ctx, stream, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Status == es.Settled {
				if found[c.Command] != "" {
					t.Errorf("%s took effect twice", c.Command)
				}
				found[c.Command] = fmt.Sprintf("%d@%d", id, c.Last())
			}
		}
	}
	for command, at := range accepted {
		if found[command] != at {
			t.Errorf("%s was accepted at %s, and is at %q", command, at, found[command])
		}
	}
	t.Logf("%d kills, %d commands accepted, %d found, %d settled by the relay", kills, len(accepted), len(found), n)
}
