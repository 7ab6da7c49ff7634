package ipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hypermesh.dev/hypermesh/internal/protocol"
)

func newPool(t *testing.T, options PoolOptions) *Pool {
	t.Helper()
	options.Service, options.Software = protocol.ServiceALM, "test/1"
	p := NewPool(options)
	t.Cleanup(p.Close)
	return p
}

// until waits for a condition of other goroutines.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for ", what)
		}
	}
}

func TestPoolCallsShareConnectionsAndTheLeastLoadedGetsThem(t *testing.T) {
	w := start(t, Limits{})
	p := newPool(t, PoolOptions{Path: w.path, Share: 3})
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if _, err := p.Call(ctx, forever, 0, nil); statusOf(err) != protocol.StatusCancelled {
				t.Error(err)
			}
		})
		<-w.started
		if i == 2 && p.Stats().Connections != 1 {
			t.Error(p.Stats())
		}
		if i == 3 {
			until(t, "a second connection", func() bool { return p.Stats().Connections == 2 })
		}
	}
	p.mu.Lock()
	first, _, _ := p.connections[0].client.load()
	second, _, _ := p.connections[1].client.load()
	p.mu.Unlock()
	if first != 10 || second != 10 {
		t.Error(first, second)
	}
	stop()
	group.Wait()
	if stats := p.Stats(); stats.Opened != 2 || stats.Calls != 20 || stats.Methods[forever].Phase != BreakerClosed {
		t.Error(stats)
	}
}

func TestPoolBreakerOfOneMethodOpensAndHeals(t *testing.T) {
	var sick atomic.Bool
	var asked atomic.Int64
	sick.Store(true)
	handler := func(_ context.Context, call Call) (Reply, error) {
		if call.Method != echo && sick.Load() {
			asked.Add(1)
			return Reply{}, Fail(protocol.StatusUnreachable, "as asked")
		}
		return Reply{call.ContentType, call.Body}, nil
	}
	path := filepath.Join(t.TempDir(), "run/s.sock")
	serveHere(t, path, handler)
	options := DefaultBreaker()
	options.PauseFirst, options.PauseMax = time.Hour, time.Hour
	p := newPool(t, PoolOptions{Path: path, Breaker: &options})
	for status := protocol.StatusUnreachable; status != protocol.StatusCircuitOpen; {
		_, err := p.Call(t.Context(), panics, 0, nil)
		if status = statusOf(err); status == protocol.StatusOK {
			t.Fatal("it succeeded")
		}
	}
	if asked.Load() != 20 {
		t.Error(asked.Load(), "calls were sent")
	}
	if _, err := p.Call(t.Context(), echo, 0, nil); err != nil {
		t.Error("another method: ", err)
	}
	sick.Store(false)
	// The pause is over: its length is chance, which the traces try.
	p.mu.Lock()
	p.breakers[panics].state.UntilNS = 0
	p.mu.Unlock()
	for range options.Probes {
		if _, err := p.Call(t.Context(), panics, 0, nil); err != nil {
			t.Error(err)
		}
	}
	if state := p.Stats().Methods[panics]; state.Phase != BreakerClosed {
		t.Error(state)
	}
}

func serveHere(t *testing.T, path string, handler Handler) (stop func()) {
	t.Helper()
	server, err := Listen(path, protocol.ServiceALM, "test/1", Limits{}, handler, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestPoolSaysThatNothingServesAndComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run/s.sock")
	p := newPool(t, PoolOptions{Path: path})
	if _, err := p.Call(t.Context(), echo, 0, nil); statusOf(err) != protocol.StatusUnreachable {
		t.Fatal(err)
	}
	answer := func(_ context.Context, call Call) (Reply, error) { return Reply{call.ContentType, call.Body}, nil }
	for range 5 {
		stop := serveHere(t, path, answer)
		until(t, "a call that is answered", func() bool {
			_, err := p.Call(t.Context(), echo, 0, nil)
			if err != nil && statusOf(err) != protocol.StatusCircuitOpen && statusOf(err) != protocol.StatusUnreachable {
				t.Error(err)
			}
			return err == nil
		})
		stop()
	}
	if state := p.Stats().Methods[echo]; state.Phase != BreakerClosed {
		t.Error("what was never sent counts against the method: ", state)
	}
}

func TestPoolReplacesOldConnectionsAndLetsTheirCallsEnd(t *testing.T) {
	w := start(t, Limits{})
	p := newPool(t, PoolOptions{Path: w.path, AgeMax: 5 * time.Millisecond, Connections: 1})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := p.Call(ctx, forever, 0, nil)
		ended <- err
	}()
	<-w.started
	until(t, "another connection", func() bool {
		if _, err := p.Call(t.Context(), echo, 0, nil); err != nil {
			t.Error(err)
		}
		return p.Stats().Retired > 0 && p.Stats().Opened > 1
	})
	select {
	case err := <-ended:
		t.Error("it was cut off: ", err)
	default:
	}
	stop()
	if err := <-ended; statusOf(err) != protocol.StatusCancelled {
		t.Error(err)
	}
	p.Close()
	until(t, "all connections to end", func() bool { return w.server.open.Load() == 0 })
}

func TestPoolBoundsWhoWaits(t *testing.T) {
	w := start(t, Limits{InFlight: 1})
	p := newPool(t, PoolOptions{Path: w.path, Connections: 1, Waiting: 1})
	ctx, stop := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := p.Call(ctx, forever, 0, nil)
		first <- err
	}()
	<-w.started
	second := make(chan error, 1)
	go func() {
		_, err := p.Call(t.Context(), echo, 0, nil)
		second <- err
	}()
	until(t, "one that waits", func() bool { return p.Stats().Waiting == 1 })
	if _, err := p.Call(t.Context(), echo, 0, nil); statusOf(err) != protocol.StatusBusy {
		t.Error(err)
	}
	// Its room comes with the answer to what was cancelled.
	stop()
	if err := <-first; statusOf(err) != protocol.StatusCancelled {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	soon, done := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer done()
	go func() { _, _ = p.Call(soon, forever, 0, nil) }()
	<-w.started
	brief, over := context.WithTimeout(t.Context(), time.Millisecond)
	defer over()
	if _, err := p.Call(brief, echo, 0, nil); err != nil && statusOf(err) != protocol.StatusDeadline {
		t.Error(err)
	}
}

// leaver answers requests of its later connections only: to those of the first ones it says that it takes none any more,
// in a frame of the request, or in the last one of the connection.
func leaver(t *testing.T, lastFrame bool, leaves int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	listener := must(net.Listen("unix", path))
	t.Cleanup(func() { listener.Close() })
	serve := func(conn net.Conn, leaves bool) {
		defer conn.Close()
		send := func(h protocol.Header) {
			h.Service = protocol.ServiceALM
			// The other side may be gone; the test sees that.
			_, _ = conn.Write(must(protocol.Append(nil, h, nil, nil)))
		}
		send(protocol.Header{Kind: protocol.KindHello})
		c := &client{t, conn}
		for {
			h := c.read().Header
			switch {
			case h.Kind != protocol.KindRequest:
			case !leaves:
				send(protocol.Header{Kind: protocol.KindReply, RequestID: h.RequestID})
				return
			case lastFrame:
				send(protocol.Header{Kind: protocol.KindError, Status: protocol.StatusClosed, ContentType: protocol.ContentTypeText})
				return
			default:
				send(protocol.Header{Kind: protocol.KindGoaway})
				send(protocol.Header{Kind: protocol.KindError, Status: protocol.StatusClosed, RequestID: h.RequestID, ContentType: protocol.ContentTypeText})
				return
			}
		}
	}
	go func() {
		for number := 0; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn, number < leaves)
		}
	}()
	return path
}

func TestPoolRepeatsWhatWasNotTakenAndNothingElse(t *testing.T) {
	for _, lastFrame := range []bool{false, true} {
		p := newPool(t, PoolOptions{Path: leaver(t, lastFrame, 2)})
		if _, err := p.Call(t.Context(), echo, 0, nil); err != nil {
			t.Error(lastFrame, err)
		}
		if stats := p.Stats(); stats.Repeated != 2 || stats.Opened != 3 {
			t.Error(stats)
		}
		p = newPool(t, PoolOptions{Path: leaver(t, lastFrame, 3)})
		if _, err := p.Call(t.Context(), echo, 0, nil); err == nil || outcomeOfError(err) == OutcomeSucceeded {
			t.Error(lastFrame, "it is given up after three: ", err)
		}
	}
	// A connection that is lost may have done it.
	path := filepath.Join(t.TempDir(), "s.sock")
	listener := must(net.Listen("unix", path))
	defer listener.Close()
	var requests atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(must(protocol.Append(nil, protocol.Header{Kind: protocol.KindHello, Service: protocol.ServiceALM}, nil, nil)))
			c := &client{t, conn}
			c.read()
			c.read()
			requests.Add(1)
			conn.Close()
		}
	}()
	p := newPool(t, PoolOptions{Path: path})
	if _, err := p.Call(t.Context(), echo, 0, nil); !errors.Is(err, ErrClosed) || outcomeOfError(err) != OutcomeFailed {
		t.Error(err)
	}
	if requests.Load() != 1 {
		t.Error("it was sent ", requests.Load(), " times")
	}
}

func TestPoolStreamsAndItsCallersErrorsAreTheirOwn(t *testing.T) {
	w := start(t, Limits{})
	p := newPool(t, PoolOptions{Path: w.path})
	got := ""
	take := func(e Event) error {
		got += string(e.Body)
		return nil
	}
	if _, err := p.Stream(t.Context(), count, protocol.ContentTypeBytes, []byte("abcdefgh"), 2, take); err != nil || got != "abcdefgh" {
		t.Error(got, err)
	}
	own := Fail(protocol.StatusInternal, "as asked")
	for range 50 {
		_, err := p.Stream(t.Context(), count, protocol.ContentTypeBytes, []byte("abc"), 2, func(Event) error { return own })
		if !errors.Is(err, own) {
			t.Fatal(err)
		}
	}
	if state := p.Stats().Methods[count]; state.Phase != BreakerClosed {
		t.Error(state)
	}
}

func TestPoolUnderRestartsEndsEveryCallOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run/s.sock")
	answer := func(_ context.Context, call Call) (Reply, error) { return Reply{call.ContentType, call.Body}, nil }
	options := DefaultBreaker()
	options.PauseFirst, options.PauseMax = time.Millisecond, time.Millisecond
	p := newPool(t, PoolOptions{Path: path, Share: 4, Breaker: &options})
	ctx, done := context.WithCancel(t.Context())
	var ends sync.Map
	var answered atomic.Int64
	var group sync.WaitGroup
	for caller := range 16 {
		group.Go(func() {
			for ctx.Err() == nil {
				body := fmt.Appendf(nil, "%d", caller)
				within, over := context.WithTimeout(t.Context(), 5*time.Second)
				reply, err := p.Call(within, echo, protocol.ContentTypeBytes, body)
				over()
				switch {
				case err == nil && string(reply.Body) != string(body):
					t.Error("the answer of another: ", string(reply.Body))
				case err == nil:
					answered.Add(1)
				case errors.Is(err, ErrClosed):
					ends.Store(protocol.StatusClosed, true)
				default:
					ends.Store(statusOf(err), true)
				}
			}
		})
	}
	for range 8 {
		stop := serveHere(t, path, answer)
		before := answered.Load()
		until(t, "answers", func() bool { return answered.Load() > before+200 })
		stop()
	}
	done()
	group.Wait()
	ends.Range(func(status, _ any) bool {
		switch status {
		case protocol.StatusClosed, protocol.StatusUnreachable, protocol.StatusCircuitOpen, protocol.StatusBusy:
		default:
			t.Error("a call ended with ", status)
		}
		return true
	})
	if stats := p.Stats(); stats.Waiting != 0 || stats.InFlight != 0 {
		t.Error(stats)
	}
}
