package graph

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// HopsMax is the largest hop limit of a path.
	HopsMax = 255
	// labelsMax bounds the memory of one search to about 160 MB. Only a search with a hop limit in a large, dense graph
	// comes near: without one a search makes at most one label per edge, and in practice a small share of that.
	labelsMax = 4 << 20
	// labelsPerStop is how many labels are settled between two questions to Stop.
	labelsPerStop = 1024
)

// Stop is asked now and then whether a search should end early. Nil never stops.
type Stop func() bool

// Edge is one edge as a reader sees it. The keys may be kept, not changed.
type Edge struct {
	From, To string
	Strength float64
}

// Path is a way through the graph.
type Path struct {
	// Nodes starts with the first node and ends with the last.
	Nodes []string
	// Cost is the sum of the costs of the edges; exp(-Cost) is the product of their strengths.
	Cost float64
}

// Ranked is one candidate of a ranking.
type Ranked struct {
	// Index is the place of the candidate among those given.
	Index int
	// Known says that a path leads to it. Otherwise Cost is 0 and means nothing.
	Known bool
	Cost  float64
}

// Neighbours lists the edges that leave a node, strongest first, at most limit; equal ones by key.
// It takes time in proportion to limit * log limit, however many edges the node has.
func (g *Graph) Neighbours(key []byte, limit int, now time.Time) []Edge {
	id, ok := g.names[string(key)]
	if !ok || limit <= 0 {
		return nil
	}
	decay, out := g.decayAt(now), g.nodes[id].out
	edges := make([]Edge, 0, min(limit, len(out)))
	// A heap of places in the heap: whoever is best so far has its two children as the next candidates.
	places := placeHeap{g: g, out: out}
	frontier := indexHeap{}
	if len(out) > 0 {
		frontier = append(frontier, 0)
	}
	for len(frontier) > 0 && len(edges) < limit {
		at := frontier[0]
		remove(&frontier, places, 0)
		cost := g.cost(out[at], decay)
		if cost > costMax {
			break // The rest is weaker still.
		}
		edges = append(edges, Edge{
			From:     g.nodes[id].key,
			To:       g.nodes[g.edges[out[at]].to].key,
			Strength: math.Exp(-cost),
		})
		for child := 2*at + 1; child <= 2*at+2 && int(child) < len(out); child++ {
			push(&frontier, places, child)
		}
	}
	return edges
}

// placeHeap orders places in a heap of leaving edges by the edges there.
type placeHeap struct {
	g   *Graph
	out indexHeap
}

func (o placeHeap) before(a, b uint32) bool { return strongestOut{o.g}.before(o.out[a], o.out[b]) }
func (o placeHeap) moved(uint32, int)       {}

// BestPath is the path from -> to whose product of strengths is the greatest among all walks of at most hopsMax edges;
// hopsMax 0 means any number. Of equally strong ones it has the fewest edges, then the smaller keys.
//
// A node leads to itself by the empty path of cost 0. The errors are ErrUnknownNode, ErrNoPath, ErrHops, ErrStopped and
// ErrTooLarge.
func (g *Graph) BestPath(from, to []byte, hopsMax int, now time.Time, stop Stop) (Path, error) {
	if hopsMax < 0 || hopsMax > HopsMax {
		return Path{}, fmt.Errorf("%w, this one is %d", ErrHops, hopsMax)
	}
	source, ok := g.names[string(from)]
	if !ok {
		return Path{}, fmt.Errorf("%w: the first", ErrUnknownNode)
	}
	target, ok := g.names[string(to)]
	if !ok {
		return Path{}, fmt.Errorf("%w: the last", ErrUnknownNode)
	}
	s := newSearch(g, source, g.decayAt(now), hopsMax, stop)
	defer s.release()
	for {
		at, ok, err := s.next()
		if err != nil {
			return Path{}, err
		}
		if !ok {
			return Path{}, ErrNoPath
		}
		if s.labels[at].node == target {
			return Path{Nodes: s.trace(at), Cost: s.labels[at].cost}, nil
		}
	}
}

// Rank orders candidates by the cost of the best path from one node, cheapest first. Equal ones and, at the end, those that
// no path leads to keep the order in which they were given. An unknown first node knows no candidate; that is no error.
func (g *Graph) Rank(from []byte, candidates [][]byte, now time.Time, stop Stop) ([]Ranked, error) {
	source, ok := g.names[string(from)]
	wanted := make(map[uint32][]int, len(candidates)) // A candidate may be given twice.
	if ok {
		for i, key := range candidates {
			if id, ok := g.names[string(key)]; ok {
				wanted[id] = append(wanted[id], i)
			}
		}
	}
	known := make([]bool, len(candidates))
	ranking := make([]Ranked, 0, len(candidates))
	if len(wanted) > 0 {
		s := newSearch(g, source, g.decayAt(now), 0, stop)
		defer s.release()
		for len(wanted) > 0 {
			at, ok, err := s.next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			for _, i := range wanted[s.labels[at].node] {
				known[i] = true
				ranking = append(ranking, Ranked{Index: i, Known: true, Cost: s.labels[at].cost})
			}
			delete(wanted, s.labels[at].node)
		}
	}
	slices.SortFunc(ranking, func(a, b Ranked) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Index, b.Index))
	})
	for i := range candidates {
		if !known[i] {
			ranking = append(ranking, Ranked{Index: i})
		}
	}
	return ranking, nil
}

// search is Dijkstra's algorithm over labels. A label is a walk from the source to a node. Labels leave the heap by cost,
// then number of edges, then key, then by which predecessor left first, so the outcome depends on nothing else.
//
// Without a hop limit the first label that leaves the heap for a node settles it. With one, a later and dearer label still
// counts if it has fewer edges, because it may be continued further.
type search struct {
	g       *Graph
	decay   float64
	hopsMax int
	stop    Stop
	settled int

	labels []label
	queue  indexHeap
	// Per node, valid when stamp is the generation of this search.
	marks      []mark
	generation uint32
}

type label struct {
	cost float64
	node uint32
	// before is the label that this one continues; the source's is its own index.
	before uint32
	hops   uint16
}

type mark struct {
	generation uint32
	// hops of the settled label with the fewest edges; notSettled when there is none.
	settledHops uint16
	// The cheapest label that was made for the node, to drop what it dominates.
	madeHops uint16
	madeCost float64
}

const notSettled = math.MaxUint16

// searches keeps the memory of finished searches for the next ones.
var searches = sync.Pool{New: func() any { return new(search) }}

func newSearch(g *Graph, source uint32, decay float64, hopsMax int, stop Stop) *search {
	s := searches.Get().(*search)
	s.g, s.decay, s.hopsMax, s.stop, s.settled = g, decay, hopsMax, stop, 0
	s.labels, s.queue = s.labels[:0], s.queue[:0]
	s.generation++
	if len(s.marks) < len(g.nodes) || s.generation == 0 {
		s.marks = make([]mark, len(g.nodes))
		s.generation = 1
	}
	s.offer(label{node: source})
	return s
}

func (s *search) release() {
	s.g, s.stop = nil, nil
	searches.Put(s)
}

// next settles the next label and makes those that continue it. The second result is false when no label is left.
func (s *search) next() (uint32, bool, error) {
	for len(s.queue) > 0 {
		if s.settled++; s.settled%labelsPerStop == 0 && s.stop != nil && s.stop() {
			return 0, false, ErrStopped
		}
		at := s.queue[0]
		remove(&s.queue, s, 0)
		l := s.labels[at]
		m := s.mark(l.node)
		if m.settledHops <= l.hops || (s.hopsMax == 0 && m.settledHops != notSettled) {
			continue
		}
		m.settledHops = l.hops
		if err := s.continueFrom(at, l); err != nil {
			return 0, false, err
		}
		return at, true, nil
	}
	return 0, false, nil
}

func (s *search) continueFrom(at uint32, l label) error {
	// Walks without a limit have fewer edges than there are nodes, which may be more than hops can count. Past the count
	// they all tie, which costs the preference for fewer edges and nothing else.
	hops := min(l.hops+1, notSettled-1)
	if s.hopsMax > 0 && int(hops) > s.hopsMax {
		return nil
	}
	for _, id := range s.g.nodes[l.node].out {
		cost := s.g.cost(id, s.decay)
		if cost > costMax {
			continue // Faded. Its children in the heap are, too, but may be many places on.
		}
		if len(s.labels) >= labelsMax {
			return ErrTooLarge
		}
		s.offer(label{cost: l.cost + cost, node: s.g.edges[id].to, before: at, hops: hops})
	}
	return nil
}

// offer queues a label unless one that is at least as good in both respects was made or settled before.
func (s *search) offer(l label) {
	m := s.mark(l.node)
	if m.settledHops <= l.hops || (s.hopsMax == 0 && m.settledHops != notSettled) {
		return
	}
	if m.madeCost <= l.cost && m.madeHops <= l.hops {
		return
	}
	if l.cost <= m.madeCost {
		m.madeCost, m.madeHops = l.cost, l.hops
	}
	s.labels = append(s.labels, l)
	push(&s.queue, s, uint32(len(s.labels)-1))
}

func (s *search) mark(node uint32) *mark {
	m := &s.marks[node]
	if m.generation != s.generation {
		*m = mark{generation: s.generation, settledHops: notSettled, madeHops: notSettled, madeCost: math.Inf(1)}
	}
	return m
}

// trace lists the keys along a label.
func (s *search) trace(at uint32) []string {
	var back []uint32
	for {
		back = append(back, s.labels[at].node)
		if s.labels[at].before == at {
			break
		}
		at = s.labels[at].before
	}
	keys := make([]string, 0, len(back))
	for i := len(back) - 1; i >= 0; i-- {
		keys = append(keys, s.g.nodes[back[i]].key)
	}
	return keys
}

// before and moved order the queue of labels.
func (s *search) before(a, b uint32) bool {
	x, y := &s.labels[a], &s.labels[b]
	if x.cost != y.cost {
		return x.cost < y.cost
	}
	if x.hops != y.hops {
		return x.hops < y.hops
	}
	if x.node != y.node {
		return s.g.nodes[x.node].key < s.g.nodes[y.node].key
	}
	return a < b
}

func (s *search) moved(uint32, int) {}
