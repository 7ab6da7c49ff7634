package alm

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/graph"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

const (
	// edgesPerCall is the most edges that one call may change.
	edgesPerCall = 100_000
	// candidatesPerCall is the most candidates of one ranking.
	candidatesPerCall = 10_000
	// neighboursMax is the most edges in one answer.
	neighboursMax = 10_000
	// sweepStep is how many faded edges one sweep removes before it lets others in.
	sweepStep = 1_000
)

// Service answers the methods of layer 3. It is safe for concurrent use.
type Service struct {
	mu    sync.RWMutex
	graph *graph.Graph
	store *Store
	now   func() time.Time
	log   *slog.Logger

	// saving keeps two snapshots from overtaking each other.
	saving    sync.Mutex
	changed   bool // since the last snapshot; guarded by mu
	snapshots uint64
	last      time.Time
	requests  func() uint64
}

// New makes the service over what the store has; a snapshot that cannot be used is set aside by the store.
func New(config graph.Config, store *Store, now func() time.Time, log *slog.Logger) (*Service, error) {
	g, err := store.Load(config, now())
	if err != nil {
		return nil, err
	}
	return &Service{graph: g, store: store, now: now, log: log, requests: func() uint64 { return 0 }}, nil
}

// CountRequests says where the number of requests in stats comes from. Call it before the first request.
func (s *Service) CountRequests(count func() uint64) { s.requests = count }

// Handle answers one call.
func (s *Service) Handle(ctx context.Context, call ipc.Call) (ipc.Reply, error) {
	switch call.Method {
	case protocol.MethodALMStats:
		return message(s.stats())
	case protocol.MethodALMAdd:
		return s.change(call, func(e *localpb.AlmEdge, now time.Time) error {
			return s.graph.Add(e.GetFrom(), e.GetTo(), e.GetStrength(), now)
		})
	case protocol.MethodALMReinforce:
		return s.change(call, func(e *localpb.AlmEdge, now time.Time) error {
			return s.graph.Reinforce(e.GetFrom(), e.GetTo(), e.GetStrength(), now)
		})
	case protocol.MethodALMRemove:
		return s.change(call, func(e *localpb.AlmEdge, _ time.Time) error {
			if len(e.GetTo()) == 0 {
				s.graph.RemoveNode(e.GetFrom())
			} else {
				s.graph.Remove(e.GetFrom(), e.GetTo())
			}
			return nil
		})
	case protocol.MethodALMNeighbours:
		return s.neighbours(call)
	case protocol.MethodALMBestPath:
		return s.bestPath(ctx, call)
	case protocol.MethodALMRank:
		return s.rank(ctx, call)
	case protocol.MethodALMSnapshot:
		if err := s.Save(); err != nil {
			return ipc.Reply{}, ipc.Fail(protocol.StatusIO, "the snapshot could not be written: %v", err)
		}
		return ipc.Reply{}, nil
	}
	return ipc.Reply{}, ipc.Fail(protocol.StatusUnsupported, "alm has no method %d", call.Method)
}

func message(m proto.Message) (ipc.Reply, error) {
	body, err := proto.Marshal(m)
	return ipc.Reply{ContentType: protocol.ContentTypeProtobuf, Body: body}, err
}

func decode(call ipc.Call, m proto.Message) error {
	if call.ContentType != protocol.ContentTypeProtobuf && len(call.Body) > 0 {
		return ipc.Fail(protocol.StatusBadContentType, "this method takes protobuf")
	}
	if err := proto.Unmarshal(call.Body, m); err != nil {
		return ipc.Fail(protocol.StatusBadBody, "the body does not decode: %v", err)
	}
	return nil
}

func (s *Service) stats() *localpb.AlmStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	stats := s.graph.Stats()
	var last uint64
	if !s.last.IsZero() {
		last = uint64(s.last.UnixNano())
	}
	return &localpb.AlmStats{
		Nodes: uint64(stats.Nodes), Edges: uint64(stats.Edges), Bytes: uint64(stats.Bytes),
		Evicted: stats.Evicted, Snapshots: s.snapshots, LastSnapshot: last, Requests: s.requests(),
	}
}

// change applies each edge; the first one that is wrong ends the call, and those before it stay.
func (s *Service) change(call ipc.Call, apply func(*localpb.AlmEdge, time.Time) error) (ipc.Reply, error) {
	var edges localpb.AlmEdges
	if err := decode(call, &edges); err != nil {
		return ipc.Reply{}, err
	}
	if len(edges.GetEdges()) > edgesPerCall {
		return ipc.Reply{}, ipc.Fail(protocol.StatusLimit, "%d edges in one call; at most %d", len(edges.GetEdges()), edgesPerCall)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for i, e := range edges.GetEdges() {
		if err := apply(e, now); err != nil {
			return ipc.Reply{}, ipc.Fail(protocol.StatusInvalidArgument, "edge %d: %v", i, err)
		}
		s.changed = true
	}
	return ipc.Reply{}, nil
}

func (s *Service) neighbours(call ipc.Call) (ipc.Reply, error) {
	var request localpb.AlmNeighboursRequest
	if err := decode(call, &request); err != nil {
		return ipc.Reply{}, err
	}
	limit := int(min(request.GetLimit(), neighboursMax))
	if limit == 0 {
		limit = neighboursMax
	}
	s.mu.RLock()
	found := s.graph.Neighbours(request.GetNode(), limit, s.now())
	s.mu.RUnlock()
	var edges localpb.AlmEdges
	for _, e := range found {
		edges.Edges = append(edges.Edges, &localpb.AlmEdge{From: []byte(e.From), To: []byte(e.To), Strength: e.Strength})
	}
	return message(&edges)
}

func stopWith(ctx context.Context) graph.Stop {
	return func() bool { return ctx.Err() != nil }
}

func (s *Service) bestPath(ctx context.Context, call ipc.Call) (ipc.Reply, error) {
	var request localpb.AlmPathRequest
	if err := decode(call, &request); err != nil {
		return ipc.Reply{}, err
	}
	hops := int(min(request.GetHopsMax(), 1<<20))
	s.mu.RLock()
	path, err := s.graph.BestPath(request.GetFrom(), request.GetTo(), hops, s.now(), stopWith(ctx))
	s.mu.RUnlock()
	if err != nil {
		return ipc.Reply{}, failure(err)
	}
	answer := localpb.AlmPath{Cost: path.Cost, Strength: strength(path.Cost)}
	for _, node := range path.Nodes {
		answer.Nodes = append(answer.Nodes, []byte(node))
	}
	return message(&answer)
}

func (s *Service) rank(ctx context.Context, call ipc.Call) (ipc.Reply, error) {
	var request localpb.AlmRankRequest
	if err := decode(call, &request); err != nil {
		return ipc.Reply{}, err
	}
	candidates := request.GetCandidates()
	if len(candidates) > candidatesPerCall {
		return ipc.Reply{}, ipc.Fail(protocol.StatusLimit, "%d candidates in one call; at most %d", len(candidates), candidatesPerCall)
	}
	s.mu.RLock()
	ranked, err := s.graph.Rank(request.GetFrom(), candidates, s.now(), stopWith(ctx))
	s.mu.RUnlock()
	if err != nil {
		return ipc.Reply{}, failure(err)
	}
	var answer localpb.AlmRanking
	for _, one := range ranked {
		answer.Ranked = append(answer.Ranked, &localpb.AlmRanked{Node: candidates[one.Index], Known: one.Known, Cost: one.Cost})
	}
	return message(&answer)
}

func failure(err error) error {
	status := protocol.StatusInternal
	switch {
	case errors.Is(err, graph.ErrUnknownNode), errors.Is(err, graph.ErrNoPath):
		status = protocol.StatusNotFound
	case errors.Is(err, graph.ErrHops):
		status = protocol.StatusInvalidArgument
	case errors.Is(err, graph.ErrStopped):
		status = protocol.StatusCancelled
	case errors.Is(err, graph.ErrTooLarge):
		status = protocol.StatusLimit
	}
	return ipc.Fail(status, "%v", err)
}

// Save writes a snapshot, if anything changed since the last one.
func (s *Service) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	changed := s.changed
	s.changed = false
	image := graph.Image{}
	if changed {
		image = s.graph.Image(s.now())
	}
	s.mu.Unlock()
	if !changed {
		return nil
	}
	if err := s.store.Save(image); err != nil {
		s.mu.Lock()
		s.changed = true
		s.mu.Unlock()
		return err
	}
	s.mu.Lock()
	s.snapshots++
	s.last = s.now()
	s.mu.Unlock()
	return nil
}

// Sweep removes what has faded.
func (s *Service) Sweep() {
	for {
		s.mu.Lock()
		removed := s.graph.Sweep(sweepStep, s.now())
		s.changed = s.changed || removed > 0
		s.mu.Unlock()
		if removed < sweepStep {
			return
		}
	}
}

// Keep sweeps and saves at every interval until the context ends, then saves once more.
func (s *Service) Keep(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.Sweep()
		case <-ctx.Done():
		}
		if err := s.Save(); err != nil {
			s.log.Error("the snapshot could not be written; it is tried again", "error", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}
