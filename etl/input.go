package etl

import (
	"errors"
	"fmt"

	"golang.org/x/time/rate"
)

// Input is a source, and what is known of its events before they are read.
type Input struct {
	// Name tells it from others in logs, metrics and the summary: a queue's name. It may be empty where there is one.
	Name   string
	Source Source
	// Dataset is whose its events are, where a message does not say; empty: the writer's default. With a route it is
	// whose the rejections are of events that name no dataset.
	Dataset string
	Route   Route
	Unwrap  *Unwrap // nil: each body is an event
}

// Input is a source of which events are the writer's default dataset's, or told apart by the writer's route.
func (w *Writer) Input(source Source) Input { return Input{Source: source, Route: w.route} }

// lane is one input of a run. Each has its own receivers and its own batches, so that one which is empty, away or
// slow delays no other. All share the run's protectors and loaders, which take their batches in turn.
type lane struct {
	*run
	Input
	done         Summary // of this input alone; run.mu guards it
	fetchOutages outages // of S3: another input's waiting, or the database's, is none of it
	envelopes    rate.Sometimes
}

// parcel is a batch of messages of one input.
type parcel struct {
	*lane
	messages []*Message
}

// count changes the run's counts, and the input's alike.
func (l *lane) count(add func(*Summary)) {
	l.run.mu.Lock()
	defer l.run.mu.Unlock()
	add(&l.summary)
	add(&l.done)
}

// named adds the input's name to an error, where there are several.
func (l *lane) named(err error) error {
	if err == nil || l.Name == "" || len(l.lanes) == 1 {
		return err
	}
	return fmt.Errorf("%s: %w", l.Name, err)
}

// checkInputs refuses an input whose dataset the writer does not write.
func (w *Writer) checkInputs(inputs []Input) error {
	if len(inputs) == 0 {
		return errors.New("there is nothing to read from")
	}
	for i := range inputs {
		if name := inputs[i].Dataset; name != "" && w.current().find(name) == nil {
			return fmt.Errorf("%s: this vault has no dataset %s, or the writer does not write it", inputs[i].Name, name)
		}
		if u := inputs[i].Unwrap; u != nil && len(u.Buckets) > 0 && u.Objects == nil {
			return fmt.Errorf("%s: there are buckets, and nothing to read them with", inputs[i].Name)
		}
	}
	return nil
}
