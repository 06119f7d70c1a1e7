package dataset

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is jsontext's own limit on nesting.
const maxDepth = 10_000

func isEnd(err error) bool { return err == io.EOF } //nolint:errorlint // jsontext returns it bare, and each event asks

// classify says why a body could not be read as JSON. It runs on bad bodies only, so it may read them again.
func classify(body []byte, err error) Reason {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return DuplicateMember
	case !utf8.Valid(body):
		return InvalidUTF8
	}
	// The library does not export its errors for a lone surrogate and for depth: find out by reading again,
	// leniently and token by token.
	lenient := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowInvalidUTF8(true),
		jsontext.AllowDuplicateNames(true))
	for {
		_, again := lenient.ReadToken()
		if again == io.EOF {
			if err == nil || errors.Is(err, io.EOF) {
				return NotJSON // a second value behind the first, or nothing at all
			}
			return InvalidUTF8
		}
		if again != nil {
			if lenient.StackDepth() >= maxDepth {
				return TooDeep
			}
			return NotJSON
		}
	}
}
