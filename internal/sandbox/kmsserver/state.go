package kmsserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/secret"
)

// State is the keys and aliases of a server, as they can be kept in a file and restored. It holds key bytes and
// prints none. The zero value has no keys.
type State struct {
	keys    map[string]key
	aliases map[string]alias
}

// State returns a copy of the server's keys and aliases.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

func (s *Server) state() State {
	st := State{keys: map[string]key{}, aliases: map[string]alias{}}
	for id, k := range s.keys {
		st.keys[id] = k.clone()
	}
	for name, a := range s.aliases {
		st.aliases[name] = *a
	}
	return st
}

func (s *Server) restore(st State) {
	s.keys, s.aliases = map[string]*key{}, map[string]*alias{}
	for id, k := range st.keys {
		k = k.clone()
		s.keys[id] = &k
	}
	for name, a := range st.aliases {
		s.aliases[name] = &a
	}
}

// clone copies the key with its bytes, so that destroying one leaves the other.
func (k key) clone() key {
	k.material = secret.New(bytes.Clone(k.material.Expose()))
	return k
}

// The file is JSON, version 1, with key bytes in base64.
type (
	stateFile struct {
		Version int         `json:"version"`
		Keys    []keyFile   `json:"keys"`
		Aliases []aliasFile `json:"aliases"`
	}
	keyFile struct {
		ID       string    `json:"id"`
		Created  time.Time `json:"created"`
		Disabled bool      `json:"disabled,omitempty"`
		Key      []byte    `json:"key"`
	}
	aliasFile struct {
		Name    string    `json:"name"`
		Target  string    `json:"target"`
		Created time.Time `json:"created"`
		Updated time.Time `json:"updated"`
	}
)

const stateVersion = 1

// LoadState reads what Save wrote. A file that does not exist is the zero State, and no error.
func LoadState(path string) (State, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("loading KMS keys: %w", err)
	}
	st, err := parseState(text)
	if err != nil {
		return State{}, fmt.Errorf("loading KMS keys from %s: %w", path, err)
	}
	return st, nil
}

func parseState(text []byte) (State, error) {
	var f stateFile
	if err := json.Unmarshal(text, &f); err != nil {
		return State{}, err
	}
	if f.Version != stateVersion {
		return State{}, fmt.Errorf("version %d is not known", f.Version)
	}
	st := State{keys: map[string]key{}, aliases: map[string]alias{}}
	for _, kf := range f.Keys {
		if id, err := uuid.Parse(kf.ID); err != nil || id.String() != kf.ID {
			return State{}, fmt.Errorf("key id %q is not a UUID", kf.ID)
		}
		if len(kf.Key) != materialBytes {
			return State{}, fmt.Errorf("key %s has %d bytes, want %d", kf.ID, len(kf.Key), materialBytes)
		}
		st.keys[kf.ID] = key{id: kf.ID, created: kf.Created, disabled: kf.Disabled, material: secret.New(kf.Key)}
	}
	for _, a := range f.Aliases {
		if _, ok := st.keys[a.Target]; !ok {
			return State{}, fmt.Errorf("%s leads to key %s, which is not there", a.Name, a.Target)
		}
		st.aliases[a.Name] = alias{target: a.Target, created: a.Created, updated: a.Updated}
	}
	return st, nil
}

// Save writes the state to a file that its owner alone may read. The file is complete or not there at all.
func (st State) Save(path string) error {
	text, err := st.text()
	if err != nil {
		return fmt.Errorf("saving KMS keys: %w", err)
	}
	defer clear(text)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kms-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("saving KMS keys: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("saving KMS keys: %w", err)
	}
	return nil
}

func (st State) text() ([]byte, error) {
	f := stateFile{Version: stateVersion, Keys: []keyFile{}, Aliases: []aliasFile{}}
	for _, id := range sortedNames(st.keys) {
		k := st.keys[id]
		f.Keys = append(f.Keys, keyFile{ID: k.id, Created: k.created, Disabled: k.disabled, Key: k.material.Expose()})
	}
	for _, name := range sortedNames(st.aliases) {
		a := st.aliases[name]
		f.Aliases = append(f.Aliases, aliasFile{Name: name, Target: a.target, Created: a.created, Updated: a.updated})
	}
	return json.MarshalIndent(f, "", "  ")
}

// save writes the server's state to its file, if it has one.
func (s *Server) save() error {
	if s.config.StatePath == "" {
		return nil
	}
	return s.state().Save(s.config.StatePath)
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
