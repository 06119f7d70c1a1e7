package reference

import (
	"fmt"
	"strings"

	"cloakroom/internal/cli"
)

// cell is a text in a table's cell.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "*", `\*`, "<", "&lt;", "\n", " ").Replace(s)
}

// code is a text as code in a table's cell.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) + "`"
}

// anchor is where a heading is linked to.
func anchor(heading string) string { return "#" + strings.ReplaceAll(heading, " ", "-") }

// paragraph is the first paragraph of a text.
func paragraph(s string) string {
	first, _, _ := strings.Cut(s, "\n\n")
	return first
}

// text is a command's long text: lines that begin with spaces are a block of code.
func text(s string) string {
	var b strings.Builder
	inCode := false
	for line := range strings.Lines(strings.TrimSpace(s) + "\n") {
		if is := strings.HasPrefix(line, "  "); is != inCode {
			b.WriteString("```\n")
			inCode = is
		}
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	if inCode {
		b.WriteString("```\n")
	}
	return strings.TrimSpace(b.String())
}

// example takes the indentation off examples.
func example(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

// flagTable is a table of flags. Hidden ones come last and say so.
func flagTable(flags []cli.Flag) string {
	var shown, hidden strings.Builder
	for _, f := range flags {
		name := "--" + f.Name
		if f.Value != "" {
			name += " " + f.Value
		}
		help := cell(f.Help)
		to := &shown
		if f.Hidden {
			help, to = help+"; for tuning, not in `--help`", &hidden
		}
		if f.Needed {
			help += "; **needed**"
		}
		if len(f.Needs) > 0 && !strings.HasPrefix(help, "with --") {
			help += "; only with --" + strings.Join(f.Needs, " or --")
		}
		if len(f.Excludes) > 0 {
			help += "; not with --" + strings.Join(f.Excludes, " or --")
		}
		setting := code(f.Environment)
		if f.Key != "" {
			setting += "<br>" + code(f.Key)
		}
		fmt.Fprintf(to, "| %s | %s | %s | %s | %s |\n", code(name), code(f.Default), cell(f.Limits), setting, help)
	}
	if shown.Len()+hidden.Len() == 0 {
		return ""
	}
	return "| flag | default | range | environment, YAML | |\n|---|---|---|---|---|\n" + shown.String() + hidden.String()
}
