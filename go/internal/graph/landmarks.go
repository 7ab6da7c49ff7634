package graph

import (
	"math"
	"slices"
	"time"
)

// landmarksMax is how many landmarks Prepare chooses.
const landmarksMax = 12

// landmarks are nodes with the costs from them and to them of all others (ALT: Goldberg and Harrelson, SODA 2005). By the
// triangle inequality they bound what is left to a target from below.
//
// They hold as long as no link was made or became stronger: costs that rise, with time all by the same, and links that go
// leave a lower bound a lower bound, and leave it consistent.
type landmarks struct {
	grown    uint64
	from, to [][]float64
}

// Prepare chooses landmarks, so that Best searches less until a link is made or becomes stronger. It takes as long as 24
// searches of the whole graph and 192 bytes per node. Stop ends it early, with nothing changed.
func (g *Graph) Prepare(now time.Time, stop Stop) error {
	r := g.read(Filter{}, now)
	defer r.leave()
	grown := g.grown.Load()
	made := landmarks{grown: grown}
	nodes := r.nodes()
	// nearest is how far a node is from the landmarks so far; the farthest node becomes the next one.
	nearest := slices.Repeat([]float64{math.Inf(1)}, nodes)
	next, ok := r.anyNode(nodes)
	for range landmarksMax {
		if !ok {
			break
		}
		for _, entering := range [...]bool{false, true} {
			costs, err := r.costsFrom(next, entering, nodes, stop)
			if err != nil {
				return err
			}
			if entering {
				made.to = append(made.to, costs)
			} else {
				made.from = append(made.from, costs)
			}
		}
		ok = false
		farthest := 0.0
		for node := range nodes {
			last := len(made.from) - 1
			away := min(made.from[last][node], made.to[last][node])
			nearest[node] = min(nearest[node], away)
			if nearest[node] > farthest && !math.IsInf(nearest[node], 1) {
				farthest, next, ok = nearest[node], uint32(node), true
			}
		}
	}
	g.prepared.Store(&made)
	return nil
}

// anyNode is a node with links, the one with the most.
func (r *reader) anyNode(nodes int) (uint32, bool) {
	best, most := uint32(0), uint32(0)
	for id := range uint32(nodes) {
		n := r.g.public.node(id)
		out, in := n.out.Load(), n.in.Load()
		if out != nil && in != nil && out.length.Load()+in.length.Load() > most {
			best, most = id, out.length.Load()+in.length.Load()
		}
	}
	return best, most > 0
}

// costsFrom are the costs of every node; infinite for those that are not reached.
func (r *reader) costsFrom(source uint32, entering bool, nodes int, stop Stop) ([]float64, error) {
	w := newWalk(r, source, entering)
	defer w.release()
	costs := slices.Repeat([]float64{math.Inf(1)}, nodes)
	for {
		node, ok := w.settle()
		if !ok {
			return costs, nil
		}
		if w.shouldStop(stop) {
			return nil, ErrStopped
		}
		if int(node) < nodes {
			costs[node] = w.marks[node].cost
		}
		w.relax(node, nil)
	}
}

// potential is what guides the search for a target, nil when nothing does.
func (g *Graph) potential(r *reader, q *Query, target uint32) func(uint32) float64 {
	if q.Potential != nil {
		return func(node uint32) float64 { return q.Potential(r.key(node)) }
	}
	l := g.prepared.Load()
	if l == nil || len(l.from) == 0 || l.grown != g.grown.Load() || int(target) >= len(l.from[0]) {
		return nil
	}
	return func(node uint32) float64 {
		if int(node) >= len(l.from[0]) {
			return 0
		}
		bound := 0.0
		for i := range l.from {
			// What is infinite on both sides says nothing: the difference is NaN, which no comparison takes.
			if b := l.from[i][target] - l.from[i][node]; b > bound && !math.IsInf(b, 1) {
				bound = b
			}
			if b := l.to[i][node] - l.to[i][target]; b > bound && !math.IsInf(b, 1) {
				bound = b
			}
		}
		return bound
	}
}
