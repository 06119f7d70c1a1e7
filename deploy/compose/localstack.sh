#!/bin/sh
# LocalStack runs this when it is ready: the queue with its dead-letter queue, and the KMS key behind alias/cloakroom.
# LocalStack forgets queues and keys when it stops. The key's id and bytes are kept on its volume and given back to it, so
# that what was wrapped yesterday unwraps today. Only a fake takes a key's bytes from outside.
set -eu
aws=${AWSLOCAL:-awslocal}
state=${STATE:-/var/lib/localstack/cloakroom}

if [ ! -s "$state/key" ]; then
    mkdir -p "$state"
    chmod 0700 "$state"
    cat /proc/sys/kernel/random/uuid >"$state/id"
    head -c 32 /dev/urandom | base64 >"$state/key.new"
    mv "$state/key.new" "$state/key"
fi

dead=$($aws sqs create-queue --queue-name login-queue-dead --output text --query QueueUrl \
    --attributes MessageRetentionPeriod=1209600)
arn=$($aws sqs get-queue-attributes --queue-url "$dead" --attribute-names QueueArn --output text --query Attributes.QueueArn)
$aws sqs create-queue --queue-name login-queue --output text --query QueueUrl --attributes \
    "{\"VisibilityTimeout\":\"30\",\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":\\\"$arn\\\",\\\"maxReceiveCount\\\":\\\"5\\\"}\"}"

key=$($aws kms create-key --description cloakroom --output text --query KeyMetadata.KeyId --tags \
    "TagKey=_custom_id_,TagValue=$(cat "$state/id")" "TagKey=_custom_key_material_,TagValue=$(cat "$state/key")")
# Last: the health check asks for it.
$aws kms create-alias --alias-name alias/cloakroom --target-key-id "$key"
