// Package unwrap takes an event out of the envelopes in which AWS delivers it: bytes in, bytes out. It calls nothing.
//
// What it promises:
//
//   - A layer is opened only if it was declared, or, under Auto, if the whole signature of an envelope stands at the
//     body's top and no member does that the dataset requires: an event that looks like an envelope stays an event.
//   - Nothing grows beyond Config.MaxBody. What is compressed is cut while it is unpacked: 256 MiB fit into 261 kB.
//   - There are at most MaxLayers layers.
//   - Of an envelope its id, its time and one message attribute are read, and nothing else is believed: no URL is
//     fetched, and no signature checked. Who may send is for the queue's policy to say.
package unwrap

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// Kind is what a body is wrapped in.
type Kind string

// The kinds. S3 alone may be missing from a body: the extended client libraries put a body into S3 only if it is large.
const (
	SNS         Kind = "sns"         // a notification of SNS without raw delivery
	EventBridge Kind = "eventbridge" // an event of EventBridge, of which detail is ours
	S3          Kind = "s3"          // a pointer of the SQS extended client libraries into S3, or the body itself
	GzipBase64  Kind = "gzip+base64"
	Base64      Kind = "base64"
	JSON        Kind = "json" // a JSON string that holds JSON
	Auto        Kind = "auto" // any of these, as far as signatures show
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{SNS, EventBridge, S3, GzipBase64, Base64, JSON, Auto} }

// MaxLayers is how many envelopes may stand in each other.
const MaxLayers = 4

// ParseLayers reads kinds with commas between them, from the outermost in. Auto may only be the last.
func ParseLayers(text string) ([]Kind, error) {
	var layers []Kind
	for name := range strings.SplitSeq(text, ",") {
		kind := Kind(strings.TrimSpace(name))
		switch {
		case !slices.Contains(Kinds(), kind):
			return nil, fmt.Errorf("want %s, with commas between those that stand in each other", join(Kinds(), ", "))
		case slices.Contains(layers, Auto):
			return nil, errors.New("auto may only be the last: it takes all that is inside")
		}
		layers = append(layers, kind)
	}
	if len(layers) > MaxLayers {
		return nil, fmt.Errorf("want at most %d envelopes in each other", MaxLayers)
	}
	return layers, nil
}

// Format writes kinds as ParseLayers reads them.
func Format(layers []Kind) string { return join(layers, ",") }

func join(kinds []Kind, between string) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, between)
}

// Why a body was not unwrapped. The member of a rejection is the envelope's.
const (
	BadEnvelope dataset.Reason = "bad_envelope" // not the envelope that the queue's settings say
	TooLarge    dataset.Reason = "too_large"    // larger than max-body once it is unpacked
)

// Config says what bodies are wrapped in.
type Config struct {
	Layers []Kind // from the outermost in
	// MaxBody is the most that an unpacked body may have, in bytes: 1 MiB.
	MaxBody int
	// Attribute names a message attribute that is read out of an envelope of SNS; empty: none.
	Attribute string
}

// DefaultMaxBody is the most that SQS takes itself, in bytes.
const DefaultMaxBody = 1 << 20

// Guard are names of members that only an event has at its top: one of them, and Auto takes the body for an event.
type Guard map[string]bool

// GuardOf are the names at the top of a dataset's event where required members stand.
func GuardOf(d *dataset.Dataset) Guard {
	g := Guard{}
	for i := range d.Members {
		if m := &d.Members[i]; m.Required {
			g[m.Path[0]] = true
		}
	}
	return g
}

// Pointer is where a body lies in S3.
type Pointer struct{ Bucket, Key string }

// Opened is a body as far as it is unwrapped.
type Opened struct {
	// Body is the event, unless Pointer or Rejection says otherwise. It may share memory with what was opened.
	Body []byte
	// ID and Time are the envelope's own, of the innermost that has them: that is the nearest to the event. Empty and
	// zero: none has.
	ID   string
	Time time.Time
	// Attribute is the text of the message attribute that Config names.
	Attribute string
	// Pointer says that the body lies in S3: fetch it and Resume.
	Pointer   *Pointer
	Rejection dataset.Rejection

	left   []Kind // layers that are still closed
	opened int
}

// Unwrapper opens bodies of one queue. It is safe for concurrent use.
type Unwrapper struct{ Config }

// New makes an unwrapper.
func New(c Config) *Unwrapper {
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	return &Unwrapper{c}
}

// Open unwraps a body until the event, a pointer to S3, or a rejection.
func (u *Unwrapper) Open(body []byte, g Guard) Opened {
	return u.open(Opened{Body: body, left: u.Layers}, g)
}

// Resume goes on with the object that a pointer named.
func (u *Unwrapper) Resume(o Opened, object []byte, g Guard) Opened {
	o.Body, o.Pointer = object, nil
	if len(object) > u.MaxBody {
		o.Rejection = dataset.Rejection{Reason: TooLarge}
		return o
	}
	return u.open(o, g)
}

func (u *Unwrapper) open(o Opened, g Guard) Opened {
	for len(o.left) > 0 && o.Pointer == nil && o.Rejection.Reason == "" {
		kind := o.left[0]
		guessed := kind == Auto
		if !guessed {
			o.left = o.left[1:]
		} else if kind = detect(o.Body, g); kind == "" {
			break
		}
		if o.opened == MaxLayers {
			// Auto alone gets here.
			o.Rejection = dataset.Rejection{Reason: BadEnvelope}
			break
		}
		before := o
		o.opened++
		u.layer(kind, &o)
		if guessed && o.Rejection.Reason == BadEnvelope {
			// It only looked like one: it is for the event's decoder to judge.
			o = before
			break
		}
	}
	if o.Rejection.Reason == "" && o.Pointer == nil && len(o.Body) > u.MaxBody {
		o.Rejection = dataset.Rejection{Reason: TooLarge}
	}
	return o
}

// layer opens one envelope.
func (u *Unwrapper) layer(kind Kind, o *Opened) {
	switch kind {
	case SNS:
		u.sns(o)
	case EventBridge:
		u.eventBridge(o)
	case S3:
		if isPointer(o.Body) {
			o.Pointer, o.Rejection = readPointer(o.Body)
		}
	case GzipBase64:
		o.Body, o.Rejection.Reason = gunzip(o.Body, u.MaxBody)
	case Base64:
		o.Body, o.Rejection.Reason = decode(o.Body)
	case JSON:
		o.Body, o.Rejection.Reason = unquote(o.Body)
	}
}

// Suggest looks whether an event that cannot be read is an envelope, and says what to declare for it. It is for bodies
// that were rejected: nothing of it is done to an event that is in order. So a required member that envelopes have, too
// (id, time), does not hide one; what they hold the event in does, for a dataset that reads it there.
func Suggest(body []byte, g Guard) []Kind {
	u := New(Config{Layers: []Kind{Auto}})
	g = maps.Clone(g)
	for _, signature := range []map[string]jsontext.Kind{snsSignature, busSignature} {
		maps.DeleteFunc(g, func(name string, _ bool) bool {
			_, ours := signature[name]
			return ours && name != snsMessage && name != busDetail
		})
	}
	var found []Kind
	for len(found) < MaxLayers {
		kind := detect(body, g)
		if kind == "" {
			break
		}
		found = append(found, kind)
		o := Opened{Body: body}
		u.layer(kind, &o)
		if o.Pointer != nil || o.Rejection.Reason != "" {
			break
		}
		body = o.Body
	}
	return found
}
