package service

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A query that waits looks at the view again after firstPoll, then after a little longer
// each time, up to lastPoll; and for maxWait at most.
const (
	maxWait   = 5 * time.Second
	firstPoll = 10 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
)

// readWait returns the wait preference of a request (RFC 7240, section 4.3), cut to
// maxWait. A preference that is malformed is ignored, as all unknown ones are; of
// several, the first counts.
func readWait(r *http.Request) (time.Duration, bool) {
	for preference := range strings.SplitSeq(strings.Join(r.Header.Values("Prefer"), ","), ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return 0, false
		}
		return min(time.Duration(seconds)*time.Second, maxWait), true
	}
	return 0, false
}

// await returns what get returns, once its version is above the known one, or at the
// end of the time that the client prefers to wait. Version 0 means that there is
// nothing yet.
func await[V any](w http.ResponseWriter, r *http.Request, known uint64, get func(context.Context) (V, uint64, error)) (V, uint64, error) {
	wait, ok := readWait(r)
	if ok {
		w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	end := time.Now().Add(wait)
	for pause := firstPoll; ; pause = min(pause*3/2, lastPoll) {
		v, version, err := get(r.Context())
		left := time.Until(end)
		if err != nil || version > known || left <= 0 {
			return v, version, err
		}
		timer := time.NewTimer(min(pause, left))
		select {
		case <-r.Context().Done():
			timer.Stop()
			return v, version, r.Context().Err()
		case <-timer.C:
		}
	}
}
