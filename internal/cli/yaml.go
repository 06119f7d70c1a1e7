package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// yamlFile is a file of settings: one mapping of keys to scalars or lists of scalars.
type yamlFile struct {
	path    string
	entries map[string]yamlEntry
}

// yamlEntry is one key's values as they are written: what a flag makes of "yes" or 0x10 is the
// flag's to say, not YAML's.
type yamlEntry struct {
	line   int
	values []string
}

// readYAML reads a file. A key that no command of the program has, a key named twice and a value
// that is no scalar are errors, each with its line.
func readYAML(path string, root *cobra.Command) (*yamlFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	f := &yamlFile{path: path, entries: map[string]yamlEntry{}}
	if len(document.Content) == 0 {
		return f, nil
	}
	mapping := document.Content[0]
	if mapping.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("reading %s: want settings, one NAME: VALUE a line", path)
	}
	known := knownKeys(root)
	var problems []error
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		if err := f.add(key, value, known); err != nil {
			problems = append(problems, fmt.Errorf("reading %s: line %d: %w", path, key.Line, err))
		}
	}
	return f, errors.Join(problems...)
}

func (f *yamlFile) add(key, value *yaml.Node, known []string) error {
	if !slices.Contains(known, key.Value) {
		hint := ""
		if near := Nearest(key.Value, known); len(near) > 0 {
			hint = " (did you mean " + near[0] + "?)"
		}
		return fmt.Errorf("unknown key %q%s", key.Value, hint)
	}
	if earlier, ok := f.entries[key.Value]; ok {
		return fmt.Errorf("%s is set in line %d, too", key.Value, earlier.line)
	}
	entry := yamlEntry{line: key.Line}
	nodes := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		nodes = value.Content
	}
	for _, n := range nodes {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			return fmt.Errorf("%s: want a value or a list of values", key.Value)
		}
		entry.values = append(entry.values, n.Value)
	}
	f.entries[key.Value] = entry
	return nil
}

// knownKeys are the keys that any command of the program has: one file serves them all.
func knownKeys(cmd *cobra.Command) []string {
	var known []string
	add := func(f *pflag.Flag) {
		if !slices.Contains(noSetting, f.Name) {
			known = append(known, keyName(f.Name))
		}
	}
	cmd.Flags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, sub := range cmd.Commands() {
		known = append(known, knownKeys(sub)...)
	}
	slices.Sort(known)
	return slices.Compact(known)
}
