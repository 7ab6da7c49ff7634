package graph

import (
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// KeyBytesMax is the longest key of a node.
	KeyBytesMax = 1024
	// StrengthMin is the weakest strength that is remembered: an edge below it is forgotten. It is the strength of a link
	// with a round trip of 27.6 s, or of a perfect edge after 40 half-lives.
	StrengthMin = 1e-12
	// NodesMax, EdgesMax and BytesMax are the largest limits that a Config may set. They keep every index inside 32 bits.
	NodesMax = 1 << 24
	EdgesMax = 1 << 26
	BytesMax = 1 << 36
	// HalfLifeMin is the shortest half-life: below it levels lose precision within years of running.
	HalfLifeMin = time.Second
	// HalfLifeMax is the longest half-life.
	HalfLifeMax = 10 * 365 * 24 * time.Hour
	// expiredPerWrite is how many forgotten edges one write removes in passing. More than one, so that the backlog shrinks
	// under load; few, so that a write stays short.
	expiredPerWrite = 4
)

// costMax is the cost of StrengthMin.
var costMax = -math.Log(StrengthMin)

// Errors of the package. They are wrapped with the offending value.
var (
	ErrKey         = errors.New("a key has 1 to 1024 bytes")
	ErrStrength    = errors.New("a strength lies in (0, 1]")
	ErrSelf        = errors.New("an edge joins two different nodes")
	ErrConfig      = errors.New("a limit of the graph is out of range")
	ErrUnknownNode = errors.New("the node is unknown")
	ErrNoPath      = errors.New("no path leads there")
	ErrHops        = errors.New("a hop limit is at most 255")
	ErrStopped     = errors.New("the search was stopped")
	ErrTooLarge    = errors.New("the search would need more memory than one search may use")
)

// Config holds the limits of a graph.
type Config struct {
	// Nodes is the most nodes, at least 2.
	Nodes int
	// Edges is the most edges, at least 1.
	Edges int
	// Bytes is the most memory, by the formula
	// sum over nodes of (NodeBytes + len(key)) + edges * EdgeBytes; at least BytesMin.
	Bytes int64
	// HalfLife is the time after which an edge that nobody touched has half its strength.
	HalfLife time.Duration
}

// The memory that the limit in bytes counts. A test compares these with what the Go heap really takes.
const (
	NodeBytes = 224
	EdgeBytes = 112
	// BytesMin is what two nodes with the longest keys and one edge take.
	BytesMin = 2*(NodeBytes+KeyBytesMax) + EdgeBytes
)

// DefaultConfig is meant for the links and associations of one machine: at most about 180 MB.
func DefaultConfig() Config {
	return Config{Nodes: 100_000, Edges: 1_000_000, Bytes: 192 << 20, HalfLife: 6 * time.Hour}
}

// Validate names the first limit that is out of range.
func (c Config) Validate() error {
	switch {
	case c.Nodes < 2 || c.Nodes > NodesMax:
		return fmt.Errorf("%w: nodes %d, want 2 to %d", ErrConfig, c.Nodes, NodesMax)
	case c.Edges < 1 || c.Edges > EdgesMax:
		return fmt.Errorf("%w: edges %d, want 1 to %d", ErrConfig, c.Edges, EdgesMax)
	case c.Bytes < BytesMin || c.Bytes > BytesMax:
		return fmt.Errorf("%w: bytes %d, want %d to %d", ErrConfig, c.Bytes, BytesMin, int64(BytesMax))
	case c.HalfLife < HalfLifeMin || c.HalfLife > HalfLifeMax:
		return fmt.Errorf("%w: half-life %v, want %v to %v", ErrConfig, c.HalfLife, HalfLifeMin, HalfLifeMax)
	}
	return nil
}

// Stats describes a graph.
type Stats struct {
	Nodes int
	Edges int
	Bytes int64
	// Evicted counts edges forgotten to make room.
	Evicted uint64
	// Expired counts edges forgotten because they had faded below StrengthMin.
	Expired uint64
}

// Graph is the graph. See the package comment for its rules; New makes one.
type Graph struct {
	config Config
	epoch  time.Time
	// decayPerSecond is ln 2 / half-life.
	decayPerSecond float64
	// decayed is the largest decay since the epoch that a write has seen. Time never runs back behind it.
	decayed float64

	names map[string]uint32 // key -> index into nodes
	nodes []node            // slots; unused ones are listed in freeNodes
	pairs map[uint64]uint32 // from<<32 | to -> index into edges
	edges []edge            // slots; unused ones are listed in freeEdges

	freeNodes []uint32
	freeEdges []uint32

	weakestEdges indexHeap // all edges, weakest on top
	weakestNodes indexHeap // all nodes, the one with the weakest best edge on top

	bytes   int64
	evicted uint64
	expired uint64
}

type node struct {
	key string
	// out and in are heaps of the edges that leave and enter, strongest on top.
	out indexHeap
	in  indexHeap
	// best is the level of the strongest edge in either direction. It is kept here because the order of weakestNodes may
	// change for one node at a time only, while a change of an edge concerns two.
	best float64
	// atNodes is the place in Graph.weakestNodes.
	atNodes uint32
}

type edge struct {
	// level is ln(strength at some moment) + decay between the epoch and that moment. It does not change with time.
	level    float64
	from, to uint32
	// Places in Graph.weakestEdges, in nodes[from].out and in nodes[to].in.
	atEdges, atOut, atIn uint32
}

// New makes an empty graph whose time starts at epoch.
func New(config Config, epoch time.Time) (*Graph, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Graph{
		config:         config,
		epoch:          epoch,
		decayPerSecond: math.Ln2 / config.HalfLife.Seconds(),
		names:          make(map[string]uint32),
		pairs:          make(map[uint64]uint32),
	}, nil
}

// Add sets the strength of the edge from -> to, which is made if it is not there.
// A strength below StrengthMin forgets the edge.
func (g *Graph) Add(from, to []byte, strength float64, now time.Time) error {
	if err := checkEdge(from, to, strength); err != nil {
		return err
	}
	g.set(from, to, -math.Log(strength), g.advance(now))
	return nil
}

// Reinforce adds to the strength of the edge from -> to; a missing edge counts as strength 0.
//
// The rule is s <- 1 - (1-s)(1-by): the chance that at least one of two independent hints holds. It stays inside (0, 1], a
// hint always helps, and the order of several hints at one moment does not matter, so callers need not agree on one.
func (g *Graph) Reinforce(from, to []byte, by float64, now time.Time) error {
	if err := checkEdge(from, to, by); err != nil {
		return err
	}
	decay := g.advance(now)
	strength := by
	if id, ok := g.edge(from, to); ok {
		if cost := g.cost(id, decay); cost <= costMax {
			old := math.Exp(-cost)
			strength = min(1, old+by-old*by)
		}
	}
	g.set(from, to, -math.Log(strength), decay)
	return nil
}

// Remove forgets the edge from -> to and says whether it was there.
func (g *Graph) Remove(from, to []byte) bool {
	id, ok := g.edge(from, to)
	if ok {
		g.deleteEdge(id)
	}
	return ok
}

// RemoveNode forgets a node with all its edges and says how many edges that were.
func (g *Graph) RemoveNode(key []byte) int {
	id, ok := g.names[string(key)]
	if !ok {
		return 0
	}
	return g.deleteNode(id)
}

// Sweep forgets at most limit faded edges and says how many it forgot.
func (g *Graph) Sweep(limit int, now time.Time) int {
	g.decayed = g.decayAt(now)
	return g.expire(limit, g.decayed)
}

// Stats describes the graph. Edges that have faded but are not removed yet are counted.
func (g *Graph) Stats() Stats {
	return Stats{
		Nodes:   len(g.names),
		Edges:   len(g.pairs),
		Bytes:   g.bytes,
		Evicted: g.evicted,
		Expired: g.expired,
	}
}

// Strength is the present strength of the edge from -> to, 0 when there is none.
func (g *Graph) Strength(from, to []byte, now time.Time) float64 {
	id, ok := g.edge(from, to)
	if !ok {
		return 0
	}
	cost := g.cost(id, g.decayAt(now))
	if cost > costMax {
		return 0
	}
	return math.Exp(-cost)
}

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > KeyBytesMax {
		return fmt.Errorf("%w, this one %d", ErrKey, len(key))
	}
	return nil
}

func checkEdge(from, to []byte, strength float64) error {
	if err := checkKey(from); err != nil {
		return err
	}
	if err := checkKey(to); err != nil {
		return err
	}
	if !(strength > 0 && strength <= 1) { // Written so that NaN fails.
		return fmt.Errorf("%w, this one is %v", ErrStrength, strength)
	}
	if string(from) == string(to) {
		return ErrSelf
	}
	return nil
}

// decayAt is the decay between the epoch and now, never less than a write has seen.
func (g *Graph) decayAt(now time.Time) float64 {
	return max(g.decayed, now.Sub(g.epoch).Seconds()*g.decayPerSecond)
}

// advance is decayAt for writes: it also moves the time of the graph and clears a few faded edges.
func (g *Graph) advance(now time.Time) float64 {
	g.decayed = g.decayAt(now)
	g.expire(expiredPerWrite, g.decayed)
	return g.decayed
}

// cost is the present cost of an edge: never negative, though rounding may make it tiny.
func (g *Graph) cost(id uint32, decay float64) float64 {
	return max(0, decay-g.edges[id].level)
}

func (g *Graph) edge(from, to []byte) (uint32, bool) {
	f, ok := g.names[string(from)]
	if !ok {
		return 0, false
	}
	t, ok := g.names[string(to)]
	if !ok {
		return 0, false
	}
	id, ok := g.pairs[pair(f, t)]
	return id, ok
}

func pair(from, to uint32) uint64 { return uint64(from)<<32 | uint64(to) }

// set writes the edge with the given cost. Keys and cost are valid.
func (g *Graph) set(from, to []byte, cost, decay float64) {
	id, known := g.edge(from, to)
	switch {
	case cost > costMax:
		if known {
			g.deleteEdge(id)
		}
	case known:
		g.edges[id].level = decay - cost
		g.reorder(id)
	default:
		g.makeRoom(from, to)
		g.insert(g.node(from), g.node(to), decay-cost)
	}
}
