package alm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/coaccess"
	"hypermesh.dev/hypermesh/internal/graph"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/journal"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

const (
	// edgesPerCall is the most edges that one call may change.
	edgesPerCall = 100_000
	// sweepStep is how many faded edges one sweep removes before it lets others in.
	sweepStep = 1_000
	// logBytesMax is how long the log may become before a snapshot takes its place, whatever the clock says.
	logBytesMax = 64 << 20
)

// Options of the service.
type Options struct {
	// Graph bounds the links of pool 0, and the numbers of nodes and links of every pool.
	Graph graph.Config
	// PredictBytes is the budget of pool 0's predictor.
	PredictBytes int64
	// PoolsBytes is the most that the budgets of all pools may add up to.
	PoolsBytes int64
	// Mode says what an acknowledged change survives.
	Mode journal.Mode
	// SetAside makes a damaged directory give way to an empty one, instead of refusing to start: for advice that a node must
	// start without.
	SetAside bool
}

// DefaultOptions are for one machine.
func DefaultOptions() Options {
	return Options{Graph: graph.DefaultConfig(), PredictBytes: coaccess.DefaultConfig().Bytes, PoolsBytes: 1 << 30}
}

// Validate names what is out of range.
func (o Options) Validate() error {
	if err := o.Graph.Validate(); err != nil {
		return err
	}
	if err := (coaccess.Config{Bytes: o.PredictBytes}).Validate(); err != nil {
		return err
	}
	if o.PoolsBytes < o.Graph.Bytes+o.PredictBytes {
		return fmt.Errorf("all pools together may have %d bytes, pool 0 alone has %d", o.PoolsBytes, o.Graph.Bytes+o.PredictBytes)
	}
	return nil
}

// Service answers the methods of layer 3. It is safe for concurrent use.
type Service struct {
	options Options
	now     func() time.Time
	log     *slog.Logger
	journal *journal.Journal
	pools   atomic.Pointer[map[uint64]*pool]

	// mu keeps changes in the order of their records.
	mu      sync.Mutex
	changed bool // since the last snapshot; guarded by mu

	// saving keeps two snapshots from overtaking each other.
	saving    sync.Mutex
	snapshots atomic.Uint64
	last      atomic.Int64
	requests  func() uint64

	// abandoned says that a call ended in the middle of a change.
	abandoned atomic.Bool
}

// New makes the service over what the directory has.
func New(options Options, directory string, now func() time.Time, log *slog.Logger) (*Service, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	s := &Service{options: options, now: now, log: log, requests: func() uint64 { return 0 }}
	err := s.open(directory)
	if err != nil && options.SetAside && isDamage(err) {
		aside := fmt.Sprintf("%s.bad-%d", filepath.Clean(directory), now().UnixNano())
		log.Error("what is stored cannot be used; it is set aside and the memory starts empty", "error", err, "aside", aside)
		if err := os.Rename(directory, aside); err != nil {
			return nil, err
		}
		err = s.open(directory)
	}
	return s, err
}

func isDamage(err error) bool {
	return errors.Is(err, journal.ErrCorrupt) || errors.Is(err, graph.ErrImage) || errors.Is(err, coaccess.ErrImage)
}

func (s *Service) open(directory string) error {
	s.pools.Store(&map[uint64]*pool{})
	zero, err := s.newPool(s.poolZero(), s.now())
	if err != nil {
		return err
	}
	s.replacePools(func(all map[uint64]*pool) { all[0] = zero })
	reading, ended := &restoring{s: s}, false
	replay := func(record []byte) error {
		if !ended {
			ended = true
			if err := reading.end(); err != nil {
				return err
			}
		}
		return s.replay(record)
	}
	options := journal.Options{Service: byte(protocol.ServiceALM), Mode: s.options.Mode, Log: s.log}
	j, err := journal.Open(directory, options, reading.add, replay)
	if err != nil {
		return err
	}
	if err := reading.end(); err != nil {
		return errors.Join(err, j.Close())
	}
	s.journal = j
	return nil
}

// CountRequests says where the number of requests in stats comes from. Call it before the first request.
func (s *Service) CountRequests(count func() uint64) { s.requests = count }

// Handle answers one call.
func (s *Service) Handle(ctx context.Context, call ipc.Call) (ipc.Reply, error) {
	if call.ContentType != protocol.ContentTypeProtobuf && len(call.Body) > 0 {
		return ipc.Reply{}, ipc.Fail(protocol.StatusBadContentType, "this method takes protobuf")
	}
	switch call.Method {
	case protocol.MethodALMAdd, protocol.MethodALMReinforce, protocol.MethodALMRemove, protocol.MethodALMObserve,
		protocol.MethodALMPoolSet, protocol.MethodALMPoolDrop:
		return s.change(call)
	case protocol.MethodALMSnapshot:
		if err := s.Save(); err != nil {
			return ipc.Reply{}, ipc.Fail(protocol.StatusIO, "the snapshot could not be written: %v", err)
		}
		return ipc.Reply{}, nil
	}
	answer, err := s.ask(ctx, call)
	if err != nil {
		return ipc.Reply{}, failure(err)
	}
	body, err := proto.Marshal(answer)
	return ipc.Reply{ContentType: protocol.ContentTypeProtobuf, Body: body}, err
}

func unmarshal(body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return ipc.Fail(protocol.StatusBadBody, "the body does not decode: %v", err)
	}
	return nil
}

func (s *Service) stats() *localpb.AlmStats {
	stats := &localpb.AlmStats{
		Snapshots: s.snapshots.Load(), LastSnapshot: uint64(s.last.Load()), Requests: s.requests(),
		LogBytes: uint64(s.journal.Size()),
	}
	for _, p := range *s.pools.Load() {
		g, m := p.graph.Stats(), p.model.Stats()
		stats.Pools++
		stats.Nodes += uint64(g.Nodes)
		stats.Edges += uint64(g.Edges)
		stats.Bytes += uint64(g.Bytes + m.Bytes)
		stats.Evicted += g.Evicted + m.Evicted
		stats.Groups += m.Events
		stats.Keys += uint64(m.Keys)
		stats.Asked += m.Asked
		stats.Hits += m.Hits
	}
	return stats
}

// failure gives an error its status.
func failure(err error) error {
	if err == nil {
		return nil
	}
	var known *ipc.Failure
	if errors.As(err, &known) {
		return known
	}
	for status, causes := range map[protocol.Status][]error{
		protocol.StatusNotFound: {graph.ErrUnknownNode, graph.ErrNoPath},
		protocol.StatusInvalidArgument: {
			graph.ErrHops, graph.ErrKey, graph.ErrQuery, graph.ErrBandwidth, graph.ErrConfig,
			coaccess.ErrKey, coaccess.ErrGroup, coaccess.ErrLimit, coaccess.ErrConfig,
		},
		protocol.StatusCancelled: {graph.ErrStopped},
		protocol.StatusLimit:     {graph.ErrTooLarge, journal.ErrRecord},
		protocol.StatusBusy:      {journal.ErrBusy},
		protocol.StatusIO:        {journal.ErrFailed},
		protocol.StatusClosed:    {journal.ErrClosed},
	} {
		for _, cause := range causes {
			if errors.Is(err, cause) {
				return ipc.Fail(status, "%v", err)
			}
		}
	}
	return ipc.Fail(protocol.StatusInternal, "%v", err)
}

// Save writes a snapshot, if anything changed since the last one. Changes that come meanwhile are acknowledged when it is
// done; questions go on.
func (s *Service) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	if !s.changed {
		s.mu.Unlock()
		return nil
	}
	list := s.images()
	turn, err := s.journal.Turn()
	if err == nil {
		s.changed = false
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := turn.Finish(func(emit func([]byte) error) error { return writeImages(list, emit) }); err != nil {
		s.mu.Lock()
		s.changed = true
		s.mu.Unlock()
		return err
	}
	s.snapshots.Add(1)
	s.last.Store(s.now().UnixNano())
	return nil
}

// Sweep removes what has faded.
func (s *Service) Sweep() {
	for _, p := range *s.pools.Load() {
		for p.graph.Sweep(sweepStep, s.now()) == sweepStep {
		}
	}
}

// Keep sweeps and saves at every interval, or earlier when the log is long, until the context ends; then it saves once more
// and closes the journal.
func (s *Service) Keep(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(min(interval, 5*time.Second))
	defer ticker.Stop()
	due := time.Now().Add(interval)
	// At least once, also when it is over before this began: the end writes a snapshot.
	for over := false; !over; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
		over = ctx.Err() != nil
		if s.abandoned.Load() {
			continue
		}
		if !over && time.Now().Before(due) && s.journal.Size() < logBytesMax {
			continue
		}
		due = time.Now().Add(interval)
		s.Sweep()
		if err := s.Save(); err != nil {
			s.log.Error("the snapshot could not be written; it is tried again", "error", err)
		}
	}
	end := s.journal.Close
	if s.abandoned.Load() {
		end = s.journal.Abandon
	}
	if err := end(); err != nil {
		s.log.Error("the journal could not be closed", "error", err)
	}
}

// Abandon says that a call panicked: locks may be held for ever, and what is in memory may be half of a change. No snapshot is
// written any more; the log has all that was acknowledged.
func (s *Service) Abandon() { s.abandoned.Store(true) }

// strength is the product of strengths that a cost stands for; never 0, since a path that is there has one.
func strength(cost float64) float64 {
	return max(math.Exp(-cost), math.SmallestNonzeroFloat64)
}
