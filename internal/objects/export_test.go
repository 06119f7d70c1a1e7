package objects

import "time"

// SetCallTimeout shortens the calls' timeout; the result puts it back.
func SetCallTimeout(d time.Duration) func() {
	before := callTimeout
	callTimeout = d
	return func() { callTimeout = before }
}
