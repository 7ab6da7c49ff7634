package ipc

import (
	"context"
	"sync/atomic"

	"hypermesh.dev/hypermesh/internal/protocol"
)

// running is a call that is not answered yet.
type running struct {
	request protocol.Header
	cancel  context.CancelFunc
	// credit is how many events the caller allows now.
	credit atomic.Uint32
	// more gets a token when there is credit again.
	more chan struct{}
	// over says that the call has ended. It is set before the end is written, and looked at with the write side locked, so
	// that no event comes after the end.
	over atomic.Bool
}

func newRunning(cancel context.CancelFunc, request protocol.Header) *running {
	r := &running{request: request, cancel: cancel, more: make(chan struct{}, 1)}
	r.credit.Store(request.Credit)
	return r
}

// take uses one credit, if there is one.
func (r *running) take() bool {
	for {
		left := r.credit.Load()
		if left == 0 {
			return false
		}
		if r.credit.CompareAndSwap(left, left-1) {
			return true
		}
	}
}

// allow adds credit; false when there would be more than the wire allows. Only the reader of the connection adds.
func (r *running) allow(credit uint32) bool {
	if r.credit.Add(credit) > protocol.CreditMax {
		return false
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
	return true
}

// Send sends one event of a streamed answer. It waits until the caller allows it and the socket takes it, or the context
// of the call has ended. One goroutine at a time.
func (call Call) Send(ctx context.Context, contentType protocol.ContentType, body []byte) error {
	for !call.running.take() {
		select {
		case <-call.running.more:
		case <-ctx.Done():
			return Fail(protocol.StatusCancelled, "the caller no longer waits for events")
		}
	}
	return call.connection.event(call, contentType, body)
}

func (c *connection) event(call Call, contentType protocol.ContentType, body []byte) error {
	if err := c.peer.check(body); err != nil {
		return err
	}
	h := protocol.Header{
		Kind: protocol.KindEvent, Service: c.server.service, ContentType: contentType, Method: call.Method, RequestID: call.id,
	}
	if len(body) == 0 {
		h.ContentType = protocol.ContentTypeNone
	}
	data, err := protocol.Append(nil, h, nil, body)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if call.running.over.Load() {
		return Fail(protocol.StatusCancelled, "the caller no longer waits for events")
	}
	return c.writeLocked(data)
}
