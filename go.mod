module github.com/leftfold/leftfold

go 1.26

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/matryer/is v1.4.1
	github.com/nyaruka/phonenumbers v1.8.1
	github.com/pquerna/otp v1.5.0
)

require (
	github.com/boombuler/barcode v1.0.1-0.20190219062509-6c824513bacc // indirect
	golang.org/x/text v0.23.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
