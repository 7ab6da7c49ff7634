package alm

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/graph"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

const (
	// candidatesPerCall is the most candidates of one ranking.
	candidatesPerCall = 10_000
	// neighboursMax is the most edges in one answer.
	neighboursMax = 10_000
	// limitDefault is how many are listed when a question does not say.
	limitDefault = 10
)

// ask answers a question, which changes nothing and waits for no one.
func (s *Service) ask(ctx context.Context, call ipc.Call) (proto.Message, error) {
	switch call.Method {
	case protocol.MethodALMStats:
		return s.stats(), nil
	case protocol.MethodALMPools:
		return s.listPools(), nil
	case protocol.MethodALMNeighbours:
		return answer(s, call, s.neighbours)
	case protocol.MethodALMBestPath:
		return answer(s, call, func(p *pool, q *localpb.AlmPathRequest) (proto.Message, error) { return s.bestPath(ctx, p, q) })
	case protocol.MethodALMBestPaths:
		return answer(s, call, func(p *pool, q *localpb.AlmPathRequest) (proto.Message, error) { return s.bestPaths(ctx, p, q) })
	case protocol.MethodALMRank:
		return answer(s, call, func(p *pool, q *localpb.AlmRankRequest) (proto.Message, error) { return s.rank(ctx, p, q) })
	case protocol.MethodALMAssociates:
		return answer(s, call, s.associates)
	case protocol.MethodALMPredict:
		return answer(s, call, s.predict)
	case protocol.MethodALMPrepare:
		return answer(s, call, func(p *pool, _ *localpb.AlmPool) (proto.Message, error) {
			return &localpb.AlmPool{}, p.graph.Prepare(s.now(), stopWith(ctx))
		})
	}
	return nil, ipc.Fail(protocol.StatusUnsupported, "alm has no method %d", call.Method)
}

// question is a message that names its pool.
type question[Q any] interface {
	*Q
	proto.Message
	GetPoolId() uint64
}

func answer[Q any, P question[Q]](s *Service, call ipc.Call, with func(*pool, P) (proto.Message, error)) (proto.Message, error) {
	q := P(new(Q))
	if err := unmarshal(call.Body, q); err != nil {
		return nil, err
	}
	p, err := s.pool(q.GetPoolId())
	if err != nil {
		return nil, err
	}
	return with(p, q)
}

func (s *Service) listPools() *localpb.AlmPools {
	pools, list := *s.pools.Load(), &localpb.AlmPools{}
	for _, id := range slices.Sorted(maps.Keys(pools)) {
		list.Pools = append(list.Pools, pools[id].config)
	}
	return list
}

func stopWith(ctx context.Context) graph.Stop {
	return func() bool { return ctx.Err() != nil }
}

func filter(f *localpb.AlmFilter) (graph.Filter, error) {
	made := graph.Filter{Bandwidth: f.GetBandwidthMin()}
	if len(f.GetKinds()) > 256 {
		return made, ipc.Fail(protocol.StatusInvalidArgument, "%d kinds; there are 256", len(f.GetKinds()))
	}
	for _, kind := range f.GetKinds() {
		if kind > 255 {
			return made, ipc.Fail(protocol.StatusInvalidArgument, "a kind is 0 to 255, this one %d", kind)
		}
		made.Kinds = append(made.Kinds, graph.Kind(kind))
	}
	return made, nil
}

func edge(e graph.Edge) *localpb.AlmEdge {
	made := &localpb.AlmEdge{
		From: []byte(e.From), To: []byte(e.To), Kind: uint32(e.Kind), Strength: e.Strength, Bandwidth: e.Bandwidth, Evidence: e.Evidence,
	}
	if !e.Expires.IsZero() {
		made.ExpiresUnixNs = uint64(e.Expires.UnixNano())
	}
	return made
}

func (s *Service) neighbours(p *pool, q *localpb.AlmNeighboursRequest) (proto.Message, error) {
	f, err := filter(q.GetFilter())
	if err != nil {
		return nil, err
	}
	limit := int(min(q.GetLimit(), neighboursMax))
	if limit == 0 {
		limit = neighboursMax
	}
	var edges localpb.AlmEdges
	for _, e := range p.graph.NeighboursBy(q.GetNode(), limit, f, s.now()) {
		edges.Edges = append(edges.Edges, edge(e))
	}
	return &edges, nil
}

func path(found graph.Path) *localpb.AlmPath {
	made := &localpb.AlmPath{Cost: found.Cost, Strength: strength(found.Cost)}
	for _, node := range found.Nodes {
		made.Nodes = append(made.Nodes, []byte(node))
	}
	for _, link := range found.Links {
		made.Links = append(made.Links, edge(link))
	}
	return made
}

func (s *Service) query(ctx context.Context, q *localpb.AlmPathRequest) (graph.Query, error) {
	f, err := filter(q.GetFilter())
	return graph.Query{
		From: q.GetFrom(), To: q.GetTo(), HopsMax: int(min(q.GetHopsMax(), 1<<20)), Filter: f, Stop: stopWith(ctx),
	}, err
}

func (s *Service) bestPath(ctx context.Context, p *pool, q *localpb.AlmPathRequest) (proto.Message, error) {
	query, err := s.query(ctx, q)
	if err != nil {
		return nil, err
	}
	found, err := p.graph.Best(query, s.now())
	if err != nil {
		return nil, err
	}
	return path(found), nil
}

func (s *Service) bestPaths(ctx context.Context, p *pool, q *localpb.AlmPathRequest) (proto.Message, error) {
	query, err := s.query(ctx, q)
	if err != nil {
		return nil, err
	}
	found, err := p.graph.Paths(query, int(min(q.GetPaths(), 1<<20)), s.now())
	if err != nil {
		return nil, err
	}
	var paths localpb.AlmPaths
	for _, one := range found {
		paths.Paths = append(paths.Paths, path(one))
	}
	return &paths, nil
}

func (s *Service) rank(ctx context.Context, p *pool, q *localpb.AlmRankRequest) (proto.Message, error) {
	candidates := q.GetCandidates()
	if len(candidates) > candidatesPerCall {
		return nil, ipc.Fail(protocol.StatusLimit, "%d candidates in one call; at most %d", len(candidates), candidatesPerCall)
	}
	ranked, err := p.graph.Rank(q.GetFrom(), candidates, s.now(), stopWith(ctx))
	if err != nil {
		return nil, err
	}
	var list localpb.AlmRanking
	for _, one := range ranked {
		list.Ranked = append(list.Ranked, &localpb.AlmRanked{Node: candidates[one.Index], Known: one.Known, Cost: one.Cost})
	}
	return &list, nil
}

func limitOf(limit uint32) int {
	if limit == 0 {
		return limitDefault
	}
	return int(min(limit, 1<<20))
}

func (s *Service) associates(p *pool, q *localpb.AlmAssociatesRequest) (proto.Message, error) {
	f, err := filter(q.GetFilter())
	if err != nil {
		return nil, err
	}
	walks := graph.Walks{
		From: q.GetNode(), Limit: limitOf(q.GetLimit()), Filter: f, Restart: q.GetRestart(), Error: q.GetError(),
		Work: int(min(q.GetWork(), 1<<30)),
	}
	ask := p.graph.Associates
	if q.GetSpread() {
		ask = p.graph.Spread
	}
	found, err := ask(walks, s.now())
	if err != nil {
		return nil, err
	}
	list := localpb.AlmAssociates{Bound: found.Bound, Looked: uint64(found.Looked), Cut: found.Cut}
	for _, one := range found.List {
		list.List = append(list.List, &localpb.AlmAssociate{Node: []byte(one.Key), Score: one.Score})
	}
	return &list, nil
}

func (s *Service) predict(p *pool, q *localpb.AlmPredictRequest) (proto.Message, error) {
	found, err := p.model.Predict(q.GetKey(), limitOf(q.GetLimit()), s.now())
	if err != nil {
		return nil, err
	}
	var list localpb.AlmPredictions
	for _, one := range found {
		list.List = append(list.List, &localpb.AlmPrediction{Key: []byte(one.Key), Share: one.Share, Together: one.Together})
	}
	return &list, nil
}
