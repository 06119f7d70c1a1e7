package unwrap

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// The Java classes by which the extended client libraries mark a pointer: payloadoffloading 1 and 2, which the
// libraries of other languages write, too, and the library's version 1. They set a message attribute besides,
// ExtendedPayloadSize or SQSLargePayloadSize; the body tells a pointer well enough, so nobody needs to receive it.
const (
	pointerClass    = "software.amazon.payloadoffloading.PayloadS3Pointer"
	oldPointerClass = "com.amazon.sqs.javamessaging.MessageS3Pointer"
)

// jsonSpace is the white space of JSON.
const jsonSpace = " \t\r\n"

// isPointer reports whether a body says that it is a pointer: ["CLASS",…
func isPointer(body []byte) bool {
	rest, array := bytes.CutPrefix(bytes.TrimLeft(body, jsonSpace), []byte("["))
	rest = bytes.TrimLeft(rest, jsonSpace)
	return array && (bytes.HasPrefix(rest, []byte(`"`+pointerClass+`"`)) ||
		bytes.HasPrefix(rest, []byte(`"`+oldPointerClass+`"`)))
}

// readPointer reads ["CLASS",{"s3BucketName":"BUCKET","s3Key":"KEY"}].
func readPointer(body []byte) (*Pointer, dataset.Rejection) {
	bad := dataset.Rejection{Reason: BadEnvelope}
	if !jsontext.Value(body).IsValid() {
		return nil, bad
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	for range 2 { // the bracket and the class
		if _, err := d.ReadToken(); err != nil {
			return nil, bad
		}
	}
	where, err := d.ReadValue()
	if err != nil || d.PeekKind() != jsontext.KindEndArray {
		return nil, bad
	}
	var p Pointer
	if !members(where, func(name, value []byte) bool {
		text := ""
		if jsontext.Value(value).Kind() == jsontext.KindString {
			if unquoted, err := jsontext.AppendUnquote(nil, value); err == nil {
				text = string(unquoted)
			}
		}
		switch string(name) {
		case "s3BucketName":
			p.Bucket = text
		case "s3Key":
			p.Key = text
		}
		return true
	}) {
		return nil, bad
	}
	switch {
	case p.Bucket == "":
		bad.Member = "s3BucketName"
		return nil, bad
	case p.Key == "":
		bad.Member = "s3Key"
		return nil, bad
	}
	return &p, dataset.Rejection{}
}
