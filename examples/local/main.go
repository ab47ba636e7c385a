// Command local is the whole reference system in one process, with nothing to set up:
//
//	go run ./examples/local
//
// It says where it listens, prints a walk-through of commands to paste into a shell, and
// keeps everything in memory. What it would send by email or SMS is at GET
// /dev/outbox?to=…, which exists here alone. At / is a console that shows all of it at work,
// and breaks it on request: see package console. With an -addr that other machines can
// reach there is none.
//
// With -dynamodb http://127.0.0.1:8000, or AWS_ENDPOINT_URL_DYNAMODB set, it keeps events
// and views in DynamoDB, in tables that it creates, and finds them there when it is
// started again. Keys are made anew at each start unless OTP_KEY and TOKEN_KEY are set;
// without these, who comes back gets a new name, and so a new org.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/local/console"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

const (
	commitIn    = 10 * time.Second // time for a commit: a machine that is busy is no broker that does not answer
	relayEvery  = 2 * time.Second  // how often crashed commits are looked for
	startWithin = 30 * time.Second // time to create tables
	stopWithin  = 10 * time.Second // time to finish what is running
)

// run serves until the context ends, and then finishes what was begun.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(stderr)
	endpoint := flags.String("dynamodb", getenv("AWS_ENDPOINT_URL_DYNAMODB"), "keep everything in DynamoDB at this `URL`, and not in memory")
	addr := flags.String("addr", "127.0.0.1:8080", "`address` to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := service.ReadConfig(getenv) // nothing is required
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: config.LogLevel}))

	codes, err := otp.NewCodes(keyOr(config.OTPKey))
	if err != nil {
		return err
	}
	tokens, err := service.NewTokens(keyOr(config.TokenKey), config.PublicURL, 0)
	if err != nil {
		return err
	}
	kept, db := "in memory", inMemory()
	if *endpoint != "" {
		kept = "in DynamoDB at " + *endpoint
		if db, err = onDynamoDB(ctx, *endpoint, config, getenv); err != nil {
			return err
		}
	}
	var (
		bus    = memory.Bus{Logger: logger}
		outbox outbox
		watch  = console.New(db.store, &bus, console.Of(&org.Aggregate, db.orgs, orgFold), console.Of(&otp.Aggregate, db.otps, otpFold))
		s      = service.Service{
			Journal:  &es.Journal{Store: watch.Store(), Publisher: watch.Publisher(), Timeout: commitIn, Logger: logger},
			OrgViews: db.orgs, OTPViews: db.otps, Answers: db.answers,
			Codes: codes, Tokens: tokens, Sender: &outbox, Logger: logger,
		}
	)
	if err := db.catchUp(ctx, &s); err != nil {
		return err
	}
	if err := watch.Start(ctx); err != nil {
		return err
	}
	bus.Subscribe("views", watch.Views(s.Project))
	bus.Subscribe("codes", watch.EventHandler(s.React))
	bus.Subscribe("console", watch.Deliver)

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	server := http.Server{
		Handler: watch.Handler(withOutbox(s.Handler(), &outbox), listener.Addr()), ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
	}
	fmt.Fprintf(stdout, "The reference system listens on %s and keeps everything %s. Stop it with Ctrl-C.\n%s\n%s",
		baseURL(listener), kept, consoleLine(listener), walkthrough(baseURL(listener)))

	var wg sync.WaitGroup
	defer wg.Wait()
	serving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	wg.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			stop(err)
		}
	})
	wg.Go(func() { relay(serving, s.Journal, logger) })
	wg.Go(func() { watch.Run(serving) })
	<-serving.Done()

	// First no more requests, then no more commits. Nothing of it depends on ctx, which has ended.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	watch.Close()
	err = server.Shutdown(ending)
	_, relayed := s.Journal.Relay(ending)
	err = errors.Join(err, relayed, bus.Close(ending))
	if ctx.Err() == nil {
		err = errors.Join(context.Cause(serving), err)
	}
	return err
}

// relay finishes crashed commits now and then, until the context ends.
func relay(ctx context.Context, j *es.Journal, logger *slog.Logger) {
	tick := time.NewTicker(relayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := j.Relay(ctx); err != nil && ctx.Err() == nil {
				logger.LogAttrs(ctx, slog.LevelWarn, "relay", slog.Any("error", err))
			}
		}
	}
}

// baseURL returns where a client on this machine finds the server.
func baseURL(l net.Listener) string {
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return fmt.Sprintf("http://localhost:%d", a.Port)
	}
	return "http://" + l.Addr().String()
}

// consoleLine says where the console is, if there is one.
func consoleLine(l net.Listener) string {
	if !console.ServedOn(l.Addr()) {
		return ""
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "Console: http://localhost:" + port + "/\n"
}

// keyOr returns the key of the environment, or else a new one: what that protects ends
// with the process.
func keyOr(configured service.Secret) []byte {
	if key := configured.Reveal(); len(key) > 0 {
		return key
	}
	key := make([]byte, otp.MinKey)
	_, _ = rand.Read(key) // never fails
	return key
}
