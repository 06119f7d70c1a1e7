package queue

import (
	"context"
	"io"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// plainBody makes the SDK send bodies that cannot write themselves (io.WriterTo).
//
// net/http asks a body that it has sent whether there is more. Where the answer came first, the SDK
// has closed the body by then, and a closed body that can write itself calls that a failure
// (io.EOF, smithy-go 1.28; one that can only be read says that it has ended). net/http then cuts
// the connection, under the answer that is being read: the SDK receives again, and the ten messages
// of that answer stay invisible to everybody until their visibility timeout.
//
// It comes after the SDK has hashed the body, which takes a buffer of 32 KiB where the body cannot
// write itself.
func plainBody(stack *middleware.Stack) error {
	step := middleware.FinalizeMiddlewareFunc("PlainBody", hideWriteTo)
	return stack.Finalize.Insert(step, "Signing", middleware.After)
}

func hideWriteTo(
	ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
) (middleware.FinalizeOutput, middleware.Metadata, error) {
	if request, ok := in.Request.(*smithyhttp.Request); ok {
		if body, ok := request.GetStream().(io.ReadSeeker); ok {
			plain, err := request.SetStream(struct{ io.ReadSeeker }{body})
			if err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
			in.Request = plain
		}
	}
	return next.HandleFinalize(ctx, in)
}
