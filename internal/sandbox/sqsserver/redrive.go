package sqsserver

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// redrive is a queue's redrive policy: where a message goes that was received maxReceives times and not deleted.
type redrive struct {
	target      string // ARN of the dead-letter queue
	maxReceives int
}

func (r *redrive) String() string {
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, r.target, r.maxReceives)
}

// parseRedrive reads a RedrivePolicy; an empty one takes the policy away.
func parseRedrive(text string, known func(arn string) bool) (*redrive, error) {
	if text == "" {
		return nil, nil
	}
	var p struct {
		DeadLetterTargetArn string          `json:"deadLetterTargetArn"`
		MaxReceiveCount     json.RawMessage `json:"maxReceiveCount"` // AWS takes 5 and "5"
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, ErrInvalidAttributeValue.Because("RedrivePolicy is not valid JSON.")
	}
	most, err := strconv.Atoi(strings.Trim(string(p.MaxReceiveCount), `"`))
	if err != nil || most < 1 || most > 1000 {
		return nil, badParameter("RedrivePolicy", text, "maxReceiveCount must be between 1 and 1000.")
	}
	if !known(p.DeadLetterTargetArn) {
		return nil, badParameter("RedrivePolicy", text, "Dead letter target does not exist.")
	}
	return &redrive{target: p.DeadLetterTargetArn, maxReceives: most}, nil
}

// grave is the queue's dead-letter queue and how many receives lead there. The caller holds the lock.
func (q *queue) grave(find func(arn string) *queue) (*queue, int) {
	if r := q.attributes.redrive; r != nil {
		if to := find(r.target); to != nil {
			return to, r.maxReceives
		}
	}
	return nil, math.MaxInt
}

// bury puts in the dead letters of another queue. They keep their ids and times; their receives count from 0 again.
func (q *queue) bury(dead []message, source string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range dead {
		kept := rare{source: source}
		if m.rare != nil {
			kept = *m.rare
			kept.source = source
		}
		q.add(message{id: m.id, md5: m.md5, body: m.body, sender: m.sender, sent: m.sent, rare: &kept}, 0)
	}
}
