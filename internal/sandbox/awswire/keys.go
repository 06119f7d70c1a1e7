package awswire

import (
	"net/http"
	"strings"
)

// Keys says who is let in.
type Keys struct {
	// Secrets maps an access key's id to its secret. An empty secret lets the key in without checking signatures.
	Secrets map[string]string
	// Unknown answers a key that is not listed, BadSignature one whose signature is not of its secret.
	Unknown, BadSignature *Error
}

func (k *Keys) admit(r *http.Request, c *Call) error {
	scope, signed := parseAuthorization(r.Header.Get("Authorization"))
	c.AccessKey = scope.accessKey
	if k == nil || k.Secrets == nil {
		return nil
	}
	if !signed {
		return ErrMissingToken
	}
	secret, known := k.Secrets[scope.accessKey]
	if !known {
		return k.Unknown
	}
	if secret != "" && !scope.verify(secret, r, c.Body) {
		return k.BadSignature
	}
	return nil
}

// authorization is a parsed Authorization header of Signature Version 4.
type authorization struct {
	accessKey, date, region, service string
	signedHeaders                    string
	signature                        string
}

// AccessKey is the access key's id in a request's signature, which is not checked; empty: it is not signed.
func AccessKey(r *http.Request) string {
	a, _ := parseAuthorization(r.Header.Get("Authorization"))
	return a.accessKey
}

const sigV4 = "AWS4-HMAC-SHA256"

// parseAuthorization reads "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…,
// Signature=…". An access key holds no slash.
func parseAuthorization(header string) (authorization, bool) {
	var a authorization
	fields, ok := strings.CutPrefix(header, sigV4+" ")
	if !ok {
		return a, false
	}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			var end string
			a.accessKey, value, _ = strings.Cut(value, "/")
			a.date, value, _ = strings.Cut(value, "/")
			a.region, value, _ = strings.Cut(value, "/")
			a.service, end, _ = strings.Cut(value, "/")
			if end != "aws4_request" {
				return authorization{}, false
			}
		case "SignedHeaders":
			a.signedHeaders = value
		case "Signature":
			a.signature = value
		}
	}
	return a, a.accessKey != ""
}
