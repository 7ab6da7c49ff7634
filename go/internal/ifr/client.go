package ifr

import (
	"context"
	"math"
	"time"

	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
)

// Options say where ifrd is. The zero value of a field but Path means its default.
type Options struct {
	Path string
	// Software is what the daemon is told; default "mfn-go".
	Software string
	// ConnectTimeout is for a connect and its HELLO; default 5 s. Calls end with their contexts.
	ConnectTimeout time.Duration
}

// Client asks one ifrd.
type Client struct{ pool *ipc.Pool }

// New makes a client without a connection: calls make them.
func New(options Options) *Client {
	if options.Software == "" {
		options.Software = "mfn-go"
	}
	return &Client{ipc.NewPool(ipc.PoolOptions{
		Path: options.Path, Service: protocol.ServiceIFR, Software: options.Software, ConnectTimeout: options.ConnectTimeout,
	})}
}

// Close ends all connections; calls under way end with ipc.ErrClosed.
func (c *Client) Close() { c.pool.Close() }

// PoolAdd makes a pool: of records, or of values.
func (c *Client) PoolAdd(ctx context.Context, pool Pool) error {
	_, err := c.Call(ctx, protocol.MethodIFRPoolAdd, pool.Append(nil))
	return err
}

// PoolDrop forgets a pool with all that it holds.
func (c *Client) PoolDrop(ctx context.Context, pool uint32) error {
	_, err := c.Call(ctx, protocol.MethodIFRPoolDrop, Pool{ID: pool}.Append(nil))
	return err
}

// PoolStats says what a pool holds.
func (c *Client) PoolStats(ctx context.Context, pool uint32) (PoolStats, error) {
	body, err := c.Call(ctx, protocol.MethodIFRPoolStats, Pool{ID: pool}.Append(nil))
	if err != nil {
		return PoolStats{}, err
	}
	return DecodePoolStats(body)
}

// Pools says what every pool holds, in no order.
func (c *Client) Pools(ctx context.Context) ([]PoolAbout, error) {
	body, err := c.Call(ctx, protocol.MethodIFRPools, nil)
	if err != nil {
		return nil, err
	}
	return DecodePools(body)
}

// ValueGet answers the value of a key in a pool of values, or nil.
func (c *Client) ValueGet(ctx context.Context, pool uint32, key Key) (*Value, error) {
	return c.value(ctx, protocol.MethodIFRGet, key.appendTo(nil, pool, nil))
}

// ValuePut sets the value of a key and answers the one that it replaced, or nil.
func (c *Client) ValuePut(ctx context.Context, pool uint32, key Key, value Value) (*Value, error) {
	return c.value(ctx, protocol.MethodIFRPut, key.appendTo(nil, pool, value[:]))
}

// ValueRemove forgets a key and answers its value, or nil.
func (c *Client) ValueRemove(ctx context.Context, pool uint32, key Key) (*Value, error) {
	return c.value(ctx, protocol.MethodIFRRemove, key.appendTo(nil, pool, nil))
}

func (c *Client) value(ctx context.Context, method uint16, request []byte) (*Value, error) {
	body, err := c.Call(ctx, method, request)
	if err != nil {
		return nil, err
	}
	return decodeValue(body)
}

// FlowPut sets the record of a digest and answers the one that it replaced, or nil. It lives for ttl from now on, or, if that
// is 0, until its ExpiresNS.
func (c *Client) FlowPut(ctx context.Context, pool uint32, record *FlowRecord, ttl time.Duration) (*FlowRecord, error) {
	ttlNS := uint64(0)
	if ttl != 0 {
		// A life of less than nothing is a moment.
		ttlNS = uint64(max(ttl, 1))
	}
	return c.record(ctx, protocol.MethodIFRFlowPut, AppendFlowPut(nil, pool, ttlNS, record))
}

// FlowGet answers the live record of a digest, or nil. That it was read keeps it longer.
func (c *Client) FlowGet(ctx context.Context, pool uint32, key Digest) (*FlowRecord, error) {
	return c.record(ctx, protocol.MethodIFRFlowGet, AppendKey(nil, pool, &key))
}

// FlowRemove forgets a digest and answers its record, expired or not, or nil.
func (c *Client) FlowRemove(ctx context.Context, pool uint32, key Digest) (*FlowRecord, error) {
	return c.record(ctx, protocol.MethodIFRFlowRemove, AppendKey(nil, pool, &key))
}

func (c *Client) record(ctx context.Context, method uint16, request []byte) (*FlowRecord, error) {
	body, err := c.Call(ctx, method, request)
	if err != nil {
		return nil, err
	}
	return DecodeAnswer(body)
}

// FlowExpire takes out what has expired among the next looks records of a pool, 1 to 4,096, and says how many. The next call
// goes on from there.
func (c *Client) FlowExpire(ctx context.Context, pool, looks uint32) (uint32, error) {
	body, err := c.Call(ctx, protocol.MethodIFRFlowExpire, AppendExpire(nil, pool, looks))
	if err != nil {
		return 0, err
	}
	_, expired, err := DecodeExpired(body)
	return expired, err
}

// FlowRoute says what to do about a key of some kind: use the record that is here, or ask a layer.
func (c *Client) FlowRoute(ctx context.Context, pool uint32, key Digest, kind uint16) (RoutingDecision, error) {
	body, err := c.Call(ctx, protocol.MethodIFRFlowRoute, AppendRoute(nil, pool, kind, &key))
	if err != nil {
		return RoutingDecision{}, err
	}
	return DecodeDecision(body)
}

// FlowLearn tells whether a layer that was asked for a key of some kind had an answer.
func (c *Client) FlowLearn(ctx context.Context, kind uint16, layer Layer, found bool) error {
	if layer > math.MaxUint8 {
		return ipc.Fail(protocol.StatusInvalidArgument, "there is no layer %d; 2 to 4 are", layer)
	}
	_, err := c.Call(ctx, protocol.MethodIFRFlowLearn, AppendLearn(nil, kind, layer, found))
	return err
}

// Call asks any method of ifrd with a body of one's own making.
func (c *Client) Call(ctx context.Context, method uint16, body []byte) ([]byte, error) {
	reply, err := c.pool.Call(ctx, method, protocol.ContentTypeFixed, body)
	return reply.Body, err
}
