// Almd keeps a graph of weighted associations in memory and answers questions about it on a Unix socket.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"hypermesh.dev/hypermesh/internal/alm"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/journal"
	"hypermesh.dev/hypermesh/internal/protocol"
)

const version = "0.1.0"

const usage = `almd keeps a graph of weighted, fading associations and answers on a Unix socket:
neighbours, best paths, associates, what is used together next. Layer 3 of the Memory Flow Network.

usage: almd --socket PATH --dir DIR [options]

  hypermesh starts it by itself. To try it alone:
    almd --socket /tmp/alm/mfn_alm.sock --dir /tmp/alm

It keeps a snapshot and a log in DIR: what it acknowledged survives a crash.
The local wire that it speaks is described in docs/PROTOCOL.md.

options:
`

type options struct {
	socket, directory string
	alm               alm.Options
	snapshotEvery     time.Duration
	exitOnStdinEOF    bool
	logTime           bool
}

func main() {
	o, done, err := parse(os.Args[1:], os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "almd:", err)
		os.Exit(2)
	case done:
		return
	}
	log := newLog(os.Stderr, o.logTime)
	if err := run(o, log); err != nil {
		log.Error("almd cannot go on", "error", err)
		os.Exit(1)
	}
}

// parse reads the command line. Done says that it only asked for text.
func parse(args []string, out io.Writer) (o options, done bool, err error) {
	o.alm = alm.DefaultOptions()
	flags := flag.NewFlagSet("almd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.socket, "socket", "", "`path` of the socket, at most 107 bytes")
	flags.StringVar(&o.directory, "dir", "", "`directory` of snapshot and log")
	flags.IntVar(&o.alm.Graph.Nodes, "nodes-max", o.alm.Graph.Nodes, "most nodes; the weakest are forgotten")
	flags.IntVar(&o.alm.Graph.Edges, "edges-max", o.alm.Graph.Edges, "most edges; the weakest are forgotten")
	flags.Int64Var(&o.alm.Graph.Bytes, "bytes-max", o.alm.Graph.Bytes, "most memory of the links of pool 0")
	flags.Int64Var(&o.alm.PredictBytes, "predict-bytes-max", o.alm.PredictBytes, "most memory of the predictor of pool 0")
	flags.Int64Var(&o.alm.PoolsBytes, "pools-bytes-max", o.alm.PoolsBytes, "most memory of all pools together")
	durability := flags.String("durability", "sync", "what an acknowledged change survives: `sync` a power cut, none a kill")
	damaged := flags.String("damaged", "refuse", "what a damaged directory does: `refuse` to start, or aside: start empty beside it")
	flags.DurationVar(&o.alm.Graph.HalfLife, "half-life", o.alm.Graph.HalfLife, "until an edge that nobody confirms counts half")
	flags.DurationVar(&o.snapshotEvery, "snapshot-every", time.Minute, "between two snapshots, if anything changed")
	flags.BoolVar(&o.exitOnStdinEOF, "exit-on-stdin-eof", false, "end when standard input does: with the program that started it")
	flags.BoolVar(&o.logTime, "log-time", true, "begin log lines with the time; a program that reads them has its own")
	showVersion := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			flags.SetOutput(out)
			flags.PrintDefaults()
			return o, true, nil
		}
		return o, false, fmt.Errorf("%w; see almd --help", err)
	}
	if *showVersion {
		fmt.Fprintln(out, "almd", version)
		return o, true, nil
	}
	switch {
	case flags.NArg() > 0:
		return o, false, fmt.Errorf("'%s' is not an option; see almd --help", flags.Arg(0))
	case o.socket == "" || o.directory == "":
		return o, false, errors.New("--socket and --dir are needed; see almd --help")
	case *durability != "sync" && *durability != "none":
		return o, false, fmt.Errorf("--durability is sync or none, not '%s'", *durability)
	case *damaged != "refuse" && *damaged != "aside":
		return o, false, fmt.Errorf("--damaged is refuse or aside, not '%s'", *damaged)
	case o.snapshotEvery < time.Second:
		return o, false, errors.New("--snapshot-every is at least 1s")
	}
	if *durability == "none" {
		o.alm.Mode = journal.None
	}
	o.alm.SetAside = *damaged == "aside"
	return o, false, o.alm.Validate()
}

// newLog writes a line per event.
func newLog(to io.Writer, withTime bool) *slog.Logger {
	var options slog.HandlerOptions
	if !withTime {
		options.ReplaceAttr = func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		}
	}
	return slog.New(slog.NewTextHandler(to, &options))
}

func run(o options, log *slog.Logger) error {
	// A graph is a few bytes for each edge; the collector should not let the heap double for it.
	debug.SetGCPercent(50)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if o.exitOnStdinEOF {
		go func() {
			// Nothing is expected; whatever comes is thrown away. An error is an end as well.
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	service, err := alm.New(o.alm, o.directory, time.Now, log)
	if err != nil {
		return err
	}
	server, err := ipc.Listen(o.socket, protocol.ServiceALM, "almd/"+version, ipc.Limits{}, service.Handle, log)
	if err != nil {
		return err
	}
	service.CountRequests(server.Requests)
	log.Info("almd is up", "socket", o.socket, "half_life", o.alm.Graph.HalfLife)
	kept := make(chan struct{})
	serving, served := context.WithCancel(context.Background())
	go func() {
		defer close(kept)
		service.Keep(serving, o.snapshotEvery)
	}()
	err = server.Serve(ctx)
	// The last snapshot comes after the last call.
	served()
	<-kept
	log.Info("almd ends")
	return err
}
