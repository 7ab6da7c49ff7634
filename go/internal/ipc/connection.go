package ipc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hypermesh.dev/hypermesh/internal/protocol"
)

// growStep is how much of a long frame is made room for at once: as its bytes arrive, never on the word of its length.
const growStep = 64 << 10

// violation ends a connection whose other side broke a rule.
type violation struct {
	status protocol.Status
	text   string
}

func (v *violation) Error() string { return v.text }

func violated(status protocol.Status, format string, args ...any) error {
	return &violation{status, fmt.Sprintf(format, args...)}
}

type connection struct {
	server *Server
	conn   *net.UnixConn
	reader *bufio.Reader
	// peer is what the caller's HELLO allows; set before its first request.
	peer announced

	// writing guards the socket's write side: one frame at a time.
	writing sync.Mutex

	mu    sync.Mutex
	calls map[uint64]*running
	// answering counts calls that are off the list and whose answers are not written yet.
	answering int
	stopping  bool
	idle      chan struct{} // closed when stopping and no call is left
}

func newConnection(server *Server, conn *net.UnixConn) *connection {
	return &connection{
		server: server, conn: conn, reader: bufio.NewReaderSize(conn, growStep),
		calls: make(map[uint64]*running), peer: heard(nil), idle: make(chan struct{}),
	}
}

// run serves the connection to its end.
func (c *connection) run(ctx context.Context) {
	lost, lose := context.WithCancel(context.Background())
	defer lose()
	defer c.conn.Close()
	stop := context.AfterFunc(ctx, c.drain)
	defer stop()
	var wrong *violation
	err := c.serve(lost)
	if errors.As(err, &wrong) {
		c.server.log.Debug("connection refused", "status", wrong.status, "text", wrong.text)
		// The other side may not read it any more.
		_ = c.write(c.server.errorHeader(0, 0, wrong.status), []byte(cut(wrong.text)))
	}
}

// drain says that no new calls are taken, and ends the connection when the accepted ones have ended.
func (c *connection) drain() {
	c.mu.Lock()
	c.stopping = true
	c.closeIfIdle()
	c.mu.Unlock()
	// The other side may not read it any more.
	_ = c.write(protocol.Header{Kind: protocol.KindGoaway, Service: c.server.service}, nil)
	select {
	case <-c.idle:
		// Whoever reads this knows that what is still open was never taken. It may not be read any more.
		text := "the program has stopped; what it accepted is answered"
		_ = c.write(c.server.errorHeader(0, 0, protocol.StatusClosed), []byte(text))
	case <-time.After(c.server.limits.DrainTimeout):
		c.cutOff()
	}
	// The reader returns then.
	_ = c.conn.Close()
}

func (c *connection) serve(lost context.Context) error {
	hello, err := c.server.hello()
	if err != nil {
		return err
	}
	if err := c.writeBytes(hello); err != nil {
		return err
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(c.server.limits.HelloTimeout)); err != nil {
		return err
	}
	greeted := false
	for {
		frame, err := readFrame(c.reader)
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
				return violated(protocol.StatusDeadline, "no HELLO arrived in time; send it first")
			}
			return err
		}
		if frame.Header.Service != c.server.service {
			return violated(protocol.StatusUnexpectedFrame, "this socket serves service %d, not %d", c.server.service, frame.Header.Service)
		}
		if !greeted {
			if frame.Header.Kind != protocol.KindHello {
				return violated(protocol.StatusUnexpectedFrame, "HELLO comes first")
			}
			greeted = true
			c.peer = heard(frame.TLVs)
			if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
			continue
		}
		if err := c.handle(lost, frame); err != nil {
			return err
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// readFrame reads one frame. Its memory is its own.
func readFrame(reader *bufio.Reader) (protocol.Frame, error) {
	prefix, err := reader.Peek(protocol.LengthBytes)
	if err != nil {
		return protocol.Frame{}, err
	}
	total, err := protocol.FrameLength(prefix)
	if err != nil {
		return protocol.Frame{}, asViolation(err)
	}
	data := make([]byte, 0, min(total, growStep))
	for len(data) < total {
		step := min(total-len(data), growStep)
		start := len(data)
		data = append(data, make([]byte, step)...)
		if _, err := io.ReadFull(reader, data[start:]); err != nil {
			return protocol.Frame{}, err
		}
	}
	frame, err := protocol.Decode(data)
	return frame, asViolation(err)
}

func asViolation(err error) error {
	var wire *protocol.Error
	if errors.As(err, &wire) {
		return &violation{wire.Status, wire.Error()}
	}
	return err
}

func (c *connection) handle(lost context.Context, frame protocol.Frame) error {
	h := frame.Header
	switch h.Kind {
	case protocol.KindRequest:
		return c.request(lost, frame)
	case protocol.KindCancel:
		c.cancel(h)
		return nil
	case protocol.KindPing:
		return c.write(protocol.Header{Kind: protocol.KindPong, Service: h.Service, RequestID: h.RequestID}, nil)
	case protocol.KindCredit:
		c.mu.Lock()
		call := c.calls[h.RequestID]
		c.mu.Unlock()
		// Its call may just have ended.
		if call != nil && !call.allow(h.Credit) {
			return violated(protocol.StatusBadCredit, "more credit than the wire allows")
		}
		return nil
	case protocol.KindGoaway:
		// A caller may go away.
		return nil
	case protocol.KindError:
		if h.RequestID == 0 {
			return io.EOF
		}
	case protocol.KindHello, protocol.KindReply, protocol.KindEvent, protocol.KindPong:
	}
	return violated(protocol.StatusUnexpectedFrame, "a frame of kind %d does not fit here", h.Kind)
}

func (c *connection) request(lost context.Context, frame protocol.Frame) error {
	h := frame.Header
	c.server.requests.Add(1)
	ctx, cancel := context.WithCancel(lost)
	if h.DeadlineNS != 0 {
		left := time.Duration(0)
		if now := monotonicNS(); h.DeadlineNS > now {
			left = time.Duration(min(h.DeadlineNS-now, uint64(24*365*time.Hour)))
		}
		stop := cancel
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, left)
		cancel = func() { done(); stop() }
	}
	refuse := func(status protocol.Status, text string) error {
		cancel()
		return c.answer(h, Reply{}, Fail(status, "%s", text))
	}
	call := newRunning(cancel, h)
	c.mu.Lock()
	_, taken := c.calls[h.RequestID]
	full, stopping := len(c.calls) >= c.server.limits.InFlight, c.stopping
	if !taken && !full && !stopping {
		c.calls[h.RequestID] = call
	}
	c.mu.Unlock()
	switch {
	case taken:
		cancel()
		return violated(protocol.StatusBadRequestID, "request id %d is in flight already", h.RequestID)
	case stopping:
		return refuse(protocol.StatusClosed, "the program is stopping; connect again when it is back")
	case full:
		return refuse(protocol.StatusBusy, "as many requests are in flight as HELLO allowed; wait for an answer")
	}
	go func() {
		defer cancel()
		reply, err := c.call(ctx, frame, call)
		var failure *Failure
		if errors.As(err, &failure) && failure.Status == protocol.StatusClosed {
			// CLOSED says that nothing of the call was done, which a handler cannot say of its own call.
			err = Fail(protocol.StatusUnreachable, "%s", failure.Text)
		}
		if c.finish(h.RequestID) {
			// The connection may be lost; its reader notices.
			_ = c.answer(h, reply, err)
			c.leave()
		}
	}()
	return nil
}

// call runs the handler; a panic is an answer, not the end of the other calls.
func (c *connection) call(ctx context.Context, frame protocol.Frame, call *running) (reply Reply, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			c.server.log.Error("the handler panicked", "reason", reason)
			err = Fail(protocol.StatusInternal, "the handler failed; its log says why; please report it")
		}
	}()
	reply, err = c.server.handler(ctx, Call{
		Method: frame.Header.Method, ContentType: frame.Header.ContentType, Body: frame.Body,
		TraceID: frame.Header.TraceID, SpanID: frame.Header.SpanID, Sampled: frame.Header.Flags&protocol.FlagSampled != 0,
		id: frame.Header.RequestID, running: call, connection: c,
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Reply{}, Fail(protocol.StatusDeadline, "the deadline passed before the answer was ready")
	}
	return reply, err
}

// finish takes the call off the list and says whether it was still there: whoever takes it off answers.
func (c *connection) finish(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	call, there := c.calls[id]
	if there {
		call.over.Store(true)
		delete(c.calls, id)
		c.answering++
	}
	return there
}

// leave says that the answer of a finished call is written.
func (c *connection) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answering--
	c.closeIfIdle()
}

// cutOff answers what the time to drain was not enough for.
func (c *connection) cutOff() {
	c.mu.Lock()
	left := c.calls
	c.calls = make(map[uint64]*running)
	c.mu.Unlock()
	for _, call := range left {
		call.over.Store(true)
		call.cancel()
		// The other side may not read it any more.
		_ = c.answer(call.request, Reply{}, Fail(protocol.StatusDeadline, "the program stopped before the answer was ready"))
	}
}

// closeIfIdle tells a drain when the last call has been answered. The lock is held.
func (c *connection) closeIfIdle() {
	if c.stopping && len(c.calls) == 0 && c.answering == 0 {
		select {
		case <-c.idle:
		default:
			close(c.idle)
		}
	}
}

func (c *connection) cancel(h protocol.Header) {
	c.mu.Lock()
	call := c.calls[h.RequestID]
	c.mu.Unlock()
	if call != nil && c.finish(h.RequestID) {
		call.cancel()
		// The connection may be lost; its reader notices.
		_ = c.answer(call.request, Reply{}, Fail(protocol.StatusCancelled, "the caller cancelled the request"))
		c.leave()
	}
}

func (c *connection) answer(request protocol.Header, reply Reply, err error) error {
	h := protocol.Header{
		Kind: protocol.KindReply, Service: c.server.service, ContentType: reply.ContentType, Method: request.Method,
		RequestID: request.RequestID, TraceID: request.TraceID, SpanID: request.SpanID,
	}
	if err == nil {
		if len(reply.Body) == 0 {
			h.ContentType = protocol.ContentTypeNone
		}
		if err = c.peer.check(reply.Body); err == nil {
			err = c.write(h, reply.Body)
			if !errors.Is(err, protocol.ErrEncode) {
				return err
			}
		}
	}
	failure := &Failure{Status: protocol.StatusInternal, Text: err.Error()}
	errors.As(err, &failure)
	h = c.server.errorHeader(request.RequestID, request.Method, failure.Status)
	h.TraceID, h.SpanID = request.TraceID, request.SpanID
	return c.write(h, []byte(cut(failure.Text)))
}

func (c *connection) write(h protocol.Header, body []byte) error {
	data, err := protocol.Append(nil, h, nil, body)
	if err != nil {
		return err
	}
	return c.writeBytes(data)
}

// writeBytes writes whole frames. A caller that does not read is waited for, then let go.
func (c *connection) writeBytes(data []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.writeLocked(data)
}

func (c *connection) writeLocked(data []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.limits.WriteTimeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(data)
	if err != nil {
		// Half a frame may be out: nothing after it would be understood.
		_ = c.conn.Close()
	}
	return err
}

// cut is at most as much text as an error frame may carry.
func cut(text string) string {
	if len(text) <= protocol.ErrorTextBytesMax {
		return text
	}
	end := protocol.ErrorTextBytesMax
	for end > 0 && text[end]&0xc0 == 0x80 {
		end--
	}
	return text[:end]
}

// monotonicNS is CLOCK_MONOTONIC: one clock for all processes of the machine.
func monotonicNS() uint64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return uint64(now.Nano())
}
