package kmsserver_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"cloakroom/internal/sandbox/kmsserver"
)

func Example() {
	roles := kmsserver.Roles()
	srv := kmsserver.New(kmsserver.Config{Policies: map[string]kmsserver.Policy{
		"AKIDINGEST":  roles["ingest"],
		"AKIDAUDITOR": roles["auditor"],
	}})
	if err := srv.Start(); err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	as := func(accessKey string) *kms.Client {
		return kms.New(kms.Options{
			Region:       "us-east-1",
			BaseEndpoint: aws.String(srv.URL()),
			Credentials:  credentials.NewStaticCredentialsProvider(accessKey, "a secret of 16 and more", ""),
		})
	}

	ctx, purpose := context.Background(), map[string]string{"purpose": "seal"}
	key, err := as("AKIDINGEST").GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: aws.String(kmsserver.DefaultAlias), KeySpec: types.DataKeySpecAes256, EncryptionContext: purpose,
	})
	if err != nil {
		log.Fatal(err)
	}
	unwrap := &kms.DecryptInput{CiphertextBlob: key.CiphertextBlob, EncryptionContext: purpose}
	_, _ = as("AKIDINGEST").Decrypt(ctx, unwrap) // refused: ingest seals and cannot open
	_, _ = as("AKIDAUDITOR").Decrypt(ctx, unwrap)

	for _, call := range srv.Calls() {
		fmt.Println(call.Op, call.AccessKey, call.Context["purpose"], call.Outcome)
	}
	// Output:
	// GenerateDataKey AKIDINGEST seal ok
	// Decrypt AKIDINGEST seal AccessDeniedException
	// Decrypt AKIDAUDITOR seal ok
}
