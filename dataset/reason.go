package dataset

// Reason is why an event could not be stored, or why one of its optional members is NULL. The codes are stable:
// docs/rejections.md lists them, and replaying after a fix selects by them.
type Reason string

// The reasons that reading an event can give. The first six say that the text as a whole cannot be read; the others go
// with a member.
const (
	NotJSON         Reason = "not_json"         // not one JSON text (RFC 8259), or empty
	NotObject       Reason = "not_object"       // JSON, but no object
	DuplicateMember Reason = "duplicate_member" // a member name twice in one object: which one counts, nobody knows
	InvalidUTF8     Reason = "invalid_utf8"     // not UTF-8, or an escaped lone surrogate
	TooDeep         Reason = "too_deep"         // nested deeper than 10,000; a json in clear deeper than 100
	NUL             Reason = "nul"              // a value holds U+0000, which Postgres cannot store as text
	MissingField    Reason = "missing_field"    // a required member is absent or empty
	NullField       Reason = "null_field"       // a required member is null
	WrongType       Reason = "wrong_type"       // a member's JSON type is not the dataset's
	TooLong         Reason = "too_long"         // a value has more characters than the dataset allows
	TooShort        Reason = "too_short"        // a value has fewer characters than the dataset allows
	BadIP           Reason = "bad_ip"           // not an IP address
	BadVersion      Reason = "bad_version"      // not MAJOR[.MINOR[.PATCH]] within limits
	BadFormat       Reason = "bad_format"       // not written as the type has it: a date, timestamp, uuid or number
	OutOfRange      Reason = "out_of_range"     // less than min, greater than max, or more digits than the precision
	NotListed       Reason = "not_listed"       // not one of the enum's values
	NoMatch         Reason = "no_match"         // the pattern does not match
)

// Reasons are all reasons that reading an event can give.
func Reasons() []Reason {
	return []Reason{
		NotJSON, NotObject, DuplicateMember, InvalidUTF8, TooDeep, NUL, MissingField, NullField, WrongType,
		TooLong, TooShort,
		BadIP, BadVersion, BadFormat, OutOfRange, NotListed, NoMatch,
	}
}

// Rejection is why an event cannot be stored, and the member at fault; no member: the event as a whole. The zero
// Rejection says that nothing is wrong.
type Rejection struct {
	Reason Reason
	Member string
}
