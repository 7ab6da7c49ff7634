// The client of the conformance tests in Go: commands on standard input, one answer each on standard output, as
// integration/conformance/README.md has them.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"hypermesh.dev/hypermesh/internal/ifr"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
)

const software = "conformance-go"

func main() {
	c := &client{calls: make(map[string]*call)}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		fmt.Println(c.do(strings.Fields(lines.Text())))
	}
}

type client struct {
	door  door
	calls map[string]*call
	flows *ifr.Client
}

// door is where calls go: a connection, or a pool of them.
type door interface {
	Stream(
		ctx context.Context, method uint16, contentType protocol.ContentType, body []byte, credit uint32, handle func(ipc.Event) error,
	) (ipc.Reply, error)
	Close()
}

// call is one under way. A reader of its own takes its events, as many ahead as the credit allows.
type call struct {
	cancel context.CancelFunc
	events chan ipc.Event
	ended  chan struct{}
	reply  ipc.Reply
	err    error
}

func (c *client) do(words []string) string {
	switch words[0] {
	case "vectors":
		return vectors(words[1])
	case "connect":
		return c.connect(words[1], number(words[2]))
	case "pool":
		c.door = ipc.NewPool(ipc.PoolOptions{Path: words[1], Service: protocol.ServiceState, Software: software})
		return "ok"
	case "start":
		c.start(words[1], words[2:])
		return "ok"
	case "item", "wait":
		return c.item(words[1], words[0] == "wait")
	case "cancel":
		c.calls[words[1]].cancel()
		return "ok"
	case "flows":
		c.flows = ifr.New(ifr.Options{Path: words[1], Software: software})
		return "ok"
	case "records":
		return c.records(words[1], words[2:])
	case "close":
		c.door.Close()
		return "ok"
	}
	return "failed no command " + words[0]
}

func number(word string) int {
	value, err := strconv.Atoi(word)
	if err != nil {
		panic(err)
	}
	return value
}

func unhex(word string) []byte {
	if word == "-" {
		return nil
	}
	body, err := hex.DecodeString(word)
	if err != nil {
		panic(err)
	}
	return body
}

func (c *client) connect(path string, ms int) string {
	ctx, done := context.WithTimeout(context.Background(), time.Duration(ms)*time.Millisecond)
	defer done()
	made, err := ipc.Dial(ctx, path, protocol.ServiceState, software)
	if err != nil {
		status := statusOf(err)
		if status == protocol.StatusIO {
			status = protocol.StatusUnreachable
		}
		return fmt.Sprintf("failed %d %v", status, err)
	}
	c.door = made
	return "ok"
}

// statusOf is the status that says the same.
func statusOf(err error) protocol.Status {
	var failure *ipc.Failure
	switch {
	case errors.Is(err, ipc.ErrClosed):
		return protocol.StatusClosed
	case errors.As(err, &failure):
		return failure.Status
	case errors.Is(err, context.DeadlineExceeded):
		return protocol.StatusDeadline
	}
	return protocol.StatusIO
}

func (c *client) start(tag string, words []string) {
	method, contentType := uint16(number(words[0])), protocol.ContentType(number(words[1]))
	body, ms, credit := unhex(words[2]), number(words[3]), uint32(number(words[4]))
	ctx, cancel := context.WithCancel(context.Background())
	if ms > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), time.Duration(ms)*time.Millisecond)
	}
	started := &call{cancel: cancel, events: make(chan ipc.Event), ended: make(chan struct{})}
	c.calls[tag] = started
	go func() {
		started.reply, started.err = c.door.Stream(ctx, method, contentType, body, credit, func(event ipc.Event) error {
			select {
			case started.events <- event:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		cancel()
		close(started.ended)
	}()
}

func (c *client) item(tag string, skip bool) string {
	started := c.calls[tag]
	for {
		select {
		case event := <-started.events:
			if !skip {
				return fmt.Sprintf("event %d %s", event.ContentType, text(event.Body))
			}
		case <-started.ended:
			if started.err != nil {
				status := statusOf(started.err)
				if errors.Is(started.err, context.Canceled) {
					status = protocol.StatusCancelled
				}
				return fmt.Sprintf("end %d %d %s", status, protocol.ContentTypeText, text([]byte(started.err.Error())))
			}
			return fmt.Sprintf("end 0 %d %s", started.reply.ContentType, text(started.reply.Body))
		}
	}
}

func text(body []byte) string {
	if len(body) == 0 {
		return "-"
	}
	return hex.EncodeToString(body)
}

// vectors reads all golden vectors and writes the good ones again.
func vectors(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "failed " + err.Error()
	}
	good, bad := 0, 0
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		given := unhex(words[2])
		frame, err := protocol.Decode(given)
		status := protocol.StatusOK
		var wrong *protocol.Error
		if errors.As(err, &wrong) {
			status = wrong.Status
		}
		if int(status) != number(words[1]) {
			return fmt.Sprintf("failed %s: %d", words[0], status)
		}
		if status != protocol.StatusOK {
			bad++
			continue
		}
		// An empty area of entries is not what an encoder writes.
		again, err := protocol.Append(nil, frame.Header, frame.TLVs, frame.Body)
		if err != nil || (len(frame.TLVs) > 0 && !bytes.Equal(again, given)) {
			return fmt.Sprintf("failed %s: %v", words[0], err)
		}
		good++
	}
	return fmt.Sprintf("vectors %d %d", good, bad)
}
