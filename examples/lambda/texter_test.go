package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"

	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// publisher answers as it is told to, and keeps what it was sent.
type publisher struct {
	out  *sns.PublishOutput
	err  error
	sent []*sns.PublishInput
}

func (p *publisher) Publish(ctx context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("no limit of time")
	}
	p.sent = append(p.sent, in)
	return p.out, p.err
}

func TestTexter(t *testing.T) {
	const number = "+14155552671"
	message := service.Message{ID: "1", Channel: otp.SMS, To: number, Code: "123456", Text: "Your code is 123456."}
	email := service.Message{ID: "1", Channel: otp.Email, To: "jane@example.com", Code: "123456"}
	ok := &sns.PublishOutput{MessageId: new("1")}
	for _, row := range []struct {
		name    string
		message service.Message
		out     *sns.PublishOutput
		err     error
		reason  otp.Reason // empty: sent
	}{
		{"sent", message, ok, nil, ""},
		{"an email", email, ok, nil, otp.Unsupported},
		{"no message ID", message, &sns.PublishOutput{}, nil, otp.Unavailable},
		{"bad number", message, nil, &types.InvalidParameterException{Message: new("Invalid parameter: PhoneNumber Reason: " + number)}, otp.Refused},
		{"throttled", message, nil, &types.ThrottledException{Message: new(number)}, otp.Unavailable},
		{"unknown code", message, nil, &smithy.GenericAPIError{Code: "Odd", Message: number}, otp.Unavailable},
		{"no answer", message, nil, errors.New("dial for " + number), otp.Unavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := publisher{out: row.out, err: row.err}
			err := texter{&p}.Send(t.Context(), row.message)
			failed, isSend := errors.AsType[*service.SendError](err)
			switch {
			case row.reason == "" && err != nil, row.reason != "" && (!isSend || failed.Reason != row.reason || failed.Detail == ""):
				t.Errorf("error %v, want the reason %q", err, row.reason)
			case err != nil && (strings.Contains(err.Error(), number) || strings.Contains(err.Error(), "jane")):
				t.Errorf("the error has the address: %v", err)
			}
			if row.reason == otp.Unsupported {
				if len(p.sent) > 0 {
					t.Error("it was sent")
				}
				return
			}
			if len(p.sent) != 1 {
				t.Fatalf("sent %d times", len(p.sent))
			}
			in := p.sent[0]
			if *in.PhoneNumber != number || *in.Message != message.Text || in.TopicArn != nil {
				t.Errorf("sent %v: %q", *in.PhoneNumber, *in.Message)
			}
			if kind := in.MessageAttributes["AWS.SNS.SMS.SMSType"]; *kind.StringValue != "Transactional" {
				t.Errorf("type %q", *kind.StringValue)
			}
			if price := in.MessageAttributes["AWS.SNS.SMS.MaxPrice"]; *price.DataType != "Number" || *price.StringValue == "" {
				t.Errorf("price %q", *price.StringValue)
			}
		})
	}
}
