package sqsserver

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// CreateQueue makes a queue with these attributes, or finds one that has them already, and returns its URL.
func (s *Server) CreateQueue(name string, attributes map[string]string) (url string, err error) {
	if err := s.create(name, attributes); err != nil {
		return "", err
	}
	return s.QueueURL(name), nil
}

func (s *Server) create(name string, values map[string]string) error {
	if strings.HasSuffix(name, ".fifo") {
		return errFIFO
	}
	if !queueName.MatchString(name) {
		return ErrInvalidParameterValue.Because(
			"Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.")
	}
	a, err := defaultAttributes().with(values, s.knowsARN)
	if err != nil {
		return err
	}
	s.mu.Lock()
	q := s.queues[name]
	if q == nil {
		s.lastID++
		s.queues[name] = newQueue(name, s.arn(name), s.lastID, a, s.config.Now)
	}
	s.mu.Unlock()
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	same, err := q.attributes.with(values, s.knowsARN)
	if err != nil {
		return err
	}
	if !same.equal(&q.attributes) {
		return ErrQueueNameExists.Because(
			"A queue already exists with the same name and a different value for an attribute.")
	}
	return nil
}

func (a *attributes) equal(b *attributes) bool {
	for _, n := range numbers {
		if *n.field(a) != *n.field(b) {
			return false
		}
	}
	if (a.redrive == nil) != (b.redrive == nil) || a.redrive != nil && *a.redrive != *b.redrive {
		return false
	}
	return maps.Equal(a.stored, b.stored)
}

func (s *Server) knowsARN(arn string) bool { return s.queueByARN(arn) != nil }

// urlFor is a queue's URL at the host that the client called.
func (s *Server) urlFor(c *awswire.Call, name string) string {
	return "http://" + c.Host + "/" + s.config.Account + "/" + name
}

type urlAnswer struct {
	QueueURL string `json:"QueueUrl"`
}

func (s *Server) createQueue(c *awswire.Call) error {
	var in struct {
		QueueName  string            `json:"QueueName"`
		Attributes map[string]string `json:"Attributes"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.QueueName == "" {
		return missingParameter("QueueName")
	}
	if err := s.create(in.QueueName, in.Attributes); err != nil {
		return err
	}
	return c.Encode(urlAnswer{s.urlFor(c, in.QueueName)})
}

func (s *Server) getQueueURL(c *awswire.Call) error {
	var in struct {
		QueueName string `json:"QueueName"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	if s.queueNamed(in.QueueName) == nil {
		return ErrQueueDoesNotExist
	}
	return c.Encode(urlAnswer{s.urlFor(c, in.QueueName)})
}

// on reads a request that names a queue, and runs do under the queue's lock.
func (s *Server) on(c *awswire.Call, in any, url *string, do func(q *queue) error) error {
	if err := c.Decode(in); err != nil {
		return err
	}
	q, err := s.queueAt(*url)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return ErrQueueDoesNotExist
	}
	return do(q)
}

func (s *Server) deleteQueue(c *awswire.Call) error {
	var in urlAnswer
	if err := s.on(c, &in, &in.QueueURL, func(q *queue) error {
		q.dismiss()
		q.clear()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.queues, q.name)
		return nil
	}); err != nil {
		return err
	}
	c.EncodeEmpty()
	return nil
}

func (s *Server) getQueueAttributes(c *awswire.Call) error {
	var in struct {
		urlAnswer
		Names []string `json:"AttributeNames"`
	}
	return s.on(c, &in, &in.QueueURL, func(q *queue) error {
		all := q.told()
		chosen := map[string]string{}
		for _, name := range in.Names {
			if name == "All" {
				chosen = all
				break
			}
			value, known := all[name]
			if !known && name != "RedrivePolicy" && !storedNames[name] {
				return ErrInvalidAttributeName.Because("Unknown Attribute " + name + ".")
			}
			if known {
				chosen[name] = value
			}
		}
		return c.Encode(struct {
			Attributes map[string]string `json:"Attributes,omitempty"`
		}{chosen})
	})
}

// purgePause is how long after a purge the next one is refused.
const purgePause = time.Minute

func (s *Server) purgeQueue(c *awswire.Call) error {
	var in urlAnswer
	if err := s.on(c, &in, &in.QueueURL, func(q *queue) error {
		if q.now().Sub(q.purged) < purgePause {
			return ErrPurgeQueueInProgress.Because(fmt.Sprintf(
				"Only one PurgeQueue operation on %s is allowed every %.0f seconds.", q.name, purgePause.Seconds()))
		}
		q.clear()
		q.purged = q.now()
		return nil
	}); err != nil {
		return err
	}
	c.EncodeEmpty()
	return nil
}
