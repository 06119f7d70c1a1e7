package kek

import (
	"context"
	"slices"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/middleware"
)

// Call is an attempt of a call to KMS that KMS did not refuse. KMS's own log names it by the same request id.
type Call struct {
	Operation string // Decrypt, as KMS names it
	Binding   Binding
	RequestID string // empty: no answer came, so KMS may or may not have done it
}

// Journal keeps the calls that were made to KMS under a context, each attempt of them: the SDK tries again by itself.
// It is safe for concurrent use.
type Journal struct {
	mu    sync.Mutex
	calls []Call
}

// Calls are the calls until now, in the order in which they ended.
func (j *Journal) Calls() []Call {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.calls)
}

type journalKey struct{}

// WithJournal makes a context whose calls to KMS are kept. A key file makes none.
func WithJournal(ctx context.Context) (context.Context, *Journal) {
	j := &Journal{}
	return context.WithValue(ctx, journalKey{}, j), j
}

// journalled notes each attempt of one operation in the journal of ctx, if there is one.
func journalled(ctx context.Context, operation string, b Binding) func(*kms.Options) {
	j, _ := ctx.Value(journalKey{}).(*Journal)
	return func(o *kms.Options) {
		if j == nil {
			return
		}
		// Steps of kind Deserialize run once an attempt, inside the SDK's retries.
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("cloakroom.Journal", func(
				ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
			) (middleware.DeserializeOutput, middleware.Metadata, error) {
				out, metadata, err := next.HandleDeserialize(ctx, in)
				id, _ := awsmiddleware.GetRequestIDMetadata(metadata)
				if err == nil || id == "" {
					j.mu.Lock()
					j.calls = append(j.calls, Call{Operation: operation, Binding: b, RequestID: id})
					j.mu.Unlock()
				}
				return out, metadata, err
			}), middleware.Before)
		})
	}
}
