package console

import (
	"encoding/json"
	"net/http"
	"path"
	"strings"

	"github.com/leftfold/leftfold/es"
)

// mediaTypes are those of the page's files; the system's table may say otherwise.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// serveFile serves the page at / and its files below /console/.
func serveFile(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/console/")
	if r.URL.Path == "/" {
		name = "index.html"
	}
	mediaType := mediaTypes[path.Ext(name)]
	data, err := page.ReadFile("page/" + name)
	if err != nil || mediaType == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "no-cache") // another version may listen here tomorrow
	_, _ = w.Write(data)
}

// serveStreams is GET /console/streams?q=part: the streams whose names contain it.
func (c *Console) serveStreams(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, c.rows(r.Context(), r.FormValue("q"), maxRows))
}

// serveHistory is GET /console/history?stream=category/id: the events that nobody can take
// back, with the state after each.
func (c *Console) serveHistory(w http.ResponseWriter, r *http.Request) {
	category, id, _ := strings.Cut(r.FormValue("stream"), "/")
	stream := es.StreamID{Category: category, ID: id}
	kind, ok := c.kinds[category]
	if !ok || stream.Validate() != nil {
		http.Error(w, "There is no such stream.", http.StatusNotFound)
		return
	}
	h, err := kind.history(r.Context(), c.store, id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Stream, h.Fold = stream.String(), kind.fold
	writeJSON(w, h)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v)
}
