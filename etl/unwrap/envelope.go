package unwrap

import (
	"bytes"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// members reads the members at the top of a JSON object, and reports whether the text is one object and nothing else.
// name and value are valid during the call of see, which ends the reading with false.
//
// It is lenient with what is inside: a name that stands twice, or a lone surrogate, is for the event's decoder to
// refuse.
func members(body []byte, see func(name, value []byte) bool) bool {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != jsontext.KindBeginObject {
		return false
	}
	if _, err := d.ReadToken(); err != nil {
		return false
	}
	var name []byte
	for d.PeekKind() != jsontext.KindEndObject {
		quoted, err := d.ReadValue()
		if err != nil {
			return false
		}
		if name, err = jsontext.AppendUnquote(name[:0], quoted); err != nil {
			return false
		}
		value, err := d.ReadValue()
		if err != nil || !see(name, value) {
			return false
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return false
	}
	_, err := d.ReadToken()
	return err == io.EOF
}

// Members of envelopes, as AWS writes them.
const (
	snsType       = "Type"
	snsMessage    = "Message"
	snsMessageID  = "MessageId"
	snsTopic      = "TopicArn"
	snsTime       = "Timestamp"
	snsAttributes = "MessageAttributes"

	notification = "Notification"

	busID     = "id"
	busTime   = "time"
	busDetail = "detail"
)

// signatures are the members that make an envelope, each with its JSON type. An envelope has all of them; it may have
// others.
var (
	// Without the event itself, in Message. (Amazon SNS Developer Guide, "Parsing message formats".)
	snsSignature = map[string]jsontext.Kind{
		snsType: '"', snsTopic: '"', snsMessageID: '"', snsTime: '"', snsMessage: '"',
	}
	// (Amazon EventBridge User Guide, "Event structure reference".) detail is of any type.
	busSignature = map[string]jsontext.Kind{
		"version": '"', busID: '"', "detail-type": '"', "source": '"', "account": '"', busTime: '"', "region": '"',
		"resources": '[', busDetail: 0,
	}
	// What S3 sends when notifications are set up: (Amazon S3 User Guide, "Event message structure"). It has no others.
	testSignature = map[string]jsontext.Kind{
		"Service": '"', "Event": '"', "Time": '"', "Bucket": '"', "RequestId": '"', "HostId": '"',
	}
)

// signed counts the members of a signature that were seen. A member that stands twice makes none.
type signed struct {
	of    map[string]jsontext.Kind
	seen  map[string]bool
	other bool // there are members that are not of it
	bad   string
}

func (s *signed) see(name, value []byte) {
	kind, ours := s.of[string(name)]
	switch {
	case !ours:
		s.other = true
	case s.seen[string(name)], kind != 0 && jsontext.Value(value).Kind() != kind:
		s.bad = string(name)
	default:
		if s.seen == nil {
			s.seen = make(map[string]bool, len(s.of))
		}
		s.seen[string(name)] = true
	}
}

func (s *signed) whole() bool { return s.bad == "" && len(s.seen) == len(s.of) }

// fault names the member because of which it is no envelope.
func (s *signed) fault(order ...string) string {
	if s.bad != "" {
		return s.bad
	}
	for _, name := range order {
		if !s.seen[name] {
			return name
		}
	}
	return ""
}

// sns takes the message out of a notification.
func (u *Unwrapper) sns(o *Opened) {
	s := signed{of: snsSignature}
	texts := map[string][]byte{}
	attribute := ""
	if !members(o.Body, func(name, value []byte) bool {
		s.see(name, value)
		switch string(name) {
		case snsType, snsMessage, snsMessageID, snsTime:
			if text, err := jsontext.AppendUnquote(nil, value); err == nil {
				texts[string(name)] = text
			}
		case snsAttributes:
			if u.Attribute != "" {
				attribute = attributeIn(value, u.Attribute)
			}
		}
		return true
	}) {
		o.Rejection = dataset.Rejection{Reason: BadEnvelope}
		return
	}
	sent, err := time.Parse(time.RFC3339, string(texts[snsTime]))
	message, isText := texts[snsMessage]
	switch {
	case !s.whole():
		o.Rejection = dataset.Rejection{
			Reason: BadEnvelope, Member: s.fault(snsType, snsMessageID, snsTopic, snsTime, snsMessage),
		}
	case string(texts[snsType]) != notification:
		// A confirmation of a subscription holds a URL, which nobody here fetches.
		o.Rejection = dataset.Rejection{Reason: BadEnvelope, Member: snsType}
	case err != nil:
		o.Rejection = dataset.Rejection{Reason: BadEnvelope, Member: snsTime}
	case len(texts[snsMessageID]) == 0:
		o.Rejection = dataset.Rejection{Reason: BadEnvelope, Member: snsMessageID}
	case !isText:
		o.Rejection = dataset.Rejection{Reason: BadEnvelope, Member: snsMessage}
	default:
		o.Body, o.ID, o.Time = message, string(texts[snsMessageID]), sent.UTC()
		if attribute != "" {
			o.Attribute = attribute
		}
	}
}

// attributeIn finds the text of a message attribute: {"NAME":{"Type":"String","Value":"TEXT"}}.
func attributeIn(attributes []byte, wanted string) (text string) {
	members(attributes, func(name, value []byte) bool {
		if string(name) == wanted {
			members(value, func(name, value []byte) bool {
				if string(name) == "Value" && jsontext.Value(value).Kind() == jsontext.KindString {
					if unquoted, err := jsontext.AppendUnquote(nil, value); err == nil {
						text = string(unquoted)
					}
				}
				return true
			})
		}
		return true
	})
	return text
}

// eventBridge takes the detail out of an event.
func (u *Unwrapper) eventBridge(o *Opened) {
	s := signed{of: busSignature}
	var id, at string
	var detail []byte
	if !members(o.Body, func(name, value []byte) bool {
		s.see(name, value)
		switch string(name) {
		case busID, busTime:
			text, err := jsontext.AppendUnquote(nil, value)
			if err != nil {
				break
			}
			if string(name) == busID {
				id = string(text)
			} else {
				at = string(text)
			}
		case busDetail:
			detail = bytes.Clone(value)
		}
		return true
	}) {
		o.Rejection = dataset.Rejection{Reason: BadEnvelope}
		return
	}
	sent, err := time.Parse(time.RFC3339, at)
	switch {
	case !s.whole():
		o.Rejection = dataset.Rejection{Reason: BadEnvelope, Member: s.fault(
			"version", busID, "detail-type", "source", "account", busTime, "region", "resources", busDetail)}
	case err != nil:
		o.Rejection = dataset.Rejection{Reason: BadEnvelope, Member: busTime}
	case id == "":
		o.Rejection = dataset.Rejection{Reason: BadEnvelope, Member: busID}
	default:
		o.Body, o.ID, o.Time = detail, id, sent.UTC()
	}
}
