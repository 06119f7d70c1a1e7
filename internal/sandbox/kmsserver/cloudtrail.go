package kmsserver

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// WriteCloudTrail writes the calls as a CloudTrail log file: one JSON object with the member Records. What CloudTrail
// has beyond these members is left out; a dropped connection, which CloudTrail could not tell, has the errorCode
// "dropped".
func (s *Server) WriteCloudTrail(w io.Writer) error {
	records := []record{}
	for _, c := range s.Calls() {
		records = append(records, s.record(c))
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	if err := out.Encode(map[string]any{"Records": records}); err != nil {
		return fmt.Errorf("writing the KMS call log: %w", err)
	}
	return nil
}

type (
	record struct {
		EventVersion       string         `json:"eventVersion"`
		UserIdentity       identity       `json:"userIdentity"`
		EventTime          time.Time      `json:"eventTime"`
		EventSource        string         `json:"eventSource"`
		EventName          string         `json:"eventName"`
		AWSRegion          string         `json:"awsRegion"`
		SourceIPAddress    string         `json:"sourceIPAddress"`
		UserAgent          string         `json:"userAgent"`
		ErrorCode          string         `json:"errorCode,omitempty"`
		ErrorMessage       string         `json:"errorMessage,omitempty"`
		RequestParameters  map[string]any `json:"requestParameters"`
		ResponseElements   any            `json:"responseElements"`
		RequestID          string         `json:"requestID"`
		EventID            string         `json:"eventID"`
		ReadOnly           bool           `json:"readOnly"`
		Resources          []resource     `json:"resources,omitempty"`
		EventType          string         `json:"eventType"`
		ManagementEvent    bool           `json:"managementEvent"`
		RecipientAccountID string         `json:"recipientAccountId"`
		EventCategory      string         `json:"eventCategory"`
	}
	identity struct {
		Type        string `json:"type"`
		PrincipalID string `json:"principalId"`
		Arn         string `json:"arn"`
		AccountID   string `json:"accountId"`
		AccessKeyID string `json:"accessKeyId"`
		UserName    string `json:"userName"`
	}
	resource struct {
		AccountID string `json:"accountId"`
		Type      string `json:"type"`
		ARN       string `json:"ARN"`
	}
)

// reads are the operations that CloudTrail calls read-only: those that change no key.
var reads = map[string]bool{
	"GenerateDataKey": true, "Encrypt": true, "Decrypt": true, "ReEncrypt": true, "DescribeKey": true,
}

func (s *Server) record(c Call) record {
	r := record{
		EventVersion: "1.11",
		UserIdentity: identity{
			Type: "IAMUser", PrincipalID: c.AccessKey, Arn: s.userARN(c.AccessKey), AccountID: s.config.Account,
			AccessKeyID: c.AccessKey, UserName: c.AccessKey,
		},
		EventTime: c.Time.UTC().Truncate(time.Second), EventSource: "kms.amazonaws.com", EventName: c.Op,
		AWSRegion: s.config.Region, SourceIPAddress: c.Remote, UserAgent: c.UserAgent,
		RequestParameters: c.parameters(), RequestID: c.RequestID, EventID: eventID(c.RequestID), ReadOnly: reads[c.Op],
		EventType: "AwsApiCall", EventCategory: "Management", ManagementEvent: true,
		RecipientAccountID: s.config.Account,
	}
	if c.Outcome != "ok" {
		r.ErrorCode, r.ErrorMessage = c.Outcome, c.Message
		if c.Outcome == ErrAccessDenied.Shape {
			r.ErrorCode = "AccessDenied" // CloudTrail's name for it
		}
	}
	for _, arn := range c.KeyARNs {
		r.Resources = append(r.Resources, resource{s.config.Account, "AWS::KMS::Key", arn})
	}
	return r
}

// eventID is another id than the request's, as CloudTrail's is.
func eventID(request string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(request)).String()
}

// parameters are named as CloudTrail names them, which for ReEncrypt is by source and destination.
func (c Call) parameters() map[string]any {
	p := map[string]any{}
	set := func(name, value string) {
		if value != "" {
			p[name] = value
		}
	}
	if c.Op == "ReEncrypt" {
		set("sourceKeyId", c.Key)
		set("destinationKeyId", c.DestinationKey)
		p["sourceEncryptionContext"], p["destinationEncryptionContext"] = c.Context, c.DestinationContext
		return p
	}
	set("keyId", c.Key)
	if c.Context != nil {
		p["encryptionContext"] = c.Context
	}
	return p
}
