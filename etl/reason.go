package etl

import (
	"slices"

	"cloakroom/dataset"
	"cloakroom/etl/unwrap"
)

// Reason is why an event could not be stored. The codes are stable: docs/rejections.md lists them, and a replay after a
// fix selects by them.
type Reason = dataset.Reason

// The reason codes of reading an event, which package dataset describes.
const (
	NotJSON         = dataset.NotJSON
	NotObject       = dataset.NotObject
	DuplicateMember = dataset.DuplicateMember
	InvalidUTF8     = dataset.InvalidUTF8
	TooDeep         = dataset.TooDeep
	NUL             = dataset.NUL
	MissingField    = dataset.MissingField
	NullField       = dataset.NullField
	WrongType       = dataset.WrongType
	TooLong         = dataset.TooLong
	BadIP           = dataset.BadIP
	BadVersion      = dataset.BadVersion
)

// The reason codes of loading an event.
const (
	BadDate        Reason = "bad_date"        // of a day outside the policy's window
	UnknownDataset Reason = "unknown_dataset" // the route names no dataset that this vault has, or nothing
	DBData         Reason = "db_data"         // the database refused the row (pg.IsDataError)
)

// The reason codes of taking an event out of its envelope. The first names the setting that is missing as its member.
const (
	Enveloped     Reason = "enveloped"        // an envelope, of which the queue's settings do not say
	BadEnvelope          = unwrap.BadEnvelope // not the envelope that the queue's settings say
	TooLarge             = unwrap.TooLarge    // larger than max-body once it is unpacked
	ForeignBucket Reason = "foreign_bucket"   // a pointer into a bucket that the queue's settings do not name
	ObjectMissing Reason = "object_missing"   // the object to which a pointer points is not there
)

// Reasons are all reason codes.
func Reasons() []Reason {
	return slices.Concat(dataset.Reasons(), []Reason{
		BadDate, UnknownDataset, DBData, Enveloped, BadEnvelope, TooLarge, ForeignBucket, ObjectMissing,
	})
}
