// Command esctl operates the reference system from a shell. It looks into streams, checks them
// against their views, finishes what crashed, and makes views anew:
//
//	EVENT_TABLE=… VIEW_TABLE=… go run ./examples/esctl verify
//
// Its configuration is that of the Lambda function, and is read by [service.ReadConfig]: EVENT_TABLE,
// VIEW_TABLE and, to publish, TOPIC_ARN. Region, credentials and endpoints are the AWS SDK's own.
// No command needs a key of the service, and none is read.
//
// It exits with 0 if all is well, 1 if it failed, 2 if it was called wrongly or is not configured,
// and 3 if verify found something. Results go to standard output; logs, progress and errors to
// standard error. `esctl --help` teaches the rest, and docs/operations.md says when to use what.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/leftfold/leftfold/dynamostore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	t := tool{
		getenv: os.Getenv, stdout: os.Stdout, stderr: os.Stderr,
		terminal: term.IsTerminal(int(os.Stderr.Fd())), now: time.Now, open: openAWS,
	}
	code := t.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// What the program exits with.
const (
	exitFailed = 1
	exitUsage  = 2
	exitFound  = 3
)

// tool is the program with all that it knows of the world.
type tool struct {
	getenv         func(string) string
	stdout, stderr io.Writer
	terminal       bool // stderr is one, so progress is drawn
	now            func() time.Time

	// open connects to the reference system. It needs the variables of the environment that
	// are named, and may find others.
	open func(ctx context.Context, t *tool, need ...string) (*system, error)
}

// errFound ends verify if it found something, which it has said by then.
var errFound = errors.New("something was found")

// usageError is the caller's mistake, and not the world's.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// run executes one command line and returns what to exit with.
func (t *tool) run(ctx context.Context, args []string) int {
	root := t.root()
	root.SetArgs(append([]string{}, args...)) // nil would be those of the process
	root.SetOut(t.stdout)
	root.SetErr(t.stderr)
	called, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFound):
		return exitFound
	case ctx.Err() != nil:
		err = fmt.Errorf("interrupted: %w", err)
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(t.stderr, "esctl: %s\n", strings.TrimSuffix(line, "\n"))
	}
	if errors.Is(err, dynamostore.ErrNoTable) {
		fmt.Fprintln(t.stderr, "Check EVENT_TABLE, VIEW_TABLE and AWS_REGION. For local use, 'esctl tables create' creates the tables.")
	}
	if _, usage := errors.AsType[*usageError](err); usage {
		fmt.Fprintf(t.stderr, "Run '%s --help' for usage.\n", called.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// root returns the command with all below it.
func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "esctl",
		Short: "Operate the reference system: streams, views, and what crashed",
		Long: `esctl looks into the streams of the reference system, checks them against their views,
finishes what crashed, and makes views anew.

It is configured by the environment, as the Lambda function is:

  EVENT_TABLE   the DynamoDB table of events
  VIEW_TABLE    the DynamoDB table of views: for verify, rebuild and tables
  TOPIC_ARN     the SNS FIFO topic: for relay alone
  LOG_LEVEL     debug, info (the default), warn or error

Region, credentials and endpoints are those of the AWS SDK: AWS_REGION, AWS_PROFILE,
AWS_ENDPOINT_URL_DYNAMODB and so on. No key of the service is needed or read.

A stream is named by category and ID: org/42.

Exit codes:
  0  all is well
  1  it failed
  2  it was called wrongly, or is not configured
  3  verify found something`,
		Example: `  # Is anything wrong, and where?
  esctl verify

  # What happened on a stream, and what was it at version 3?
  esctl show org/42
  esctl show org/42 --at 3

  # What crashed before it was published, and finish it.
  esctl pending
  esctl relay

  # Completion of commands and flags, in this shell.
  source <(esctl completion bash)`,
		SilenceUsage: true, SilenceErrors: true,
	}
	group(root)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(t.streams(), t.show(), t.verify(), t.pending(), t.relay(), t.settle(), t.rebuild(), t.tables())
	return root
}

// group makes a command one that does nothing but to have others below it.
func group(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usagef("name a command: %s", strings.Join(names(c), ", "))
		case len(c.SuggestionsFor(args[0])) > 0:
			return usagef("there is no command %q; is it %s?", args[0], strings.Join(c.SuggestionsFor(args[0]), " or "))
		}
		return usagef("there is no command %q, only %s", args[0], strings.Join(names(c), ", "))
	}
	c.SuggestionsMinimumDistance, c.DisableFlagsInUseLine = 2, true
	c.RunE = func(*cobra.Command, []string) error { return nil }
}

func names(c *cobra.Command) (all []string) {
	for _, c := range c.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			all = append(all, c.Name())
		}
	}
	return all
}

// takes returns the check of a command's arguments, which are named by its usage line.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("an argument is missing: %s", c.UseLine())
		case most >= 0 && len(args) > most:
			return usagef("%q is one argument too many: %s", args[most], c.UseLine())
		}
		return nil
	}
}
