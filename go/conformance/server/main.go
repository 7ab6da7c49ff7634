// The server of the conformance tests in Go: server SOCKET. Its methods are in integration/conformance/README.md.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
)

var le = binary.LittleEndian

// counts are work that was begun, and how it ended.
type counts struct{ begun, finished, dropped atomic.Uint64 }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: server SOCKET")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	ctx, done := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer done()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	server, err := ipc.Listen(path, protocol.ServiceState, "conformance-go", ipc.Limits{}, new(counts).handle, log)
	if err != nil {
		return err
	}
	return server.Serve(ctx)
}

func reply(body []byte) (ipc.Reply, error) {
	return ipc.Reply{ContentType: protocol.ContentTypeBytes, Body: body}, nil
}

func (c *counts) handle(ctx context.Context, call ipc.Call) (ipc.Reply, error) {
	need := map[uint16]int{2: 4, 3: 8, 4: 4, 9: 4}
	if len(call.Body) < need[call.Method] {
		return ipc.Reply{}, ipc.Fail(protocol.StatusBadBody, "the body is too short for this method")
	}
	switch call.Method {
	case 1:
		return ipc.Reply{ContentType: call.ContentType, Body: call.Body}, nil
	case 2:
		return c.wait(ctx, le.Uint32(call.Body))
	case 3:
		return c.stream(ctx, call, le.Uint32(call.Body), int(le.Uint32(call.Body[4:])))
	case 4:
		status := protocol.Status(int32(le.Uint32(call.Body)))
		if status == protocol.StatusOK {
			return ipc.Reply{}, nil
		}
		return ipc.Reply{}, ipc.Fail(status, "%s", call.Body[4:])
	case 5:
		left := uint64(0)
		if deadline, ok := ctx.Deadline(); ok {
			left = uint64(max(0, time.Until(deadline)))
		}
		return reply(le.AppendUint64(nil, left))
	case 6:
		body := le.AppendUint64(nil, c.begun.Load())
		body = le.AppendUint64(body, c.finished.Load())
		return reply(le.AppendUint64(body, c.dropped.Load()))
	case 7:
		return ipc.Reply{}, syscall.Kill(os.Getpid(), syscall.SIGTERM)
	case 8:
		return ipc.Reply{}, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case 9:
		return reply(make([]byte, le.Uint32(call.Body)))
	}
	return ipc.Reply{}, ipc.Fail(protocol.StatusUnsupported, "there is no method %d", call.Method)
}

func (c *counts) wait(ctx context.Context, ms uint32) (ipc.Reply, error) {
	c.begun.Add(1)
	var over <-chan time.Time
	if ms > 0 {
		over = time.After(time.Duration(ms) * time.Millisecond)
	}
	select {
	case <-over:
		c.finished.Add(1)
		return reply([]byte("waited"))
	case <-ctx.Done():
		c.dropped.Add(1)
		return ipc.Reply{}, ctx.Err()
	}
}

func (c *counts) stream(ctx context.Context, call ipc.Call, count uint32, length int) (ipc.Reply, error) {
	c.begun.Add(1)
	for number := range count {
		body := make([]byte, max(4, length))
		le.PutUint32(body, number)
		if err := call.Send(ctx, protocol.ContentTypeBytes, body); err != nil {
			c.dropped.Add(1)
			return ipc.Reply{}, err
		}
	}
	c.finished.Add(1)
	return reply(le.AppendUint32(nil, count))
}
