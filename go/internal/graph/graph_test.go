package graph

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newGraph(t testing.TB, config Config) *Graph {
	t.Helper()
	g, err := New(config, start)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func add(t testing.TB, g *Graph, from, to string, strength float64, now time.Time) {
	t.Helper()
	if err := g.Add([]byte(from), []byte(to), strength, now); err != nil {
		t.Fatal(err)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

// check fails when any structure of the graph disagrees with another.
func check(t testing.TB, g *Graph) {
	t.Helper()
	if g.public.names.Len() > g.config.Nodes || len(g.pairs) > g.config.Edges || g.bytes > g.config.Bytes {
		t.Fatalf("above the limits: %+v of %+v", g.Stats(), g.config)
	}
	if len(g.weakestNodes) != g.public.names.Len() || len(g.weakestEdges) != len(g.pairs) {
		t.Fatalf("heaps hold %d nodes and %d edges of %d and %d",
			len(g.weakestNodes), len(g.weakestEdges), g.public.names.Len(), len(g.pairs))
	}
	counted, out, in, expiring := int64(len(g.pairs))*EdgeBytes, 0, 0, 0
	for _, id := range g.weakestNodes {
		n := &g.nodes[id]
		if found, ok := g.public.find([]byte(n.key)); !ok || found != id || g.weakestNodes[n.atNodes] != id {
			t.Fatalf("node %q is misplaced", n.key)
		}
		if len(n.out)+len(n.in) == 0 {
			t.Fatalf("node %q has no edge", n.key)
		}
		counted += NodeBytes + int64(len(n.key))
		out, in = out+len(n.out), in+len(n.in)
		checkHeap(t, n.out, strongestOut{g})
		checkHeap(t, n.in, strongestIn{g})
		checkList(t, g, g.public.node(id).out.Load(), n.out, false)
		checkList(t, g, g.public.node(id).in.Load(), n.in, true)
	}
	if counted != g.bytes || out != len(g.pairs) || in != len(g.pairs) {
		t.Fatalf("counts disagree: bytes %d and %d, edges %d, leaving %d, entering %d",
			counted, g.bytes, len(g.pairs), out, in)
	}
	for p, id := range g.pairs {
		e := &g.edges[id]
		if p != pair(e.from, e.to, e.kind) || g.weakestEdges[e.atEdges] != id ||
			g.nodes[e.from].out[e.atOut] != id || g.nodes[e.to].in[e.atIn] != id {
			t.Fatalf("edge %d is misplaced", id)
		}
		if e.expires != 0 {
			expiring++
			if g.soonest[e.atSoonest] != id {
				t.Fatalf("edge %d expires in another place", id)
			}
		}
	}
	if expiring != len(g.soonest) {
		t.Fatalf("%d edges expire, the heap has %d", expiring, len(g.soonest))
	}
	checkHeap(t, g.weakestEdges, weakestEdge{g})
	checkHeap(t, g.weakestNodes, weakestNode{g})
	checkHeap(t, g.soonest, soonestEdge{g})
}

// checkList compares what readers see of a node with what the writer knows.
func checkList(t testing.TB, g *Graph, l *list, edges indexHeap, entering bool) {
	t.Helper()
	seen, total := 0, 0.0
	for at := range l.length.Load() {
		word := l.words[at].Load()
		if wordNode(word) == nobody {
			continue
		}
		seen++
		total += float64(wordShare(word))
		e := &g.edges[l.links[at]]
		place, other := e.outSlot, e.to
		if entering {
			place, other = e.inSlot, e.from
		}
		if place != at || other != wordNode(word) || e.kind != wordKind(word) ||
			math.Float64bits(e.level) != l.levels[at].Load() || e.evidence != l.more[at].evidence.Load() ||
			e.expires != l.more[at].expires.Load() || math.Float64bits(e.bandwidth) != l.more[at].bandwidth.Load() {
			t.Fatalf("place %d of a list shows something else than edge %d", at, l.links[at])
		}
	}
	if seen != len(edges) || seen+l.marks != len(l.links) {
		t.Fatalf("a list shows %d of %d edges, with %d marks in %d places", seen, len(edges), l.marks, len(l.links))
	}
	if got := math.Float64frombits(l.total.Load()); math.Abs(got-total) > 1e-6*max(1, total) {
		t.Fatalf("the shares sum to %v, not %v", got, total)
	}
}

func checkHeap[O order](t testing.TB, h indexHeap, o O) {
	t.Helper()
	for at := 1; at < len(h); at++ {
		if o.before(h[at], h[(at-1)/2]) {
			t.Fatalf("%T: place %d comes before its parent", o, at)
		}
	}
}

// model is the graph done the dumb way: strengths and the times they were written.
type model struct {
	halfLife time.Duration
	edges    map[[2]string]modelEdge
}

type modelEdge struct {
	strength float64
	at       time.Time
}

func (m *model) strength(from, to string, now time.Time) float64 {
	e, ok := m.edges[[2]string{from, to}]
	if !ok {
		return 0
	}
	s := e.strength * math.Exp2(-float64(now.Sub(e.at))/float64(m.halfLife))
	if s < StrengthMin {
		return 0
	}
	return s
}

func (m *model) neighbours(from string, limit int, now time.Time) []Edge {
	var edges []Edge
	for p := range m.edges {
		if s := m.strength(p[0], p[1], now); p[0] == from && s > 0 {
			edges = append(edges, Edge{From: from, To: p[1], Strength: s})
		}
	}
	slices.SortFunc(edges, func(a, b Edge) int {
		if !near(a.Strength/b.Strength, 1) { // Relative: the weakest are 1e-12.
			if a.Strength > b.Strength {
				return -1
			}
			return 1
		}
		return bytes.Compare([]byte(a.To), []byte(b.To))
	})
	return edges[:min(limit, len(edges))]
}

func TestAgreesWithModel(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		config := DefaultConfig()
		config.HalfLife = time.Minute
		g, m, now := newGraph(t, config), &model{config.HalfLife, map[[2]string]modelEdge{}}, start
		for range 400 {
			now = now.Add(time.Duration(random.Int64N(int64(20 * time.Second))))
			if random.IntN(100) == 0 {
				now = now.Add(20 * time.Minute)
			}
			from, to := fmt.Sprint("n", random.IntN(12)), fmt.Sprint("n", random.IntN(12))
			strength := 1 - random.Float64()
			key := [2]string{from, to}
			switch op := random.IntN(10); {
			case from == to:
				if err := g.Add([]byte(from), []byte(to), strength, now); !errors.Is(err, ErrSelf) {
					t.Fatalf("an edge to itself: %v", err)
				}
			case op < 5:
				add(t, g, from, to, strength, now)
				m.edges[key] = modelEdge{strength, now}
			case op < 8:
				if err := g.Reinforce([]byte(from), []byte(to), strength, now); err != nil {
					t.Fatal(err)
				}
				old := m.strength(from, to, now)
				m.edges[key] = modelEdge{1 - (1-old)*(1-strength), now}
			case op < 9:
				g.Remove([]byte(from), []byte(to))
				delete(m.edges, key)
			default:
				g.RemoveNode([]byte(from))
				for p := range m.edges {
					if p[0] == from || p[1] == from {
						delete(m.edges, p)
					}
				}
			}
			check(t, g)
			if got, want := g.Strength([]byte(from), []byte(to), now), m.strength(from, to, now); !near(got, want) {
				t.Fatalf("seed %d: strength %v, want %v", seed, got, want)
			}
			got, want := g.Neighbours([]byte(from), 5, now), m.neighbours(from, 5, now)
			if !slices.EqualFunc(got, want, func(a, b Edge) bool {
				return a.From == b.From && a.To == b.To && near(a.Strength, b.Strength)
			}) {
				t.Fatalf("seed %d: neighbours of %s\n%v, want\n%v", seed, from, got, want)
			}
		}
	}
}

func TestReinforceIsBoundedAndOrderFree(t *testing.T) {
	one, other := newGraph(t, DefaultConfig()), newGraph(t, DefaultConfig())
	hints := []float64{0.1, 0.9, 0.5, 1e-9, 0.3}
	for i := range hints {
		if err := one.Reinforce([]byte("a"), []byte("b"), hints[i], start); err != nil {
			t.Fatal(err)
		}
		if err := other.Reinforce([]byte("a"), []byte("b"), hints[len(hints)-1-i], start); err != nil {
			t.Fatal(err)
		}
	}
	a, b := one.Strength([]byte("a"), []byte("b"), start), other.Strength([]byte("a"), []byte("b"), start)
	if !near(a, b) || a <= 0.9 || a > 1 {
		t.Fatalf("%v and %v", a, b)
	}
	for range 10_000 {
		before := one.Strength([]byte("a"), []byte("b"), start)
		if err := one.Reinforce([]byte("a"), []byte("b"), 0.9, start); err != nil {
			t.Fatal(err)
		}
		if s := one.Strength([]byte("a"), []byte("b"), start); s > 1 || s < before-1e-12 {
			t.Fatalf("%v after %v", s, before)
		}
	}
}

func TestDecayHalvesAndForgets(t *testing.T) {
	config := DefaultConfig()
	g := newGraph(t, config)
	add(t, g, "a", "b", 1, start)
	for halves := range 39 {
		now := start.Add(time.Duration(halves) * config.HalfLife)
		if got, want := g.Strength([]byte("a"), []byte("b"), now), math.Exp2(-float64(halves)); !near(got/want, 1) {
			t.Fatalf("after %d half-lives: %v, want %v", halves, got, want)
		}
	}
	late := start.Add(41 * config.HalfLife)
	if s := g.Strength([]byte("a"), []byte("b"), late); s != 0 {
		t.Fatalf("still %v", s)
	}
	if n := g.Neighbours([]byte("a"), 10, late); len(n) != 0 {
		t.Fatalf("still %v", n)
	}
	if _, err := g.BestPath([]byte("a"), []byte("b"), 0, late, nil); !errors.Is(err, ErrNoPath) {
		t.Fatalf("want no path, got %v", err)
	}
	if swept := g.Sweep(10, late); swept != 1 || g.Stats().Nodes != 0 || g.Stats().Expired != 1 || g.Stats().Bytes != 0 {
		t.Fatalf("swept %d, left %+v", swept, g.Stats())
	}
	// Time that runs backwards stands still.
	add(t, g, "a", "b", 0.5, late)
	if s := g.Strength([]byte("a"), []byte("b"), start); !near(s, 0.5) {
		t.Fatalf("%v", s)
	}
}

func TestWeakerThanRememberedForgets(t *testing.T) {
	g := newGraph(t, DefaultConfig())
	add(t, g, "a", "b", 1, start)
	add(t, g, "a", "b", StrengthMin/2, start)
	add(t, g, "c", "d", math.SmallestNonzeroFloat64, start)
	if stats := g.Stats(); stats.Edges != 0 || stats.Nodes != 0 {
		t.Fatalf("%+v", stats)
	}
	check(t, g)
}

func TestRefusesWrongArguments(t *testing.T) {
	g := newGraph(t, DefaultConfig())
	long := bytes.Repeat([]byte("x"), KeyBytesMax+1)
	for _, c := range []struct {
		from, to []byte
		strength float64
		want     error
	}{
		{nil, []byte("b"), 0.5, ErrKey},
		{[]byte("a"), []byte{}, 0.5, ErrKey},
		{long, []byte("b"), 0.5, ErrKey},
		{[]byte("a"), long, 0.5, ErrKey},
		{[]byte("a"), []byte("a"), 0.5, ErrSelf},
		{[]byte("a"), []byte("b"), 0, ErrStrength},
		{[]byte("a"), []byte("b"), -0.5, ErrStrength},
		{[]byte("a"), []byte("b"), math.Nextafter(1, 2), ErrStrength},
		{[]byte("a"), []byte("b"), math.NaN(), ErrStrength},
		{[]byte("a"), []byte("b"), math.Inf(1), ErrStrength},
	} {
		if err := g.Add(c.from, c.to, c.strength, start); !errors.Is(err, c.want) {
			t.Errorf("add %v: %v, want %v", c.strength, err, c.want)
		}
		if err := g.Reinforce(c.from, c.to, c.strength, start); !errors.Is(err, c.want) {
			t.Errorf("reinforce %v: %v, want %v", c.strength, err, c.want)
		}
	}
	if g.Stats() != (Stats{}) {
		t.Errorf("something was stored: %+v", g.Stats())
	}
	exact := bytes.Repeat([]byte("x"), KeyBytesMax)
	if err := g.Add(exact, []byte("b"), 1, start); err != nil {
		t.Error(err)
	}
	good := DefaultConfig()
	for name, change := range map[string]func(*Config){
		"one node":       func(c *Config) { c.Nodes = 1 },
		"many nodes":     func(c *Config) { c.Nodes = NodesMax + 1 },
		"no edge":        func(c *Config) { c.Edges = 0 },
		"many edges":     func(c *Config) { c.Edges = EdgesMax + 1 },
		"few bytes":      func(c *Config) { c.Bytes = BytesMin - 1 },
		"many bytes":     func(c *Config) { c.Bytes = BytesMax + 1 },
		"short half":     func(c *Config) { c.HalfLife = HalfLifeMin - 1 },
		"long half":      func(c *Config) { c.HalfLife = HalfLifeMax + 1 },
		"negative bytes": func(c *Config) { c.Bytes = -1 },
	} {
		config := good
		change(&config)
		if _, err := New(config, start); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// At each limit the victims are the ones that a look at everything would choose.
func TestEvictsTheWeakest(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		config := Config{Nodes: 2 + random.IntN(12), Edges: 1 + random.IntN(30), Bytes: BytesMax, HalfLife: time.Hour}
		if seed%3 == 0 {
			config.Nodes, config.Edges = NodesMax, EdgesMax
			config.Bytes = BytesMin + random.Int64N(6000)
		}
		g, now := newGraph(t, config), start
		for range 300 {
			now = now.Add(time.Duration(random.Int64N(int64(time.Minute))))
			from, to := fmt.Sprint("node", random.IntN(40)), fmt.Sprint("node", random.IntN(40))
			if from == to {
				continue
			}
			before := edgesOf(g, now)
			// Few distinct strengths, so that ties happen.
			add(t, g, from, to, float64(1+random.IntN(4))/4, now)
			check(t, g)
			if g.Strength([]byte(from), []byte(to), now) == 0 {
				t.Fatalf("seed %d: the new edge is not there", seed)
			}
			want := dumbRoom(before, from, to, config)
			want[[2]string{from, to}] = 0
			got := edgesOf(g, now)
			for p := range got {
				if _, ok := want[p]; !ok {
					t.Fatalf("seed %d: %v should have gone", seed, p)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("seed %d: %d edges are left, want %d", seed, len(got), len(want))
			}
		}
	}
}

// edgesOf lists all edges with their levels: the order of two edges must be judged without rounding.
func edgesOf(g *Graph, _ time.Time) map[[2]string]float64 {
	edges := make(map[[2]string]float64)
	for _, id := range g.pairs {
		e := &g.edges[id]
		edges[[2]string{g.nodes[e.from].key, g.nodes[e.to].key}] = e.level
	}
	return edges
}

// dumbRoom does what makeRoom does by looking at everything each time.
func dumbRoom(edges map[[2]string]float64, from, to string, config Config) map[[2]string]float64 {
	if _, ok := edges[[2]string{from, to}]; ok {
		return edges
	}
	for {
		best := map[string]float64{}
		for p, level := range edges {
			for _, key := range p {
				if old, ok := best[key]; !ok || level > old {
					best[key] = level
				}
			}
		}
		nodes, size := len(best), int64(len(edges)+1)*EdgeBytes
		for key := range best {
			size += NodeBytes + int64(len(key))
		}
		for _, key := range [2]string{from, to} {
			if _, ok := best[key]; !ok {
				nodes, size = nodes+1, size+NodeBytes+int64(len(key))
			}
		}
		switch {
		case nodes > config.Nodes:
			victim := ""
			for key, level := range best {
				if key != from && key != to &&
					(victim == "" || level < best[victim] || (level == best[victim] && key < victim)) {
					victim = key
				}
			}
			for p := range edges {
				if p[0] == victim || p[1] == victim {
					delete(edges, p)
				}
			}
		case len(edges)+1 > config.Edges || size > config.Bytes:
			var victim [2]string
			for p, level := range edges {
				if victim[0] == "" || level < edges[victim] || (level == edges[victim] &&
					(p[0] < victim[0] || (p[0] == victim[0] && p[1] < victim[1]))) {
					victim = p
				}
			}
			delete(edges, victim)
		default:
			return edges
		}
	}
}

// A flood of weak edges replaces one place, not the strong ones.
func TestFloodOfWeakEdgesLeavesTheStrong(t *testing.T) {
	config := DefaultConfig()
	config.Nodes, config.Edges = 20, 100
	g := newGraph(t, config)
	for i := range 18 {
		add(t, g, "hub", fmt.Sprint("strong", i), 0.9, start)
	}
	for i := range 5000 {
		add(t, g, "hub", fmt.Sprint("flood", i), 0.001, start)
	}
	check(t, g)
	strong := 0
	for _, e := range g.Neighbours([]byte("hub"), 100, start) {
		if e.Strength > 0.5 {
			strong++
		}
	}
	if strong != 18 {
		t.Fatalf("%d of 18 strong edges are left", strong)
	}
}

// The limit in bytes must not promise less memory than the heap takes.
func TestBytesCoverTheHeap(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, degree := range []int{1, 10} {
		config, random := DefaultConfig(), rand.New(rand.NewPCG(7, 7))
		before := heap()
		g := newGraph(t, config)
		const nodes = 2_000
		for i := range nodes {
			for range degree {
				if other := random.IntN(nodes); other != i {
					add(t, g, fmt.Sprintf("%032d", i), fmt.Sprintf("%032d", other), 0.5, start)
				}
			}
		}
		taken, counted := heap()-before, g.Stats().Bytes
		t.Logf("degree %d: counted %d, taken %d (%.2f)", degree, counted, taken, float64(taken)/float64(counted))
		if taken > counted {
			t.Errorf("degree %d: %d bytes are counted, the heap holds %d", degree, counted, taken)
		}
		runtime.KeepAlive(g)
	}
}
