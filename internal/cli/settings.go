package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	yamlv3 "go.yaml.in/yaml/v3"
)

// Setting is a setting's effective value and where it came from.
type Setting struct {
	Flag   string `json:"flag"`
	Value  string `json:"value"`
	Source string `json:"source"` // flag, environment NAME, file NAME, default
	Secret bool   `json:"-"`
}

// secretAnnotation marks a flag whose value is not printed.
const secretAnnotation = "cloakroom-secret"

// wellKnown are settings whose environment variable everybody knows by another name.
var wellKnown = map[string]string{"database-url": "DATABASE_URL"}

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	if name, ok := wellKnown[flag]; ok {
		return name
	}
	return "CLOAKROOM_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// MarkSecret keeps a flag's value out of printed settings, and adds --FLAG-file, which reads it from a file.
func MarkSecret(flags *pflag.FlagSet, flag string) {
	f := flags.Lookup(flag)
	f.Annotations = map[string][]string{secretAnnotation: {"true"}}
	flags.String(flag+"-file", "", "file that holds "+strings.ReplaceAll(flag, "-", " "))
}

func isSecret(f *pflag.Flag) bool { return f.Annotations[secretAnnotation] != nil }

type settingsKey struct{}

// Settings are the effective settings of a command that runs, and where each came from.
func Settings(cmd *cobra.Command) ([]Setting, error) {
	settings, ok := cmd.Context().Value(settingsKey{}).([]Setting)
	if !ok {
		return nil, errors.New("the settings are not resolved yet")
	}
	return slices.Clone(settings), nil
}

// SettingsOf are the effective settings of flags that the command that runs does not take itself: another command's.
func SettingsOf(cmd *cobra.Command, flags *pflag.FlagSet) ([]Setting, error) {
	return resolveFlags(cmd, flags)
}

// resolve gives every flag that was not on the command line its value from the environment, the file or its default, and
// says where each came from.
func resolve(cmd *cobra.Command) ([]Setting, error) {
	settings, err := resolveFlags(cmd, cmd.Flags())
	if err != nil {
		return nil, err
	}
	return settings, readSecretFiles(cmd)
}

func resolveFlags(cmd *cobra.Command, flags *pflag.FlagSet) ([]Setting, error) {
	environment := koanf.New("\x00")
	if err := environment.Load(env.Provider("\x00", env.Opt{Prefix: "CLOAKROOM_"}), nil); err != nil {
		return nil, fmt.Errorf("reading the environment: %w", err)
	}
	path := Value(cmd, "config")
	if path == "" {
		path = environment.String("CLOAKROOM_CONFIG")
	}
	file, err := readFile(cmd, path)
	if err != nil {
		return nil, err
	}
	var settings []Setting
	var problems []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "version" {
			return
		}
		source, err := resolveFlag(flags, f, file, path)
		if err != nil {
			problems = append(problems, err)
		}
		settings = append(settings, Setting{Flag: f.Name, Value: f.Value.String(), Source: source, Secret: isSecret(f)})
	})
	return settings, errors.Join(problems...)
}

func resolveFlag(flags *pflag.FlagSet, f *pflag.Flag, file *koanf.Koanf, path string) (string, error) {
	if f.Changed {
		return "flag", nil
	}
	name := EnvName(f.Name)
	value, found := os.LookupEnv(name)
	if found = found && value != ""; found {
		if err := flags.Set(f.Name, value); err != nil {
			return "", fmt.Errorf("reading %s: not a value for --%s (%s)", name, f.Name, f.Usage)
		}
		return "environment " + name, nil
	}
	key := strings.ReplaceAll(f.Name, "-", "_")
	if file.Exists(key) {
		if err := flags.Set(f.Name, fileValue(file, key)); err != nil {
			return "", fmt.Errorf("reading %s: %s is not a value for --%s (%s)", path, key, f.Name, f.Usage)
		}
		return "file " + path, nil
	}
	return "default", nil
}

// fileValue is a YAML scalar, or a list as the comma-separated text that a flag takes.
func fileValue(file *koanf.Koanf, key string) string {
	if list := file.Strings(key); len(list) > 0 {
		return strings.Join(list, ",")
	}
	return file.String(key)
}

// readFile reads the YAML file. A key that no command of the program knows is an error, with its line.
func readFile(cmd *cobra.Command, path string) (*koanf.Koanf, error) {
	k := koanf.New("\x00")
	if path == "" {
		return k, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	known := map[string]bool{}
	knownKeys(cmd.Root(), known)
	if err := checkKeys(path, &document, known); err != nil {
		return nil, err
	}
	if err := k.Load(rawbytes.Provider(text), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return k, nil
}

func knownKeys(cmd *cobra.Command, known map[string]bool) {
	add := func(f *pflag.Flag) { known[strings.ReplaceAll(f.Name, "-", "_")] = true }
	cmd.Flags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, sub := range cmd.Commands() {
		knownKeys(sub, known)
	}
}

func checkKeys(path string, document *yamlv3.Node, known map[string]bool) error {
	if len(document.Content) == 0 {
		return nil
	}
	mapping := document.Content[0]
	if mapping.Kind != yamlv3.MappingNode {
		return fmt.Errorf("reading %s: want settings, one NAME: VALUE a line", path)
	}
	var problems []error
	for i := 0; i < len(mapping.Content); i += 2 {
		if key := mapping.Content[i]; !known[key.Value] {
			problems = append(problems, fmt.Errorf("reading %s: line %d: unknown key %q%s", path, key.Line, key.Value, nearest(key.Value, known)))
		}
	}
	return errors.Join(problems...)
}

// nearest suggests a known key that begins alike.
func nearest(key string, known map[string]bool) string {
	var close []string
	for k := range known {
		if len(key) >= 3 && strings.HasPrefix(k, key[:3]) {
			close = append(close, k)
		}
	}
	if len(close) == 0 {
		return ""
	}
	slices.Sort(close)
	return " (known: " + strings.Join(close, ", ") + ")"
}

// readSecretFiles fills each secret from its --NAME-file.
func readSecretFiles(cmd *cobra.Command) error {
	var problem error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !isSecret(f) || problem != nil {
			return
		}
		path := Value(cmd, f.Name+"-file")
		if path == "" {
			return
		}
		if f.Value.String() != "" {
			problem = fmt.Errorf("both %s and its file are set: keep one of --%s, --%s-file", f.Name, f.Name, f.Name)
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			problem = fmt.Errorf("reading --%s-file: %w", f.Name, err)
			return
		}
		problem = f.Value.Set(strings.TrimSpace(string(text)))
	})
	return problem
}
