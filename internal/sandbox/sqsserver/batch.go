package sqsserver

import (
	"errors"
	"fmt"
	"strconv"

	"cloakroom/internal/sandbox/awswire"
)

const maxBatch = 10

// checkBatch applies what holds for the ids of every batch.
func checkBatch(ids []string) error {
	if len(ids) == 0 {
		return ErrEmptyBatchRequest
	}
	if len(ids) > maxBatch {
		return ErrTooManyEntriesInBatchRequest.Because(
			fmt.Sprintf("Maximum number of entries per request are %d. You have sent %d.", maxBatch, len(ids)))
	}
	for i, id := range ids {
		if !validEntryID(id) {
			return ErrInvalidBatchEntryId
		}
		for _, earlier := range ids[:i] {
			if earlier == id {
				return ErrBatchEntryIdsNotDistinct.Because("Id " + id + " repeated.")
			}
		}
	}
	return nil
}

func validEntryID(id string) bool {
	if id == "" || len(id) > 80 {
		return false
	}
	for _, b := range []byte(id) {
		if b != '-' && b != '_' && (b < '0' || b > '9') && (b|0x20 < 'a' || b|0x20 > 'z') {
			return false
		}
	}
	return true
}

// batchAnswer gathers what became of each entry and writes it as AWS does: either list only if it has anything.
type batchAnswer struct {
	failed []failedEntry
}

type failedEntry struct {
	id  string
	why error
}

func (b *batchAnswer) fail(id string, why error) { b.failed = append(b.failed, failedEntry{id, why}) }

// write appends the answer: first what succeeded, which is already written into successful as a list's inside.
func (b *batchAnswer) write(out, successful []byte) []byte {
	out = append(out, '{')
	if len(successful) > 0 {
		out = append(out, `"Successful":[`...)
		out = append(out, successful...)
		out = append(out, ']')
	}
	if len(b.failed) > 0 {
		if len(successful) > 0 {
			out = append(out, ',')
		}
		out = append(out, `"Failed":[`...)
		for i, f := range b.failed {
			if i > 0 {
				out = append(out, ',')
			}
			out = f.append(out)
		}
		out = append(out, ']')
	}
	return append(out, '}')
}

func (f failedEntry) append(out []byte) []byte {
	refusal := awswire.ErrInternalFailure
	_ = errors.As(f.why, &refusal)
	out = append(out, `{"Id":`...)
	out = awswire.AppendString(out, f.id)
	out = append(out, `,"Code":`...)
	out = awswire.AppendString(out, refusal.Code())
	out = append(out, `,"Message":`...)
	out = awswire.AppendString(out, refusal.Message)
	out = append(out, `,"SenderFault":`...)
	out = strconv.AppendBool(out, refusal.SenderFault())
	return append(out, '}')
}

// appendEntryID appends {"Id":"…" to a list, leaving the object open. The id has been checked and needs no escapes.
func appendEntryID(list []byte, id string) []byte {
	if len(list) > 0 {
		list = append(list, ',')
	}
	list = append(list, `{"Id":"`...)
	list = append(list, id...)
	return append(list, '"')
}
