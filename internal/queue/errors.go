package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// explain says what failed and what to do about it, without the SDK's own preamble. Only
// context.Canceled can be unwrapped: a network error of the queue must not pass for one of the
// database.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	var missing *types.QueueDoesNotExist
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	case errors.As(err, &missing):
		return fmt.Errorf("%s: the queue does not exist: check the queue's URL (--queue-url, --queue) and AWS_REGION",
			doing)
	case errors.As(err, &api):
		return fmt.Errorf("%s: %s%s", doing, said(api), hint(api.ErrorCode()))
	case errors.As(err, &response) && response.HTTPStatusCode() > 0:
		return fmt.Errorf("%s: the server at the queue's URL answers with HTTP status %d, not as SQS does: check it",
			doing, response.HTTPStatusCode())
	}
	if reason := unreachable(err); reason != "" {
		return fmt.Errorf("%s: the queue cannot be reached: %s: "+
			"check the queue's URL (--queue-url, --queue), AWS_ENDPOINT_URL_SQS and the network",
			doing, reason)
	}
	if text := err.Error(); strings.Contains(text, "credentials") {
		return fmt.Errorf("%s: there are no AWS credentials to sign with: set AWS_PROFILE, AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, or give the host a role: %s", doing, last(text))
	}
	return fmt.Errorf("%s: %s", doing, last(err.Error()))
}

func said(err smithy.APIError) string {
	if err.ErrorMessage() == "" {
		return err.ErrorCode()
	}
	return err.ErrorCode() + ": " + err.ErrorMessage()
}

// hint is what to do about SQS's error codes that are a setting's fault.
func hint(code string) string {
	switch code {
	case "AccessDenied", "AccessDeniedException":
		return " (the credentials may not do this: deploy/iam has the policy)"
	case "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId",
		"InvalidSecurity",
		"ExpiredToken", "ExpiredTokenException":
		return " (check the AWS credentials, and the host's clock)"
	case "InvalidAddress", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue":
		return " (check the queue's URL (--queue-url, --queue) and AWS_REGION)"
	}
	return ""
}

// unreachable says why a server was not reached; empty if it was.
func unreachable(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var request *url.Error
	switch {
	case errors.As(err, &dns):
		return "there is no host " + dns.Name
	case errors.As(err, &op):
		return op.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return ""
}

// last is the innermost part of an error text of the SDK: what went wrong, after what it was doing.
func last(text string) string {
	parts := strings.Split(text, ", ")
	return parts[len(parts)-1]
}
