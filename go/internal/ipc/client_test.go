package ipc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hypermesh.dev/hypermesh/internal/protocol"
)

func connect(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path, protocol.ServiceALM, "test/1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func statusOf(err error) protocol.Status {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure.Status
	}
	return protocol.StatusOK
}

func TestClientCallsShareAConnection(t *testing.T) {
	w := start(t, Limits{})
	c := connect(t, w.path)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			body := strings.Repeat("x", 1+i*1000)
			reply, err := c.Call(t.Context(), echo, protocol.ContentTypeBytes, []byte(body))
			if err != nil || string(reply.Body) != body {
				t.Errorf("%d bytes, %v", len(reply.Body), err)
			}
		})
	}
	group.Wait()
	if _, err := c.Call(t.Context(), 99, 0, nil); statusOf(err) != protocol.StatusUnsupported {
		t.Fatal(err)
	}
}

func TestClientDeadlineCancelAndTheEnd(t *testing.T) {
	w := start(t, Limits{})
	c := connect(t, w.path)
	soon, done := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer done()
	if _, err := c.Call(soon, forever, 0, nil); statusOf(err) != protocol.StatusDeadline {
		t.Fatal(err)
	}
	<-w.ended
	<-w.started
	stopped, stop := context.WithCancel(t.Context())
	go func() {
		<-w.started
		stop()
	}()
	if _, err := c.Call(stopped, forever, 0, nil); statusOf(err) != protocol.StatusCancelled {
		t.Fatal(err)
	}
	<-w.ended
	go func() {
		<-w.started
		c.Close()
	}()
	if _, err := c.Call(t.Context(), forever, 0, nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := c.Call(t.Context(), echo, 0, nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// streamer is the other side of one connection, written by hand: it sends as many events as it has credit for.
func streamer(t *testing.T, events int, beyond bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		send := func(h protocol.Header, body string) {
			h.Service = protocol.ServiceALM
			if body != "" {
				h.ContentType = protocol.ContentTypeBytes
			}
			// The other side may be gone; the test sees that.
			_, _ = conn.Write(must(protocol.Append(nil, h, nil, []byte(body))))
		}
		send(protocol.Header{Kind: protocol.KindHello}, "")
		reader, credit, sent := bufio.NewReader(conn), 0, 0
		for {
			frame, err := readFrame(reader)
			if err != nil {
				return
			}
			credit += int(frame.Header.Credit)
			for ; frame.Header.RequestID != 0 && sent < events && (credit > 0 || beyond); credit-- {
				send(protocol.Header{Kind: protocol.KindEvent, RequestID: frame.Header.RequestID}, fmt.Sprint("event", sent))
				sent++
			}
			if sent == events {
				send(protocol.Header{Kind: protocol.KindReply, RequestID: frame.Header.RequestID}, "done")
				events = -1
			}
		}
	}()
	return path
}

func TestClientStreams(t *testing.T) {
	c := connect(t, streamer(t, 100, false))
	got := 0
	reply, err := c.Stream(t.Context(), 1, 0, nil, 3, func(e Event) error {
		if string(e.Body) != fmt.Sprint("event", got) {
			t.Errorf("%s is number %d", e.Body, got)
		}
		got++
		return nil
	})
	if err != nil || got != 100 || string(reply.Body) != "done" {
		t.Fatal(got, reply, err)
	}
	c = connect(t, streamer(t, 100, false))
	failure := errors.New("as asked")
	if _, err := c.Stream(t.Context(), 1, 0, nil, 3, func(Event) error { return failure }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	// More events than were allowed end the connection, whoever sends them; nothing piles up.
	c = connect(t, streamer(t, 100, true))
	if _, err := c.Stream(t.Context(), 1, 0, nil, 2, func(Event) error { time.Sleep(time.Millisecond); return nil }); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
