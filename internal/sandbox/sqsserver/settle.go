package sqsserver

import (
	"cloakroom/internal/sandbox/awswire"
)

// settleEntry is what deletes a received message or changes its visibility, alone or in a batch.
type settleEntry struct {
	ID                string `json:"Id"`
	ReceiptHandle     string `json:"ReceiptHandle"`
	VisibilityTimeout *int   `json:"VisibilityTimeout"`
}

type settleRequest struct {
	QueueURL string `json:"QueueUrl"`
	settleEntry
}

type settleBatchRequest struct {
	QueueURL string        `json:"QueueUrl"`
	Entries  []settleEntry `json:"Entries"`
}

func (s *Server) deleteMessage(c *awswire.Call) error { return s.settle(c, deleteOne) }

func (s *Server) changeMessageVisibility(c *awswire.Call) error { return s.settle(c, changeOne) }

func (s *Server) deleteMessageBatch(c *awswire.Call) error { return s.settleBatch(c, deleteOne) }

func (s *Server) changeMessageVisibilityBatch(c *awswire.Call) error {
	return s.settleBatch(c, changeOne)
}

func deleteOne(q *queue, h handle, _ *settleEntry) error {
	q.delete(h)
	return nil
}

func changeOne(q *queue, h handle, e *settleEntry) error {
	if e.VisibilityTimeout == nil {
		return missingParameter("VisibilityTimeout")
	}
	if err := checkVisibility(*e.VisibilityTimeout); err != nil {
		return err
	}
	return q.changeVisibility(h, e.ReceiptHandle, *e.VisibilityTimeout)
}

// settling does one thing with one received message. The caller holds the queue's lock.
type settling func(q *queue, h handle, e *settleEntry) error

func (s *Server) settle(c *awswire.Call, do settling) error {
	var in settleRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := s.queueAt(in.QueueURL)
	if err != nil {
		return err
	}
	h, err := s.handleOf(q, in.ReceiptHandle)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return ErrQueueDoesNotExist
	}
	if err := do(q, h, &in.settleEntry); err != nil {
		return err
	}
	c.EncodeEmpty()
	return nil
}

func (s *Server) settleBatch(c *awswire.Call, do settling) error {
	var in settleBatchRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := s.queueAt(in.QueueURL)
	if err != nil {
		return err
	}
	ids := make([]string, 0, maxBatch)
	for i := range in.Entries {
		ids = append(ids, in.Entries[i].ID)
	}
	if err := checkBatch(ids); err != nil {
		return err
	}
	failing := s.entries.next(c.Op)
	var answer batchAnswer
	var list []byte
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return ErrQueueDoesNotExist
	}
	for i := range in.Entries {
		e := &in.Entries[i]
		err := failing.at(i)
		var h handle
		if err == nil {
			h, err = s.handleOf(q, e.ReceiptHandle)
		}
		if err == nil {
			err = do(q, h, e)
		}
		if err != nil {
			answer.fail(e.ID, err)
			continue
		}
		list = append(appendEntryID(list, e.ID), '}')
	}
	c.Out = answer.write(c.Out, list)
	return nil
}
