package sqsserver

import (
	"encoding/hex"
	"fmt"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// sendEntry is a message as it is sent, alone or in a batch.
type sendEntry struct {
	ID                string               `json:"Id"`
	MessageBody       string               `json:"MessageBody"`
	DelaySeconds      *int                 `json:"DelaySeconds"`
	MessageAttributes map[string]Attribute `json:"MessageAttributes"`
	System            map[string]Attribute `json:"MessageSystemAttributes"`
	MessageGroupID    string               `json:"MessageGroupId"`
}

const maxDelay = 900

func (e *sendEntry) size() int { return len(e.MessageBody) + attributesSize(e.MessageAttributes) }

func (e *sendEntry) check(maxSize int) error {
	if e.MessageBody == "" {
		return missingParameter("MessageBody")
	}
	if e.size() > maxSize {
		return ErrInvalidParameterValue.Because(
			fmt.Sprintf("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", maxSize))
	}
	if !carried(e.MessageBody) {
		return ErrInvalidMessageContents
	}
	if d := e.DelaySeconds; d != nil && (*d < 0 || *d > maxDelay) {
		return badParameter("DelaySeconds", *d, "DelaySeconds must be >= 0 and <= 900.")
	}
	for name, a := range e.System {
		if name != "AWSTraceHeader" || a.DataType != "String" || a.StringValue == nil {
			return badParameter("MessageSystemAttributeName", name, "Only AWSTraceHeader can be sent, as a String.")
		}
	}
	return checkAttributes(e.MessageAttributes)
}

func (e *sendEntry) message(sender string, now int64) message {
	m := newMessage(Message{Body: e.MessageBody, Sender: sender, Attributes: e.MessageAttributes}, now)
	if trace, ok := e.System["AWSTraceHeader"]; ok {
		if m.rare == nil {
			m.rare = new(rare)
		}
		m.rare.trace = *trace.StringValue
	}
	return m
}

// send puts an entry in. The caller holds the queue's lock.
func (q *queue) send(m message, delaySeconds *int) {
	q.add(m, time.Duration(valueOr(delaySeconds, q.attributes.delay))*time.Second)
}

// appendSent appends the members that tell what was sent, with a comma before each.
func (e *sendEntry) appendSent(out []byte, m *message) []byte {
	out = append(out, `,"MessageId":"`...)
	out = appendUUID(out, m.id)
	out = append(out, `","MD5OfMessageBody":"`...)
	out = hex.AppendEncode(out, m.md5[:])
	out = append(out, '"')
	if len(e.MessageAttributes) > 0 {
		out = append(out, `,"MD5OfMessageAttributes":"`+attributesMD5(e.MessageAttributes)+`"`...)
	}
	if len(e.System) > 0 {
		out = append(out, `,"MD5OfMessageSystemAttributes":"`+attributesMD5(e.System)+`"`...)
	}
	return out
}

func (s *Server) sendMessage(c *awswire.Call) error {
	var in struct {
		QueueURL string `json:"QueueUrl"`
		sendEntry
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := s.queueAt(in.QueueURL)
	if err != nil {
		return err
	}
	m := in.message(c.AccessKey, q.millis())
	if err := q.sendAll(func(maxSize int) error {
		if err := in.check(maxSize); err != nil {
			return err
		}
		q.send(m, in.DelaySeconds)
		return nil
	}); err != nil {
		return err
	}
	sent := in.appendSent(nil, &m)
	sent[0] = '{'
	c.Out = append(append(c.Out, sent...), '}')
	return nil
}

// sendAll runs put under the queue's lock, unless the queue is gone.
func (q *queue) sendAll(put func(maxSize int) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return ErrQueueDoesNotExist
	}
	return put(q.attributes.maxSize)
}

// maxBatchBytes bounds the messages of one batch together.
const maxBatchBytes = 1 << 20

func (s *Server) sendMessageBatch(c *awswire.Call) error {
	var in struct {
		QueueURL string      `json:"QueueUrl"`
		Entries  []sendEntry `json:"Entries"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := s.queueAt(in.QueueURL)
	if err != nil {
		return err
	}
	ids, total := make([]string, 0, maxBatch), 0
	for i := range in.Entries {
		ids = append(ids, in.Entries[i].ID)
		total += in.Entries[i].size()
	}
	if err := checkBatch(ids); err != nil {
		return err
	}
	if total > maxBatchBytes {
		return ErrBatchRequestTooLong.Because(
			fmt.Sprintf("Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxBatchBytes, total))
	}
	var answer batchAnswer
	var list []byte
	messages := make([]message, len(in.Entries)) // hashed before the lock is taken
	for i := range in.Entries {
		messages[i] = in.Entries[i].message(c.AccessKey, q.millis())
	}
	failing := s.entries.next(c.Op)
	if err := q.sendAll(func(maxSize int) error {
		for i := range in.Entries {
			e := &in.Entries[i]
			err := failing.at(i)
			if err == nil {
				err = e.check(maxSize)
			}
			if err != nil {
				answer.fail(e.ID, err)
				continue
			}
			q.send(messages[i], e.DelaySeconds)
			list = append(e.appendSent(appendEntryID(list, e.ID), &messages[i]), '}')
		}
		return nil
	}); err != nil {
		return err
	}
	c.Out = answer.write(c.Out, list)
	return nil
}
