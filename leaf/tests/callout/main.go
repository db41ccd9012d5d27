// An auth callout service made with NATS's own libraries, for the tests. The name of whoever wants to log in says
// what becomes of it.
//
//	callout-responder URL USER PASSWORD ACCOUNT-SEED [CURVE-SEED]
//
// ACCOUNT-SEED signs; with CURVE-SEED questions are opened and answers sealed. It says "ready" when it listens.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

type service struct {
	account, stranger, curve nkeys.KeyPair
}

func main() {
	args := os.Args[1:]
	s := service{account: must(nkeys.FromSeed([]byte(args[3]))), stranger: must(nkeys.CreateAccount())}
	if len(args) > 4 {
		s.curve = must(nkeys.FromCurveSeed([]byte(args[4])))
	}
	options := []nats.Option{nats.UserInfo(args[1], args[2])}
	if strings.HasSuffix(args[1], ".creds") {
		options = []nats.Option{nats.UserCredentials(args[1])}
	}
	connection := must(nats.Connect(args[0], options...))
	must(connection.Subscribe("$SYS.REQ.USER.AUTH", s.answer))
	must(0, connection.Flush())
	fmt.Println("ready")
	select {}
}

func (s *service) answer(question *nats.Msg) {
	data := question.Data
	theirs := question.Header.Get("Nats-Server-Xkey")
	if s.curve != nil {
		data = must(s.curve.Open(data, theirs))
	}
	asked := must(jwt.DecodeAuthorizationRequestClaims(string(data)))
	results := jwt.CreateValidationResults()
	asked.Validate(results)
	if !results.IsEmpty() || asked.Audience != "nats-authorization-request" || asked.Server.ID != asked.Issuer {
		fmt.Println("bad question", results.Issues)
		return
	}
	who, signer := asked.ConnectOptions.Username, s.account
	if who == "" {
		who = asked.ConnectOptions.Token
	}
	user := jwt.NewUserClaims(asked.UserNkey)
	user.Audience = "APP"
	response := jwt.NewAuthorizationResponseClaims(asked.UserNkey)
	response.Audience = asked.Server.ID
	switch who {
	case "in", "tok":
		if who == "in" && asked.ConnectOptions.Password != "secret" {
			response.Error = "wrong password"
		}
	case "named":
		user.Name = "Alice"
	case "limited":
		user.Permissions.Pub.Allow.Add("ok.>", "$SYS.REQ.USER.INFO")
		user.Permissions.Sub.Deny.Add("no.>")
	case "global":
		user.Audience = "$G"
	case "auth":
		user.Audience = "AUTH"
	case "brief":
		user.Expires = time.Now().Add(2 * time.Second).Unix()
	case "refused":
		response.Error = "nobody by that name"
	case "silent":
		return
	case "empty":
		must(0, question.Respond(nil))
		return
	case "garbage":
		must(0, question.Respond([]byte("no token at all")))
		return
	case "nowhere":
		user.Audience = "NOPE"
	case "no-audience":
		user.Audience = ""
	case "wrong-issuer":
		signer = s.stranger
	case "wrong-user":
		user.Subject = must(must(nkeys.CreateUser()).PublicKey())
	case "wrong-answer":
		response.Subject = must(must(nkeys.CreateUser()).PublicKey())
	case "wrong-server":
		response.Audience = must(must(nkeys.CreateServer()).PublicKey())
	case "expired":
		user.Expires = time.Now().Add(-time.Hour).Unix()
	case "mqtt-only":
		user.AllowedConnectionTypes.Add(jwt.ConnectionTypeMqtt)
	case "issuer-account":
		user.IssuerAccount = must(s.account.PublicKey())
	default:
		if !strings.HasPrefix(who, "as:") {
			response.Error = "unknown"
		}
		// Somebody in another account, in operator mode.
		user.IssuerAccount = strings.TrimPrefix(who, "as:")
	}
	if response.Error == "" {
		response.Jwt = must(user.Encode(signer))
	}
	answer := []byte(must(response.Encode(s.account)))
	if s.curve != nil && who != "garbage" {
		answer = must(s.curve.Seal(answer, theirs))
	}
	must(0, question.Respond(answer))
}
