package ingestcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/etl/source"
	"cloakroom/internal/objects"
)

// lambdaVariable is set where the process was started as an AWS Lambda function.
const lambdaVariable = "AWS_LAMBDA_RUNTIME_API"

func inLambda() bool { return os.Getenv(lambdaVariable) != "" }

// function handles what an SQS event source mapping calls it with; it needs
// ReportBatchItemFailures. Lambda receives, extends and deletes: an event that could not be
// committed is a failed item, whatever the cause, and comes back.
type function struct {
	cmd      *cobra.Command
	settings *settings
	feeds    []feed
	objects  *objects.Client // nil: no queue needs it
	writer   *etl.Writer     // opened at the first call that succeeds in it
}

// serveLambda takes calls until the runtime ends the process.
func serveLambda(cmd *cobra.Command, s *settings) error {
	feeds, err := s.feeds()
	if err != nil {
		return err
	}
	store, err := openObjects(cmd.Context(), feeds)
	if err != nil {
		return err
	}
	if s.deleteObjects {
		// Lambda deletes the messages after the call, when nobody is left to delete objects.
		return errors.New("a Lambda function keeps the objects in S3: unset --s3-delete, and give the bucket a " +
			"lifecycle rule")
	}
	handler := &function{cmd: cmd, settings: s, feeds: feeds, objects: store}
	lambda.StartWithOptions(handler.handle, lambda.WithContext(cmd.Context()))
	return nil
}

// lambdaMargin is what is left of a call's time for its answer.
const lambdaMargin = 2 * time.Second

// handle never fails: an error would hand back the whole batch, with what is stored already.
func (h *function) handle(ctx context.Context, event events.SQSEvent) (events.SQSEventResponse, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-lambdaMargin))
		defer cancel()
	}
	f, err := h.feedOf(event)
	records := source.FromLambda(event, f.route)
	if err == nil {
		err = h.ingest(ctx, f, records)
	}
	if err != nil {
		slog.Error("events are handed back", "error", err)
	}
	var answer events.SQSEventResponse
	for _, m := range records.Uncommitted() {
		failed := events.SQSBatchItemFailure{ItemIdentifier: m.Handle.(string)}
		answer.BatchItemFailures = append(answer.BatchItemFailures, failed)
	}
	return answer, nil
}

// feedOf is what the settings say of the queue that a call's messages come from. All are from one queue: an event
// source mapping has one.
func (h *function) feedOf(event events.SQSEvent) (*feed, error) {
	if len(h.settings.queues) == 0 || len(event.Records) == 0 {
		return &h.feeds[0], nil
	}
	// arn:aws:sqs:REGION:ACCOUNT:NAME against …/ACCOUNT/NAME
	parts := strings.Split(event.Records[0].EventSourceARN, ":")
	if len(parts) == 6 {
		for i := range h.feeds {
			if strings.HasSuffix(h.feeds[i].url, "/"+parts[4]+"/"+parts[5]) {
				return &h.feeds[i], nil
			}
		}
	}
	return &h.feeds[0], fmt.Errorf("no --queue is that of the event source %q", event.Records[0].EventSourceARN)
}

// ingest stores what it can before ctx ends. An outage is not waited for long: Lambda calls again.
func (h *function) ingest(ctx context.Context, f *feed, records *source.SliceSource) error {
	if h.writer == nil {
		// The vault stays open as long as the process.
		w, _, _, err := h.settings.openWriter(h.cmd.Context(), h.feeds)
		if err != nil {
			return err
		}
		h.writer = w
	}
	o := h.settings.options()
	o.Receivers, o.Loaders, o.BatchDelay, o.Grace, o.MaxOutage = 1, 1, time.Millisecond, time.Millisecond, 5*time.Second
	s, err := etl.RunInputs(ctx, h.writer, h.settings.inputs([]feed{*f}, h.objects, records), o)
	if err == nil && s.Abandoned > 0 {
		err = errors.New("the call's time ran out: raise the function's timeout")
	}
	slog.Info("handled a call", "received", s.Received, "stored", s.Stored, "duplicates", s.Duplicates,
		"rejected", s.Rejected, "handed_back", s.Abandoned)
	return err
}
