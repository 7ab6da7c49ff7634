// Order-load drives a running CometBFT or etcd with transactions, and says how many were committed and how long one took.
//
//	order-load cometbft|etcd ADDRESSES [--seconds N] [--bytes N] [--in-flight N] [--singles N]
//
// ADDRESSES are of all nodes, with commas between them. The answer is one object of JSON on standard output.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// load says what to send.
type load struct {
	addresses []string
	// How long transactions are sent at full speed.
	seconds time.Duration
	// Bytes of each.
	bytes int
	// How many are under way at most, over all nodes.
	inFlight int
	// How many are sent one by one first, on a quiet mesh.
	singles int
}

// result is what came of it.
type result struct {
	// Transactions that were committed, and over how many seconds.
	Committed uint64  `json:"committed"`
	Seconds   float64 `json:"seconds"`
	// Heights that were decided meanwhile; of etcd, the raft terms have none and this is zero.
	Heights uint64 `json:"heights"`
	// From sending one transaction on a quiet mesh to knowing that it is committed: microseconds, each.
	Latencies []float64 `json:"latencies"`
}

// peer is a system under load.
type peer interface {
	// one sends a transaction and returns when it is committed.
	one(ctx context.Context, payload []byte) error
	// flood sends as many as it can and counts what is committed.
	flood(ctx context.Context, load load) (result, error)
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("say cometbft or etcd, and the addresses of the nodes")
	}
	flags := flag.NewFlagSet("order-load", flag.ContinueOnError)
	seconds := flags.Int("seconds", 10, "how long to send at full speed")
	size := flags.Int("bytes", 512, "bytes of a transaction")
	inFlight := flags.Int("in-flight", 8192, "how many are under way at most")
	singles := flags.Int("singles", 100, "how many are sent one by one first")
	if err := flags.Parse(arguments[2:]); err != nil {
		return err
	}
	load := load{
		addresses: strings.Split(arguments[1], ","),
		seconds:   time.Duration(*seconds) * time.Second,
		bytes:     *size,
		inFlight:  *inFlight,
		singles:   *singles,
	}
	var system peer
	var err error
	switch arguments[0] {
	case "cometbft":
		system, err = newComet(load)
	case "etcd":
		system, err = newEtcd(load)
	default:
		err = fmt.Errorf("%q is no system: say cometbft or etcd", arguments[0])
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), load.seconds+5*time.Minute)
	defer cancel()
	latencies := make([]float64, 0, load.singles)
	for range load.singles {
		began := time.Now()
		if err := system.one(ctx, payload(load.bytes)); err != nil {
			return fmt.Errorf("one transaction: %w", err)
		}
		latencies = append(latencies, float64(time.Since(began).Microseconds()))
	}
	slices.Sort(latencies)
	result, err := system.flood(ctx, load)
	if err != nil {
		return fmt.Errorf("at full speed: %w", err)
	}
	result.Latencies = latencies
	return json.NewEncoder(os.Stdout).Encode(result)
}

// payload is printable, so that it fits into "key=value", and no two are the same.
func payload(length int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	bytes := make([]byte, length)
	// Never fails on the systems that this runs on; the documentation says so.
	_, _ = rand.Read(bytes)
	for at, value := range bytes {
		bytes[at] = letters[int(value)%len(letters)]
	}
	return bytes
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "order-load:", err)
		os.Exit(1)
	}
}
