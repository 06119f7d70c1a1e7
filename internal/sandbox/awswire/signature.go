package awswire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// verify checks a Signature Version 4 over the request and its body. It does not check the request's age, so a
// recorded request may be replayed: the sandbox guards nothing that matters.
func (a authorization) verify(secret string, r *http.Request, body []byte) bool {
	stamp := r.Header.Get("X-Amz-Date")
	if !strings.HasPrefix(stamp, a.date) || a.date == "" {
		return false
	}
	scope := a.date + "/" + a.region + "/" + a.service + "/aws4_request"
	canonical := sha256.Sum256([]byte(canonicalRequest(r, a.signedHeaders, body)))
	toSign := sigV4 + "\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(canonical[:])

	key := []byte("AWS4" + secret)
	for _, part := range []string{a.date, a.region, a.service, "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	claimed, err := hex.DecodeString(a.signature)
	return err == nil && hmac.Equal(claimed, key)
}

func canonicalRequest(r *http.Request, signedHeaders string, body []byte) string {
	var b strings.Builder
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	b.WriteString(r.Method + "\n" + path + "\n" + canonicalQuery(r.URL.Query()) + "\n")
	for name := range strings.SplitSeq(signedHeaders, ";") {
		b.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	sum := sha256.Sum256(body)
	b.WriteString("\n" + signedHeaders + "\n" + hex.EncodeToString(sum[:]))
	return b.String()
}

// headerValue puts back what net/http takes out of the header.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		if r.Header.Get(name) == "" && r.ContentLength >= 0 {
			return strconv.FormatInt(r.ContentLength, 10)
		}
	}
	values := slices.Clone(r.Header.Values(name))
	for i, v := range values {
		values[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(values, ",")
}

func canonicalQuery(q url.Values) string {
	return strings.ReplaceAll(q.Encode(), "+", "%20")
}
