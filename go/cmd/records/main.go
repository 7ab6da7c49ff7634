// Records puts a record into a running ifrd and asks what to do about two keys: an example of pools of records.
//
//	records SOCKET
//
// SOCKET is what ifrd was given with --socket.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"hypermesh.dev/hypermesh/internal/ifr"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: records SOCKET\n  SOCKET is what ifrd was given with --socket")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "records:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	const pool, kind = 1, 3
	ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	client := ifr.New(ifr.Options{Path: path})
	defer client.Close()
	if err := client.PoolAdd(ctx, ifr.Pool{ID: pool, BytesMax: 8 << 20}); err != nil {
		return err
	}
	here, absent := ifr.Digest{0x5a}, ifr.Digest{1}
	record := ifr.FlowRecord{Key: here, Size: 4096, Kind: kind, Priority: 5}
	if _, err := client.FlowPut(ctx, pool, &record, time.Minute); err != nil {
		return err
	}
	for range 3 {
		if err := client.FlowLearn(ctx, kind, ifr.LayerAssociation, true); err != nil {
			return err
		}
	}
	for _, key := range []ifr.Digest{here, absent} {
		decision, err := client.FlowRoute(ctx, pool, key, kind)
		if err != nil {
			return err
		}
		switch decision.Outcome {
		case ifr.FoundExact:
			fmt.Printf("record: %d bytes\n", decision.Record.Size)
		case ifr.FoundPartial:
			fmt.Printf("an old record: %.2f\n", decision.Confidence)
		case ifr.RouteToLayers:
			fmt.Printf("no record: ask layer %d, %.2f\n", decision.Next, decision.Confidence)
		}
	}
	stats, err := client.PoolStats(ctx, pool)
	if err != nil {
		return err
	}
	fmt.Printf("%d record in %d bytes at most\n", stats.Records, stats.BytesMax)
	return client.PoolDrop(ctx, pool)
}
