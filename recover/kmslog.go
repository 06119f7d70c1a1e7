package recover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// KMSReport compares KMS's own log with the audit log: who decrypted data keys without an opening in the log.
type KMSReport struct {
	Decrypts    int          `json:"decrypts"`    // of this vault's data keys, that succeeded
	Explained   int          `json:"explained"`   // while an opening that needed the key was under way
	Expected    int          `json:"expected"`    // by principals whose work it is
	Refused     int          `json:"refused"`     // by KMS
	Unexplained []KMSDecrypt `json:"unexplained"` // by nothing
}

// KMSDecrypt is one call of KMS Decrypt.
type KMSDecrypt struct {
	Time      time.Time `json:"time"`
	Principal string    `json:"principal"`
	SourceIP  string    `json:"source_ip"`
	DataKey   int64     `json:"data_key"`
	EventID   string    `json:"event_id"`
}

// trailEvent is what is read of a CloudTrail record.
type trailEvent struct {
	EventTime       time.Time `json:"eventTime"`
	EventSource     string    `json:"eventSource"`
	EventName       string    `json:"eventName"`
	ErrorCode       string    `json:"errorCode"`
	SourceIPAddress string    `json:"sourceIPAddress"`
	EventID         string    `json:"eventID"`
	UserIdentity    struct {
		Arn string `json:"arn"`
	} `json:"userIdentity"`
	RequestParameters struct {
		EncryptionContext map[string]string `json:"encryptionContext"`
	} `json:"requestParameters"`
}

// slack is how far KMS's clock and the database's may be apart, and what CloudTrail's whole seconds cut off.
const slack = 5 * time.Second

// unfinished is how long an opening without an outcome is taken to last.
const unfinished = time.Hour

// AddKMSLog reads a CloudTrail log file, {"Records": […]}, and compares it with the openings of the report. expected are
// the ARNs whose work it is to decrypt data keys: the rotator's. An attacker with stolen credentials who decrypts a key at
// the very time of an opening that needs it is not told apart.
func (r *Report) AddKMSLog(vault string, log io.Reader, expected []string) error {
	var file struct {
		Records []trailEvent `json:"Records"`
	}
	if err := json.NewDecoder(log).Decode(&file); err != nil || file.Records == nil {
		return errors.New(`reading the KMS log: want a CloudTrail log file, {"Records": […]}`)
	}
	if r.KMS == nil {
		r.KMS = &KMSReport{Unexplained: []KMSDecrypt{}}
	}
	for _, e := range file.Records {
		if err := r.addEvent(vault, e, expected); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) addEvent(vault string, e trailEvent, expected []string) error {
	c := e.RequestParameters.EncryptionContext
	if e.EventSource != "kms.amazonaws.com" || e.EventName != "Decrypt" || c["app"] != "cloakroom" || c["vault"] != vault || c["purpose"] != "seal" || !r.within(e.EventTime) {
		return nil
	}
	if e.ErrorCode != "" {
		r.KMS.Refused++
		return nil
	}
	r.KMS.Decrypts++
	key, err := strconv.ParseInt(c["key"], 10, 32)
	if err != nil {
		return fmt.Errorf("reading the KMS log: event %s has a context of ours without a key id", e.EventID)
	}
	switch {
	case slices.Contains(expected, e.UserIdentity.Arn):
		r.KMS.Expected++
	case r.explains(key, e.EventTime):
		r.KMS.Explained++
	default:
		r.KMS.Unexplained = append(r.KMS.Unexplained, KMSDecrypt{
			Time: e.EventTime, Principal: e.UserIdentity.Arn, SourceIP: e.SourceIPAddress, DataKey: key, EventID: e.EventID,
		})
	}
	return nil
}

// explains reports whether an opening that needed the key was under way.
func (r *Report) explains(key int64, at time.Time) bool {
	for _, o := range r.openings {
		end := o.ended
		if end.IsZero() {
			end = o.began.Add(unfinished)
		}
		if o.keys[key] && !at.Before(o.began.Add(-slack)) && !at.After(end.Add(slack)) {
			return true
		}
	}
	return false
}
