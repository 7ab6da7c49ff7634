package graph

// indexHeap is a binary heap of indexes of nodes or edges. What they are ordered by, and where an index remembers its place,
// is said by the order that each call is given: the heaps of one graph are too many to carry it themselves.
type indexHeap []uint32

// order orders one family of heaps. moved tells an item its new place.
type order interface {
	before(a, b uint32) bool
	moved(id uint32, at int)
}

func push[O order](h *indexHeap, o O, id uint32) {
	*h = append(*h, id)
	up(*h, o, len(*h)-1)
}

// remove takes out the item at the given place.
func remove[O order](h *indexHeap, o O, at int) {
	last := len(*h) - 1
	moving := (*h)[last]
	*h = (*h)[:last]
	if at != last {
		(*h)[at] = moving
		fix(*h, o, at)
	}
}

// fix restores the heap after the item at the given place changed.
func fix[O order](h indexHeap, o O, at int) {
	if !down(h, o, at) {
		up(h, o, at)
	}
}

func up[O order](h indexHeap, o O, at int) {
	id := h[at]
	for at > 0 {
		parent := (at - 1) / 2
		if !o.before(id, h[parent]) {
			break
		}
		h[at] = h[parent]
		o.moved(h[at], at)
		at = parent
	}
	h[at] = id
	o.moved(id, at)
}

// down says whether the item moved.
func down[O order](h indexHeap, o O, at int) bool {
	id, start := h[at], at
	for {
		child := 2*at + 1
		if child >= len(h) {
			break
		}
		if right := child + 1; right < len(h) && o.before(h[right], h[child]) {
			child = right
		}
		if !o.before(h[child], id) {
			break
		}
		h[at] = h[child]
		o.moved(h[at], at)
		at = child
	}
	h[at] = id
	o.moved(id, at)
	return at != start
}

// weakestEdge puts the weakest edge on top; equal ones by their keys.
type weakestEdge struct{ g *Graph }

func (o weakestEdge) before(a, b uint32) bool {
	x, y := &o.g.edges[a], &o.g.edges[b]
	if x.level != y.level {
		return x.level < y.level
	}
	if x.from != y.from {
		return o.g.nodes[x.from].key < o.g.nodes[y.from].key
	}
	if x.to != y.to {
		return o.g.nodes[x.to].key < o.g.nodes[y.to].key
	}
	return x.kind < y.kind
}

func (o weakestEdge) moved(id uint32, at int) { o.g.edges[id].atEdges = uint32(at) }

// strongestOut puts the strongest edge of one node's leaving edges on top.
type strongestOut struct{ g *Graph }

func (o strongestOut) before(a, b uint32) bool {
	x, y := &o.g.edges[a], &o.g.edges[b]
	if x.level != y.level {
		return x.level > y.level
	}
	if x.to != y.to {
		return o.g.nodes[x.to].key < o.g.nodes[y.to].key
	}
	return x.kind < y.kind
}

func (o strongestOut) moved(id uint32, at int) { o.g.edges[id].atOut = uint32(at) }

// strongestIn puts the strongest edge of one node's entering edges on top.
type strongestIn struct{ g *Graph }

func (o strongestIn) before(a, b uint32) bool {
	x, y := &o.g.edges[a], &o.g.edges[b]
	if x.level != y.level {
		return x.level > y.level
	}
	if x.from != y.from {
		return o.g.nodes[x.from].key < o.g.nodes[y.from].key
	}
	return x.kind < y.kind
}

func (o strongestIn) moved(id uint32, at int) { o.g.edges[id].atIn = uint32(at) }

// weakestNode puts the node whose strongest edge is the weakest on top.
type weakestNode struct{ g *Graph }

func (o weakestNode) before(a, b uint32) bool {
	x, y := &o.g.nodes[a], &o.g.nodes[b]
	if x.best != y.best {
		return x.best < y.best
	}
	return x.key < y.key
}

func (o weakestNode) moved(id uint32, at int) { o.g.nodes[id].atNodes = uint32(at) }

// soonestEdge puts the edge that expires first on top.
type soonestEdge struct{ g *Graph }

func (o soonestEdge) before(a, b uint32) bool {
	x, y := &o.g.edges[a], &o.g.edges[b]
	if x.expires != y.expires {
		return x.expires < y.expires
	}
	return a < b
}

func (o soonestEdge) moved(id uint32, at int) { o.g.edges[id].atSoonest = uint32(at) }
