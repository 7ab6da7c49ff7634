package graph

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// HopsMax is the largest hop limit of a path.
	HopsMax = 255
	// PathsMax is the most paths of one answer.
	PathsMax = 64
	// labelsMax bounds the memory of one search with a hop limit to about 160 MB. Only one in a large, dense graph comes near.
	labelsMax = 4 << 20
	// labelsPerStop is how many nodes are settled between two questions to Stop.
	labelsPerStop = 1024
)

// Stop is asked now and then whether a search should end early. Nil never stops.
type Stop func() bool

// Path is a way through the graph, with what it rests on.
type Path struct {
	// Nodes starts with the first node and ends with the last.
	Nodes []string
	// Links are the links between them, one fewer. A link that was removed while the search was under way has its strength
	// and no more.
	Links []Edge
	// Cost is the sum of the costs of the links; exp(-Cost) is the product of their strengths.
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

// Query asks for paths.
type Query struct {
	From, To []byte
	// HopsMax is the most links of a path; 0 is any number.
	HopsMax int
	Filter  Filter
	// Potential, if given, makes the search an A*: it must never be more than the cost of the best path from a node to To, and
	// may fall by no more than a link's cost along a link (it is consistent). It is asked once per node that the search
	// touches. With a hop limit it is not used.
	Potential func(key string) float64
	// Stop ends the search early.
	Stop Stop
}

func (q *Query) check() error {
	if q.HopsMax < 0 || q.HopsMax > HopsMax {
		return fmt.Errorf("%w, this one is %d", ErrHops, q.HopsMax)
	}
	return q.Filter.check()
}

// BestPath is Best without more conditions than a hop limit.
func (g *Graph) BestPath(from, to []byte, hopsMax int, now time.Time, stop Stop) (Path, error) {
	return g.Best(Query{From: from, To: to, HopsMax: hopsMax, Stop: stop}, now)
}

// Best is the path whose product of strengths is the greatest among all that the query allows.
//
// A node leads to itself by the empty path of cost 0. The errors are ErrUnknownNode, ErrNoPath, ErrHops, ErrBandwidth,
// ErrStopped and ErrTooLarge. Without a hop limit the search is a Dijkstra's from both ends, or an A* where a potential is
// given or Prepare has made landmarks that still hold; with one it keeps, per node, every cost that no path of fewer links has.
func (g *Graph) Best(q Query, now time.Time) (Path, error) {
	if err := q.check(); err != nil {
		return Path{}, err
	}
	r := g.read(q.Filter, now)
	defer r.leave()
	source, target, err := r.ends(q.From, q.To)
	if err != nil {
		return Path{}, err
	}
	var nodes []uint32
	switch potential := g.potential(&r, &q, target); {
	case source == target:
		nodes = []uint32{source}
	case q.HopsMax > 0:
		nodes, err = r.limited(source, target, q.HopsMax, q.Stop)
	case potential != nil:
		nodes, err = r.guided(source, target, potential, nil, q.Stop)
	default:
		nodes, err = r.bothEnds(source, target, q.Stop)
	}
	if err != nil {
		return Path{}, err
	}
	return r.explain(nodes), nil
}

func (r *reader) ends(from, to []byte) (source, target uint32, err error) {
	source, ok := r.find(from)
	if !ok {
		return 0, 0, fmt.Errorf("%w: the first", ErrUnknownNode)
	}
	target, ok = r.find(to)
	if !ok {
		return 0, 0, fmt.Errorf("%w: the last", ErrUnknownNode)
	}
	return source, target, nil
}

func (r *reader) limited(source, target uint32, hopsMax int, stop Stop) ([]uint32, error) {
	s := newSearch(r, source, hopsMax, stop)
	defer s.release()
	for {
		at, ok, err := s.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, ErrNoPath
		}
		if s.labels[at].node == target {
			return s.trace(at), nil
		}
	}
}

// explain finds, for each step, the strongest link that it can have used.
func (r *reader) explain(nodes []uint32) Path {
	path := Path{Nodes: []string{r.key(nodes[0])}}
	for i, to := range nodes[1:] {
		from := nodes[i]
		step, cheapest := Edge{From: r.key(from), To: r.key(to)}, math.Inf(1)
		r.each(from, false, func(l *list, at uint32, word uint64, cost float64) {
			if wordNode(word) == to && cost < cheapest {
				cheapest = cost
				step = r.edge(from, l, at, word, cost)
			}
		})
		if math.IsInf(cheapest, 1) {
			cheapest = costMax // It went away just now; what it cost is not known any more.
		}
		path.Nodes = append(path.Nodes, step.To)
		path.Links = append(path.Links, step)
		path.Cost += cheapest
	}
	return path
}

// Rank orders candidates by the cost of the best path from one node, cheapest first. Equal ones and, at the end, those that
// no path leads to keep the order in which they were given. An unknown first node knows no candidate; that is no error.
func (g *Graph) Rank(from []byte, candidates [][]byte, now time.Time, stop Stop) ([]Ranked, error) {
	r := g.read(Filter{}, now)
	defer r.leave()
	source, ok := r.find(from)
	wanted := make(map[uint32][]int, len(candidates)) // A candidate may be given twice.
	if ok {
		for i, key := range candidates {
			if id, ok := r.find(key); ok {
				wanted[id] = append(wanted[id], i)
			}
		}
	}
	known := make([]bool, len(candidates))
	ranking := make([]Ranked, 0, len(candidates))
	if len(wanted) > 0 {
		w := newWalk(&r, source, false)
		defer w.release()
		for len(wanted) > 0 {
			node, ok := w.settle()
			if !ok {
				break
			}
			if w.shouldStop(stop) {
				return nil, ErrStopped
			}
			for _, i := range wanted[node] {
				known[i] = true
				ranking = append(ranking, Ranked{Index: i, Known: true, Cost: w.marks[node].cost})
			}
			delete(wanted, node)
			w.relax(node, nil)
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
