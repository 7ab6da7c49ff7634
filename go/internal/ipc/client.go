package ipc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hypermesh.dev/hypermesh/internal/protocol"
)

// ErrClosed says that the connection has ended; it is wrapped with why. Calls that were under way may have been done.
var ErrClosed = errors.New("the connection is closed")

// helloWait is how long the other side may take to say HELLO when the caller sets no deadline.
const helloWait = 5 * time.Second

// Event is one item of a streamed answer.
type Event struct {
	ContentType protocol.ContentType
	Body        []byte
}

// Client is one connection to a socket. It is safe for concurrent use: calls share the connection and are answered in any
// order. A client whose connection ended stays closed; dial another one.
type Client struct {
	conn    *net.UnixConn
	service protocol.Service
	writing sync.Mutex

	// server is what the other side's HELLO allows.
	server announced

	mu    sync.Mutex
	calls map[uint64]*pending
	// owed are calls that nobody waits for and whose answers have not come.
	owed   map[uint64]struct{}
	next   uint64
	closed error
	// away says that the other side takes no new calls, or that we make none.
	away bool
	// retired ends the connection with its last call.
	retired bool
	// room is called when a call that nobody waits for has been answered, and when the connection has ended. It takes no
	// lock that is held while the client is asked for anything.
	room func()
}

// unsent says that no part of a call was done. Its text and status are those of the error inside.
type unsent struct {
	error
	// again says that another connection, or a later moment, may take it.
	again bool
}

func (u *unsent) Unwrap() error { return u.error }

// pending is a call under way.
type pending struct {
	// events is as long as the credit that was given, so that the reader of the connection never waits for a caller.
	events chan Event
	// allowed is how many events may still come; guarded by the client's mutex.
	allowed uint32
	ended   chan struct{}
	reply   Reply
	err     error
}

// Dial connects and waits for the other side's HELLO.
func Dial(ctx context.Context, path string, service protocol.Service, software string) (*Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Client{
		conn: conn.(*net.UnixConn), service: service, calls: make(map[uint64]*pending), owed: make(map[uint64]struct{}),
		room: func() {},
	}
	reader := bufio.NewReaderSize(c.conn, growStep)
	if err := c.greet(ctx, reader, software); err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	go c.read(reader)
	return c, nil
}

func (c *Client) greet(ctx context.Context, reader *bufio.Reader, software string) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(helloWait)
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return err
	}
	hello := protocol.Header{Kind: protocol.KindHello, Service: c.service}
	data, err := protocol.Append(nil, hello, []protocol.TLV{{Type: protocol.TLVSoftware, Value: []byte(software)}}, nil)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(data); err != nil {
		return err
	}
	frame, err := readFrame(reader)
	switch {
	case err != nil:
		c.sayWhy(err)
		return asFailure(err)
	case frame.Header.Kind == protocol.KindError:
		return &Failure{Status: frame.Header.Status, Text: string(frame.Body)}
	case frame.Header.Kind != protocol.KindHello || frame.Header.Service != c.service:
		return Fail(protocol.StatusUnexpectedFrame, "the socket serves something else than service %d", c.service)
	}
	c.server = heard(frame.TLVs)
	return c.conn.SetDeadline(time.Time{})
}

// sayWhy tells the other side which rule it broke.
func (c *Client) sayWhy(err error) {
	var wrong *violation
	if errors.As(err, &wrong) {
		// It may be gone already.
		_ = c.write(protocol.Header{
			Kind: protocol.KindError, Service: c.service, ContentType: protocol.ContentTypeText, Status: wrong.status,
		}, []byte(cut(wrong.text)))
	}
}

// asFailure shows a caller the rule that the other side broke.
func asFailure(err error) error {
	var wrong *violation
	if errors.As(err, &wrong) {
		return &Failure{Status: wrong.status, Text: wrong.text}
	}
	return err
}

// Call asks a method and waits for its one answer. A deadline of the context travels with the request; when the context ends
// first, the request is cancelled. Errors of the other side are of type *Failure.
func (c *Client) Call(ctx context.Context, method uint16, contentType protocol.ContentType, body []byte) (Reply, error) {
	return c.Stream(ctx, method, contentType, body, 0, nil)
}

// Stream asks a method that answers with events before its reply. At most credit of them are under way, and each is given to
// handle in order; an error of handle cancels the request and is returned.
func (c *Client) Stream(
	ctx context.Context, method uint16, contentType protocol.ContentType, body []byte, credit uint32, handle func(Event) error,
) (Reply, error) {
	p := &pending{events: make(chan Event, min(credit, protocol.CreditMax)), allowed: credit, ended: make(chan struct{})}
	h := protocol.Header{
		Kind: protocol.KindRequest, Service: c.service, ContentType: contentType, Method: method, Credit: credit,
	}
	if len(body) == 0 {
		h.ContentType = protocol.ContentTypeNone
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left <= 0 {
			return Reply{}, Fail(protocol.StatusDeadline, "the deadline has passed already")
		}
		h.DeadlineNS = monotonicNS() + uint64(left)
	}
	if err := c.server.check(body); err != nil {
		return Reply{}, &unsent{err, false}
	}
	id, err := c.begin(p)
	if err != nil {
		return Reply{}, &unsent{err, true}
	}
	h.RequestID = id
	if err := c.write(h, body); err != nil {
		if errors.Is(err, protocol.ErrEncode) {
			c.forget(id)
			return Reply{}, &unsent{err, false}
		}
		// At most a part of the frame is out, of which nobody can do anything.
		c.forget(id)
		c.lost(err)
		return Reply{}, &unsent{fmt.Errorf("%w: %w", ErrClosed, err), true}
	}
	return c.wait(ctx, id, p, handle)
}

func (c *Client) begin(p *pending) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed != nil:
		return 0, c.closed
	case c.away:
		return 0, Fail(protocol.StatusClosed, "the program is stopping; connect again when it is back")
	case len(c.calls)+len(c.owed) >= c.server.inFlight:
		return 0, Fail(protocol.StatusBusy, "%d requests are under way; wait for an answer", c.server.inFlight)
	}
	c.next++
	c.calls[c.next] = p
	return c.next, nil
}

// backflow counts events that were taken; their credit goes back, half of it at a time.
type backflow struct{ credit, taken uint32 }

func (b *backflow) take() uint32 {
	b.taken++
	if b.taken*2 < b.credit {
		return 0
	}
	back := b.taken
	b.taken = 0
	return back
}

func (c *Client) wait(ctx context.Context, id uint64, p *pending, handle func(Event) error) (Reply, error) {
	back := backflow{credit: uint32(cap(p.events))}
	for {
		select {
		case event := <-p.events:
			if err := c.take(id, event, handle, &back); err != nil {
				return Reply{}, err
			}
		case <-p.ended:
			// What came before the end is still to be handled.
			for len(p.events) > 0 {
				if err := handle(<-p.events); err != nil {
					return Reply{}, err
				}
			}
			return p.reply, p.err
		case <-ctx.Done():
			c.cancel(id)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return Reply{}, Fail(protocol.StatusDeadline, "no answer came before the deadline")
			}
			return Reply{}, Fail(protocol.StatusCancelled, "the caller gave up")
		}
	}
}

// take handles an event and gives its credit back.
func (c *Client) take(id uint64, event Event, handle func(Event) error, back *backflow) error {
	if err := handle(event); err != nil {
		c.cancel(id)
		return err
	}
	credit := back.take()
	c.mu.Lock()
	p, there := c.calls[id]
	if there {
		p.allowed += credit
	}
	c.mu.Unlock()
	if there && credit > 0 {
		// A connection that was lost ends the call; the reader says so.
		_ = c.write(protocol.Header{Kind: protocol.KindCredit, Service: c.service, RequestID: id, Credit: credit}, nil)
	}
	return nil
}

func (c *Client) forget(id uint64) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.calls[id]
	delete(c.calls, id)
	c.endIfDone()
	return p
}

func (c *Client) cancel(id uint64) {
	c.mu.Lock()
	_, there := c.calls[id]
	if there {
		delete(c.calls, id)
		c.owed[id] = struct{}{}
		c.endIfDone()
	}
	c.mu.Unlock()
	if there {
		// The connection may be lost; nobody waits any more.
		_ = c.write(protocol.Header{Kind: protocol.KindCancel, Service: c.service, RequestID: id}, nil)
	}
}

func (c *Client) write(h protocol.Header, body []byte) error {
	data, err := protocol.Append(nil, h, nil, body)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = c.conn.Write(data)
	return err
}

// read gives every frame to its call, until the connection ends.
func (c *Client) read(reader *bufio.Reader) {
	for {
		frame, err := readFrame(reader)
		if err == nil {
			err = c.dispatch(frame)
		}
		if err != nil {
			c.close(err)
			return
		}
	}
}

func (c *Client) dispatch(frame protocol.Frame) error {
	h := frame.Header
	switch h.Kind {
	case protocol.KindReply:
		return c.end(h.RequestID, Reply{ContentType: h.ContentType, Body: frame.Body}, nil)
	case protocol.KindError:
		failure := &Failure{Status: h.Status, Text: string(frame.Body)}
		switch {
		case h.RequestID == 0 && h.Status == protocol.StatusClosed:
			// What is open was never taken: docs/PROTOCOL.md, "Going away".
			return &unsent{failure, true}
		case h.RequestID == 0:
			return failure
		case h.Status == protocol.StatusClosed:
			return c.end(h.RequestID, Reply{}, &unsent{failure, true})
		}
		return c.end(h.RequestID, Reply{}, failure)
	case protocol.KindEvent:
		c.mu.Lock()
		p := c.calls[h.RequestID]
		_, owed := c.owed[h.RequestID]
		isAllowed := p != nil && p.allowed > 0
		if isAllowed {
			p.allowed--
		}
		c.mu.Unlock()
		switch {
		case owed:
			return nil // It was cancelled; this was on its way.
		case p == nil:
			return violated(protocol.StatusBadRequestID, "an event came of no request")
		case !isAllowed:
			return violated(protocol.StatusBadCredit, "an event came without credit")
		}
		// Its room is the credit.
		p.events <- Event{ContentType: h.ContentType, Body: frame.Body}
	case protocol.KindGoaway:
		c.mu.Lock()
		c.away = true
		c.mu.Unlock()
	case protocol.KindPing:
		return c.write(protocol.Header{Kind: protocol.KindPong, Service: c.service, RequestID: h.RequestID}, nil)
	case protocol.KindPong:
	default:
		return violated(protocol.StatusUnexpectedFrame, "a frame of kind %d does not fit here", h.Kind)
	}
	return nil
}

func (c *Client) end(id uint64, reply Reply, err error) error {
	if p := c.forget(id); p != nil {
		p.reply, p.err = reply, err
		close(p.ended)
		return nil
	}
	c.mu.Lock()
	_, owed := c.owed[id]
	delete(c.owed, id)
	room := c.room
	c.mu.Unlock()
	if !owed {
		return violated(protocol.StatusBadRequestID, "an answer came to no request")
	}
	room()
	return nil
}

// lost ends a connection that takes no more bytes. Where the other side has closed it, the reader finds out what it said
// before, which may be that it did not take what is open.
func (c *Client) lost(why error) {
	if !errors.Is(why, unix.EPIPE) {
		c.close(why)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = true
}

// close ends the connection and every call that is under way.
func (c *Client) close(why error) {
	c.sayWhy(why)
	c.mu.Lock()
	if c.closed == nil {
		c.closed = fmt.Errorf("%w: %w", ErrClosed, asFailure(why))
	}
	calls := c.calls
	c.calls = make(map[uint64]*pending)
	closed, room := c.closed, c.room
	c.mu.Unlock()
	for _, p := range calls {
		p.err = closed
		close(p.ended)
	}
	// It may be closed already.
	_ = c.conn.Close()
	room()
}

// load is how many calls are in flight and how many may be; ok says that it takes new ones.
func (c *Client) load() (inFlight, most int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls) + len(c.owed), c.server.inFlight, c.closed == nil && !c.away
}

// retire lets the calls under way end, and the connection with them; nobody hears of its room any more.
func (c *Client) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away, c.retired, c.room = true, true, func() {}
	c.endIfDone()
}

// endIfDone is called with the lock held.
func (c *Client) endIfDone() {
	if c.retired && len(c.calls) == 0 && c.closed == nil {
		go c.close(errors.New("another one has taken its place"))
	}
}

// onRoom sets what is called when there may be room again.
func (c *Client) onRoom(room func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room = room
}

// Close ends the connection; calls under way end with ErrClosed.
func (c *Client) Close() { c.close(errors.New("by its owner")) }
