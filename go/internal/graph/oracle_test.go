package graph

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// world is a small random graph beside a list of its links.
type world struct {
	g     *Graph
	nodes int
	links []Link
	now   time.Time
}

func name(i int) []byte { return fmt.Appendf(nil, "n%02d", i) }

func randomWorld(t testing.TB, seed uint64, nodes, links int) *world {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 11))
	w := &world{g: newGraph(t, DefaultConfig()), nodes: nodes, now: start.Add(time.Hour)}
	for range links {
		from, to := random.IntN(nodes), random.IntN(nodes)
		if from == to {
			continue
		}
		l := Link{From: name(from), To: name(to), Kind: Kind(random.IntN(3)), Strength: float64(1+random.IntN(20)) / 20,
			Bandwidth: float64(random.IntN(4))}
		if random.IntN(8) == 0 {
			l.Expires = start.Add(time.Duration(1+random.IntN(7200)) * time.Second)
		}
		if err := w.g.Set(l, start); err != nil {
			t.Fatal(err)
		}
		same := func(o Link) bool { return bytes.Equal(o.From, l.From) && bytes.Equal(o.To, l.To) && o.Kind == l.Kind }
		w.links = append(slices.DeleteFunc(w.links, same), l)
	}
	check(t, w.g)
	return w
}

// costs is the matrix of what one step costs at the moment of the question.
func (w *world) costs(f Filter) [][]float64 {
	m := make([][]float64, w.nodes)
	for i := range m {
		m[i] = slices.Repeat([]float64{math.Inf(1)}, w.nodes)
	}
	fade := w.now.Sub(start).Seconds() / w.g.config.HalfLife.Seconds() * math.Ln2
	for _, l := range w.links {
		if (len(f.Kinds) > 0 && !slices.Contains(f.Kinds, l.Kind)) || l.Bandwidth < f.Bandwidth ||
			(!l.Expires.IsZero() && !l.Expires.After(w.now)) {
			continue
		}
		var from, to int
		fmt.Sscanf(string(l.From)+" "+string(l.To), "n%d n%d", &from, &to)
		m[from][to] = min(m[from][to], -math.Log(l.Strength)+fade)
	}
	return m
}

// simple lists the costs of all loopless paths of at most hops links, ascending.
func simple(m [][]float64, from, to, hops int) []float64 {
	var costs []float64
	used := make([]bool, len(m))
	var visit func(node int, cost float64, hops int)
	visit = func(node int, cost float64, hops int) {
		if node == to {
			costs = append(costs, cost)
			return
		}
		if hops == 0 {
			return
		}
		used[node] = true
		for next, step := range m[node] {
			if !used[next] && !math.IsInf(step, 1) {
				visit(next, cost+step, hops-1)
			}
		}
		used[node] = false
	}
	visit(from, 0, hops)
	slices.Sort(costs)
	return costs
}

func isPath(t testing.TB, p Path, m [][]float64, from, to int) {
	t.Helper()
	cost := 0.0
	at := from
	for i, l := range p.Links {
		var next int
		fmt.Sscanf(p.Nodes[i+1], "n%d", &next)
		if l.From != p.Nodes[i] || l.To != p.Nodes[i+1] || l.Evidence == 0 || !near(-math.Log(l.Strength), m[at][next]) {
			t.Fatalf("step %d of %+v is not the best link", i, p)
		}
		cost += m[at][next]
		at = next
	}
	if p.Nodes[0] != string(name(from)) || at != to || !near(cost, p.Cost) {
		t.Fatalf("%+v does not lead from %d to %d at that cost", p, from, to)
	}
}

func TestPathsAgainstAllPaths(t *testing.T) {
	for seed := range uint64(60) {
		w := randomWorld(t, seed, 7, 8+int(seed%20))
		random := rand.New(rand.NewPCG(seed, 12))
		f := Filter{}
		if seed%3 == 1 {
			f.Kinds = []Kind{Kind(random.IntN(3)), Kind(random.IntN(3))}
		}
		if seed%4 == 2 {
			f.Bandwidth = float64(random.IntN(4))
		}
		m := w.costs(f)
		if seed%2 == 0 {
			if err := w.g.Prepare(start, nil); err != nil {
				t.Fatal(err)
			}
		}
		for from := range w.nodes {
			for to := range w.nodes {
				q := Query{From: name(from), To: name(to), Filter: f}
				if _, ok := w.g.public.find(q.From); !ok {
					continue
				}
				if _, ok := w.g.public.find(q.To); !ok {
					continue
				}
				want := simple(m, from, to, w.nodes)
				expect := func(what string, want []float64, p Path, err error) {
					t.Helper()
					if len(want) == 0 {
						if !errors.Is(err, ErrNoPath) {
							t.Fatalf("seed %d, %s: %v, want no path", seed, what, err)
						}
						return
					}
					if err != nil || !near(p.Cost, want[0]) {
						t.Fatalf("seed %d, %s %d to %d: cost %v %v, want %v", seed, what, from, to, p.Cost, err, want[0])
					}
					isPath(t, p, m, from, to)
				}
				p, err := w.g.Best(q, w.now)
				expect("best", want, p, err)
				guided := q
				rest := make([]float64, w.nodes)
				for i := range rest {
					rest[i] = math.Inf(1)
					if all := simple(m, i, to, w.nodes); len(all) > 0 {
						rest[i] = all[0] / 2
					}
				}
				guided.Potential = func(key string) float64 {
					var i int
					fmt.Sscanf(key, "n%d", &i)
					return rest[i]
				}
				p, err = w.g.Best(guided, w.now)
				expect("with a potential", want, p, err)
				limited := q
				limited.HopsMax = 1 + random.IntN(4)
				p, err = w.g.Best(limited, w.now)
				if len(p.Links) > limited.HopsMax {
					t.Fatalf("%d links of %d", len(p.Links), limited.HopsMax)
				}
				expect("of few links", simple(m, from, to, limited.HopsMax), p, err)
				k := 1 + random.IntN(6)
				paths, err := w.g.Paths(q, k, w.now)
				if len(want) == 0 {
					if !errors.Is(err, ErrNoPath) {
						t.Fatal(err)
					}
					continue
				}
				if err != nil || len(paths) != min(k, len(want)) {
					t.Fatalf("seed %d: %d of %d paths, %v", seed, len(paths), min(k, len(want)), err)
				}
				seen := map[string]bool{}
				for i, p := range paths {
					isPath(t, p, m, from, to)
					if !near(p.Cost, want[i]) || seen[strings.Join(p.Nodes, " ")] {
						t.Fatalf("seed %d: path %d costs %v, want %v", seed, i, p.Cost, want[i])
					}
					seen[strings.Join(p.Nodes, " ")] = true
				}
			}
		}
	}
}

func TestAssociatesAgainstPowerIteration(t *testing.T) {
	for seed := range uint64(60) {
		w := randomWorld(t, seed, 12, 40)
		random := rand.New(rand.NewPCG(seed, 13))
		f := Filter{}
		if seed%3 == 1 {
			f.Kinds = []Kind{1, 2}
		}
		// Steps in proportion to strength, all kinds added up.
		m := make([][]float64, w.nodes)
		for i := range m {
			m[i] = make([]float64, w.nodes)
		}
		for _, l := range w.links {
			if (len(f.Kinds) > 0 && !slices.Contains(f.Kinds, l.Kind)) || (!l.Expires.IsZero() && !l.Expires.After(w.now)) {
				continue
			}
			var from, to int
			fmt.Sscanf(string(l.From)+" "+string(l.To), "n%d n%d", &from, &to)
			m[from][to] += l.Strength
		}
		from, restart := random.IntN(w.nodes), 0.1+0.8*random.Float64()
		ended, walking := make([]float64, w.nodes), make([]float64, w.nodes)
		walking[from] = 1
		for range 400 {
			next := make([]float64, w.nodes)
			for i, amount := range walking {
				total := 0.0
				for _, s := range m[i] {
					total += s
				}
				if total == 0 {
					ended[i] += amount
					continue
				}
				ended[i] += restart * amount
				for j, s := range m[i] {
					next[j] += (1 - restart) * amount * s / total
				}
			}
			walking = next
		}
		for _, e := range []float64{1e-1, 1e-3, 1e-7} {
			a, err := w.g.Associates(Walks{From: name(from), Limit: 12, Restart: restart, Error: e, Filter: f}, w.now)
			if err != nil {
				t.Fatal(err)
			}
			if e == 1e-7 && a.Bound > 1e-4 {
				t.Fatalf("the bound is %v", a.Bound)
			}
			for i, one := range a.List {
				var node int
				fmt.Sscanf(one.Key, "n%d", &node)
				if math.Abs(one.Score-ended[node]) > a.Bound+1e-5 {
					t.Fatalf("seed %d: %s has %v, want %v within %v", seed, one.Key, one.Score, ended[node], a.Bound)
				}
				if i > 0 && one.Score > a.List[i-1].Score {
					t.Fatal("out of order")
				}
			}
		}
	}
}

func TestAStarOfAMillionLinksIsBounded(t *testing.T) {
	size := 1_000_000
	if testing.Short() || raceEnabled {
		size = 10_000
	}
	config := Config{Nodes: 2 * size, Edges: 3 * size, Bytes: BytesMax, HalfLife: time.Hour}
	g := newGraph(t, config)
	for i := range size {
		add(t, g, "hub", fmt.Sprint("leaf", i), 0.5, start)
	}
	add(t, g, "before", "hub", 1, start)
	a, err := g.Associates(Walks{From: []byte("before"), Limit: 10, Error: 1e-9, Work: 1000}, start)
	if err != nil || !a.Cut || a.Looked > 1000+size+1 || a.Bound < 0.5 {
		t.Fatal(a.Cut, a.Looked, a.Bound, err)
	}
	if p, err := g.BestPath([]byte("before"), []byte("leaf77"), 0, start, nil); err != nil || len(p.Nodes) != 3 {
		t.Fatal(p, err)
	}
	if n := g.Neighbours([]byte("hub"), 3, start); len(n) != 3 || n[0].To != "leaf0" {
		t.Fatal(n)
	}
	if g.RemoveNode([]byte("hub")) != size+1 || g.Stats().Nodes != 0 {
		t.Fatal(g.Stats())
	}
}

func TestLinksExpireAndCountEvidence(t *testing.T) {
	g := newGraph(t, DefaultConfig())
	l := Link{From: []byte("a"), To: []byte("b"), Kind: 7, Strength: 0.5, Bandwidth: 3, Expires: start.Add(time.Minute)}
	for range 3 {
		if err := g.Strengthen(l, start); err != nil {
			t.Fatal(err)
		}
	}
	found := g.Links(l.From, l.To, start)
	if len(found) != 1 || found[0].Evidence != 3 || found[0].Kind != 7 || found[0].Bandwidth != 3 ||
		!near(found[0].Strength, 0.875) || !found[0].Expires.Equal(l.Expires) {
		t.Fatalf("%+v", found)
	}
	if found := g.Links(l.From, l.To, l.Expires); len(found) != 0 {
		t.Fatalf("%+v", found)
	}
	add(t, g, "c", "d", 1, l.Expires)
	if s := g.Stats(); s.Edges != 1 || s.Expired != 1 {
		t.Fatalf("%+v", s)
	}
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1)} {
		l.Bandwidth = bad
		if err := g.Set(l, start); !errors.Is(err, ErrBandwidth) {
			t.Error(err)
		}
		if _, err := g.Best(Query{From: l.From, To: l.To, Filter: Filter{Bandwidth: bad}}, start); !errors.Is(err, ErrBandwidth) {
			t.Error(err)
		}
	}
	for _, q := range []Walks{{Limit: 0}, {Limit: 1, Restart: math.NaN()}, {Limit: 1, Error: 2}, {Limit: 1, Work: -1}, {Limit: AssociatesMax + 1}} {
		if _, err := g.Associates(q, start); !errors.Is(err, ErrQuery) {
			t.Error(err)
		}
	}
	if _, err := g.Paths(Query{From: []byte("c"), To: []byte("d")}, PathsMax+1, start); !errors.Is(err, ErrQuery) {
		t.Error(err)
	}
}

func records(t testing.TB, image Image) [][]byte {
	t.Helper()
	var list [][]byte
	if err := image.Encode(func(record []byte) error {
		list = append(list, bytes.Clone(record))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func decode(list [][]byte) (Image, error) {
	var d Decoder
	for _, record := range list {
		if err := d.Add(record); err != nil {
			return Image{}, err
		}
	}
	return d.Image()
}

func TestAnImageComesBack(t *testing.T) {
	for seed := range uint64(20) {
		w := randomWorld(t, seed, 30, 100)
		list := records(t, w.g.Image(w.now))
		image, err := decode(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Restore(DefaultConfig(), image)
		if err != nil {
			t.Fatal(err)
		}
		check(t, again)
		for i := range w.nodes {
			a, b := w.g.Neighbours(name(i), 100, w.now.Add(time.Hour)), again.Neighbours(name(i), 100, w.now.Add(time.Hour))
			if !slices.EqualFunc(a, b, func(a, b Edge) bool {
				same := near(a.Strength, b.Strength)
				a.Strength, b.Strength = 0, 0
				return same && a == b
			}) {
				t.Fatalf("seed %d:\n%+v\n%+v", seed, a, b)
			}
		}
		// What no encoder writes is refused; nothing panics.
		random := rand.New(rand.NewPCG(seed, 14))
		for range 300 {
			bad := make([][]byte, len(list))
			for i := range list {
				bad[i] = bytes.Clone(list[i])
			}
			at := random.IntN(len(bad))
			bad[at][random.IntN(len(bad[at]))] ^= 1 << random.IntN(8)
			if image, err := decode(bad); err == nil {
				if got := records(t, image); !slices.EqualFunc(got, bad, bytes.Equal) {
					t.Fatalf("seed %d: an image was accepted that would be written otherwise", seed)
				}
			} else if !errors.Is(err, ErrImage) {
				t.Fatal(err)
			}
		}
	}
}

// Readers beside a writer that makes, changes and forgets links and nodes: what is there all the time is found all the time,
// and no answer names a node or a link that never was.
func TestReadersBesideTheWriter(t *testing.T) {
	config := DefaultConfig()
	config.Nodes, config.Edges = 300, 2000
	g := newGraph(t, config)
	for i := range 9 {
		add(t, g, fmt.Sprint("fixed", i), fmt.Sprint("fixed", i+1), 1, start)
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for reader := range 3 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 15))
			for !done.Load() {
				switch random.IntN(4) {
				case 0:
					p, err := g.BestPath([]byte("fixed0"), []byte("fixed9"), 0, start, nil)
					if err != nil || len(p.Nodes) != 10 || p.Cost > 1e-9 {
						t.Errorf("%+v %v", p, err)
						return
					}
				case 1:
					key := []byte(fmt.Sprint("odd", random.IntN(400)))
					a, err := g.Associates(Walks{From: key, Limit: 20}, start)
					if err != nil {
						t.Error(err)
					}
					for _, one := range a.List {
						if !strings.HasPrefix(one.Key, "even") && !strings.HasPrefix(one.Key, "odd") {
							t.Errorf("%s leads to %s", key, one.Key)
						}
					}
				case 2:
					// Odd ones lead to even ones only, so nothing but a mixed-up number would join two odd ones.
					key := fmt.Sprint("odd", random.IntN(400))
					for _, e := range g.Neighbours([]byte(key), 10, start) {
						if e.From != key || !strings.HasPrefix(e.To, "even") {
							t.Errorf("%+v", e)
						}
					}
				case 3:
					from, to := fmt.Sprint("odd", random.IntN(400)), fmt.Sprint("odd", random.IntN(400))
					p, err := g.Paths(Query{From: []byte(from), To: []byte(to)}, 2, start)
					if err == nil && len(p[0].Nodes)%2 != 1 {
						t.Errorf("%+v", p)
					}
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(16, 16))
	for i := range 8_000 {
		odd, even := fmt.Sprint("odd", random.IntN(400)), fmt.Sprint("even", random.IntN(400))
		if random.IntN(2) == 0 {
			odd, even = even, odd
		}
		switch random.IntN(10) {
		case 0:
			g.RemoveNode([]byte(odd))
		case 1, 2:
			g.Remove([]byte(odd), []byte(even))
		default:
			if err := g.Set(Link{From: []byte(odd), To: []byte(even), Kind: Kind(i % 3), Strength: 0.5 * (1 - random.Float64())}, start); err != nil {
				t.Fatal(err)
			}
		}
	}
	done.Store(true)
	readers.Wait()
	check(t, g)
}
