package graph

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Paths lists the k best loopless paths, best first; fewer when there are no more. Equal ones are in the order of their
// keys. A path is its sequence of nodes; between two nodes it uses the strongest link that the filter allows.
//
// It is Yen's algorithm (Management Science 17, 1971) with Lawler's restriction. The exact cost from every node to the target,
// found by one walk backwards, guides each of its searches: it stays a lower bound when nodes and links are taken away. A hop
// limit is not offered here. The errors are those of Best.
func (g *Graph) Paths(q Query, k int, now time.Time) ([]Path, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if k < 1 || k > PathsMax || q.HopsMax != 0 {
		return nil, fmt.Errorf("%w: %d paths of at most %d links; want 1 to %d without a hop limit", ErrQuery, k, q.HopsMax, PathsMax)
	}
	r := g.read(q.Filter, now)
	defer r.leave()
	source, target, err := r.ends(q.From, q.To)
	if err != nil {
		return nil, err
	}
	if source == target {
		return []Path{r.explain([]uint32{source})}, nil
	}
	back := newWalk(&r, target, true)
	defer back.release()
	for {
		node, ok := back.settle()
		if !ok {
			break
		}
		if back.shouldStop(q.Stop) {
			return nil, ErrStopped
		}
		back.relax(node, nil)
	}
	y := yen{r: &r, target: target, stop: q.Stop, rest: func(node uint32) float64 {
		if back.reached(node) {
			return back.marks[node].cost
		}
		return math.Inf(1)
	}}
	if err := y.run(source, k); err != nil {
		return nil, err
	}
	paths := make([]Path, len(y.found))
	for i, p := range y.found {
		paths[i] = r.explain(p.nodes)
	}
	return paths, nil
}

type yen struct {
	r          *reader
	target     uint32
	rest       func(uint32) float64
	stop       Stop
	found      []yenPath
	candidates []yenPath
}

type yenPath struct {
	nodes []uint32
	cost  float64
	// branched is where the path left the one that it was made from.
	branched int
}

// bans are the nodes that a path must not use: those before its branch, and, directly after it, those that were used already.
type bans struct {
	nodes, next map[uint32]struct{}
	first       bool
}

func (b *bans) node(node uint32) bool {
	if _, ok := b.nodes[node]; ok {
		return true
	}
	_, ok := b.next[node]
	return b.first && ok
}

func (y *yen) run(source uint32, k int) error {
	nodes, err := y.r.guided(source, y.target, y.rest, nil, y.stop)
	if err != nil {
		return err
	}
	y.found = append(y.found, yenPath{nodes, y.r.explain(nodes).Cost, 0})
	for len(y.found) < k {
		if err := y.branch(y.found[len(y.found)-1]); err != nil {
			return err
		}
		if len(y.candidates) == 0 {
			break
		}
		best := 0
		for i := range y.candidates {
			if y.compare(y.candidates[i], y.candidates[best]) < 0 {
				best = i
			}
		}
		y.found = append(y.found, y.candidates[best])
		y.candidates = slices.Delete(y.candidates, best, best+1)
	}
	return nil
}

func (y *yen) compare(a, b yenPath) int {
	return cmp.Or(cmp.Compare(a.cost, b.cost), slices.CompareFunc(a.nodes, b.nodes, func(a, b uint32) int {
		return cmp.Compare(y.r.key(a), y.r.key(b))
	}))
}

// branch finds, for each node of a path from where it branched, the best path that leaves it there for a node that no found
// path with the same beginning goes to.
func (y *yen) branch(from yenPath) error {
	for at := from.branched; at < len(from.nodes)-1; at++ {
		banned := bans{nodes: map[uint32]struct{}{}, next: map[uint32]struct{}{}}
		for _, node := range from.nodes[:at+1] {
			banned.nodes[node] = struct{}{}
		}
		for _, p := range y.found {
			if len(p.nodes) > at+1 && slices.Equal(p.nodes[:at+1], from.nodes[:at+1]) {
				banned.next[p.nodes[at+1]] = struct{}{}
			}
		}
		tail, err := y.r.guided(from.nodes[at], y.target, y.rest, &banned, y.stop)
		if err == ErrNoPath {
			continue
		}
		if err != nil {
			return err
		}
		nodes := append(slices.Clone(from.nodes[:at]), tail...)
		same := func(p yenPath) bool { return slices.Equal(p.nodes, nodes) }
		if !slices.ContainsFunc(y.candidates, same) && !slices.ContainsFunc(y.found, same) {
			y.candidates = append(y.candidates, yenPath{nodes, y.r.explain(nodes).Cost, at})
		}
	}
	return nil
}
