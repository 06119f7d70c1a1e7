package dataset

import (
	"errors"
	"slices"
	"strings"
)

// maxPath is how deep a member may lie.
const maxPath = 16

var errPath = errors.New("the path has an empty name, more than 16 names, or a ~ that is not ~0 or ~1")

// parsePath reads customer.email, or a JSON Pointer (RFC 6901) such as /customer/e.mail.
func parsePath(text string) ([]string, error) {
	pointer := strings.HasPrefix(text, "/")
	var names []string
	if pointer {
		names = strings.Split(text[1:], "/")
	} else {
		names = strings.Split(text, ".")
	}
	if len(names) > maxPath {
		return nil, errPath
	}
	for i, name := range names {
		if !pointer {
			if name == "" {
				return nil, errPath
			}
			continue
		}
		plain := strings.NewReplacer("~0", "", "~1", "").Replace(name)
		if strings.Contains(plain, "~") {
			return nil, errPath
		}
		names[i] = strings.NewReplacer("~0", "~", "~1", "/").Replace(name)
	}
	return names, nil
}

func formatPath(names []string) string {
	plain := !strings.HasPrefix(names[0], "/")
	for _, name := range names {
		plain = plain && name != "" && !strings.Contains(name, ".")
	}
	if plain {
		return strings.Join(names, ".")
	}
	var b strings.Builder
	for _, name := range names {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
}

// overlaps reports whether one path is the other, or lies within it.
func overlaps(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}
