package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// What an error can be about. The first three are the object's; of the others Outage reports true.
var (
	ErrNotFound = errors.New("there is no such object")
	ErrChanged  = errors.New("the object was overwritten")
	ErrArchived = errors.New("the object is archived and must be restored first")

	ErrNoBucket    = errors.New("there is no such bucket")
	ErrDenied      = errors.New("S3 refuses the call")
	ErrUnavailable = errors.New("S3 is not available")
)

// Outage reports an error that is the service's or the configuration's, not the object's: what was to be read may be
// there, and is to be tried again.
func Outage(err error) bool {
	return errors.Is(err, ErrNoBucket) || errors.Is(err, ErrDenied) || errors.Is(err, ErrUnavailable)
}

// codes sorts S3's error codes. Those that are not listed are sorted by their status: from 500 on, and 429, the service
// is not available; 403 is a refusal; 404 an object that is not there.
var codes = map[string]error{
	"NoSuchKey": ErrNotFound, "NoSuchVersion": ErrNotFound,
	// The version is a delete marker.
	"MethodNotAllowed": ErrNotFound,
	// A key or a version that no object can have.
	"InvalidArgument": ErrNotFound, "KeyTooLongError": ErrNotFound, "InvalidURI": ErrNotFound,

	"PreconditionFailed": ErrChanged,
	"InvalidObjectState": ErrArchived,
	"NoSuchBucket":       ErrNoBucket,

	"AccessDenied": ErrDenied, "AllAccessDisabled": ErrDenied, "AccountProblem": ErrDenied,
	"ExpiredToken": ErrDenied, "InvalidToken": ErrDenied, "TokenRefreshRequired": ErrDenied,
	"InvalidAccessKeyId": ErrDenied, "SignatureDoesNotMatch": ErrDenied, "RequestTimeTooSkewed": ErrDenied,
	// A bucket of another region.
	"PermanentRedirect": ErrDenied, "AuthorizationHeaderMalformed": ErrDenied,
	"IllegalLocationConstraintException": ErrDenied,
}

// explain says what failed, of which sort it is, and what to do about it. ctx is the call's: how it ended says whether
// the caller or the clock ended it. The SDK's own text, and S3's, are left out: they quote the key.
func explain(doing, action string, ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return unreached(doing, ctx, err)
	}
	code, status := api.ErrorCode(), 0
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	sort := sortOf(code, status)
	if hint := hintOf(sort, code, action); hint != "" {
		return fmt.Errorf("%s: %w: %s: %s", doing, sort, code, hint)
	}
	return fmt.Errorf("%s: %w: %s", doing, sort, code)
}

func sortOf(code string, status int) error {
	if sort, ok := codes[code]; ok {
		return sort
	}
	switch {
	case strings.HasPrefix(code, "KMS."), status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusPreconditionFailed:
		return ErrChanged
	}
	return ErrUnavailable
}

// hintOf is what to do about an error that is a setting's fault.
func hintOf(sort error, code, action string) string {
	switch {
	case errors.Is(sort, ErrNoBucket):
		return "check the bucket's name and AWS_REGION"
	case code == "AccessDenied":
		return "allow " + action + " (deploy/iam has the policy), and kms:Decrypt if the bucket is encrypted with a " +
			"key of your own"
	case strings.HasPrefix(code, "KMS."):
		return "look at the KMS key that the object is encrypted with"
	case code == "PermanentRedirect", code == "AuthorizationHeaderMalformed",
		code == "IllegalLocationConstraintException":
		return "the bucket is in another region: set AWS_REGION"
	case errors.Is(sort, ErrDenied):
		return "check the AWS credentials, and the host's clock"
	}
	return ""
}

// unreached explains a call without an answer of S3's. Of other packages' errors only context.Canceled can be
// unwrapped: a network error of S3 must not pass for one of the database.
func unreached(doing string, ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if ctx.Err() != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	}
	const check = "check AWS_ENDPOINT_URL_S3 and the network"
	var dns *net.DNSError
	var op *net.OpError
	var response *smithyhttp.ResponseError
	switch {
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w: no answer within %v: %s", doing, ErrUnavailable, callTimeout, check)
	case errors.As(err, &response) && response.HTTPStatusCode() > 0:
		status := response.HTTPStatusCode()
		return fmt.Errorf("%s: %w: HTTP status %d", doing, sortOf("", status), status)
	case errors.As(err, &dns):
		return fmt.Errorf("%s: %w: there is no host %s: %s", doing, ErrUnavailable, dns.Name, check)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w: %v: %s", doing, ErrUnavailable, op, check)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%s: %w: the connection was cut", doing, ErrUnavailable)
	case strings.Contains(err.Error(), "credentials"):
		return fmt.Errorf("%s: %w: there are no AWS credentials to sign with: set AWS_PROFILE, AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, or give the host a role", doing, ErrDenied)
	}
	return fmt.Errorf("%s: %w: the call failed: %s", doing, ErrUnavailable, check)
}
