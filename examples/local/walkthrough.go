package main

// walkthrough returns commands to paste into a POSIX shell: only curl and sed.
func walkthrough(base string) string {
	return `# A walk-through, to paste into another shell:
base='` + base + `'

# Ask for a code. The answer has a challenge, and the version that the event got.
answer=$(curl -sS "$base/otp" -H 'Content-Type: application/json' -d '{"channel":"email","to":"jane@example.com"}'); echo "$answer"
challenge=$(echo "$answer" | sed 's/.*"challenge":"\([^"]*\)".*/\1/')
version=$(echo "$answer" | sed 's/.*"version":\([0-9]*\).*/\1/')

# Wait until something newer is known of it: it was sent. Then read it in the outbox.
curl -sS "$base/otp/$challenge" -H "If-None-Match: \"$version\"" -H 'Prefer: wait=5'
code=$(curl -sS "$base/dev/outbox?to=jane@example.com" | sed 's/.*"code":"\([^"]*\)".*/\1/'); echo "$code"

# Trade the code for a token. Its subject will be the ID of the org.
answer=$(curl -sS "$base/otp/verify" -H 'Content-Type: application/json' -d "{\"to\":\"jane@example.com\",\"challenge\":\"$challenge\",\"code\":\"$code\"}"); echo "$answer"
token=$(echo "$answer" | sed 's/.*"token":"\([^"]*\)".*/\1/')
id=$(echo "$answer" | sed 's/.*"subject":"\([^"]*\)".*/\1/')

# Create the org. With the same Idempotency-Key it happens once, however often it is sent.
curl -sS "$base/orgs" -H "Authorization: Bearer $token" -H 'Idempotency-Key: create-1' -H 'Content-Type: application/json' -d '{"name":"Acme","location":"Berlin"}'

# Read it, as soon as the view is there.
curl -sSi "$base/orgs/$id" -H 'Prefer: wait=5'

# Update it, if it is still at version 1, and wait for a view newer than that.
curl -sS -X PUT "$base/orgs/$id" -H "Authorization: Bearer $token" -H 'If-Match: "1"' -H 'Content-Type: application/json' -d '{"name":"Acme","location":"Paris","description":"We moved."}'
curl -sS "$base/orgs/$id" -H 'If-None-Match: "1"' -H 'Prefer: wait=5'

# Its history, and what it was at version 1.
curl -sS "$base/orgs/$id/history" -H "Authorization: Bearer $token"
curl -sS "$base/orgs/$id/history?version=1" -H "Authorization: Bearer $token"
`
}
