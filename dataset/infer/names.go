package infer

import (
	"slices"
	"strconv"
	"strings"

	"cloakroom/dataset"
)

// Lengths in bytes of names in a definition.
const (
	maxMember = 32
	maxTable  = 40
)

// reserved are names that no member can have: the system's columns.
var reserved = setOf("message_id sent row_id create_date data_key body tableoid ctid xmin xmax cmin cmax oid")

// vague are names that mean nothing without the object around them.
var vague = setOf("id name type value code number date status time count key label title at no version")

var timeWords = setOf("time timestamp ts at date datetime datum on when zeit zeitpunkt fecha created occurred placed")

// column makes a name of words: what is no letter a to z, digit or single _ goes, and it begins with a letter.
func column(words []string, most int) string {
	name := strings.Join(words, "_")
	if name == "" {
		return ""
	}
	if name[0] >= '0' && name[0] <= '9' {
		name = "m_" + name
	}
	if strings.HasPrefix(name, "sealed_") || strings.HasPrefix(name, "masked_") {
		name = "the_" + name
	}
	return strings.TrimRight(name[:min(len(name), most)], "_")
}

// nameMembers gives each member a column's name of its own: the last name of its path, with those before it where that
// is vague or taken.
func nameMembers(members []*member, dataset string) {
	wanted := map[string]int{}
	for _, m := range members {
		wanted[shortName(m.Path)]++
	}
	taken := map[string]bool{}
	for _, m := range members {
		name := shortName(m.Path)
		if name == "" || wanted[name] > 1 && len(m.Path) > 1 {
			name = longName(m.Path)
		}
		if reserved[name] {
			name = column([]string{dataset, name}, maxMember)
		}
		if name == "" {
			name = "member"
		}
		base := name
		version := m.Type == "version" // it has a second column
		for i := 2; taken[name] || reserved[name] || version && taken[name+"_text"]; i++ {
			suffix := "_" + strconv.Itoa(i)
			name = strings.TrimRight(base[:min(len(base), maxMember-len(suffix))], "_") + suffix
		}
		m.Name = name
		taken[name] = true
		if version {
			taken[name+"_text"] = true
		}
	}
}

func shortName(path []string) string {
	last := column(words(path[len(path)-1:]), maxMember)
	if vague[last] && len(path) > 1 {
		return column(words(path[len(path)-2:]), maxMember)
	}
	return last
}

func longName(path []string) string { return column(words(path), maxMember) }

func words(path []string) []string {
	var out []string
	for _, name := range path {
		out = append(out, dataset.Words(name)...)
	}
	return out
}

// subjects are names of members that say whose an event is, the likeliest first.
var subjects = strings.Fields("user_id userid user_uuid customer_id customerid customer_number customer_no kundennummer " +
	"kunden_nummer kundennr kunden_nr kunden_id account_id accountid client_id clientid cliente_id id_cliente numero_cliente " +
	"client_number klantnummer klant_id member_id patient_id person_id subscriber_id employee_id player_id profile_id buyer_id " +
	"visitor_id uid user customer account")

// pickSubject finds the clear member that says whose an event is.
func pickSubject(members []*member, events int64) *member {
	best, place := (*member)(nil), len(subjects)
	for _, m := range members {
		if m.what != "" || m.lost > 0 || 2*m.from.values() < events ||
			m.Type != dataset.Text && m.Type != dataset.Integer && m.Type != dataset.UUID {
			continue
		}
		for _, name := range []string{strings.Join(words(m.Path[len(m.Path)-1:]), "_"), strings.Join(words(m.Path), "_")} {
			if i := slices.Index(subjects, name); i >= 0 && i < place {
				best, place = m, i
			}
		}
	}
	return best
}

// pickTime finds the member that says when an event was: a timestamp in nearly every event.
func pickTime(members []*member, events int64) *member {
	best, least := (*member)(nil), 3
	never := setOf("updated modified deleted expires expiry expiration until end ended valid processed ingested received birth " +
		"last next due")
	for _, m := range members {
		name := words(m.Path[len(m.Path)-1:])
		if m.Type != dataset.Timestamp || !m.nearlyAlways(events) || m.what != "" || len(name) == 0 ||
			slices.ContainsFunc(name, func(w string) bool { return never[w] }) {
			continue
		}
		rank := 2
		if slices.Contains(strings.Fields("timestamp time ts event_time occurred_at happened_at datetime"),
			strings.Join(name, "_")) {
			rank = 0
		} else if timeWords[name[len(name)-1]] {
			rank = 1
		}
		if rank < least {
			best, least = m, rank
		}
	}
	return best
}

// pickID finds the member that makes two events the same one: in nearly every event, and never the same in two.
func pickID(members []*member, subject *member, name string, events int64) *member {
	var best *member
	for _, m := range members {
		if m == subject || m.what != "" || !m.nearlyAlways(events) || m.from.twice > 0 || !namesID(m.Path) || isSubject(m.Path) ||
			m.Type != dataset.Text && m.Type != dataset.Integer && m.Type != dataset.UUID {
			continue
		}
		joined := strings.Join(words(m.Path), "_")
		switch {
		case joined == "id", joined == "uuid", joined == "event_id", joined == "message_id", strings.HasPrefix(joined,
			strings.TrimSuffix(name, "s")+"_"):
			return m
		case best == nil && events >= 50:
			best = m
		}
	}
	return best
}

func isSubject(path []string) bool {
	return slices.Contains(subjects, strings.Join(words(path[len(path)-1:]), "_")) ||
		slices.Contains(subjects, strings.Join(words(path), "_"))
}
