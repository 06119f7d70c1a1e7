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

// KMSReport compares KMS's own log with the audit log, to find who decrypted data keys without an
// opening in the log.
type KMSReport struct {
	Decrypts    int          `json:"decrypts"`    // of this vault's data keys, successful
	Explained   int          `json:"explained"`   // made while an opening that needed the key was under way
	Expected    int          `json:"expected"`    // made by principals whose work it is
	Refused     int          `json:"refused"`     // refused by KMS
	Unexplained []KMSDecrypt `json:"unexplained"` // all others
}

// KMSDecrypt is one call of KMS Decrypt.
type KMSDecrypt struct {
	Time      time.Time `json:"time"`
	Principal string    `json:"principal"`
	SourceIP  string    `json:"source_ip"`
	DataKey   int64     `json:"data_key"`
	EventID   string    `json:"event_id"`
}

// trailEvent is the part of a CloudTrail record that is read.
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

// slack allows for a difference between KMS's clock and the database's, and for CloudTrail's whole
// seconds.
const slack = 5 * time.Second

// unfinished is how long an opening without an outcome counts as under way.
const unfinished = time.Hour

// AddKMSLog reads a CloudTrail log file, {"Records": […]}, and compares it with the openings of the
// report. expected are the ARNs whose work it is to decrypt data keys: the rotator's. It cannot
// recognise an attacker who decrypts a key while an opening that needs this key is under way.
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

// addEvent counts one event. Only a Decrypt under this vault's encryption context concerns data
// keys; the context is authenticated by KMS, so nobody can decrypt a data key under another one.
func (r *Report) addEvent(vault string, e trailEvent, expected []string) error {
	c := e.RequestParameters.EncryptionContext
	ours := c["app"] == "cloakroom" && c["vault"] == vault && c["purpose"] == "seal"
	if e.EventSource != "kms.amazonaws.com" || e.EventName != "Decrypt" || !ours || !r.within(e.EventTime) {
		return nil
	}
	if e.ErrorCode != "" {
		r.KMS.Refused++
		return nil
	}
	r.KMS.Decrypts++
	key, err := strconv.ParseInt(c["key"], 10, 32)
	if err != nil {
		return fmt.Errorf("reading the KMS log: event %s has an encryption context of ours without a key id", e.EventID)
	}
	switch {
	case slices.Contains(expected, e.UserIdentity.Arn):
		r.KMS.Expected++
	case r.explains(key, e.EventTime):
		r.KMS.Explained++
	default:
		r.KMS.Unexplained = append(r.KMS.Unexplained, KMSDecrypt{
			Time: e.EventTime, Principal: e.UserIdentity.Arn, SourceIP: e.SourceIPAddress,
			DataKey: key, EventID: e.EventID,
		})
	}
	return nil
}

// explains reports whether an opening that needed the key was under way.
func (r *Report) explains(key int64, at time.Time) bool {
	for _, o := range r.openings {
		end := o.Began.Add(unfinished)
		if o.Ended != nil {
			end = *o.Ended
		}
		if o.dataKeys[key] && !at.Before(o.Began.Add(-slack)) && !at.After(end.Add(slack)) {
			return true
		}
	}
	return false
}
