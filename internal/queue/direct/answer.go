package direct

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Message is a message as SQS delivered it.
type Message struct {
	ID, Handle string
	Body       []byte
	Sent       time.Time // SentTimestamp; zero where the server does not say
	Receives   int       // ApproximateReceiveCount; 0 where the server does not say
}

var (
	// errStrange reports an answer of another form than SQS sends. Errors never hold a part of the answer.
	errStrange = errors.New("the answer is not of the known form")
	errPartial = errors.New("not every entry is confirmed")
)

// parser reads answers. It takes only what is plain. A null, a name written with escapes, a member twice, or text that
// is not UTF-8 is strange, and the SDK's parser decides. Names match exactly, as they do for the SDK; a member that was
// not asked for is passed over.
type parser struct {
	input   bytes.Buffer
	decoder jsontext.Decoder
	text    []byte // of the message that is being read
}

// begin turns to an answer. Where a name may come twice, the decoder need not remember names.
func (p *parser) begin(answer []byte, twice bool) {
	p.input = *bytes.NewBuffer(answer) // which the decoder reads without a copy
	p.decoder.Reset(&p.input, jsontext.AllowDuplicateNames(twice))
}

// forget lets go of the answer.
func (p *parser) forget() { p.begin(nil, true) }

// received reads the answer to a receive. damaged counts the bodies that do not match their MD5.
func (p *parser) received(answer []byte) (messages []Message, damaged int, err error) {
	p.begin(answer, true)
	seen := false
	err = p.object(func(name []byte) error {
		if string(name) != `"Messages"` {
			return p.decoder.SkipValue()
		}
		if seen {
			return errStrange
		}
		seen = true
		if p.decoder.PeekKind() == jsontext.KindNull {
			return p.decoder.SkipValue()
		}
		return p.array(func() error {
			m, fit, err := p.message()
			switch {
			case err != nil:
				return err
			case m.ID == "" || m.Handle == "":
				return errStrange
			case !fit:
				damaged++
				return nil
			}
			if messages == nil {
				messages = make([]Message, 0, MaxEntries)
			}
			messages = append(messages, m)
			return nil
		})
	})
	if err != nil || !p.ended() {
		return nil, 0, errStrange
	}
	return messages, damaged, nil
}

// span is a part of parser.text.
type span struct {
	seen     bool // the member has come
	from, to int
}

// message reads one message. fit reports that its body matches its MD5, or that there is none.
func (p *parser) message() (m Message, fit bool, err error) {
	var id, handle, digest span
	hasAttributes := false
	p.text = p.text[:0]
	err = p.object(func(name []byte) error {
		switch string(name) {
		case `"MessageId"`:
			return p.member(&id)
		case `"ReceiptHandle"`:
			return p.member(&handle)
		case `"MD5OfBody"`:
			return p.member(&digest)
		case `"Body"`:
			if m.Body != nil {
				return errStrange
			}
			value, err := p.rawString()
			if err != nil {
				return err
			}
			// A body of its own: a message is held longer than its neighbours.
			m.Body, err = jsontext.AppendUnquote(make([]byte, 0, len(value)), value)
			return err
		case `"Attributes"`:
			if hasAttributes {
				return errStrange
			}
			hasAttributes = true
			return p.attributes(&m)
		}
		return p.decoder.SkipValue()
	})
	if err != nil {
		return m, false, err
	}
	if m.Body == nil {
		m.Body = []byte{}
	}
	// One string for both: they are held and let go together.
	text := string(p.text)
	m.ID, m.Handle = text[id.from:id.to], text[handle.from:handle.to]
	return m, !digest.seen || isDigest(text[digest.from:digest.to], m.Body), nil
}

// isDigest compares SQS's MD5 of a body: against damage on the way, not against anybody.
func isDigest(text string, body []byte) bool {
	sum := md5.Sum(body)
	var want [2 * md5.Size]byte
	hex.Encode(want[:], sum[:])
	return text == string(want[:])
}

// member reads a string that must not have come before.
func (p *parser) member(s *span) error {
	if s.seen {
		return errStrange
	}
	s.seen = true
	value, err := p.rawString()
	if err != nil {
		return err
	}
	s.from = len(p.text)
	p.text, err = jsontext.AppendUnquote(p.text, value)
	s.to = len(p.text)
	return err
}

func (p *parser) attributes(m *Message) error {
	return p.object(func(name []byte) error {
		sent := string(name) == `"SentTimestamp"`
		if !sent && string(name) != `"ApproximateReceiveCount"` {
			return p.decoder.SkipValue()
		}
		value, err := p.rawString()
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(value[1:len(value)-1]), 10, 64)
		switch {
		case err != nil:
			return errStrange
		case sent:
			m.Sent = time.UnixMilli(n).UTC()
		default:
			m.Receives = int(n)
		}
		return nil
	})
}

// deleted reads the answer to a batch of n deletes. Entries are named by their index, and come in any order. It errs on
// the side of "not deleted": what is deleted once more does no harm, and what stays comes back as a duplicate.
func (p *parser) deleted(answer []byte, n int) error {
	p.begin(answer, false)
	confirmed, refused := 0, false
	err := p.object(func(name []byte) error {
		switch string(name) {
		case `"Failed"`:
			if p.decoder.PeekKind() == jsontext.KindNull {
				return p.decoder.SkipValue()
			}
			return p.array(func() error {
				refused = true
				return p.decoder.SkipValue()
			})
		case `"Successful"`:
			return p.array(func() error {
				return p.object(func(name []byte) error {
					if string(name) != `"Id"` {
						return p.decoder.SkipValue()
					}
					value, err := p.rawString()
					if err != nil {
						return err
					}
					if len(value) != len(`"0"`) || value[1] < '0' || int(value[1]-'0') >= n {
						return errStrange
					}
					confirmed |= 1 << (value[1] - '0')
					return nil
				})
			})
		}
		return p.decoder.SkipValue()
	})
	switch {
	case err != nil || !p.ended():
		return errStrange
	case refused || confirmed != 1<<n-1:
		return errPartial
	}
	return nil
}

// rawString reads a string as it is written, quotes and escapes with it. It is good until the next read.
func (p *parser) rawString() (jsontext.Value, error) {
	value, err := p.decoder.ReadValue()
	if err == nil && value.Kind() != jsontext.KindString {
		err = errStrange
	}
	return value, err
}

// object reads an object. f is given each member's name, as it is written and good until f reads, and reads the value.
func (p *parser) object(f func(name []byte) error) error {
	if err := p.open(jsontext.KindBeginObject); err != nil {
		return err
	}
	for p.decoder.PeekKind() != jsontext.KindEndObject {
		name, err := p.rawString()
		if err != nil {
			return err
		}
		if bytes.IndexByte(name, '\\') >= 0 {
			return errStrange
		}
		if err := f(name); err != nil {
			return err
		}
	}
	_, err := p.decoder.ReadToken()
	return err
}

// array reads an array. f reads each element.
func (p *parser) array(f func() error) error {
	if err := p.open(jsontext.KindBeginArray); err != nil {
		return err
	}
	for p.decoder.PeekKind() != jsontext.KindEndArray {
		if err := f(); err != nil {
			return err
		}
	}
	_, err := p.decoder.ReadToken()
	return err
}

func (p *parser) open(kind jsontext.Kind) error {
	token, err := p.decoder.ReadToken()
	if err == nil && token.Kind() != kind {
		err = errStrange
	}
	return err
}

// ended reports that nothing follows.
func (p *parser) ended() bool {
	_, err := p.decoder.ReadToken()
	return err == io.EOF
}
