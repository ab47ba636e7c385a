package console

import (
	"sync"
	"time"
)

// downFor is how long a process that died answers nothing to the one whose command it ran.
// Browsers send a request again, by themselves and unseen, when a connection breaks that they
// had used before: without this, nobody would see that anything had happened.
const downFor = 500 * time.Millisecond

// deaths remembers whose commands died a moment ago, by their Idempotency-Keys. The zero
// value is ready to use.
type deaths struct {
	mu   sync.Mutex
	keys map[string]time.Time
}

func (d *deaths) note(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, at := range d.keys {
		if time.Since(at) > downFor {
			delete(d.keys, key)
		}
	}
	if d.keys == nil {
		d.keys = make(map[string]time.Time)
	}
	d.keys[key] = time.Now()
}

func (d *deaths) recent(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.keys[key]
	return ok && time.Since(at) <= downFor
}
