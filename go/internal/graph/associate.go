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
	// AssociatesMax is the most associates of one answer.
	AssociatesMax = 10_000
	// WorkMax is the most links that one question may look at.
	WorkMax = 10_000_000
	// WorkDefault keeps a question to a few milliseconds, whatever the graph looks like.
	WorkDefault = 300_000
	// RestartDefault is the usual chance to start over at each step of the walk.
	RestartDefault = 0.15
	// ErrorDefault is the residual per link below which nothing is pushed on.
	ErrorDefault = 2e-4

	spreadHubs = 64
)

// Walks asks for what is associated with a node.
type Walks struct {
	From []byte
	// Limit is the most associates.
	Limit  int
	Filter Filter
	// Restart is the chance that a walk starts over at each step, in [0.01, 0.99]; 0 is RestartDefault.
	Restart float64
	// Error is the residual per link below which Associates pushes nothing on: smaller is more exact and slower.
	// In [1e-9, 1]; 0 is ErrorDefault.
	Error float64
	// Work is the most links to look at; 0 is WorkDefault.
	Work int
}

// Associate is one node with what the walks left there.
type Associate struct {
	Key string
	// Score is the share of walks that end there (Associates), or the activation that arrived (Spread).
	Score float64
}

// Associates are the answer.
type Associates struct {
	// List is sorted by score, best first; equal ones by key.
	List []Associate
	// Bound is how much any score can be wrong: the true one lies in [Score - Bound, Score + Bound].
	Bound float64
	// Looked is how many links were looked at. Cut says that Work ended the question early; Bound holds nonetheless.
	Looked int
	Cut    bool
}

func (q *Walks) defaults() error {
	if q.Restart == 0 {
		q.Restart = RestartDefault
	}
	if q.Error == 0 {
		q.Error = ErrorDefault
	}
	if q.Work == 0 {
		q.Work = WorkDefault
	}
	if q.Limit < 1 || q.Limit > AssociatesMax || !(q.Restart >= 0.01 && q.Restart <= 0.99) ||
		!(q.Error >= 1e-9 && q.Error <= 1) || q.Work < 1 || q.Work > WorkMax {
		return fmt.Errorf("%w: limit %d, restart %v, error %v, work %d; want 1 to %d, .01 to .99, 1e-9 to 1, 1 to %d",
			ErrQuery, q.Limit, q.Restart, q.Error, q.Work, AssociatesMax, WorkMax)
	}
	return q.Filter.check()
}

// Associates are the nodes where random walks from a node most often end: personalised PageRank. A walk follows links in
// proportion to their strengths, ends at each step with the chance Restart, and where no link leads on. The node itself is
// left out. It is computed by forward push (Andersen, Chung, Lang, FOCS 2006): walks that have not ended are a residual per
// node, the residual of a node is pushed on while it is more than Error per link, and what is left over in the end is the
// bound of the error. An unknown node has no associates.
func (g *Graph) Associates(q Walks, now time.Time) (Associates, error) {
	if err := q.defaults(); err != nil {
		return Associates{}, err
	}
	r := g.read(q.Filter, now)
	defer r.leave()
	source, ok := r.find(q.From)
	if !ok {
		return Associates{}, nil
	}
	p := newFlow(&r)
	defer p.release()
	return p.run(source, &q), nil
}

// flow is the memory of one question, per node.
type flow struct {
	r       *reader
	cells   []cell
	touched []uint32
	queue   []uint32
	ranked  []rankedNode
}

type cell struct {
	ended, residual float32
	// links is the degree of the node, 0 while nobody had to know it: looking it up costs two cache misses, and the residual of
	// most nodes is too small for any degree.
	links       uint32
	met, queued bool
}

type rankedNode struct {
	score float32
	node  uint32
}

var flows = sync.Pool{New: func() any { return new(flow) }}

func newFlow(r *reader) *flow {
	p := flows.Get().(*flow)
	p.r = r
	p.grow()
	return p
}

func (p *flow) grow() {
	if nodes := p.r.nodes(); len(p.cells) < nodes {
		p.cells = append(p.cells, make([]cell, nodes-len(p.cells))...)
	}
}

func (p *flow) release() {
	for _, node := range p.touched {
		p.cells[node] = cell{}
	}
	p.r, p.touched, p.queue, p.ranked = nil, p.touched[:0], p.queue[:0], p.ranked[:0]
	flows.Put(p)
}

// meet is the cell of a node, which is marked as met.
func (p *flow) meet(node uint32) *cell {
	if int(node) >= len(p.cells) {
		p.grow()
	}
	c := &p.cells[node]
	if !c.met {
		c.met = true
		p.touched = append(p.touched, node)
	}
	return c
}

// isDue says whether a node's residual is to be pushed on.
func (p *flow) isDue(c *cell, node uint32, threshold float32) bool {
	if c.residual <= threshold {
		return false
	}
	if c.links == 0 {
		c.links = max(1, p.r.links(node, false).length.Load())
	}
	return c.residual > threshold*float32(c.links)
}

func (p *flow) run(source uint32, q *Walks) Associates {
	var answer Associates
	threshold, restart := float32(q.Error), float32(q.Restart)
	p.meet(source).residual = 1
	p.queue = append(p.queue, source)
	for at := 0; at < len(p.queue); at++ {
		node := p.queue[at]
		c := &p.cells[node]
		c.queued = false
		residual := c.residual
		if !p.isDue(c, node, threshold) {
			continue
		}
		l := p.r.links(node, false)
		length := l.length.Load()
		if answer.Looked += int(length); answer.Looked > q.Work {
			answer.Cut = true
			break
		}
		total, plain := p.total(l, length)
		c.residual = 0
		if !(total > 0) {
			c.ended += residual
			continue
		}
		c.ended += restart * residual
		p.spread(l, length, plain, (1-restart)*residual/float32(total), threshold)
		if at > 4096 && at*2 > len(p.queue) {
			p.queue = p.queue[:copy(p.queue, p.queue[at+1:])]
			at = -1
		}
	}
	bound := 0.0
	for _, node := range p.touched {
		// Of the walks that are still under way at a node, this part ends there at the next step: the best guess for it.
		c := &p.cells[node]
		bound += float64(c.residual)
		if node != source {
			p.rank(rankedNode{c.ended + restart*c.residual, node}, q.Limit)
		}
	}
	answer.Bound = bound
	answer.List = p.list()
	return answer
}

// total is the sum of the shares that count, and whether all that are there do.
func (p *flow) total(l *list, length uint32) (float64, bool) {
	if p.r.plain(l) && l.base-p.r.decay > -costMax/2 {
		// A link that has faded has less than e^-13 of the base's share: the sum is right to rounding only if it is left in.
		// Readers skip such links, so count exactly when one may be there.
		if floor := math.Exp(p.r.decay - costMax - l.base); floor*float64(length) < 1e-7*math.Float64frombits(l.total.Load()) {
			return math.Float64frombits(l.total.Load()), true
		}
	}
	sum := 0.0
	for at := range length {
		if word := l.words[at].Load(); p.counts(l, at, word) {
			sum += float64(wordShare(word))
		}
	}
	return sum, false
}

func (p *flow) counts(l *list, at uint32, word uint64) bool {
	return wordNode(word) != nobody && p.r.admits(l, at, word) && p.r.cost(l, at) <= costMax
}

func (p *flow) spread(l *list, length uint32, plain bool, factor, threshold float32) {
	for at := range length {
		word := l.words[at].Load()
		other := wordNode(word)
		if other == nobody || !(plain || p.counts(l, at, word)) {
			continue
		}
		c := p.meet(other)
		c.residual += factor * wordShare(word)
		if !c.queued && p.isDue(c, other, threshold) {
			c.queued = true
			p.queue = append(p.queue, other)
		}
	}
}

// rank keeps the best so far in a heap with the worst on top.
func (p *flow) rank(one rankedNode, limit int) {
	h := p.ranked
	if !(one.score > 0) {
		return
	}
	if len(h) < limit {
		p.ranked = append(h, one)
		h = p.ranked
		for at := len(h) - 1; at > 0 && h[at].score < h[(at-1)/2].score; at = (at - 1) / 2 {
			h[at], h[(at-1)/2] = h[(at-1)/2], h[at]
		}
		return
	}
	if one.score < h[0].score || (one.score == h[0].score && p.r.key(one.node) >= p.r.key(h[0].node)) {
		return
	}
	h[0] = one
	for at := 0; ; {
		child := 2*at + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].score < h[child].score {
			child++
		}
		if h[at].score <= h[child].score {
			return
		}
		h[at], h[child] = h[child], h[at]
		at = child
	}
}

func (p *flow) list() []Associate {
	slices.SortFunc(p.ranked, func(a, b rankedNode) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(p.r.key(a.node), p.r.key(b.node)))
	})
	list := make([]Associate, len(p.ranked))
	for i, one := range p.ranked {
		list[i] = Associate{p.r.key(one.node), float64(one.score)}
	}
	return list
}

// Spread are the nodes that activation reaches in two hops: one unit leaves the node over its links in proportion to their
// strengths, which fade with time and so favour what was confirmed lately; its 64 strongest neighbours pass half of theirs on
// in the same way. It looks at few links and knows nothing beyond two hops. Bound is not used.
func (g *Graph) Spread(q Walks, now time.Time) (Associates, error) {
	if err := q.defaults(); err != nil {
		return Associates{}, err
	}
	r := g.read(q.Filter, now)
	defer r.leave()
	source, ok := r.find(q.From)
	if !ok {
		return Associates{}, nil
	}
	p := newFlow(&r)
	defer p.release()
	var answer Associates
	arrive := func(from uint32, amount float32) {
		l := r.links(from, false)
		length := l.length.Load()
		if answer.Looked += int(length); answer.Looked > q.Work {
			answer.Cut = true
			return
		}
		if total, plain := p.total(l, length); total > 0 {
			p.spread(l, length, plain, amount/float32(total), math.MaxFloat32)
		}
	}
	p.meet(source)
	arrive(source, 1)
	for _, node := range p.touched {
		if node != source {
			p.rank(rankedNode{p.cells[node].residual, node}, spreadHubs)
		}
	}
	for _, hub := range slices.Clone(p.ranked) {
		arrive(hub.node, hub.score/2)
	}
	p.ranked = p.ranked[:0]
	for _, node := range p.touched {
		if node != source {
			p.rank(rankedNode{p.cells[node].residual, node}, q.Limit)
		}
	}
	answer.List = p.list()
	return answer, nil
}
