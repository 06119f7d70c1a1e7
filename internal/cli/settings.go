package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Setting is a setting's effective value and where it came from.
type Setting struct {
	Flag   string `json:"flag"`
	Value  string `json:"value"`
	Source string `json:"source"` // flag, environment NAME, file NAME, default
	Secret bool   `json:"-"`
}

// wellKnown are settings whose environment variable everybody knows by another name.
var wellKnown = map[string]string{"database-url": "DATABASE_URL"}

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	if name, ok := wellKnown[flag]; ok {
		return name
	}
	return "CLOAKROOM_" + strings.ToUpper(keyName(flag))
}

// keyName is the YAML key of a flag.
func keyName(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// noSetting are flags of cobra's, and the one that names the file.
var noSetting = []string{"help", "version", "config"}

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

// SettingsOf are the effective settings of flags that the running command does not take itself:
// another command's.
func SettingsOf(cmd *cobra.Command, flags *pflag.FlagSet) ([]Setting, error) {
	file, err := settingsFile(cmd)
	if err != nil {
		return nil, err
	}
	return resolveFlags(flags, file)
}

// resolve gives every flag that was not on the command line its value from the environment, the
// file or its default, then checks what the flags demand of each other.
func resolve(cmd *cobra.Command) error {
	given := map[string]bool{}
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
	file, err := settingsFile(cmd)
	if err != nil {
		return err
	}
	settings, err := resolveFlags(cmd.Flags(), file)
	if err != nil {
		return err
	}
	if err := readSecretFiles(cmd.Flags()); err != nil {
		return err
	}
	cmd.SetContext(context.WithValue(cmd.Context(), settingsKey{}, settings))
	return checkRules(cmd, given)
}

// settingsFile reads the YAML file that --config or CLOAKROOM_CONFIG names. Without one it has no
// keys.
func settingsFile(cmd *cobra.Command) (*yamlFile, error) {
	path := ""
	if f := cmd.Flag("config"); f != nil {
		path = f.Value.String()
	}
	if path == "" {
		path = os.Getenv(EnvName("config"))
	}
	if path == "" {
		return &yamlFile{}, nil
	}
	return readYAML(path, cmd.Root())
}

func resolveFlags(flags *pflag.FlagSet, file *yamlFile) ([]Setting, error) {
	var settings []Setting
	var problems []error
	flags.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(noSetting, f.Name) {
			return
		}
		source, err := resolveFlag(f, file)
		if err != nil {
			problems = append(problems, err)
		}
		settings = append(settings, Setting{Flag: f.Name, Value: f.Value.String(), Source: source, Secret: isSecret(f)})
	})
	return settings, errors.Join(problems...)
}

// resolveFlag says where a flag's value is from. An environment variable that is empty counts as
// not set.
func resolveFlag(f *pflag.Flag, file *yamlFile) (string, error) {
	if f.Changed {
		return "flag", nil
	}
	name := EnvName(f.Name)
	if text, _ := os.LookupEnv(name); text != "" {
		if err := f.Value.Set(text); err != nil {
			return "", badValue(name, f, text, err)
		}
		return "environment " + name, nil
	}
	if entry, ok := file.entries[keyName(f.Name)]; ok {
		for _, text := range entry.values {
			if err := f.Value.Set(text); err != nil {
				where := fmt.Sprintf("%s: line %d: %s", file.path, entry.line, keyName(f.Name))
				return "", badValue(where, f, text, err)
			}
		}
		return "file " + file.path, nil
	}
	return "default", nil
}

// badValue says where a bad value stands, the value unless it may be a secret, and what is wanted.
func badValue(where string, f *pflag.Flag, text string, err error) error {
	if isSecret(f) {
		return fmt.Errorf("reading %s: %w", where, err)
	}
	return fmt.Errorf("reading %s: %q: %w", where, text, err)
}

// readSecretFiles fills each secret from its --NAME-file.
func readSecretFiles(flags *pflag.FlagSet) error {
	var problem error
	flags.VisitAll(func(f *pflag.Flag) {
		if !isSecret(f) || problem != nil {
			return
		}
		path := flags.Lookup(f.Name + "-file").Value.String()
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

// checkRules checks what flags demand of each other. Rules about flags that go together look at the
// command line alone: the environment and the file are shared by commands that use different parts
// of them.
func checkRules(cmd *cobra.Command, given map[string]bool) error {
	set := func(name string) bool {
		text := cmd.Flag(name).Value.String()
		return text != "" && text != "false"
	}
	for _, name := range strings.Fields(cmd.Annotations[requireAnnotation]) {
		if !set(name) {
			return usagef(cmd, "--%s is needed: %s", name, cmd.Flag(name).Usage)
		}
	}
	if names := strings.Fields(cmd.Annotations[oneOfAnnotation]); len(names) > 0 {
		n := 0
		for _, name := range names {
			if set(name) {
				n++
			}
		}
		if n != 1 {
			return usagef(cmd, "give one of %s, and one only", flagList(names))
		}
	}
	var problem error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !given[f.Name] || problem != nil {
			return
		}
		if needs := f.Annotations[needsAnnotation]; len(needs) > 0 && !slices.ContainsFunc(needs, set) {
			problem = usagef(cmd, "--%s means nothing without %s", f.Name, flagList(needs))
		}
		for _, other := range f.Annotations[excludeAnnotation] {
			if given[other] && set(other) && set(f.Name) {
				problem = usagef(cmd, "--%s and --%s do not go together", f.Name, other)
			}
		}
	})
	return problem
}

func flagList(names []string) string {
	return "--" + strings.Join(names, ", --")
}
