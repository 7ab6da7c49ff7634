package ipc

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hypermesh.dev/hypermesh/internal/protocol"
)

const (
	echo    uint16 = 1
	forever uint16 = 2
	panics  uint16 = 3
	// count sends as many events as the body has bytes, one byte each, then the body.
	count uint16 = 4
)

type world struct {
	path    string
	server  *Server
	started chan struct{}
	ended   chan struct{}
	stop    context.CancelFunc
	served  chan error
}

func start(t *testing.T, limits Limits) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "run/s.sock"), started: make(chan struct{}, 10_000), ended: make(chan struct{}, 10_000), served: make(chan error, 1)}
	handler := func(ctx context.Context, call Call) (Reply, error) {
		switch call.Method {
		case echo:
			return Reply{call.ContentType, call.Body}, nil
		case forever:
			w.started <- struct{}{}
			<-ctx.Done()
			w.ended <- struct{}{}
			return Reply{}, nil
		case panics:
			panic("as asked")
		case count:
			for _, one := range call.Body {
				if err := call.Send(ctx, protocol.ContentTypeBytes, []byte{one}); err != nil {
					w.ended <- struct{}{}
					return Reply{}, err
				}
			}
			return Reply{call.ContentType, call.Body}, nil
		}
		return Reply{}, Fail(protocol.StatusUnsupported, "no method %d", call.Method)
	}
	server, err := Listen(w.path, protocol.ServiceALM, "test/1", limits, handler, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.served <- server.Serve(ctx) }()
	t.Cleanup(stop)
	return w
}

type client struct {
	t    *testing.T
	conn net.Conn
}

func dial(t *testing.T, path string) *client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t, conn}
}

func greet(t *testing.T, path string) *client {
	t.Helper()
	c := dial(t, path)
	c.send(protocol.Header{Kind: protocol.KindHello}, nil)
	if h := c.read().Header; h.Kind != protocol.KindHello {
		t.Fatalf("%+v", h)
	}
	return c
}

func (c *client) send(h protocol.Header, body []byte) {
	c.t.Helper()
	h.Service = protocol.ServiceALM
	data, err := protocol.Append(nil, h, nil, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(data); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() protocol.Frame {
	c.t.Helper()
	prefix := make([]byte, 4)
	if _, err := io.ReadFull(c.conn, prefix); err != nil {
		c.t.Fatal(err)
	}
	total, err := protocol.FrameLength(prefix)
	if err != nil {
		c.t.Fatal(err)
	}
	data := append(prefix, make([]byte, total-4)...)
	if _, err := io.ReadFull(c.conn, data[4:]); err != nil {
		c.t.Fatal(err)
	}
	frame, err := protocol.Decode(data)
	if err != nil {
		c.t.Fatal(err)
	}
	return frame
}

func request(id uint64, method uint16) protocol.Header {
	return protocol.Header{Kind: protocol.KindRequest, RequestID: id, Method: method}
}

func bytesRequest(id uint64) protocol.Header {
	h := request(id, echo)
	h.ContentType = protocol.ContentTypeBytes
	return h
}

func TestManyCallsAtOnce(t *testing.T) {
	w := start(t, Limits{})
	var group sync.WaitGroup
	for range 8 {
		c := greet(t, w.path)
		group.Go(func() {
			for id := uint64(1); id <= 200; id++ {
				body := []byte(strings.Repeat("x", int(id)*100))
				c.send(bytesRequest(id), body)
				if f := c.read(); f.Header.Kind != protocol.KindReply || f.Header.RequestID != id || len(f.Body) != len(body) {
					t.Errorf("%+v", f.Header)
				}
			}
		})
	}
	group.Wait()
	if w.server.Requests() != 1600 {
		t.Fatal(w.server.Requests())
	}
}

func TestCancelDeadlineAndPanicAreAnswers(t *testing.T) {
	w := start(t, Limits{})
	c := greet(t, w.path)
	c.send(request(1, forever), nil)
	<-w.started
	c.send(protocol.Header{Kind: protocol.KindCancel, RequestID: 1}, nil)
	if h := c.read().Header; h.Status != protocol.StatusCancelled || h.RequestID != 1 {
		t.Fatalf("%+v", h)
	}
	<-w.ended
	late := request(2, forever)
	late.DeadlineNS = monotonicNS() + uint64(20*time.Millisecond)
	c.send(late, nil)
	if h := c.read().Header; h.Status != protocol.StatusDeadline {
		t.Fatalf("%+v", h)
	}
	c.send(request(3, panics), nil)
	if h := c.read().Header; h.Status != protocol.StatusInternal {
		t.Fatalf("%+v", h)
	}
	c.send(request(4, 99), nil)
	if h := c.read().Header; h.Status != protocol.StatusUnsupported {
		t.Fatalf("%+v", h)
	}
	c.send(protocol.Header{Kind: protocol.KindPing, RequestID: 5}, nil)
	if h := c.read().Header; h.Kind != protocol.KindPong || h.RequestID != 5 {
		t.Fatalf("%+v", h)
	}
}

func TestALostConnectionEndsItsCalls(t *testing.T) {
	w := start(t, Limits{})
	c := greet(t, w.path)
	c.send(request(1, forever), nil)
	<-w.started
	c.conn.Close()
	<-w.ended
}

func TestLimits(t *testing.T) {
	w := start(t, Limits{InFlight: 2, Connections: 2})
	c := greet(t, w.path)
	c.send(request(1, forever), nil)
	c.send(request(2, forever), nil)
	<-w.started
	<-w.started
	c.send(request(3, echo), nil)
	if h := c.read().Header; h.Status != protocol.StatusBusy || h.RequestID != 3 {
		t.Fatalf("%+v", h)
	}
	greet(t, w.path)
	if h := dial(t, w.path).read().Header; h.Status != protocol.StatusBusy || h.RequestID != 0 {
		t.Fatalf("%+v", h)
	}
}

func TestDrain(t *testing.T) {
	w := start(t, Limits{DrainTimeout: 50 * time.Millisecond})
	c := greet(t, w.path)
	c.send(request(1, forever), nil)
	<-w.started
	w.stop()
	if h := c.read().Header; h.Kind != protocol.KindGoaway {
		t.Fatalf("%+v", h)
	}
	// What the time was not enough for is told so.
	if h := c.read().Header; h.RequestID != 1 || h.Status != protocol.StatusDeadline {
		t.Fatalf("%+v", h)
	}
	if err := <-w.served; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.path); !os.IsNotExist(err) {
		t.Fatal("the socket stays behind", err)
	}
}

// TestDrainedSaysSo: after the last answer comes the word that nothing else was accepted.
func TestDrainedSaysSo(t *testing.T) {
	w := start(t, Limits{})
	c := greet(t, w.path)
	c.send(request(1, echo), nil)
	if h := c.read().Header; h.Kind != protocol.KindReply {
		t.Fatalf("%+v", h)
	}
	w.stop()
	if h := c.read().Header; h.Kind != protocol.KindGoaway {
		t.Fatalf("%+v", h)
	}
	if h := c.read().Header; h.Kind != protocol.KindError || h.RequestID != 0 || h.Status != protocol.StatusClosed {
		t.Fatalf("%+v", h)
	}
}

func TestTheSocketIsOursAlone(t *testing.T) {
	w := start(t, Limits{})
	for path, want := range map[string]os.FileMode{w.path: 0o600, filepath.Dir(w.path): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Fatal(path, info.Mode(), err)
		}
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if _, err := Listen(w.path, protocol.ServiceALM, "", Limits{}, nil, log); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatal(err)
	}
	stale := filepath.Join(t.TempDir(), "s.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	again, err := Listen(stale, protocol.ServiceALM, "", Limits{}, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	again.bound.close()
	if err := os.WriteFile(stale, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(stale, protocol.ServiceALM, "", Limits{}, nil, log); err == nil {
		t.Fatal("a file was replaced")
	}
	if _, err := Listen("/tmp/"+strings.Repeat("x", 120), protocol.ServiceALM, "", Limits{}, nil, log); err == nil {
		t.Fatal("a long path was taken")
	}
}

func TestBrokenFramesEndOnlyTheirConnection(t *testing.T) {
	w := start(t, Limits{HelloTimeout: 20 * time.Millisecond})
	good := greet(t, w.path)
	if h := dial(t, w.path).conn; h != nil {
		c := &client{t, h}
		c.read() // HELLO
		if h := c.read().Header; h.Status != protocol.StatusDeadline {
			t.Fatalf("%+v", h)
		}
	}
	cases := map[string][]byte{
		"too large":   {0xff, 0xff, 0xff, 0xff},
		"short":       {1, 0, 0, 0},
		"second time": must(protocol.Append(nil, protocol.Header{Kind: protocol.KindHello, Service: protocol.ServiceALM}, nil, nil)),
		"elsewhere":   must(protocol.Append(nil, protocol.Header{Kind: protocol.KindPing, Service: protocol.ServiceState, RequestID: 1}, nil, nil)),
	}
	for name, data := range cases {
		c := greet(t, w.path)
		if _, err := c.conn.Write(data); err != nil {
			t.Fatal(err)
		}
		if h := c.read().Header; h.Kind != protocol.KindError || h.RequestID != 0 {
			t.Fatalf("%s: %+v", name, h)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		c := dial(t, w.path)
		noise := make([]byte, random.IntN(200))
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		// It may be sent away before it has said all.
		_, _ = c.conn.Write(noise)
		c.conn.Close()
	}
	good.send(bytesRequest(1), []byte("still here"))
	if f := good.read(); string(f.Body) != "still here" {
		t.Fatalf("%+v", f)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestADirectoryThatOthersShareIsRefusedAndLeftOpen(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := ensureDirectory(shared); err == nil {
		t.Fatal("it was taken")
	}
	there, err := os.Stat(shared)
	if err != nil || there.Mode().Perm() != 0o777 {
		t.Fatalf("%v, %v", there.Mode(), err)
	}
}
