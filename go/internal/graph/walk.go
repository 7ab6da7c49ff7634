package graph

import (
	"math"
	"slices"
	"sync"
)

// walk is one Dijkstra's search, forwards or backwards, with or without a potential. A node is settled once and its list
// looked at once then, so the result is exact for the links as they were seen.
type walk struct {
	r        *reader
	entering bool // it goes against the links
	marks    []walkMark
	heap     []walkItem
	// generation tells the marks of this walk from older ones; its lowest bit in a mark says settled.
	generation uint32
	settled    int
	// potential is added to the order; nil is none.
	potential func(node uint32) float64
}

// walkMark is 16 bytes, so that a node costs one cache line.
type walkMark struct {
	cost   float64
	before uint32
	stamp  uint32
}

type walkItem struct {
	order float64
	node  uint32
}

var walks = sync.Pool{New: func() any { return new(walk) }}

func newWalk(r *reader, source uint32, entering bool) *walk {
	w := walks.Get().(*walk)
	w.r, w.entering, w.heap, w.settled, w.potential = r, entering, w.heap[:0], 0, nil
	w.generation += 2
	if w.generation == 0 {
		clear(w.marks)
		w.generation = 2
	}
	w.grow()
	w.marks[source] = walkMark{before: source, stamp: w.generation}
	w.heap = append(w.heap, walkItem{0, source})
	return w
}

func (w *walk) grow() {
	if nodes := w.r.nodes(); len(w.marks) < nodes {
		w.marks = append(w.marks, make([]walkMark, nodes-len(w.marks))...)
	}
}

func (w *walk) release() {
	w.r, w.potential = nil, nil
	walks.Put(w)
}

// shouldStop asks now and then.
func (w *walk) shouldStop(stop Stop) bool {
	return stop != nil && w.settled%labelsPerStop == 0 && stop()
}

// least is the order of the next node to be settled, infinite when there is none.
func (w *walk) least() float64 {
	for len(w.heap) > 0 {
		if w.marks[w.heap[0].node].stamp == w.generation {
			return w.heap[0].order
		}
		w.pop()
	}
	return math.Inf(1)
}

// settle takes the next node.
func (w *walk) settle() (uint32, bool) {
	for len(w.heap) > 0 {
		node := w.pop()
		if m := &w.marks[node]; m.stamp == w.generation {
			m.stamp |= 1
			w.settled++
			return node, true
		}
	}
	return 0, false
}

func (w *walk) reached(node uint32) bool {
	return int(node) < len(w.marks) && w.marks[node].stamp|1 == w.generation|1
}

// relax offers the way over a settled node to its neighbours, except those that skip names. seen, if given, hears of every
// improvement.
func (w *walk) relax(node uint32, seen func(other uint32, cost float64)) {
	r := w.r
	l := r.links(node, w.entering)
	plain, length, here := r.plain(l), l.length.Load(), w.marks[node].cost
	for at := range length {
		word := l.words[at].Load()
		other := wordNode(word)
		if other == nobody || !(plain || r.admits(l, at, word)) {
			continue
		}
		cost := r.cost(l, at)
		if cost > costMax {
			continue
		}
		if int(other) >= len(w.marks) {
			w.grow()
		}
		m := &w.marks[other]
		cost += here
		if m.stamp|1 == w.generation|1 && (m.stamp&1 == 1 || m.cost <= cost) {
			continue
		}
		order := cost
		if w.potential != nil {
			potential := w.potential(other)
			if math.IsInf(potential, 1) {
				continue // The target cannot be reached from there.
			}
			order += potential
		}
		*m = walkMark{cost, node, w.generation}
		w.push(walkItem{order, other})
		if seen != nil {
			seen(other, cost)
		}
	}
}

// trace lists the nodes from the source to a node.
func (w *walk) trace(node uint32) []uint32 {
	back := []uint32{node}
	for w.marks[node].before != node {
		node = w.marks[node].before
		back = append(back, node)
	}
	slices.Reverse(back)
	return back
}

// push and pop keep a heap with four children per node: shallower, and the children share a cache line.
func (w *walk) push(item walkItem) {
	w.heap = append(w.heap, item)
	h, at := w.heap, len(w.heap)-1
	for at > 0 {
		parent := (at - 1) / 4
		if h[parent].order <= item.order {
			break
		}
		h[at] = h[parent]
		at = parent
	}
	h[at] = item
}

func (w *walk) pop() uint32 {
	h := w.heap
	top, last := h[0].node, len(h)-1
	item := h[last]
	h = h[:last]
	w.heap = h
	at := 0
	for {
		child := 4*at + 1
		if child >= last {
			break
		}
		least := child
		for other := child + 1; other < min(child+4, last); other++ {
			if h[other].order < h[least].order {
				least = other
			}
		}
		if h[least].order >= item.order {
			break
		}
		h[at] = h[least]
		at = least
	}
	if last > 0 {
		h[at] = item
	}
	return top
}

// bothEnds walks from both ends, the nearer side first, until no undiscovered path can be better than the best known one:
// the two next nodes together cost as much.
func (r *reader) bothEnds(source, target uint32, stop Stop) ([]uint32, error) {
	forth, back := newWalk(r, source, false), newWalk(r, target, true)
	defer forth.release()
	defer back.release()
	best, meeting := math.Inf(1), uint32(0)
	for {
		f, b := forth.least(), back.least()
		// Infinite as well when one side has seen all it can reach.
		if f+b >= best || math.IsInf(f+b, 1) {
			break
		}
		w, other := forth, back
		if b < f {
			w, other = back, forth
		}
		node, _ := w.settle()
		if w.shouldStop(stop) {
			return nil, ErrStopped
		}
		w.relax(node, func(node uint32, cost float64) {
			if other.reached(node) && cost+other.marks[node].cost < best {
				best, meeting = cost+other.marks[node].cost, node
			}
		})
	}
	if math.IsInf(best, 1) {
		return nil, ErrNoPath
	}
	nodes := forth.trace(meeting)
	rest := back.trace(meeting)
	slices.Reverse(rest)
	return append(nodes, rest[1:]...), nil
}

// guided is an A* search. Nodes that skip names are not entered from the source.
func (r *reader) guided(source, target uint32, potential func(uint32) float64, banned *bans, stop Stop) ([]uint32, error) {
	w := newWalk(r, source, false)
	defer w.release()
	w.potential = potential
	if banned != nil {
		w.potential = func(node uint32) float64 {
			if banned.node(node) {
				return math.Inf(1)
			}
			return potential(node)
		}
	}
	for {
		node, ok := w.settle()
		if !ok {
			return nil, ErrNoPath
		}
		if w.shouldStop(stop) {
			return nil, ErrStopped
		}
		if node == target {
			return w.trace(target), nil
		}
		if node == source && banned != nil {
			banned.first = true
			w.relax(node, nil)
			banned.first = false
			continue
		}
		w.relax(node, nil)
	}
}
