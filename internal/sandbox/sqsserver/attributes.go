package sqsserver

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// attributes of a queue that can be set.
type attributes struct {
	visibility int // seconds
	delay      int // seconds
	wait       int // seconds
	maxSize    int // bytes
	retention  int // seconds; told, not enforced
	redrive    *redrive
	stored     map[string]string // kept and told, without effect
}

func defaultAttributes() attributes {
	a := attributes{stored: map[string]string{"SqsManagedSseEnabled": "true"}}
	for _, n := range numbers {
		*n.field(&a) = n.initial
	}
	return a
}

// numbers are the attributes that are whole numbers in a range.
var numbers = map[string]struct {
	least, most, initial int
	field                func(*attributes) *int
}{
	"VisibilityTimeout":             {0, maxVisibility, 30, func(a *attributes) *int { return &a.visibility }},
	"DelaySeconds":                  {0, 900, 0, func(a *attributes) *int { return &a.delay }},
	"ReceiveMessageWaitTimeSeconds": {0, 20, 0, func(a *attributes) *int { return &a.wait }},
	"MaximumMessageSize":            {1024, 1 << 20, 1 << 20, func(a *attributes) *int { return &a.maxSize }},
	"MessageRetentionPeriod": {
		60,
		14 * 24 * 60 * 60,
		4 * 24 * 60 * 60,
		func(a *attributes) *int { return &a.retention },
	},
}

// storedNames are attributes that are kept and told, without effect.
var storedNames = map[string]bool{
	"Policy": true, "RedriveAllowPolicy": true,
	"KmsMasterKeyId": true, "KmsDataKeyReusePeriodSeconds": true, "SqsManagedSseEnabled": true,
}

// with returns a copy of a in which values are set. known says whether a dead-letter queue's ARN is of this server.
func (a attributes) with(values map[string]string, known func(arn string) bool) (attributes, error) {
	a.stored = maps.Clone(a.stored)
	for name, value := range values {
		if n, ok := numbers[name]; ok {
			v, err := strconv.Atoi(value)
			if err != nil || v < n.least || v > n.most {
				return a, ErrInvalidAttributeValue.Because("Invalid value for the parameter " + name + ".")
			}
			*n.field(&a) = v
			continue
		}
		switch {
		case name == "RedrivePolicy":
			r, err := parseRedrive(value, known)
			if err != nil {
				return a, err
			}
			a.redrive = r
		case storedNames[name]:
			a.stored[name] = value
		case strings.Contains(name, "Fifo") || name == "ContentBasedDeduplication" || name == "DeduplicationScope":
			return a, errFIFO
		default:
			return a, ErrInvalidAttributeName.Because("Unknown Attribute " + name + ".")
		}
	}
	return a, nil
}

var errFIFO = ErrUnsupportedOperation.Because("This fake of SQS has only standard queues, no FIFO queues.")

// told are all attributes of the queue, as GetQueueAttributes answers them. The caller holds the lock.
func (q *queue) told() map[string]string {
	a := &q.attributes
	all := maps.Clone(a.stored)
	for name, n := range numbers {
		all[name] = strconv.Itoa(*n.field(a))
	}
	if a.redrive != nil {
		all["RedrivePolicy"] = a.redrive.String()
	}
	q.promote()
	all["QueueArn"] = q.arn
	all["CreatedTimestamp"] = fmt.Sprint(q.created.Unix())
	all["LastModifiedTimestamp"] = fmt.Sprint(q.created.Unix()) // attributes are set when a queue is made, and stay
	all["ApproximateNumberOfMessages"] = strconv.Itoa(q.counts[ready])
	all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(q.counts[inFlight])
	all["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(q.counts[delayed])
	return all
}
