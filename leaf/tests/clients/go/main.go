// What users of nats.go do every day. Argument: the addresses and files, as JSON; see official_clients.rs.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const patience = 10 * time.Second

var at struct{ URL, TLS, CA, Nkey, Seed, JWT, Creds string }

func check(right bool, what string, more ...any) {
	if !right {
		fmt.Fprintln(os.Stderr, "go:", what, more)
		os.Exit(1)
	}
}

func must[T any](value T, err error) T {
	check(err == nil, "error", err)
	return value
}

func ok(err error) { check(err == nil, "error", err) }

func messages(nc *nats.Conn) {
	sub := must(nc.SubscribeSync("t.*"))
	ok(nc.Publish("t.a", []byte("one")))
	message := nats.NewMsg("t.b")
	message.Data = []byte("two")
	message.Header.Set("Unit", "kelvin")
	ok(nc.PublishMsg(message))
	first, second := must(sub.NextMsg(patience)), must(sub.NextMsg(patience))
	check(first.Subject == "t.a" && string(first.Data) == "one" && string(second.Data) == "two", "messages")
	check(second.Header.Get("Unit") == "kelvin", "headers")
}

func queues(nc *nats.Conn) {
	var counts [2]atomic.Int64
	for member := range counts {
		must(nc.QueueSubscribe("job", "workers", func(*nats.Msg) { counts[member].Add(1) }))
	}
	for range 200 {
		ok(nc.Publish("job", nil))
	}
	ok(nc.Flush())
	for end := time.Now().Add(patience); counts[0].Load()+counts[1].Load() < 200 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	a, b := counts[0].Load(), counts[1].Load()
	check(a+b == 200 && min(a, b) > 20, "queue group", a, b)
}

func requests(nc *nats.Conn) {
	must(nc.Subscribe("svc", func(m *nats.Msg) {
		slices.Reverse(m.Data)
		ok(m.Respond(m.Data))
	}))
	check(string(must(nc.Request("svc", []byte("abc"), patience)).Data) == "cba", "reply")
	_, err := nc.Request("nobody", nil, patience)
	check(errors.Is(err, nats.ErrNoResponders), "nobody", err)
}

func drain() {
	closed := make(chan struct{})
	nc := must(nats.Connect(at.URL, nats.ClosedHandler(func(*nats.Conn) { close(closed) })))
	var got atomic.Int64
	must(nc.Subscribe("d", func(*nats.Msg) {
		time.Sleep(time.Millisecond)
		got.Add(1)
	}))
	for range 50 {
		ok(nc.Publish("d", nil))
	}
	ok(nc.Flush())
	ok(nc.Drain())
	<-closed
	check(got.Load() == 50, "drained", got.Load())
}

func logins() {
	ways := map[string]func() (*nats.Conn, error){
		"tls": func() (*nats.Conn, error) { return nats.Connect(at.TLS, nats.RootCAs(at.CA)) },
		"nkey": func() (*nats.Conn, error) {
			return nats.Connect(at.Nkey, must(nats.NkeyOptionFromSeed(at.Seed)))
		},
		"jwt": func() (*nats.Conn, error) { return nats.Connect(at.JWT, nats.UserCredentials(at.Creds)) },
	}
	for way, connect := range ways {
		nc := must(connect())
		sub := must(nc.SubscribeSync("in.x"))
		ok(nc.Publish("in.x", []byte("x")))
		check(string(must(sub.NextMsg(patience)).Data) == "x", way)
		nc.Close()
	}
}

func restart() {
	back := make(chan struct{}, 1)
	reconnected := nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} })
	nc := must(nats.Connect(at.URL, reconnected, nats.ReconnectWait(50*time.Millisecond), nats.MaxReconnects(-1)))
	sub := must(nc.SubscribeSync("after"))
	ok(nc.Flush())
	fmt.Println("restart")
	must(bufio.NewReader(os.Stdin).ReadString('\n'))
	<-back
	ok(nc.Publish("after", []byte("still here")))
	check(string(must(sub.NextMsg(patience)).Data) == "still here", "after the restart")
	nc.Close()
}

func main() {
	ok(json.Unmarshal([]byte(os.Args[1]), &at))
	time.AfterFunc(time.Minute, func() { check(false, "it takes too long") })
	nc := must(nats.Connect(at.URL))
	messages(nc)
	queues(nc)
	requests(nc)
	nc.Close()
	drain()
	logins()
	restart()
}
