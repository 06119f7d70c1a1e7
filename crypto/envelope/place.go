package envelope

import "errors"

// domain is the first field of all associated data: no other use of a data key can produce the same bytes.
const domain = "cloakroom/v1"

// ErrPlace reports a [Place] that Seal refuses: no dataset, no field, or a date that is neither empty nor
// YYYY-MM-DD.
var ErrPlace = errors.New("a place needs a dataset, a field, and a date that is empty or YYYY-MM-DD")

// Place says where a sealed value lives. It is authenticated and not stored: the caller of Open states the
// place again, from the row it was found in, and a value that was moved does not open.
type Place struct {
	Vault   [16]byte // the vault's id
	Dataset string   // the dataset's name
	Field   string   // the field's name within the dataset; "body" for a rejection
	Row     [16]byte // the row's id: its message id
	Date    string   // the row's create_date as YYYY-MM-DD, UTC; empty for a rejection
	Subject string   // the person the row is about: its user_id; empty for a rejection
}

// AppendAssociatedData appends the associated data of a value in place p under data key keyID to dst: encoding E of
// "cloakroom/v1", vault, dataset, field, row, key id, date and subject. Nothing else builds associated data.
//
// The key id is in it although the wrong key would fail to open anyway: AES-GCM does not commit to its key, so one
// ciphertext can be made to open under two keys by somebody who holds both.
func AppendAssociatedData(dst []byte, p *Place, keyID uint32) []byte {
	dst = AppendFields(dst, domain)
	dst = AppendFields(dst, p.Vault[:])
	dst = AppendFields(dst, p.Dataset, p.Field)
	dst = AppendFields(dst, p.Row[:])
	dst = AppendUint32(dst, keyID)
	return AppendFields(dst, p.Date, p.Subject)
}

// check refuses a place that a later reader would not spell alike. The database gives a date back as 2026-07-03: a
// value sealed under 2026-7-3 would be lost.
func (p *Place) check() error {
	if p.Dataset == "" || p.Field == "" || !validDate(p.Date) {
		return ErrPlace
	}
	return nil
}

// validDate reports whether s is empty or has the shape of a date. The calendar is the caller's business.
func validDate(s string) bool {
	if s == "" {
		return true
	}
	if len(s) != len("2006-01-02") {
		return false
	}
	for i := range len(s) {
		dash := i == 4 || i == 7
		if dash != (s[i] == '-') || !dash && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}
