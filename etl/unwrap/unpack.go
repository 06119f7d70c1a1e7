package unwrap

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// decode reads base64 of either alphabet, with or without its padding, and with line breaks.
func decode(body []byte) ([]byte, dataset.Reason) {
	text := bytes.TrimRight(bytes.Trim(body, jsonSpace), "=")
	encoding := base64.RawStdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.RawURLEncoding
	}
	out := make([]byte, encoding.DecodedLen(len(text)))
	n, err := encoding.Decode(out, text)
	if err != nil || n == 0 {
		return nil, BadEnvelope
	}
	return out[:n], ""
}

// gunzip reads base64 of gzip. It stops at one byte more than max: what is compressed 1,000 to 1 costs no more than
// that. gzip's members may follow each other (RFC 1952, section 2.2); anything else behind one is refused.
func gunzip(body []byte, max int) ([]byte, dataset.Reason) {
	packed, bad := decode(body)
	if bad != "" {
		return nil, bad
	}
	in, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, BadEnvelope
	}
	out, err := io.ReadAll(io.LimitReader(in, int64(max)+1))
	switch {
	case len(out) > max:
		return nil, TooLarge
	case err != nil:
		return nil, BadEnvelope
	}
	return out, ""
}

// unquote reads a JSON string, of which the text is the event.
func unquote(body []byte) ([]byte, dataset.Reason) {
	text := bytes.Trim(body, jsonSpace)
	if len(text) == 0 || text[0] != '"' {
		return nil, BadEnvelope
	}
	out, err := jsontext.AppendUnquote(nil, text)
	if err != nil {
		return nil, BadEnvelope
	}
	return out, ""
}
