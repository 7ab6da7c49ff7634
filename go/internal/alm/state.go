package alm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/coaccess"
	"hypermesh.dev/hypermesh/internal/graph"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/journal"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

// pool is a memory of its own. Its fields are replaced only while the service starts.
type pool struct {
	config *localpb.AlmPool
	graph  *graph.Graph
	model  *coaccess.Model
}

const (
	// PoolsMax is the most pools beside pool 0.
	PoolsMax = 64
)

// The first byte of a record in the journal. In a snapshot each pool is a begin record, then the records of its graph, then
// those of its model.
const (
	recordChange = 1 // u16 method, i64 Unix nanoseconds, the call's body
	recordPool   = 2 // AlmPool
	recordGraph  = 3 // of graph.Image
	recordModel  = 4 // of coaccess.Image
	changeHead   = 11
)

func (s *Service) newPool(config *localpb.AlmPool, now time.Time) (*pool, error) {
	limits, err := s.limits(config)
	if err != nil {
		return nil, err
	}
	g, err := graph.New(limits, now)
	if err != nil {
		return nil, err
	}
	m, err := coaccess.New(coaccess.Config{Bytes: int64(min(config.GetPredictBytesMax(), 1<<62))})
	if err != nil {
		return nil, err
	}
	return &pool{config, g, m}, nil
}

// limits are those of a pool's graph: those of the program with the pool's budget.
func (s *Service) limits(config *localpb.AlmPool) (graph.Config, error) {
	limits := s.options.Graph
	limits.Bytes = int64(min(config.GetLinksBytesMax(), 1<<62))
	limits.HalfLife = time.Duration(min(config.GetHalfLifeNs(), 1<<62))
	return limits, limits.Validate()
}

// poolZero is the pool that is always there.
func (s *Service) poolZero() *localpb.AlmPool {
	return &localpb.AlmPool{
		LinksBytesMax: uint64(s.options.Graph.Bytes), PredictBytesMax: uint64(s.options.PredictBytes),
		HalfLifeNs: uint64(s.options.Graph.HalfLife),
	}
}

// change checks a call, applies it and records it, then waits for the disk.
func (s *Service) change(call ipc.Call) (ipc.Reply, error) {
	s.mu.Lock()
	now := s.now()
	var ticket uint64
	err := s.journal.Ready(changeHead + len(call.Body))
	if err == nil {
		err = s.apply(call.Method, call.Body, now)
	}
	if err == nil {
		s.changed = true
		record := binary.LittleEndian.AppendUint16([]byte{recordChange}, call.Method)
		record = binary.LittleEndian.AppendUint64(record, uint64(now.UnixNano()))
		ticket, err = s.journal.Append(append(record, call.Body...))
	}
	s.mu.Unlock()
	if err == nil {
		err = s.journal.Wait(ticket)
	}
	return ipc.Reply{}, failure(err)
}

// apply makes a change, all of it or nothing.
func (s *Service) apply(method uint16, body []byte, now time.Time) error {
	switch method {
	case protocol.MethodALMAdd, protocol.MethodALMReinforce, protocol.MethodALMRemove:
		var edges localpb.AlmEdges
		if err := unmarshal(body, &edges); err != nil {
			return err
		}
		return s.applyEdges(method, &edges, now)
	case protocol.MethodALMObserve:
		var group localpb.AlmGroup
		if err := unmarshal(body, &group); err != nil {
			return err
		}
		p, err := s.pool(group.GetPoolId())
		if err != nil {
			return err
		}
		return p.model.Observe(group.GetKeys(), now)
	case protocol.MethodALMPoolSet, protocol.MethodALMPoolDrop:
		var config localpb.AlmPool
		if err := unmarshal(body, &config); err != nil {
			return err
		}
		if method == protocol.MethodALMPoolDrop {
			return s.dropPool(config.GetPoolId())
		}
		return s.setPool(&config, now)
	}
	return ipc.Fail(protocol.StatusUnsupported, "alm has no method %d that changes something", method)
}

func (s *Service) applyEdges(method uint16, edges *localpb.AlmEdges, now time.Time) error {
	if len(edges.GetEdges()) > edgesPerCall {
		return ipc.Fail(protocol.StatusLimit, "%d edges in one call; at most %d", len(edges.GetEdges()), edgesPerCall)
	}
	p, err := s.pool(edges.GetPoolId())
	if err != nil {
		return err
	}
	links := make([]graph.Link, len(edges.GetEdges()))
	for i, e := range edges.GetEdges() {
		if e.GetKind() > 255 {
			return ipc.Fail(protocol.StatusInvalidArgument, "edge %d: a kind is 0 to 255, this one %d", i, e.GetKind())
		}
		links[i] = graph.Link{
			From: e.GetFrom(), To: e.GetTo(), Kind: graph.Kind(e.GetKind()), Strength: e.GetStrength(), Bandwidth: e.GetBandwidth(),
		}
		if expires := e.GetExpiresUnixNs(); expires > 0 {
			links[i].Expires = time.Unix(0, int64(min(expires, 1<<63-1)))
		}
		if method != protocol.MethodALMRemove {
			if err := links[i].Check(); err != nil {
				return ipc.Fail(protocol.StatusInvalidArgument, "edge %d: %v", i, err)
			}
		}
	}
	for _, l := range links {
		switch {
		case method == protocol.MethodALMAdd:
			err = p.graph.Set(l, now)
		case method == protocol.MethodALMReinforce:
			err = p.graph.Strengthen(l, now)
		case len(l.To) == 0:
			p.graph.RemoveNode(l.From)
		case l.Kind != 0:
			p.graph.RemoveKind(l.From, l.To, l.Kind)
		default:
			p.graph.Remove(l.From, l.To)
		}
		if err != nil {
			return err // Check has said that there is none.
		}
	}
	return nil
}

// setPool makes a pool, or changes its budgets. What is 0 is as in pool 0.
func (s *Service) setPool(config *localpb.AlmPool, now time.Time) error {
	zero := s.poolZero()
	if config.LinksBytesMax == 0 {
		config.LinksBytesMax = zero.LinksBytesMax
	}
	if config.PredictBytesMax == 0 {
		config.PredictBytesMax = zero.PredictBytesMax
	}
	if config.HalfLifeNs == 0 {
		config.HalfLifeNs = zero.HalfLifeNs
	}
	pools := *s.pools.Load()
	total := config.LinksBytesMax + config.PredictBytesMax
	for id, p := range pools {
		if id != config.GetPoolId() {
			total += p.config.LinksBytesMax + p.config.PredictBytesMax
		}
	}
	old, there := pools[config.GetPoolId()]
	switch {
	case total > uint64(s.options.PoolsBytes) || config.LinksBytesMax > total:
		return ipc.Fail(protocol.StatusLimit, "all pools together may have %d bytes; drop one, make one smaller, or start almd with a larger --pools-bytes-max",
			s.options.PoolsBytes)
	case !there && len(pools) > PoolsMax:
		return ipc.Fail(protocol.StatusLimit, "there are %d pools beside pool 0 already; drop one", PoolsMax)
	case there && old.config.HalfLifeNs != config.HalfLifeNs:
		return ipc.Fail(protocol.StatusInvalidArgument, "the half-life of a pool cannot change; drop it and make it anew")
	}
	made, err := s.newPool(config, now)
	if err != nil {
		return ipc.Fail(protocol.StatusInvalidArgument, "%v", err)
	}
	if there {
		if err := old.graph.Limit(int64(config.LinksBytesMax)); err != nil {
			return err
		}
		if err := old.model.Limit(int64(config.PredictBytesMax)); err != nil {
			return err
		}
		made.graph, made.model = old.graph, old.model
	}
	s.replacePools(func(all map[uint64]*pool) { all[config.GetPoolId()] = made })
	return nil
}

func (s *Service) dropPool(id uint64) error {
	if id == 0 {
		return ipc.Fail(protocol.StatusInvalidArgument, "pool 0 is always there")
	}
	if _, err := s.pool(id); err != nil {
		return err
	}
	s.replacePools(func(all map[uint64]*pool) { delete(all, id) })
	return nil
}

// replacePools publishes a new map, so that questions need no lock for it.
func (s *Service) replacePools(change func(all map[uint64]*pool)) {
	all := maps.Clone(*s.pools.Load())
	change(all)
	s.pools.Store(&all)
}

func (s *Service) pool(id uint64) (*pool, error) {
	if p, ok := (*s.pools.Load())[id]; ok {
		return p, nil
	}
	return nil, ipc.Fail(protocol.StatusNotFound, "there is no pool %d; pool_set makes it", id)
}

// replay applies a record of the log.
func (s *Service) replay(record []byte) error {
	if len(record) < changeHead || record[0] != recordChange {
		return fmt.Errorf("%w: a record of kind %d in the log", journal.ErrCorrupt, record[0])
	}
	method := binary.LittleEndian.Uint16(record[1:])
	now := time.Unix(0, int64(binary.LittleEndian.Uint64(record[3:])))
	return s.apply(method, record[changeHead:], now)
}

// restoring reads a snapshot.
type restoring struct {
	s      *Service
	config *localpb.AlmPool
	graph  *graph.Decoder
	model  *coaccess.Decoder
}

func (r *restoring) add(record []byte) error {
	rest := record[1:]
	switch {
	case record[0] == recordPool:
		if err := r.end(); err != nil {
			return err
		}
		config := &localpb.AlmPool{}
		if err := proto.Unmarshal(rest, config); err != nil {
			return fmt.Errorf("%w: %w", journal.ErrCorrupt, err)
		}
		if config.GetPoolId() == 0 {
			config = r.s.poolZero() // As the program was started this time.
		}
		model, err := coaccess.NewDecoder(coaccess.Config{Bytes: int64(min(config.GetPredictBytesMax(), 1<<62))})
		if err != nil {
			return err
		}
		r.config, r.graph, r.model = config, &graph.Decoder{}, model
		return nil
	case r.config != nil && record[0] == recordGraph:
		return r.graph.Add(rest)
	case r.config != nil && record[0] == recordModel:
		return r.model.Add(rest)
	}
	return fmt.Errorf("%w: a record of kind %d in the snapshot", journal.ErrCorrupt, record[0])
}

// end makes the pool whose records were read.
func (r *restoring) end() error {
	if r.config == nil {
		return nil
	}
	limits, err := r.s.limits(r.config)
	if err != nil {
		return err
	}
	image, err := r.graph.Image()
	if err != nil {
		return err
	}
	p := &pool{config: r.config}
	if p.graph, err = graph.Restore(limits, image); err != nil {
		return err
	}
	if p.model, err = r.model.Model(); err != nil {
		return err
	}
	r.s.replacePools(func(all map[uint64]*pool) { all[r.config.GetPoolId()] = p })
	r.config = nil
	return nil
}

// poolImage is one pool at the moment of a snapshot.
type poolImage struct {
	config *localpb.AlmPool
	graph  graph.Image
	model  *coaccess.Image
}

func (s *Service) images() []poolImage {
	pools := *s.pools.Load()
	var list []poolImage
	for _, id := range slices.Sorted(maps.Keys(pools)) {
		p := pools[id]
		list = append(list, poolImage{p.config, p.graph.Image(s.now()), p.model.Image()})
	}
	return list
}

func writeImages(list []poolImage, emit func([]byte) error) error {
	with := func(kind byte) func([]byte) error {
		var record []byte
		return func(rest []byte) error {
			record = append(append(record[:0], kind), rest...)
			return emit(record)
		}
	}
	for i := range list {
		config, err := proto.Marshal(list[i].config)
		if err == nil {
			err = with(recordPool)(config)
		}
		if err == nil {
			err = list[i].graph.Encode(with(recordGraph))
		}
		if err == nil {
			err = list[i].model.Encode(with(recordModel))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
