package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestYAML(t *testing.T) {
	var f testFlags
	path := writeFile(t, "loaders: 7\nfields: [ip, device_id]\nonce: true\ngrace: 10s\n")
	if err := run(t, &f, "do", "x", "--config", path, "--loaders", "8"); err != nil {
		t.Fatal(err)
	}
	if f.n != 8 || strings.Join(f.fields, " ") != "ip device_id" || !f.on || f.grace.Seconds() != 10 {
		t.Errorf("%+v", f)
	}
	for text, want := range map[string]string{
		"loaders: 1\nloadrs: 2\n":         `line 2: unknown key "loadrs" (did you mean loaders?)`,
		"config: x\n":                     `line 1: unknown key "config"`,
		"loaders: 1\nloaders: 2\n":        "line 2: loaders is set in line 1, too",
		"grace:\n":                        "line 1: grace: want a value",
		"\n\ngrace: {a: b}\n":             "line 3: grace: want a value",
		"fields: [[ip]]\n":                "line 1: fields: want a value",
		"- loaders\n":                     "one NAME: VALUE a line",
		"loaders: [\n":                    "yaml: line 1",
		"loaders: many\ngrace: 10\n":      "line 2: grace:", // both are said
		"grace: 10\nloaders: many\n":      "line 2: loaders:",
		"fields: [ip, device_id, ip]\n":   `line 1: fields: "ip": "ip" is named twice`,
		"owner_url: a\nowner_url_file: b": "keep one of --owner-url, --owner-url-file",
	} {
		path := writeFile(t, text)
		if err := run(t, &testFlags{}, "do", "x", "--config", path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"an argument missing":      {[]string{"do"}, []string{"NAME is missing", "usage: prog do NAME", "example: prog do this --a x"}},
		"one too many":             {[]string{"do", "x", "y"}, []string{`one argument too many: "y"`}},
		"an unknown command":       {[]string{"doo"}, []string{`unknown command "doo": did you mean prog do?`}},
		"it with a flag":           {[]string{"doo", "--loaders", "3"}, []string{`unknown command "doo": did you mean prog do?`}},
		"one like nothing":         {[]string{"zzzzzz"}, []string{`unknown command "zzzzzz": there are`, "do"}},
		"an unknown flag":          {[]string{"do", "x", "--loader", "3"}, []string{"unknown flag --loader: did you mean --loaders?"}},
		"a short flag":             {[]string{"do", "x", "-l"}, []string{"unknown flag -l", "two dashes"}},
		"a flag without its value": {[]string{"do", "x", "--loaders"}, []string{"--loaders needs a value: connections that load (from 1 to 64)"}},
		"bytes that are no text":   {[]string{"d\xffo\t"}, []string{`unknown command "d\xffo\t"`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t, &testFlags{}, c.args...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in:\n%v", want, err)
				}
			}
			if strings.ContainsRune(escape(err.Error(), "\n"), '\uFFFD') {
				t.Errorf("U+FFFD in %q", err.Error())
			}
		})
	}
}
