package graph

import (
	"math"
	"slices"
	"sync"
)

// search is Dijkstra's algorithm over labels. A label is a walk from the source to a node. Labels leave the heap by cost,
// then number of edges, then key, then by which predecessor left first, so that the outcome depends on nothing else.
//
// It serves paths with a hop limit: a later and dearer label still counts if it has fewer edges, because it may be continued
// further. Without a limit, walks (see walk) do the same with less.
type search struct {
	r       *reader
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

func newSearch(r *reader, source uint32, hopsMax int, stop Stop) *search {
	s := searches.Get().(*search)
	s.r, s.hopsMax, s.stop, s.settled = r, hopsMax, stop, 0
	s.labels, s.queue = s.labels[:0], s.queue[:0]
	s.generation++
	if len(s.marks) < r.nodes() || s.generation == 0 {
		s.marks = make([]mark, r.nodes())
		s.generation = 1
	}
	s.offer(label{node: source})
	return s
}

func (s *search) release() {
	s.r, s.stop = nil, nil
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
		if m.settledHops <= l.hops {
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
	hops := l.hops + 1
	if int(hops) > s.hopsMax {
		return nil
	}
	full := false
	s.r.each(l.node, false, func(_ *list, _ uint32, word uint64, cost float64) {
		if full = full || len(s.labels) >= labelsMax; !full {
			s.offer(label{cost: l.cost + cost, node: wordNode(word), before: at, hops: hops})
		}
	})
	if full {
		return ErrTooLarge
	}
	return nil
}

// offer queues a label unless one that is at least as good in both respects was made or settled before.
func (s *search) offer(l label) {
	m := s.mark(l.node)
	if m.settledHops <= l.hops {
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
	if int(node) >= len(s.marks) {
		// A node that came while the search was under way.
		s.marks = append(s.marks, make([]mark, s.r.nodes()-len(s.marks))...)
	}
	m := &s.marks[node]
	if m.generation != s.generation {
		*m = mark{generation: s.generation, settledHops: notSettled, madeHops: notSettled, madeCost: math.Inf(1)}
	}
	return m
}

// trace lists the nodes along a label.
func (s *search) trace(at uint32) []uint32 {
	var back []uint32
	for {
		back = append(back, s.labels[at].node)
		if s.labels[at].before == at {
			break
		}
		at = s.labels[at].before
	}
	slices.Reverse(back)
	return back
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
		return s.r.key(x.node) < s.r.key(y.node)
	}
	return a < b
}

func (s *search) moved(uint32, int) {}
