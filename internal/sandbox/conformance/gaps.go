package conformance

// SQSGaps are the known gaps of other people's servers, by the server's name. Each was seen, not guessed; a gap closed
// in a later version shows as a failure and is then struck off.
var SQSGaps = map[string]Gaps{
	"fauxqs": { // 2.4.1
		"a batch with a bad id":                                 "takes an id of 81 characters",
		"a bogus receipt handle":                                "deletes nothing and says that it did",
		"a dead letter tells where it is from":                  "has no DeadLetterQueueSourceArn",
		"a delete batch with a bogus handle":                    "deletes nothing and says that it did",
		"a long poll that the client gives up takes no message": "goes on polling for the client that left",
		"a redrive policy that leads nowhere":                   "takes any ARN",
		"attributes out of range":                               "takes an unknown attribute when a queue is made",
		"characters beyond the BMP":                             "refuses them",
		"delay out of range":                                    "takes 901 seconds",
		"purging twice":                                         "purges as often as it is told to",
	},
	"local-aws-sqs": { // 2.0.2
		"a batch with one bad entry":                            "does not look at characters",
		"a dead letter keeps its id and its time":               "moves no message that was given back",
		"a dead letter tells where it is from":                  "moves no message that was given back",
		"a long poll that the client gives up takes no message": "goes on polling for the client that left",
		"a long poll wakes when a message comes":                "waits for its whole time",
		"attributes out of range":                               "answers InvalidParameterValue",
		"characters that SQS does not carry":                    "does not look at characters",
		"counts":                                                "counts a delayed message as visible too",
		"deleting after the visibility timeout":                 "gives a message again and again within one long poll",
		"deleting with the handle of an earlier receive":        "gives a message again and again within one long poll",
		"only the system attributes asked for":                  "ignores MessageSystemAttributeNames",
		"purge":                                                 "purges later, as AWS may, which takes up to a minute",
		"system attributes":                                     "ignores MessageSystemAttributeNames",
		"visibility made longer":                                "gives a message again and again within one long poll",
		"visibility of a message that is not in flight":         "changes it anyway",
		"visibility timeout of a receive":                       "gives a message again and again within one long poll",
		"visibility timeout of the queue":                       "gives a message again and again within one long poll",
	},
}
