package sqsserver_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

func Example() {
	srv := sqsserver.New(sqsserver.Config{})
	if err := srv.Start(); err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	url, err := srv.CreateQueue("login-queue", map[string]string{"VisibilityTimeout": "60"})
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.New(sqs.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(srv.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider("ingest", "a secret of 16 and more", ""),
	})

	// The answer to the first send is lost, and the SDK sends again.
	srv.Inject(awswire.Fault{Op: "SendMessage", Times: 1, Drop: true, After: true})
	if _, err := client.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("{}")}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", srv.Counts("login-queue"))
	for _, call := range srv.Calls() {
		fmt.Println(call.Op, call.AccessKey, call.Outcome)
	}
	// Output:
	// {Visible:2 InFlight:0 Delayed:0}
	// SendMessage ingest dropped
	// SendMessage ingest ok
}
