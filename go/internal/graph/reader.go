package graph

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Filter says which links a question may use. The zero value allows all.
type Filter struct {
	// Kinds are the kinds that count; none given is all.
	Kinds []Kind
	// Bandwidth is the least bandwidth; links whose bandwidth is not known have 0.
	Bandwidth float64
}

func (f Filter) check() error {
	if !(f.Bandwidth >= 0) || math.IsInf(f.Bandwidth, 1) {
		return fmt.Errorf("%w, the least one asked for is %v", ErrBandwidth, f.Bandwidth)
	}
	return nil
}

// Edge is one link as a reader sees it. The keys may be kept, not changed.
type Edge struct {
	From, To string
	Kind     Kind
	Strength float64
	// Evidence counts how often the link was set or strengthened.
	Evidence  uint32
	Bandwidth float64
	// Expires is zero for a link that does not.
	Expires time.Time
}

// reader is one question's view of the graph: a moment, a filter, and a place among the counted readers.
type reader struct {
	g     *Graph
	turn  uint32
	decay float64
	now   int64
	// all says that the kinds do not matter.
	all       bool
	kinds     [4]uint64
	bandwidth float64
}

func (g *Graph) read(filter Filter, now time.Time) reader {
	r := reader{
		g: g, turn: g.public.enter(), decay: g.decayAt(now), now: now.UnixNano(),
		all: len(filter.Kinds) == 0, bandwidth: filter.Bandwidth,
	}
	for _, kind := range filter.Kinds {
		r.kinds[kind>>6] |= 1 << (kind & 63)
	}
	return r
}

func (r *reader) leave() { r.g.public.leave(r.turn) }

func (r *reader) key(id uint32) string { return r.g.public.key(id) }

func (r *reader) find(key []byte) (uint32, bool) { return r.g.public.find(key) }

// nodes is more than the number of any node that the reader can meet.
func (r *reader) nodes() int { return len(*r.g.public.chunks.Load()) * chunkNodes }

func (r *reader) links(id uint32, entering bool) *list {
	n := r.g.public.node(id)
	if entering {
		return n.in.Load()
	}
	return n.out.Load()
}

// plain says that every link which is not a mark and has not faded counts.
func (r *reader) plain(l *list) bool { return r.all && r.bandwidth == 0 && !l.expiring.Load() }

// admits says whether the link in a place counts; its strength is judged elsewhere.
func (r *reader) admits(l *list, at uint32, word uint64) bool {
	if kind := wordKind(word); !r.all && r.kinds[kind>>6]>>(kind&63)&1 == 0 {
		return false
	}
	if r.bandwidth > 0 && math.Float64frombits(l.more[at].bandwidth.Load()) < r.bandwidth {
		return false
	}
	expires := l.more[at].expires.Load()
	return expires == 0 || expires > r.now
}

func (r *reader) cost(l *list, at uint32) float64 {
	return max(0, r.decay-math.Float64frombits(l.levels[at].Load()))
}

// edge describes the link in a place of a leaving list.
func (r *reader) edge(from uint32, l *list, at uint32, word uint64, cost float64) Edge {
	e := Edge{
		From: r.key(from), To: r.key(wordNode(word)), Kind: wordKind(word), Strength: math.Exp(-cost),
		Evidence:  l.more[at].evidence.Load(),
		Bandwidth: math.Float64frombits(l.more[at].bandwidth.Load()),
	}
	if expires := l.more[at].expires.Load(); expires != 0 {
		e.Expires = time.Unix(0, expires)
	}
	return e
}

// each calls back for every link of a node that counts.
func (r *reader) each(id uint32, entering bool, visit func(l *list, at uint32, word uint64, cost float64)) {
	l := r.links(id, entering)
	plain, length := r.plain(l), l.length.Load()
	for at := range length {
		word := l.words[at].Load()
		if wordNode(word) == nobody || !(plain || r.admits(l, at, word)) {
			continue
		}
		if cost := r.cost(l, at); cost <= costMax {
			visit(l, at, word, cost)
		}
	}
}

// Neighbours lists the links that leave a node, strongest first, at most limit; equal ones by key and kind. It looks at all
// links of the node and takes memory in proportion to limit.
func (g *Graph) Neighbours(key []byte, limit int, now time.Time) []Edge {
	return g.NeighboursBy(key, limit, Filter{}, now)
}

// NeighboursBy is Neighbours over the links that a filter allows.
func (g *Graph) NeighboursBy(key []byte, limit int, filter Filter, now time.Time) []Edge {
	if limit <= 0 || filter.check() != nil {
		return nil
	}
	r := g.read(filter, now)
	defer r.leave()
	id, ok := r.find(key)
	if !ok {
		return nil
	}
	type found struct {
		l    *list
		at   uint32
		word uint64
		cost float64
	}
	compare := func(a, b found) int {
		switch {
		case a.cost != b.cost:
			if a.cost < b.cost {
				return -1
			}
			return 1
		case wordNode(a.word) != wordNode(b.word):
			return strings.Compare(r.key(wordNode(a.word)), r.key(wordNode(b.word)))
		}
		return int(wordKind(a.word)) - int(wordKind(b.word))
	}
	// The best so far, up to twice as many as wanted: sorted and cut whenever that is full.
	var best []found
	worst := math.Inf(1)
	r.each(id, false, func(l *list, at uint32, word uint64, cost float64) {
		if cost > worst {
			return
		}
		best = append(best, found{l, at, word, cost})
		if len(best) >= 2*limit+16 {
			slices.SortFunc(best, compare)
			best = best[:limit]
			worst = best[limit-1].cost
		}
	})
	slices.SortFunc(best, compare)
	best = best[:min(limit, len(best))]
	edges := make([]Edge, len(best))
	for i, f := range best {
		edges[i] = r.edge(id, f.l, f.at, f.word, f.cost)
	}
	return edges
}

// Links lists the links from one node to another, by kind.
func (g *Graph) Links(from, to []byte, now time.Time) []Edge {
	r := g.read(Filter{}, now)
	defer r.leave()
	f, ok := r.find(from)
	if !ok {
		return nil
	}
	t, ok := r.find(to)
	if !ok {
		return nil
	}
	var edges []Edge
	// The shorter of the two lists is looked through; a star has one on one side only.
	if out, in := r.links(f, false), r.links(t, true); out.length.Load() <= in.length.Load() {
		r.each(f, false, func(l *list, at uint32, word uint64, cost float64) {
			if wordNode(word) == t {
				edges = append(edges, r.edge(f, l, at, word, cost))
			}
		})
	} else {
		r.each(t, true, func(l *list, at uint32, word uint64, cost float64) {
			if wordNode(word) == f {
				e := r.edge(f, l, at, word, cost)
				e.From, e.To = e.To, r.key(t)
				edges = append(edges, e)
			}
		})
	}
	slices.SortFunc(edges, func(a, b Edge) int { return int(a.Kind) - int(b.Kind) })
	return edges
}
