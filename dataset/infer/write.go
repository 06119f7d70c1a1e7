package infer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"cloakroom/dataset"
)

// wide is how many columns a line of a draft has.
const wide = 80

// writer writes a definition as a person would.
type writer struct {
	strings.Builder
	sample            *Sample
	draft             *Draft
	members           []*member
	source            string
	subject, id, time *member
}

func (w *writer) write() []byte {
	w.head()
	w.key("dataset", w.draft.Dataset, "it never changes")
	w.key("table", w.draft.Table, "rows in cloakroom_data, views in public")
	w.roles()
	w.WriteString("members:\n")
	for _, m := range w.members {
		w.member(m)
	}
	return []byte(w.String())
}

func (w *writer) key(name, value, comment string) {
	line := name + ": " + quote(value)
	fmt.Fprintf(w, "%-24s # %s\n", line, comment)
}

// comment writes a comment, wrapped.
func (w *writer) comment(indent, text string) {
	line, begin := indent+"#", indent+"#"
	for _, word := range strings.Fields(text) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > wide && line != begin {
			w.WriteString(line + "\n")
			line = begin + "  "
		}
		line += " " + word
	}
	w.WriteString(line + "\n")
}

func (w *writer) head() {
	d := w.draft
	from := ""
	if w.source != "" {
		from = " from " + plain(w.source)
	}
	w.comment("", fmt.Sprintf("Drafted%s by keys dataset infer, which looked at %s. A max is twice the longest value, rounded "+
		"up.", from, counted(d.Events, "event")))
	for _, note := range d.Skipped() {
		w.comment("", note)
	}
	w.comment("", "Judged personal, and sealed: "+list(d.Sealed()))
	w.comment("", "NOT judged personal, and stored in clear: "+list(d.Clear()))
	w.comment("", "A sample proves nothing: what stands in clear may still be personal. Read each line, then: keys "+
		"dataset lint, ingest test.")
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (w *writer) roles() {
	if m := w.subject; m != nil {
		of := counted(int64(len(m.from.seen)), "value")
		if m.from.full {
			of = "more than " + of
		}
		w.key("subject", m.Name, fmt.Sprintf("whose the row is: %s in %d events", of, m.from.values()))
	} else {
		w.comment("", "subject: name the clear member that says whose the row is, a pseudonym such as a customer number. "+
			"Without one, nobody can be forgotten.")
	}
	switch m := w.id; {
	case m != nil && m.from.same > 0:
		w.key("id", m.Name, fmt.Sprintf("one in each event; %d came twice, word for word", m.from.same))
	case m != nil && m.from.full:
		w.key("id", m.Name, fmt.Sprintf("no two of the first %d are equal", len(m.from.seen)))
	case m != nil:
		w.key("id", m.Name, "in each event, and no two are equal")
	default:
		w.comment("", "id: no member was found that is in each event and in no two the same, with a time beside it. Two events "+
			"are the same one if their deliveries are.")
	}
	if m := w.time; m != nil {
		w.key("time", m.Name, "when the event was: a timestamp in each event")
	} else {
		w.comment("", "time: no member is a timestamp with an offset in each event. A row's time is its delivery's.")
	}
}

func (w *writer) member(m *member) {
	if m.what != "" {
		w.comment("  ", "Personal: "+m.why+".")
	}
	if len(m.notes) > 0 {
		first, size := utf8.DecodeRuneInString(m.notes[0])
		w.comment("  ", string(unicode.ToUpper(first))+strings.Join(m.notes, "; ")[size:]+".")
	}
	keys := m.keys()
	line := "  - {" + strings.Join(keys, ", ") + "}"
	if utf8.RuneCountInString(line) <= wide && m.Protect == nil {
		w.WriteString(line + "\n")
		return
	}
	for i, key := range keys {
		begin := "    "
		if i == 0 {
			begin = "  - "
		}
		w.WriteString(begin + key + "\n")
	}
	if m.Protect != nil {
		w.protect(m.Protect)
	}
}

// keys are a member's, but for protect.
func (m *member) keys() []string {
	keys := []string{"name: " + quote(m.Name)}
	if len(m.Path) != 1 || m.Path[0] != m.Name {
		keys = append(keys, "from: "+quote(m.From()))
	}
	keys = append(keys, "type: "+string(m.Type))
	if m.Max > 0 {
		keys = append(keys, "max: "+strconv.Itoa(m.Max))
	}
	if m.Type == dataset.Decimal {
		keys = append(keys, "precision: "+strconv.Itoa(m.Precision), "scale: "+strconv.Itoa(m.Scale))
	}
	if m.Required {
		keys = append(keys, "required: true")
	}
	if m.Enum != nil {
		keys = append(keys, "enum: "+flow(m.Enum))
	}
	return keys
}

func (w *writer) protect(p *dataset.Protection) {
	var keys []string
	if p.Normalise != nil {
		keys = append(keys, "normalise: "+flow(p.Normalise))
	}
	if p.Pad > 0 {
		keys = append(keys, "pad: "+strconv.Itoa(p.Pad))
	}
	keys = append(keys, "index: "+flow(p.Indexes))
	if p.Reveal != "" {
		keys = append(keys, "reveal: "+p.Reveal)
	}
	if len(p.Nothing) > 0 {
		keys = append(keys, "nothing: "+flow(p.Nothing))
	}
	line := "    protect: {" + strings.Join(keys, ", ") + "}"
	if utf8.RuneCountInString(line) <= wide {
		w.WriteString(line + "\n")
		return
	}
	w.WriteString("    protect:\n")
	for _, key := range keys {
		w.WriteString("      " + key + "\n")
	}
}

func flow(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// bare are texts that YAML reads as texts without quotes, whichever version of it.
var bare = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

var yamlWords = setOf("true false null yes no on off y n")

// quote writes a text as a YAML scalar.
func quote(text string) string {
	if bare.MatchString(text) && !yamlWords[strings.ToLower(text)] {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plain is a text that can stand in a comment.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
