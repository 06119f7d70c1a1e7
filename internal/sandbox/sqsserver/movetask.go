package sqsserver

import (
	"cloakroom/internal/sandbox/awswire"
)

// moveTask is a message move task that is over.
type moveTask struct {
	Handle      string `json:"TaskHandle,omitempty"`
	Status      string `json:"Status"`
	SourceArn   string `json:"SourceArn"`
	Destination string `json:"DestinationArn,omitempty"`
	Rate        int    `json:"MaxNumberOfMessagesPerSecond,omitempty"`
	Moved       int    `json:"ApproximateNumberOfMessagesMoved"`
	ToMove      int    `json:"ApproximateNumberOfMessagesToMove"`
	Started     int64  `json:"StartedTimestamp"`
}

// startMessageMoveTask moves the visible messages of a dead-letter queue to a destination, or back to where each came
// from, and is done before it answers, whatever rate was asked for. As at AWS a moved message is a new one: new id,
// new SentTimestamp, no receives.
func (s *Server) startMessageMoveTask(c *awswire.Call) error {
	var in struct {
		Source      string `json:"SourceArn"`
		Destination string `json:"DestinationArn"`
		Rate        *int   `json:"MaxNumberOfMessagesPerSecond"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.Source == "" {
		return missingParameter("SourceArn")
	}
	from := s.queueByARN(in.Source)
	if from == nil {
		return ErrResourceNotFound.Because("The resource that you specified for the SourceArn parameter doesn't exist.")
	}
	if len(s.sources(in.Source)) == 0 {
		return badParameter("SourceArn", in.Source, "Source queue must be configured as a Dead Letter Queue.")
	}
	if in.Destination != "" && s.queueByARN(in.Destination) == nil {
		return ErrResourceNotFound.Because("The resource that you specified for the DestinationArn parameter doesn't exist.")
	}
	if r := valueOr(in.Rate, 1); r < 1 || r > 500 {
		return badParameter("MaxNumberOfMessagesPerSecond", r, "Must be between 1 and 500.")
	}
	task := moveTask{
		Handle: awswire.NewID().String(), Status: "COMPLETED", SourceArn: in.Source, Destination: in.Destination,
		Rate: valueOr(in.Rate, 0), Started: c.Start.UnixMilli(),
	}
	taken := from.takeVisible()
	task.ToMove = len(taken)
	var stuck []message
	for _, m := range taken {
		if !s.moveBack(m, in.Destination) {
			stuck = append(stuck, m)
			continue
		}
		task.Moved++
	}
	if len(stuck) > 0 {
		task.Status = "FAILED"
		from.putBack(stuck)
	}
	s.mu.Lock()
	s.tasks = append(s.tasks, task)
	s.mu.Unlock()
	return c.Encode(struct {
		TaskHandle string `json:"TaskHandle"`
	}{task.Handle})
}

// moveBack sends a dead letter anew; false when it is not known where to.
func (s *Server) moveBack(m message, destination string) bool {
	if destination == "" && m.rare != nil {
		destination = m.rare.source
	}
	to := s.queueByARN(destination)
	if to == nil {
		return false
	}
	anew := message{id: awswire.NewID(), md5: m.md5, body: m.body, sender: m.sender, sent: to.millis()}
	if m.rare != nil && (len(m.rare.attributes) > 0 || m.rare.trace != "") {
		anew.rare = &rare{attributes: m.rare.attributes, trace: m.rare.trace}
	}
	to.putBack([]message{anew})
	return true
}

// takeVisible removes and returns the visible messages.
func (q *queue) takeVisible() []message {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.promote()
	var taken []message
	for {
		slot, m, ok := q.take()
		if !ok {
			return taken
		}
		taken = append(taken, *m)
		q.drop(slot)
	}
}

// putBack makes messages visible in q.
func (q *queue) putBack(messages []message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range messages {
		q.add(m, 0)
	}
}

func (s *Server) listMessageMoveTasks(c *awswire.Call) error {
	var in struct {
		Source string `json:"SourceArn"`
		Max    *int   `json:"MaxResults"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	if s.queueByARN(in.Source) == nil {
		return ErrResourceNotFound.Because("The resource that you specified for the SourceArn parameter doesn't exist.")
	}
	most := valueOr(in.Max, 1)
	if most < 1 || most > 10 {
		return badParameter("MaxResults", most, "Must be between 1 and 10.")
	}
	results := []moveTask{}
	s.mu.RLock()
	for i := len(s.tasks) - 1; i >= 0 && len(results) < most; i-- {
		if t := s.tasks[i]; t.SourceArn == in.Source {
			t.Handle = "" // AWS tells it of running tasks only
			results = append(results, t)
		}
	}
	s.mu.RUnlock()
	return c.Encode(struct {
		Results []moveTask `json:"Results"`
	}{results})
}
