package graph

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// KeyBytesMax is the longest key of a node.
	KeyBytesMax = 1024
	// StrengthMin is the weakest strength that is remembered: an edge below it is forgotten. It is the strength of a link
	// with a round trip of 27.6 s, or of a perfect edge after 40 half-lives.
	StrengthMin = 1e-12
	// NodesMax, EdgesMax and BytesMax are the largest limits that a Config may set. They keep the number of a node
	// inside 24 bits and that of a link inside 32.
	NodesMax = 1<<24 - 1
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
	ErrBandwidth   = errors.New("a bandwidth is a finite number that is not negative")
	ErrQuery       = errors.New("a parameter of the question is out of range")
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
	NodeBytes = 448
	EdgeBytes = 248
	// BytesMin is what two nodes with the longest keys and one edge take.
	BytesMin = 2*(NodeBytes+KeyBytesMax) + EdgeBytes
)

// DefaultConfig is meant for the links and associations of one machine: at most about 300 MB.
func DefaultConfig() Config {
	return Config{Nodes: 100_000, Edges: 1_000_000, Bytes: 320 << 20, HalfLife: 6 * time.Hour}
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
	// Expired counts edges forgotten because they had faded below StrengthMin, or because their time was up.
	Expired uint64
}

// Kind is the type of a link. What the numbers mean is the callers' affair; two nodes may have one link of each kind.
type Kind uint8

// Link is one link as a writer gives it.
type Link struct {
	From, To []byte
	Kind     Kind
	// Strength lies in (0, 1].
	Strength float64
	// Bandwidth is in a unit of the callers' choice; 0 says that it is not known.
	Bandwidth float64
	// Expires is when the link is forgotten whatever its strength; the zero time is never.
	Expires time.Time
}

// Graph is the graph. See the package comment for its rules; New makes one.
type Graph struct {
	config Config
	epoch  time.Time
	// decayPerSecond is ln 2 / half-life.
	decayPerSecond float64
	// writing keeps writers apart. Readers never touch it.
	writing sync.Mutex
	// decayed is the largest decay since the epoch that a write has seen, as the bits of a float64. Time never runs back
	// behind it.
	decayed atomic.Uint64
	// public is what readers see.
	public public
	// grown counts the changes after which a path may be shorter than before: new links and stronger ones.
	grown atomic.Uint64
	stats atomic.Pointer[Stats]
	// prepared are the landmarks, if any.
	prepared atomic.Pointer[landmarks]

	// All below is the writer's.
	nodes []node            // slots; unused ones are listed in freeNodes
	pairs map[uint64]uint32 // kind<<48 | from<<24 | to -> index into edges
	edges []edge            // slots; unused ones are listed in freeEdges

	freeNodes []uint32
	freeEdges []uint32

	weakestEdges indexHeap // all edges, weakest on top
	weakestNodes indexHeap // all nodes, the one with the weakest best edge on top
	soonest      indexHeap // edges that expire, the first to do so on top

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
	level     float64
	bandwidth float64
	expires   int64 // Unix nanoseconds; 0 is never
	from, to  uint32
	evidence  uint32
	kind      Kind
	// Places in Graph.weakestEdges, in nodes[from].out, in nodes[to].in and, for those that expire, in Graph.soonest.
	atEdges, atOut, atIn, atSoonest uint32
	// Places in the lists that readers see.
	outSlot, inSlot uint32
}

// New makes an empty graph whose time starts at epoch.
func New(config Config, epoch time.Time) (*Graph, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	g := &Graph{
		config:         config,
		epoch:          epoch,
		decayPerSecond: math.Ln2 / config.HalfLife.Seconds(),
		pairs:          make(map[uint64]uint32),
	}
	g.public.init()
	g.stats.Store(&Stats{})
	return g, nil
}

// Set writes a link, which is made if it is not there: strength, bandwidth and expiry are as given. A strength below
// StrengthMin, or an expiry that has passed, forgets the link.
func (g *Graph) Set(l Link, now time.Time) error {
	if err := l.Check(); err != nil {
		return err
	}
	defer g.begin()()
	g.set(l, -math.Log(l.Strength), g.advance(now), now)
	return nil
}

// Add is Set for a link of kind 0 that is nothing but its strength.
func (g *Graph) Add(from, to []byte, strength float64, now time.Time) error {
	return g.Set(Link{From: from, To: to, Strength: strength}, now)
}

// Strengthen adds to the strength of a link; a missing one counts as strength 0. A bandwidth or an expiry that is given
// replaces the old one.
//
// The rule is s <- 1 - (1-s)(1-by): the chance that at least one of two independent hints holds. It stays inside (0, 1], a
// hint always helps, and the order of several hints at one moment does not matter, so callers need not agree on one.
func (g *Graph) Strengthen(l Link, now time.Time) error {
	if err := l.Check(); err != nil {
		return err
	}
	defer g.begin()()
	decay := g.advance(now)
	strength := l.Strength
	if id, ok := g.edge(l.From, l.To, l.Kind); ok {
		if cost := g.cost(id, decay); cost <= costMax {
			old := math.Exp(-cost)
			strength = min(1, old+strength-old*strength)
		}
		if l.Bandwidth == 0 {
			l.Bandwidth = g.edges[id].bandwidth
		}
		if l.Expires.IsZero() && g.edges[id].expires != 0 {
			l.Expires = time.Unix(0, g.edges[id].expires)
		}
	}
	g.set(l, -math.Log(strength), decay, now)
	return nil
}

// Reinforce is Strengthen for a link of kind 0 that is nothing but its strength.
func (g *Graph) Reinforce(from, to []byte, by float64, now time.Time) error {
	return g.Strengthen(Link{From: from, To: to, Strength: by}, now)
}

// Remove forgets the links from -> to of every kind and says whether there was one.
func (g *Graph) Remove(from, to []byte) bool {
	defer g.begin()()
	f, ok := g.public.find(from)
	if !ok {
		return false
	}
	t, ok := g.public.find(to)
	if !ok {
		return false
	}
	var found []uint32
	for kind := range 1 << 8 {
		if id, ok := g.pairs[pair(f, t, Kind(kind))]; ok {
			found = append(found, id)
		}
	}
	for _, id := range found {
		g.deleteEdge(id)
	}
	return len(found) > 0
}

// RemoveKind forgets the link from -> to of one kind and says whether it was there.
func (g *Graph) RemoveKind(from, to []byte, kind Kind) bool {
	defer g.begin()()
	id, ok := g.edge(from, to, kind)
	if ok {
		g.deleteEdge(id)
	}
	return ok
}

// RemoveNode forgets a node with all its edges and says how many edges that were.
func (g *Graph) RemoveNode(key []byte) int {
	defer g.begin()()
	id, ok := g.public.find(key)
	if !ok {
		return 0
	}
	return g.deleteNode(id)
}

// Sweep forgets at most limit links that have faded or expired and says how many it forgot.
func (g *Graph) Sweep(limit int, now time.Time) int {
	defer g.begin()()
	decay := g.decayAt(now)
	g.decayed.Store(math.Float64bits(decay))
	return g.expire(limit, decay, now.UnixNano())
}

// begin takes the graph for one write; the function that it returns publishes the counts and gives it back.
func (g *Graph) begin() func() {
	g.writing.Lock()
	g.public.reclaim()
	return func() {
		stats := Stats{
			Nodes: g.public.names.Len(), Edges: len(g.pairs), Bytes: g.bytes, Evicted: g.evicted, Expired: g.expired,
		}
		g.stats.Store(&stats)
		g.writing.Unlock()
	}
}

// Limit changes the budget in bytes; what does not fit any more is forgotten, the weakest first.
func (g *Graph) Limit(bytes int64) error {
	defer g.begin()()
	config := g.config
	config.Bytes = bytes
	if err := config.Validate(); err != nil {
		return err
	}
	g.config = config
	for g.bytes > bytes && len(g.weakestEdges) > 0 {
		g.deleteEdge(g.weakestEdges[0])
		g.evicted++
	}
	return nil
}

// Stats describes the graph. Links that have faded but are not removed yet are counted.
func (g *Graph) Stats() Stats { return *g.stats.Load() }

// Grown changes whenever a link was made or became stronger.
func (g *Graph) Grown() uint64 { return g.grown.Load() }

// Strength is the present strength of the link from -> to of kind 0, 0 when there is none.
func (g *Graph) Strength(from, to []byte, now time.Time) float64 {
	for _, l := range g.Links(from, to, now) {
		if l.Kind == 0 {
			return l.Strength
		}
	}
	return 0
}

// Check says what is wrong with a link, before it is written.
func (l *Link) Check() error {
	if err := checkEdge(l.From, l.To, l.Strength); err != nil {
		return err
	}
	if !(l.Bandwidth >= 0) || math.IsInf(l.Bandwidth, 1) {
		return fmt.Errorf("%w, this one is %v", ErrBandwidth, l.Bandwidth)
	}
	return nil
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
	return max(math.Float64frombits(g.decayed.Load()), now.Sub(g.epoch).Seconds()*g.decayPerSecond)
}

// advance is decayAt for writes: it also moves the time of the graph and clears a few faded edges.
func (g *Graph) advance(now time.Time) float64 {
	decay := g.decayAt(now)
	g.decayed.Store(math.Float64bits(decay))
	g.expire(expiredPerWrite, decay, now.UnixNano())
	return decay
}

// cost is the present cost of an edge: never negative, though rounding may make it tiny.
func (g *Graph) cost(id uint32, decay float64) float64 {
	return max(0, decay-g.edges[id].level)
}

func (g *Graph) edge(from, to []byte, kind Kind) (uint32, bool) {
	f, ok := g.public.find(from)
	if !ok {
		return 0, false
	}
	t, ok := g.public.find(to)
	if !ok {
		return 0, false
	}
	id, ok := g.pairs[pair(f, t, kind)]
	return id, ok
}

func pair(from, to uint32, kind Kind) uint64 { return uint64(kind)<<48 | uint64(from)<<24 | uint64(to) }

// set writes the link with the given cost. The link has been checked.
func (g *Graph) set(l Link, cost, decay float64, now time.Time) {
	id, known := g.edge(l.From, l.To, l.Kind)
	expires := int64(0)
	if !l.Expires.IsZero() {
		expires = max(1, l.Expires.UnixNano())
	}
	gone := cost > costMax || (expires != 0 && expires <= now.UnixNano())
	switch {
	case gone && known:
		g.deleteEdge(id)
	case gone:
	case known:
		e := &g.edges[id]
		if decay-cost > e.level {
			g.grown.Add(1)
		}
		e.level = decay - cost
		e.evidence = saturated(e.evidence)
		e.bandwidth = l.Bandwidth
		g.setExpiry(id, expires)
		g.reorder(id)
		g.publish(id)
	default:
		g.makeRoom(l.From, l.To)
		from, to := g.node(l.From), g.node(l.To)
		g.insert(edge{
			level: decay - cost, bandwidth: l.Bandwidth, expires: expires, from: from, to: to, kind: l.Kind, evidence: 1,
		})
		g.grown.Add(1)
	}
}

func saturated(evidence uint32) uint32 {
	return evidence + min(1, math.MaxUint32-evidence)
}
