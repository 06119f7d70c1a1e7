package sqsserver

import (
	"regexp"
	"strings"
)

var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// queueAt finds the queue of a QueueUrl. The host is not looked at, so that a client may come through a proxy.
func (s *Server) queueAt(url string) (*queue, error) {
	if url == "" {
		return nil, missingParameter("QueueUrl")
	}
	rest, name, _ := cutLast(url, "/")
	if _, account, ok := cutLast(rest, "/"); ok && account == s.config.Account {
		if q := s.queueNamed(name); q != nil {
			return q, nil
		}
	}
	return nil, ErrQueueDoesNotExist
}

func (s *Server) queueNamed(name string) *queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.queues[name]
}

// queueByARN returns nil when this server has no such queue.
func (s *Server) queueByARN(arn string) *queue {
	name, ok := strings.CutPrefix(arn, s.arn(""))
	if !ok {
		return nil
	}
	return s.queueNamed(name)
}

func (s *Server) arn(name string) string {
	return "arn:aws:sqs:" + s.config.Region + ":" + s.config.Account + ":" + name
}

// handleOf reads a receipt handle that must be of a queue.
func (s *Server) handleOf(q *queue, text string) (handle, error) {
	if text == "" {
		return handle{}, missingParameter("ReceiptHandle")
	}
	h, ok := s.handles.parse(text)
	if !ok || h.queue != q.id {
		return handle{}, ErrReceiptHandleIsInvalid
	}
	return h, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
