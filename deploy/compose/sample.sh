#!/bin/sh
# Sends the sample logins, ten a call.
set -eu
aws=${AWSLOCAL:-awslocal}
dir=${SAMPLE:-/compose/sample}

queue=$($aws sqs get-queue-url --queue-name login-queue --output text --query QueueUrl)
for batch in "$dir"/*.json; do
    $aws sqs send-message-batch --queue-url "$queue" --entries "file://$batch" --output text --query 'length(Successful)'
done
