package sqsserver

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// Attribute is a message attribute as it is on the wire.
type Attribute struct {
	DataType    string  `json:"DataType"`
	StringValue *string `json:"StringValue,omitempty"`
	BinaryValue []byte  `json:"BinaryValue,omitempty"`
}

const maxMessageAttributes = 10

var attributeName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}$`)

func (a Attribute) binary() bool { return strings.HasPrefix(a.DataType, "Binary") }

func checkAttributes(attributes map[string]Attribute) error {
	if len(attributes) > maxMessageAttributes {
		return ErrInvalidParameterValue.Because(
			"Number of message attributes [" + fmt.Sprint(len(attributes)) + "] exceeds the allowed maximum [10].")
	}
	for name, a := range attributes {
		kind, _, _ := strings.Cut(a.DataType, ".")
		switch {
		case !attributeName.MatchString(name) || strings.HasSuffix(name, ".") || strings.Contains(name, ".."):
			return badParameter("MessageAttributeName", name, "The name is not allowed.")
		case kind != "String" && kind != "Number" && kind != "Binary":
			return badParameter("MessageAttributeType", a.DataType, "The type must be String, Number or Binary.")
		case a.binary() && len(a.BinaryValue) == 0, !a.binary() && (a.StringValue == nil || *a.StringValue == ""):
			return badParameter("MessageAttributeValue", name,
				"The message attribute must contain a non-empty value of its type.")
		case !a.binary() && !carried(*a.StringValue):
			return ErrInvalidMessageContents
		}
	}
	return nil
}

// attributesSize is what attributes count towards a message's size.
func attributesSize(attributes map[string]Attribute) int {
	size := 0
	for name, a := range attributes {
		size += len(name) + len(a.DataType) + len(a.BinaryValue) + len(valueOr(a.StringValue, ""))
	}
	return size
}

// attributesMD5 is the digest that AWS documents: names sorted, every part with its length as 4 bytes big endian, and
// a byte that tells strings (1) from bytes (2).
func attributesMD5(attributes map[string]Attribute) string {
	h := md5.New()
	part := func(s string) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		h.Write([]byte(s))
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := attributes[name]
		part(name)
		part(a.DataType)
		if a.binary() {
			h.Write([]byte{2})
			part(string(a.BinaryValue))
		} else {
			h.Write([]byte{1})
			part(*a.StringValue)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// chosenAttributes are those that a receive asked for: by name, by a prefix as "order.*", or all as "All" or ".*".
func chosenAttributes(attributes map[string]Attribute, asked []string) map[string]Attribute {
	chosen := map[string]Attribute{}
	for name, a := range attributes {
		for _, ask := range asked {
			prefix, isPrefix := strings.CutSuffix(ask, ".*")
			if ask == "All" || ask == name || isPrefix && strings.HasPrefix(name, prefix) {
				chosen[name] = a
			}
		}
	}
	return chosen
}

// appendChosen appends the members MessageAttributes and MD5OfMessageAttributes, unless there are none to tell.
func appendChosen(out []byte, chosen map[string]Attribute) []byte {
	if len(chosen) == 0 {
		return out
	}
	text, err := json.Marshal(chosen, json.Deterministic(true))
	if err != nil {
		return out // cannot happen: what was read from JSON can be written to it
	}
	out = append(append(out, `,"MessageAttributes":`...), text...)
	return append(out, `,"MD5OfMessageAttributes":"`+attributesMD5(chosen)+`"`...)
}
