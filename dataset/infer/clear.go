package infer

import (
	"fmt"

	"cloakroom/dataset"
)

// Clear warns of members that a definition stores in clear, and that look personal by the values or names of the
// sample. The warnings quote no value.
func (s *Sample) Clear(d *dataset.Dataset) []dataset.Advice {
	if s.core == nil {
		s.learnCore()
	}
	var out []dataset.Advice
	for i := range d.Members {
		m := &d.Members[i]
		at := s.find(m.Path)
		if m.Protect != nil || at == nil {
			continue
		}
		// By its name, lint warns of it already.
		if v := at.judge(); v.what != "" && v.why != at.nameSays(v.what) {
			out = append(out, dataset.Advice{
				Member: m.Name, Code: "clear_values_look_personal", Hint: "add protect:, unless you are sure",
				Message: fmt.Sprintf("%s stands in clear: %s", m.Name, v.why),
			})
		}
	}
	return out
}

// find is the place of a path, or nil: no event of the sample has it.
func (s *Sample) find(path []string) *node {
	at := s.root
	for _, name := range path {
		if at = at.children[name]; at == nil {
			return nil
		}
	}
	return at
}
