package graph

import (
	"math"
	"runtime"
	"sync/atomic"

	"hypermesh.dev/hypermesh/internal/keytable"
)

// What readers see, and why they never wait.
//
// The writer keeps its own books (Graph.nodes, edges, heaps). For readers it keeps, per node, two lists of links: those that
// leave and those that enter. A list is an array that only grows at its end:
//
//   - A new link is written into the first unused place, then the length is raised. A reader that loaded the length before
//     does not look there; one that loads it after sees the link whole, since both are atomic operations, which Go orders.
//   - A link that changed has its words replaced, one atomic store each. A reader sees the old or the new value of each word.
//     Whom the place joins never changes, so words of two links are never mixed up.
//   - A link that is gone leaves a mark in its place. The place is not used again.
//   - When the array is full, or a third of it is marks, the writer copies what is there into a new array and publishes that
//     with one store. A reader goes on with the array that it has: it sees the moment of its question or a later one.
//
// So a reader loads words and never retries, and a writer never looks for readers, except for one thing: the number of a node
// that was forgotten may be given to another key only when nobody can still hold it. Readers count themselves in one of two
// counters (enter, leave); the writer, before each write, moves on to the other counter once the one not in use has run
// empty, and numbers forgotten two such moves ago are free. Nobody waits: as long as a reader stays, numbers are just not
// reused. Memory itself is the garbage collector's.
//
// What a reader gets: each link as it was at some moment during the question. A search looks at the list of a node once, so
// its answer is exact for the graph made of the links as it saw them.
type public struct {
	names  *keytable.Table
	chunks atomic.Pointer[[]*chunk]

	turn    atomic.Uint32
	readers [2]counter
	// retired are the numbers of forgotten nodes, by the turns that have passed since; the writer's.
	retired [3][]uint32
}

// counter has a cache line for itself.
type counter struct {
	n atomic.Int64
	_ [56]byte
}

const chunkNodes = 1024

type chunk [chunkNodes]publicNode

type publicNode struct {
	key     string
	out, in atomic.Pointer[list]
}

// list is one node's links in one direction.
type list struct {
	length atomic.Uint32
	// expiring says that some link has an expiry, so that others need not look.
	expiring atomic.Bool
	// words and levels are one allocation. A word holds the other node (24 bits), the kind (8) and the share (a float32): all
	// that a walk needs. A level is the bits of a float64.
	words, levels []atomic.Uint64
	more          []more
	// total is the sum of the shares, as the bits of a float64.
	total atomic.Uint64
	// base is the level of share 1: a share is exp(level - base). Constant.
	base float64

	// The writer's: which link is in which place, and how many are marks.
	links []uint32
	marks int
	// changes counts additions to total since it was summed up afresh.
	changes int
}

// more is what few questions look at.
type more struct {
	expires   atomic.Int64
	bandwidth atomic.Uint64 // bits of a float64
	evidence  atomic.Uint32
}

const (
	nobody = 1<<24 - 1
	// Shares stay inside what a float32 can hold; a level further from the base moves the base. A link weaker than another of
	// its node by e^100 has no share.
	shareRange = 60
)

func pack(node uint32, kind Kind, share float32) uint64 {
	return uint64(node)<<40 | uint64(kind)<<32 | uint64(math.Float32bits(share))
}

func wordNode(word uint64) uint32   { return uint32(word >> 40) }
func wordKind(word uint64) Kind     { return Kind(word >> 32) }
func wordShare(word uint64) float32 { return math.Float32frombits(uint32(word)) }

func (p *public) init() {
	p.names = keytable.New(p.key)
	p.chunks.Store(new([]*chunk))
}

func (p *public) node(id uint32) *publicNode {
	return &(*p.chunks.Load())[id/chunkNodes][id%chunkNodes]
}

func (p *public) key(id uint32) string { return p.node(id).key }

func (p *public) find(key []byte) (uint32, bool) { return p.names.Find(key) }

// enter must come before a reader's first look; leave with its result after the last.
func (p *public) enter() uint32 {
	for {
		turn := p.turn.Load()
		p.readers[turn&1].n.Add(1)
		// The writer may have moved on in between and seen this counter empty. It moves at most once per write, and only
		// past counters that are empty, so this is tried again only when a write came in just here.
		if p.turn.Load() == turn {
			return turn
		}
		p.readers[turn&1].n.Add(-1)
	}
}

func (p *public) leave(turn uint32) { p.readers[turn&1].n.Add(-1) }

// reclaim moves on when nobody is left who came in the turn before the present one.
func (p *public) reclaim() {
	turn := p.turn.Load()
	if p.readers[(turn+1)&1].n.Load() != 0 {
		return
	}
	p.retired[2] = append(p.retired[2], p.retired[1]...)
	p.retired[1], p.retired[0] = p.retired[0], p.retired[1][:0]
	p.turn.Store(turn + 1)
}

// reuse hands over the numbers that nobody holds any more.
func (p *public) reuse(free *[]uint32) {
	// All numbers are out and some reader is still about: here the writer waits for readers, never the other way round.
	for len(*free) == 0 && len(p.retired[2]) == 0 && len(*p.chunks.Load())*chunkNodes > NodesMax {
		runtime.Gosched()
		p.reclaim()
	}
	*free = append(*free, p.retired[2]...)
	p.retired[2] = p.retired[2][:0]
}

func (p *public) add(id uint32, key string) {
	chunks := *p.chunks.Load()
	if int(id/chunkNodes) == len(chunks) {
		longer := append(chunks[:len(chunks):len(chunks)], new(chunk))
		p.chunks.Store(&longer)
	}
	n := p.node(id)
	n.key = key
	n.out.Store(newList(0, 0))
	n.in.Store(newList(0, 0))
	p.names.Put([]byte(key), id)
}

func (p *public) remove(id uint32) {
	n := p.node(id)
	p.names.Remove([]byte(n.key))
	// Readers who are here may still look at both, and see nothing.
	n.out.Store(newList(0, 0))
	n.in.Store(newList(0, 0))
	p.retired[0] = append(p.retired[0], id)
}

func newList(capacity int, base float64) *list {
	both := make([]atomic.Uint64, 2*capacity)
	return &list{
		words: both[:capacity], levels: both[capacity:], more: make([]more, capacity), links: make([]uint32, 0, capacity),
		base: base,
	}
}

// appear puts a new link at the end of both its lists.
func (g *Graph) appear(id uint32) {
	e := &g.edges[id]
	from, to := g.public.node(e.from), g.public.node(e.to)
	e.outSlot = g.extend(&from.out, id, e.to, false)
	e.inSlot = g.extend(&to.in, id, e.from, true)
}

func (g *Graph) extend(at *atomic.Pointer[list], id, other uint32, entering bool) uint32 {
	l := at.Load()
	if len(l.links) == len(l.words) || g.outOfRange(l, id) {
		l = g.rewrite(l, id, entering)
		at.Store(l)
	}
	slot := uint32(len(l.links))
	l.links = append(l.links, id)
	l.fill(slot, &g.edges[id], other)
	l.length.Store(slot + 1)
	return slot
}

func (g *Graph) outOfRange(l *list, id uint32) bool {
	return math.Abs(g.edges[id].level-l.base) > shareRange
}

// rewrite copies what is there into a new array, with room for as much again, and a base that suits the link id.
func (g *Graph) rewrite(old *list, id uint32, entering bool) *list {
	there := len(old.links) - old.marks
	l := newList(there+there/2+1, g.edges[id].level)
	for _, link := range old.links {
		if link == gone {
			continue
		}
		e := &g.edges[link]
		slot := uint32(len(l.links))
		l.links = append(l.links, link)
		if entering {
			l.fill(slot, e, e.from)
			e.inSlot = slot
		} else {
			l.fill(slot, e, e.to)
			e.outSlot = slot
		}
	}
	l.length.Store(uint32(len(l.links)))
	return l
}

const gone = math.MaxUint32

// fill writes a link's words, the one that makes it visible last.
func (l *list) fill(at uint32, e *edge, other uint32) {
	share := float32(math.Exp(max(-2*shareRange, e.level-l.base)))
	old := l.words[at].Load()
	before := float32(0)
	if at < l.length.Load() {
		before = wordShare(old)
	}
	l.levels[at].Store(math.Float64bits(e.level))
	l.more[at].evidence.Store(e.evidence)
	l.more[at].bandwidth.Store(math.Float64bits(e.bandwidth))
	l.more[at].expires.Store(e.expires)
	if e.expires != 0 {
		l.expiring.Store(true)
	}
	l.words[at].Store(pack(other, e.kind, share))
	l.count(float64(share), float64(before), max(at+1, l.length.Load()))
}

// count keeps the total. Rounding errors add up with the number of changes and with the size of what is taken away, so it is
// summed up afresh after as many changes as there are links, and when something went that was far larger than the rest.
func (l *list) count(more, less float64, length uint32) {
	total := math.Float64frombits(l.total.Load()) + more - less
	if l.changes++; l.changes > int(length)+16 || less > 1e6*total {
		l.changes, total = 0, 0
		for at := range length {
			total += float64(wordShare(l.words[at].Load()))
		}
	}
	l.total.Store(math.Float64bits(total))
}

// publish shows the new values of a link.
func (g *Graph) publish(id uint32) {
	e := &g.edges[id]
	g.refresh(&g.public.node(e.from).out, id, e.to, false)
	g.refresh(&g.public.node(e.to).in, id, e.from, true)
}

func (g *Graph) refresh(at *atomic.Pointer[list], id, other uint32, entering bool) {
	l := at.Load()
	if g.outOfRange(l, id) {
		at.Store(g.rewrite(l, id, entering))
		return
	}
	slot := g.edges[id].outSlot
	if entering {
		slot = g.edges[id].inSlot
	}
	l.fill(slot, &g.edges[id], other)
}

// vanish leaves marks where a link was.
func (g *Graph) vanish(id uint32) {
	e := &g.edges[id]
	g.mark(&g.public.node(e.from).out, e.outSlot, false)
	g.mark(&g.public.node(e.to).in, e.inSlot, true)
}

func (g *Graph) mark(at *atomic.Pointer[list], slot uint32, entering bool) {
	l := at.Load()
	word := l.words[slot].Load()
	l.words[slot].Store(pack(nobody, 0, 0))
	l.count(0, float64(wordShare(word)), l.length.Load())
	l.links[slot] = gone
	l.marks++
	if l.marks > 8 && l.marks*3 > len(l.links) {
		for _, link := range l.links {
			if link != gone {
				at.Store(g.rewrite(l, link, entering))
				return
			}
		}
		at.Store(newList(0, 0))
	}
}
