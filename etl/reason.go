package etl

// Reason is why an event could not be stored. The codes are stable: docs/rejections.md lists them, and replaying after
// a fix selects by them.
type Reason string

// The reason codes.
const (
	NotJSON         Reason = "not_json"         // not one JSON text (RFC 8259), or empty
	NotObject       Reason = "not_object"       // JSON, but no object
	DuplicateMember Reason = "duplicate_member" // a member name twice in one object: which one counts is anybody's guess
	InvalidUTF8     Reason = "invalid_utf8"     // not UTF-8, or an escaped lone surrogate
	NUL             Reason = "nul"              // a value holds U+0000, which Postgres cannot store as text
	TooDeep         Reason = "too_deep"         // nested deeper than 10,000
	MissingField    Reason = "missing_field"    // a required member is absent or empty
	NullField       Reason = "null_field"       // a required member is null
	WrongType       Reason = "wrong_type"       // a member's JSON type is not the dataset's
	TooLong         Reason = "too_long"         // a value has more characters than the dataset allows
	BadIP           Reason = "bad_ip"           // not an IP address
	BadVersion      Reason = "bad_version"      // not MAJOR[.MINOR[.PATCH]] within limits
	BadDate         Reason = "bad_date"         // sent on a day outside the policy's window
	DBData          Reason = "db_data"          // the database refused the row (SQLSTATE class 22, or 23514)
)

// Reasons are all reason codes.
func Reasons() []Reason {
	return []Reason{
		NotJSON, NotObject, DuplicateMember, InvalidUTF8, NUL, TooDeep, MissingField, NullField, WrongType, TooLong,
		BadIP, BadVersion, BadDate, DBData,
	}
}
