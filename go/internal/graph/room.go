package graph

import "math"

// node finds or makes the node of a key.
func (g *Graph) node(key []byte) uint32 {
	if id, ok := g.public.find(key); ok {
		return id
	}
	g.public.reuse(&g.freeNodes)
	var id uint32
	if last := len(g.freeNodes) - 1; last >= 0 {
		id, g.freeNodes = g.freeNodes[last], g.freeNodes[:last]
	} else {
		id = uint32(len(g.nodes))
		g.nodes = append(g.nodes, node{})
	}
	name := string(key)
	g.nodes[id] = node{key: name, best: math.Inf(-1)}
	g.public.add(id, name)
	g.bytes += NodeBytes + int64(len(name))
	push(&g.weakestNodes, weakestNode{g}, id)
	return id
}

// insert makes a link that is not there yet. There is room for it.
func (g *Graph) insert(e edge) {
	var id uint32
	if last := len(g.freeEdges) - 1; last >= 0 {
		id, g.freeEdges = g.freeEdges[last], g.freeEdges[:last]
	} else {
		id = uint32(len(g.edges))
		g.edges = append(g.edges, edge{})
	}
	expires := e.expires
	e.expires = 0
	g.edges[id] = e
	g.pairs[pair(e.from, e.to, e.kind)] = id
	g.bytes += EdgeBytes
	push(&g.weakestEdges, weakestEdge{g}, id)
	push(&g.nodes[e.from].out, strongestOut{g}, id)
	push(&g.nodes[e.to].in, strongestIn{g}, id)
	g.setExpiry(id, expires)
	g.reorderNode(e.from)
	g.reorderNode(e.to)
	g.appear(id)
}

// setExpiry changes when a link ends; 0 is never.
func (g *Graph) setExpiry(id uint32, expires int64) {
	e := &g.edges[id]
	old := e.expires
	e.expires = expires
	switch {
	case old == 0 && expires != 0:
		push(&g.soonest, soonestEdge{g}, id)
	case old != 0 && expires == 0:
		remove(&g.soonest, soonestEdge{g}, int(e.atSoonest))
	case old != expires:
		fix(g.soonest, soonestEdge{g}, int(e.atSoonest))
	}
}

// reorder restores every heap that holds the edge, after its level changed.
func (g *Graph) reorder(id uint32) {
	e := &g.edges[id]
	fix(g.weakestEdges, weakestEdge{g}, int(e.atEdges))
	fix(g.nodes[e.from].out, strongestOut{g}, int(e.atOut))
	fix(g.nodes[e.to].in, strongestIn{g}, int(e.atIn))
	g.reorderNode(e.from)
	g.reorderNode(e.to)
}

// reorderNode puts a node in its place after one of its edges changed.
func (g *Graph) reorderNode(id uint32) {
	n := &g.nodes[id]
	n.best = math.Inf(-1)
	if len(n.out) > 0 {
		n.best = g.edges[n.out[0]].level
	}
	if len(n.in) > 0 {
		n.best = max(n.best, g.edges[n.in[0]].level)
	}
	fix(g.weakestNodes, weakestNode{g}, int(n.atNodes))
}

// deleteEdge forgets an edge, and its nodes when it was their last.
func (g *Graph) deleteEdge(id uint32) {
	e := g.edges[id]
	g.vanish(id)
	g.setExpiry(id, 0)
	delete(g.pairs, pair(e.from, e.to, e.kind))
	remove(&g.weakestEdges, weakestEdge{g}, int(e.atEdges))
	remove(&g.nodes[e.from].out, strongestOut{g}, int(e.atOut))
	remove(&g.nodes[e.to].in, strongestIn{g}, int(e.atIn))
	g.freeEdges = append(g.freeEdges, id)
	g.bytes -= EdgeBytes
	g.settle(e.from)
	g.settle(e.to)
}

// settle puts a node that lost an edge in its new place, or forgets it when it has none left.
func (g *Graph) settle(id uint32) {
	n := &g.nodes[id]
	g.reorderNode(id)
	if len(n.out) > 0 || len(n.in) > 0 {
		return
	}
	remove(&g.weakestNodes, weakestNode{g}, int(n.atNodes))
	g.public.remove(id)
	g.bytes -= NodeBytes + int64(len(n.key))
	g.nodes[id] = node{}
}

// deleteNode forgets a node with all its edges and says how many they were. The last one takes the node with it.
func (g *Graph) deleteNode(id uint32) int {
	count := len(g.nodes[id].out) + len(g.nodes[id].in)
	for range count {
		n := &g.nodes[id]
		// The last item of a heap is the cheapest to take out.
		if last := len(n.out) - 1; last >= 0 {
			g.deleteEdge(n.out[last])
		} else {
			g.deleteEdge(n.in[len(n.in)-1])
		}
	}
	return count
}

// expire forgets at most limit edges that have faded or whose time is up.
func (g *Graph) expire(limit int, decay float64, now int64) int {
	for count := range limit {
		switch {
		case len(g.soonest) > 0 && g.edges[g.soonest[0]].expires <= now:
			g.deleteEdge(g.soonest[0])
		case len(g.weakestEdges) > 0 && g.cost(g.weakestEdges[0], decay) > costMax:
			g.deleteEdge(g.weakestEdges[0])
		default:
			return count
		}
		g.expired++
	}
	return limit
}

// makeRoom forgets edges and nodes until the new edge from -> to fits.
//
// The two nodes of the new edge are never the victims: a newcomer replaces what is weakest among the others, and the next
// weak newcomer replaces that one, so a flood of weak edges costs the graph at most one place. Each round forgets at least
// one edge, and an empty graph has room by Config.Validate, so the loop ends.
func (g *Graph) makeRoom(from, to []byte) {
	for len(g.weakestEdges) > 0 && !g.fits(from, to) {
		if nodes, _ := g.needs(from, to); g.public.names.Len()+nodes > g.config.Nodes {
			g.evicted += uint64(g.deleteNode(g.victim(from, to)))
		} else {
			g.deleteEdge(g.weakestEdges[0])
			g.evicted++
		}
	}
}

// fits says whether the new edge from -> to is within the limits.
func (g *Graph) fits(from, to []byte) bool {
	nodes, bytes := g.needs(from, to)
	return g.public.names.Len()+nodes <= g.config.Nodes && len(g.pairs) < g.config.Edges && g.bytes+bytes <= g.config.Bytes
}

// needs is how many nodes and bytes the new edge from -> to would add.
func (g *Graph) needs(from, to []byte) (nodes int, bytes int64) {
	bytes = EdgeBytes
	for _, key := range [2][]byte{from, to} {
		if _, ok := g.public.find(key); !ok {
			nodes++
			bytes += NodeBytes + int64(len(key))
		}
	}
	return nodes, bytes
}

// victim is the weakest node other than two. It is asked for only when there is one: the graph is full, holds at least two
// nodes, and lacks at least one of the two.
//
// The smallest item of a heap that is not one of two lies among its first seven places: each of the two hides only its own
// children.
func (g *Graph) victim(from, to []byte) uint32 {
	o, found, victim := weakestNode{g}, false, uint32(0)
	for _, id := range g.weakestNodes[:min(7, len(g.weakestNodes))] {
		if key := g.nodes[id].key; key == string(from) || key == string(to) {
			continue
		}
		if !found || o.before(id, victim) {
			found, victim = true, id
		}
	}
	return victim
}
