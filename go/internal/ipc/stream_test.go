package ipc

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"hypermesh.dev/hypermesh/internal/protocol"
)

func TestServerStreamsAsCreditAllows(t *testing.T) {
	w := start(t, Limits{})
	c := greet(t, w.path)
	h := request(1, count)
	h.ContentType, h.Credit = protocol.ContentTypeBytes, 2
	c.send(h, []byte("abcde"))
	for _, want := range "ab" {
		if f := c.read(); f.Header.Kind != protocol.KindEvent || string(f.Body) != string(want) {
			t.Fatalf("%+v", f)
		}
	}
	// Without credit nothing comes but what others ask.
	c.send(bytesRequest(2), []byte("meanwhile"))
	if f := c.read(); f.Header.RequestID != 2 {
		t.Fatalf("%+v", f.Header)
	}
	c.send(protocol.Header{Kind: protocol.KindCredit, RequestID: 1, Credit: 5}, nil)
	for _, want := range "cde" {
		if f := c.read(); f.Header.Kind != protocol.KindEvent || string(f.Body) != string(want) {
			t.Fatalf("%+v", f)
		}
	}
	if f := c.read(); f.Header.Kind != protocol.KindReply || string(f.Body) != "abcde" {
		t.Fatalf("%+v", f)
	}
	// Credit for what is over is nothing; too much of it is the end.
	c.send(protocol.Header{Kind: protocol.KindCredit, RequestID: 1, Credit: 5}, nil)
	h.RequestID, h.Credit = 3, 0
	c.send(h, []byte("x"))
	for range 2 {
		c.send(protocol.Header{Kind: protocol.KindCredit, RequestID: 3, Credit: protocol.CreditMax}, nil)
	}
	for {
		f := c.read()
		if f.Header.Kind == protocol.KindError {
			if f.Header.Status != protocol.StatusBadCredit || f.Header.RequestID != 0 {
				t.Fatalf("%+v", f.Header)
			}
			break
		}
		if f.Header.Kind == protocol.KindReply {
			// One event may have used some in between.
			break
		}
	}
}

func TestAStreamThatNobodyWantsStops(t *testing.T) {
	w := start(t, Limits{})
	c := connect(t, w.path)
	body := []byte(strings.Repeat("x", 100))
	enough := errors.New("enough")
	if _, err := c.Stream(t.Context(), count, protocol.ContentTypeBytes, body, 3, func(Event) error { return enough }); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	<-w.ended
	soon, done := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer done()
	hold := func(Event) error { <-soon.Done(); return nil }
	if _, err := c.Stream(soon, count, protocol.ContentTypeBytes, body, 3, hold); statusOf(err) != protocol.StatusDeadline {
		t.Fatal(err)
	}
	<-w.ended
}

func TestStreamsShareAConnection(t *testing.T) {
	w := start(t, Limits{})
	c := connect(t, w.path)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			want := strings.Repeat(string(rune('a'+i)), 500)
			var got strings.Builder
			reply, err := c.Stream(t.Context(), count, protocol.ContentTypeBytes, []byte(want), uint32(1+i*3), func(e Event) error {
				got.Write(e.Body)
				return nil
			})
			if err != nil || got.String() != want || string(reply.Body) != want {
				t.Errorf("%d events, %v", got.Len(), err)
			}
		})
	}
	group.Wait()
}

func TestWhatHelloAllowsIsKept(t *testing.T) {
	w := start(t, Limits{InFlight: 1})
	c := connect(t, w.path)
	stopped, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := c.Call(stopped, forever, 0, nil); statusOf(err) != protocol.StatusCancelled {
			t.Error(err)
		}
	})
	<-w.started
	if _, err := c.Call(t.Context(), echo, 0, nil); statusOf(err) != protocol.StatusBusy {
		t.Fatal(err)
	}
	stop()
	group.Wait()

	small := dial(t, w.path)
	var limits []byte
	for _, limit := range []uint32{1, 0, 0} {
		limits = binary.LittleEndian.AppendUint32(limits, limit)
	}
	hello := protocol.Header{Kind: protocol.KindHello, Service: protocol.ServiceALM}
	data := must(protocol.Append(nil, hello, []protocol.TLV{{Type: protocol.TLVLimits, Value: limits}}, nil))
	if _, err := small.conn.Write(data); err != nil {
		t.Fatal(err)
	}
	small.read() // HELLO
	// The least that can be announced is 8 KiB.
	small.send(bytesRequest(1), make([]byte, 8000))
	if f := small.read(); len(f.Body) != 8000 {
		t.Fatalf("%+v", f.Header)
	}
	small.send(bytesRequest(2), make([]byte, 9000))
	if h := small.read().Header; h.Status != protocol.StatusFrameTooLarge || h.RequestID != 2 {
		t.Fatalf("%+v", h)
	}
}

// An event without credit is refused also while its caller waits for one.
func TestAnEventWithoutCreditEndsTheConnection(t *testing.T) {
	c := connect(t, streamer(t, 5, true))
	if _, err := c.Call(t.Context(), 1, 0, nil); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "credit") {
		t.Fatal(err)
	}
}
