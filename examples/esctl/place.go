package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/leftfold/leftfold/es"
)

// saveEvery is how much of a rebuild may be done twice after it was killed.
const saveEvery = 200 * time.Millisecond

// place is how far a rebuild has come. It is kept in a file, if there is one.
type place struct {
	Program string `json:"program"` // SHA-256 of the executable: another may have other folds
	System  string `json:"system"`  // in words
	Shards  int    `json:"shards"`
	Parts   []part `json:"parts"`

	file string
}

// part is how far it has come with one category.
type part struct {
	Category string   `json:"category"`
	Done     bool     `json:"done,omitempty"`
	Streams  int      `json:"streams"`
	Events   uint64   `json:"events"`
	After    []string `json:"after"` // the last stream that was done, for each shard

	after  []es.StreamID // the same, while it runs
	before int           // the number of streams that were done when it was read
}

// openPlace reads the place from a file, or begins anew if there is none. The number of shards is
// that of the file unless it was asked for.
func openPlace(file, system string, shards int, asked bool, all []category) (*place, error) {
	p := &place{System: system, Shards: shards, file: file}
	for _, c := range all {
		p.Parts = append(p.Parts, part{Category: c.name(), after: make([]es.StreamID, shards)})
	}
	if file == "" {
		return p, nil
	}
	var err error
	if p.Program, err = program(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, p.save()
	case err != nil:
		return nil, err
	}
	var old place
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, fmt.Errorf("%s is not the place of a rebuild: %w", file, err)
	}
	anew := fmt.Sprintf("remove %s to begin anew", quoted(file))
	switch {
	case old.System != p.System:
		return nil, usagef("%s is of a rebuild of %s, not of %s; %s", file, old.System, p.System, anew)
	case old.Program != p.Program:
		return nil, usagef("%s is of a rebuild by another build of esctl, whose views may be others; %s", file, anew)
	case asked && old.Shards != shards:
		return nil, usagef("%s is of a rebuild with --parallel %d; leave that as it was, or %s", file, old.Shards, anew)
	case len(old.Parts) != len(p.Parts):
		return nil, usagef("%s is of a rebuild of other categories; name them again, or %s", file, anew)
	}
	for i := range old.Parts {
		part := &old.Parts[i]
		if part.Category != p.Parts[i].Category {
			return nil, usagef("%s is of a rebuild of other categories; name them again, or %s", file, anew)
		}
		if len(part.After) != old.Shards || old.Shards < 1 {
			return nil, fmt.Errorf("%s is damaged; %s", file, anew)
		}
		part.before, part.after = part.Streams, make([]es.StreamID, old.Shards)
		for shard, name := range part.After {
			if name == "" {
				continue
			}
			if part.after[shard], err = parseStream(name); err != nil {
				return nil, fmt.Errorf("%s is damaged; %s", file, anew)
			}
		}
	}
	old.file = file
	return &old, nil
}

// save writes the place so that, whenever the program is killed, the file has this place or the
// one before.
func (p *place) save() (err error) {
	if p.file == "" {
		return nil
	}
	for i := range p.Parts {
		part := &p.Parts[i]
		part.After = make([]string, len(part.after))
		for shard, stream := range part.after {
			if stream != (es.StreamID{}) {
				part.After[shard] = stream.String()
			}
		}
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(p.file), filepath.Base(p.file)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), p.file)
}

// remove removes the file of a rebuild that is done.
func (p *place) remove() error {
	if p.file == "" {
		return nil
	}
	return os.Remove(p.file)
}

// program returns what tells this build from others.
func program() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
