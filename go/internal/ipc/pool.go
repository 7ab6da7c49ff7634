package ipc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hypermesh.dev/hypermesh/internal/protocol"
)

const (
	// idleFrom is how long a connection may be unused before it is looked at: the other side may be gone.
	idleFrom = 10 * time.Millisecond
	// triesMax bounds the connections to which a call goes that none took.
	triesMax = 3
	// breakersMax bounds the methods with a breaker of their own; all others share one.
	breakersMax = 256
)

// PoolOptions say what a pool may do. The zero value of a field means its default.
type PoolOptions struct {
	Path     string
	Service  protocol.Service
	Software string
	// ConnectTimeout is for a connect and its HELLO; default 5 s.
	ConnectTimeout time.Duration
	// Connections is the most of them; default 2.
	Connections int
	// Share is how many calls are in flight on every connection before another one is opened; default 256.
	Share int
	// AgeMax is how long a connection takes new calls; default 15 min.
	AgeMax time.Duration
	// Waiting is the most callers that wait for a connection; more are told BUSY. Default 4,096.
	Waiting int
	// Breaker is of each method; nil: DefaultBreaker.
	Breaker *BreakerOptions
}

func (o PoolOptions) withDefaults() PoolOptions {
	set := func(value *int, standard int) {
		if *value <= 0 {
			*value = standard
		}
	}
	wait := func(value *time.Duration, standard time.Duration) {
		if *value <= 0 {
			*value = standard
		}
	}
	wait(&o.ConnectTimeout, helloWait)
	wait(&o.AgeMax, 15*time.Minute)
	set(&o.Connections, 2)
	set(&o.Share, 256)
	set(&o.Waiting, 4096)
	if o.Breaker == nil {
		standard := DefaultBreaker()
		o.Breaker = &standard
	}
	return o
}

// Pool is few connections to one socket for many callers, repaired as they break, and a circuit breaker for each method.
// Calls share connections: a second one is opened only when the first is busy, and whoever calls gets the least loaded.
// Connecting happens beside the callers, who wait for it no longer than their contexts; it has a breaker of its own, which
// one failure opens, so that a socket that is not served costs its callers nothing. It is safe for concurrent use.
type Pool struct {
	options PoolOptions
	ctx     context.Context
	stop    context.CancelFunc
	// connecting is waited for by Close.
	connecting sync.WaitGroup

	mu           sync.Mutex
	connections  []*pooled
	isConnecting bool
	peer         *Breaker
	breakers     map[uint16]*Breaker
	others       *Breaker
	// failures counts connects that failed; failure is the last one's.
	failures uint64
	failure  error
	// waiting callers, the first first.
	waiting []*waiter
	stats   PoolStats
}

type pooled struct {
	client       *Client
	opened, used time.Time
}

// waiter is a caller that waits for a connection; seen are the failures before it came.
type waiter struct {
	rung chan struct{}
	seen uint64
}

// PoolStats are what a pool has done and holds.
type PoolStats struct {
	Connections, InFlight, Waiting int
	// Calls were asked for; Repeated were made again because a server that went away had not taken them; Refused were
	// refused by a breaker.
	Calls, Repeated, Refused uint64
	// Opened, Failed and Retired connections; the last were too old, or gone.
	Opened, Failed, Retired uint64
	// Peer is the breaker of connecting; Methods are those of methods that have been called.
	Peer    BreakerState
	Methods map[uint16]BreakerState
}

// NewPool makes a pool without connections: the first call opens one.
func NewPool(options PoolOptions) *Pool {
	options = options.withDefaults()
	ctx, stop := context.WithCancel(context.Background())
	return &Pool{
		options: options, ctx: ctx, stop: stop,
		peer: NewBreaker(connecting()), breakers: make(map[uint16]*Breaker), others: NewBreaker(*options.Breaker),
	}
}

// Close ends all connections; calls under way end with ErrClosed, and new ones fail.
func (p *Pool) Close() {
	p.mu.Lock()
	p.stop()
	connections := p.connections
	p.connections = nil
	p.ringAll()
	p.mu.Unlock()
	for _, one := range connections {
		one.client.Close()
	}
	p.connecting.Wait()
}

// Stats says what it has done and holds.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.Connections, stats.Waiting = len(p.connections), len(p.waiting)
	for _, one := range p.connections {
		inFlight, _, _ := one.client.load()
		stats.InFlight += inFlight
	}
	stats.Peer, stats.Methods = p.peer.State(), make(map[uint16]BreakerState, len(p.breakers))
	for method, breaker := range p.breakers {
		stats.Methods[method] = breaker.State()
	}
	return stats
}

// Call is as Client.Call. A call that a server on its way out did not take is made again; any other happens at most once.
// A breaker refuses it with CIRCUIT_OPEN.
func (p *Pool) Call(ctx context.Context, method uint16, contentType protocol.ContentType, body []byte) (Reply, error) {
	return p.ask(ctx, method, true, func(c *Client) (Reply, error) { return c.Call(ctx, method, contentType, body) })
}

// Stream is as Client.Stream, with the promises of Call.
func (p *Pool) Stream(
	ctx context.Context, method uint16, contentType protocol.ContentType, body []byte, credit uint32, handle func(Event) error,
) (Reply, error) {
	// What a caller makes of an event says nothing of who sent it.
	var own error
	watched := func(event Event) error {
		own = handle(event)
		return own
	}
	return p.ask(ctx, method, false, func(c *Client) (Reply, error) {
		reply, err := c.Stream(ctx, method, contentType, body, credit, watched)
		if own != nil {
			err = &unsent{own, false}
		}
		return reply, err
	})
}

// ask makes a call over a connection and tells the breaker how it ended. A stream lasts as long as it has something to
// say: isTimed is false.
func (p *Pool) ask(ctx context.Context, method uint16, isTimed bool, call func(*Client) (Reply, error)) (Reply, error) {
	breaker, permit, err := p.admit(method)
	if err != nil {
		return Reply{}, err
	}
	started := time.Now()
	outcome := OutcomeUnknown
	// Also when a handler panics.
	defer func() {
		took := time.Since(started)
		if !isTimed {
			took = 0
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		breaker.Record(permit, monotonicNS(), outcome, took, rand.Uint64())
		p.ringOne()
	}()
	for tries := 1; ; tries++ {
		client, err := p.checkout(ctx)
		if err != nil {
			outcome = outcomeOfError(err)
			return Reply{}, plain(err)
		}
		reply, err := call(client)
		var untaken *unsent
		if tries < triesMax && errors.As(err, &untaken) && untaken.again && ctx.Err() == nil {
			p.mu.Lock()
			p.stats.Repeated++
			p.mu.Unlock()
			continue
		}
		outcome = outcomeOfError(err)
		return reply, plain(err)
	}
}

// plain is an error without what only the pool asks of it.
func plain(err error) error {
	if own, ok := err.(*unsent); ok {
		return own.error
	}
	return err
}

// outcomeOfError is what the end of a call says of the other side. That nothing was reached is the peer's breaker's.
func outcomeOfError(err error) Outcome {
	var own *unsent
	var failure *Failure
	switch {
	case err == nil:
		return OutcomeSucceeded
	case errors.As(err, &own):
		return OutcomeUnknown
	case errors.Is(err, ErrClosed):
		return OutcomeFailed
	case errors.As(err, &failure):
		return outcomeOf(failure.Status)
	}
	return OutcomeUnknown
}

func (p *Pool) admit(method uint16) (*Breaker, Permit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Calls++
	breaker, there := p.breakers[method]
	switch {
	case there:
	case len(p.breakers) < breakersMax:
		breaker = NewBreaker(*p.options.Breaker)
		p.breakers[method] = breaker
	default:
		breaker = p.others
	}
	permit, retryIn, ok := breaker.Admit(monotonicNS())
	if !ok {
		p.stats.Refused++
		return nil, permit, Fail(protocol.StatusCircuitOpen, "method %d of service %d failed too often; trying again in %d ms",
			method, p.options.Service, max(retryIn.Milliseconds(), 1))
	}
	return breaker, permit, nil
}

// checkout waits for the least loaded connection that is well.
func (p *Pool) checkout(ctx context.Context) (*Client, error) {
	var own *waiter
	for {
		p.mu.Lock()
		client, err := p.look(time.Now(), own)
		if client != nil || err != nil {
			p.mu.Unlock()
			return client, err
		}
		if len(p.waiting) >= p.options.Waiting {
			p.mu.Unlock()
			return nil, &unsent{Fail(protocol.StatusBusy, "%d callers wait for a connection already", p.options.Waiting), false}
		}
		if own == nil {
			own = &waiter{rung: make(chan struct{}, 1), seen: p.failures}
		}
		p.waiting = append(p.waiting, own)
		p.mu.Unlock()
		select {
		case <-own.rung:
		case <-ctx.Done():
			p.leave(own)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, Fail(protocol.StatusDeadline, "no connection came before the deadline")
			}
			return nil, Fail(protocol.StatusCancelled, "the caller gave up")
		}
	}
}

// leave ends a wait. What rang for it meanwhile rings for the next.
func (p *Pool) leave(own *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, one := range p.waiting {
		if one == own {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return
		}
	}
	p.ringOne()
}

// look finds a connection, or opens one beside the callers where that helps; neither it nor an error means to wait. The
// lock is held.
func (p *Pool) look(now time.Time, own *waiter) (*Client, error) {
	if p.ctx.Err() != nil {
		return nil, &unsent{Fail(protocol.StatusClosed, "the pool is closed"), false}
	}
	best, load := p.least(now)
	canOpen := !p.isConnecting && len(p.connections) < p.options.Connections
	if best != nil {
		best.used = now
		if canOpen && load >= p.options.Share {
			// Refused by the breaker, the one there is will do.
			_ = p.open()
		}
		return best.client, nil
	}
	if own != nil && p.failures > own.seen && !p.isConnecting && len(p.connections) == 0 {
		return nil, &unsent{Fail(protocol.StatusUnreachable, "%v", p.failure), false}
	}
	if canOpen {
		// Connections that are full do not hide behind the one that does not come.
		if err := p.open(); err != nil && len(p.connections) == 0 {
			return nil, err
		}
	}
	return nil, nil
}

// least is the least loaded connection with room. Those that are too old or gone leave the pool.
func (p *Pool) least(now time.Time) (best *pooled, load int) {
	kept := p.connections[:0]
	for _, one := range p.connections {
		inFlight, most, isOpen := one.client.load()
		isIdle := now.Sub(one.used) > idleFrom
		if !isOpen || now.Sub(one.opened) >= p.options.AgeMax || isIdle && hasHungUp(one.client) {
			p.stats.Retired++
			one.client.retire()
			continue
		}
		kept = append(kept, one)
		if inFlight < most && (best == nil || inFlight < load) {
			best, load = one, inFlight
		}
	}
	clear(p.connections[len(kept):])
	p.connections = kept
	return best, load
}

// open starts to connect. The lock is held.
func (p *Pool) open() error {
	permit, retryIn, ok := p.peer.Admit(monotonicNS())
	if !ok {
		p.stats.Refused++
		return &unsent{Fail(protocol.StatusCircuitOpen, "%v; trying again in %d ms", p.failure, max(retryIn.Milliseconds(), 1)), false}
	}
	p.isConnecting = true
	p.connecting.Go(func() {
		ctx, done := context.WithTimeout(p.ctx, p.options.ConnectTimeout)
		defer done()
		client, err := Dial(ctx, p.options.Path, p.options.Service, p.options.Software)
		p.connected(permit, client, err)
	})
	return nil
}

// connected reports what came of connecting.
func (p *Pool) connected(permit Permit, client *Client, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isConnecting = false
	outcome := OutcomeSucceeded
	switch {
	case p.ctx.Err() != nil:
		outcome = OutcomeUnknown
		if client != nil {
			client.Close()
		}
	case err != nil:
		outcome = OutcomeFailed
		p.stats.Failed++
		p.failures++
		p.failure = err
	default:
		p.stats.Opened++
		now := time.Now()
		p.connections = append(p.connections, &pooled{client: client, opened: now, used: now})
		client.onRoom(p.room)
	}
	p.peer.Record(permit, monotonicNS(), outcome, 0, rand.Uint64())
	p.ringAll()
}

// room is called when a connection may have room again, or has ended.
func (p *Pool) room() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ringOne()
}

// ringOne lets the first of those who wait look again. The lock is held.
func (p *Pool) ringOne() {
	if len(p.waiting) > 0 {
		p.waiting[0].rung <- struct{}{}
		p.waiting = p.waiting[1:]
	}
}

func (p *Pool) ringAll() {
	for len(p.waiting) > 0 {
		p.ringOne()
	}
}

// hasHungUp asks the kernel, since the reader may not have been woken yet.
func hasHungUp(c *Client) bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return true
	}
	hasHungUp := false
	err = raw.Control(func(fd uintptr) {
		one := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		count, failed := unix.Poll(one, 0)
		hasHungUp = failed == nil && count > 0 && one[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || hasHungUp
}
