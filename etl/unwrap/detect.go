package unwrap

import (
	"bytes"
	"encoding/base64"

	"github.com/go-json-experiment/json/jsontext"
)

// detect says which envelope a body is by its whole signature; empty: none.
func detect(body []byte, g Guard) Kind {
	text := bytes.Trim(body, jsonSpace)
	if len(text) == 0 {
		return ""
	}
	switch text[0] {
	case '{':
		return detectObject(text, g)
	case '[':
		if p, _ := readPointer(text); isPointer(text) && p != nil {
			return S3
		}
		return ""
	case '"':
		// A string is no event, whatever it holds.
		if inner, bad := unquote(text); bad == "" && holdsJSON(inner) {
			return JSON
		}
		return ""
	}
	if !isBase64(text[:min(len(text), 64)]) {
		return ""
	}
	decoded, bad := decode(text)
	switch {
	case bad != "":
		return ""
	case bytes.HasPrefix(decoded, []byte{0x1f, 0x8b, 0x08}): // gzip's magic, and its only method
		return GzipBase64
	case holdsJSON(decoded):
		return Base64
	}
	return ""
}

func detectObject(body []byte, g Guard) Kind {
	sns, bus := signed{of: snsSignature}, signed{of: busSignature}
	if !members(body, func(name, value []byte) bool {
		if g[string(name)] {
			return false
		}
		sns.see(name, value)
		bus.see(name, value)
		return true
	}) {
		return ""
	}
	switch {
	case sns.whole():
		return SNS
	case bus.whole():
		return EventBridge
	}
	return ""
}

// holdsJSON reports whether a text is a JSON object or array. Any other JSON is too short a signature: a word is
// base64, too.
func holdsJSON(text []byte) bool {
	text = bytes.Trim(text, jsonSpace)
	return len(text) > 0 && (text[0] == '{' || text[0] == '[') && jsontext.Value(text).IsValid()
}

func isBase64(text []byte) bool {
	for _, c := range text {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case bytes.IndexByte([]byte("+/-_=\r\n"), c) >= 0:
		default:
			return false
		}
	}
	return base64.RawStdEncoding.DecodedLen(len(text)) > 0
}

// IsTestEvent reports whether a body is what S3 sends when notifications of a bucket are set up: s3:TestEvent. It is no
// event of anybody's, and holds nothing of anybody's.
func IsTestEvent(body []byte) bool {
	s := signed{of: testSignature}
	service, event := "", ""
	return members(body, func(name, value []byte) bool {
		s.see(name, value)
		if text, err := jsontext.AppendUnquote(nil, value); err == nil {
			switch string(name) {
			case "Service":
				service = string(text)
			case "Event":
				event = string(text)
			}
		}
		return true
	}) && s.whole() && !s.other && service == "Amazon S3" && event == "s3:TestEvent"
}
