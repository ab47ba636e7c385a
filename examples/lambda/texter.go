package main

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"

	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// What a text message may take.
const (
	textWithin   = 5 * time.Second
	textMaxPrice = "0.50" // US dollars
)

// texter sends codes as text messages by SNS: SENDER=sns. An email is unsupported.
type texter struct {
	client interface {
		Publish(context.Context, *sns.PublishInput, ...func(*sns.Options)) (*sns.PublishOutput, error)
	}
}

// Send sends one text message. No part of its error holds the number, which the answer of SNS may repeat.
func (t texter) Send(ctx context.Context, m service.Message) error {
	if m.Channel != otp.SMS {
		return &service.SendError{Reason: otp.Unsupported, Detail: "SNS sends text messages alone"}
	}
	ctx, cancel := context.WithTimeout(ctx, textWithin)
	defer cancel()
	out, err := t.client.Publish(ctx, &sns.PublishInput{
		PhoneNumber: &m.To, Message: &m.Text,
		// https://docs.aws.amazon.com/sns/latest/dg/sms_sending-overview.html
		MessageAttributes: map[string]types.MessageAttributeValue{
			"AWS.SNS.SMS.SMSType":  {DataType: new("String"), StringValue: new("Transactional")},
			"AWS.SNS.SMS.MaxPrice": {DataType: new("Number"), StringValue: new(textMaxPrice)},
		},
	})
	answer, ok := errors.AsType[smithy.APIError](err)
	switch {
	case ok && answer.ErrorCode() == "InvalidParameter":
		return &service.SendError{Reason: otp.Refused, Detail: "Publish was answered InvalidParameter"}
	case ok:
		return &service.SendError{Reason: otp.Unavailable, Detail: "Publish was answered " + answer.ErrorCode()}
	case err != nil:
		return &service.SendError{Reason: otp.Unavailable, Detail: "Publish was not answered"}
	case out.MessageId == nil || *out.MessageId == "":
		return &service.SendError{Reason: otp.Unavailable, Detail: "Publish was answered without a message ID"}
	}
	return nil
}
