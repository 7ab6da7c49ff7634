package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"gonum.org/v1/gonum/graph/path"
	"gonum.org/v1/gonum/graph/simple"
)

// weighted is a network with a cost per link.
type weighted struct {
	network
	cost map[[2]uint32]float64
}

func newWeighted(nodes int) *weighted {
	w := &weighted{cost: map[[2]uint32]float64{}}
	for i := range nodes {
		w.keys = append(w.keys, fmt.Sprint("n", i))
		w.out = append(w.out, nil)
	}
	return w
}

func (w *weighted) join(a, b uint32, cost float64) {
	if _, there := w.cost[[2]uint32{a, b}]; there || a == b {
		return
	}
	w.cost[[2]uint32{a, b}], w.cost[[2]uint32{b, a}] = cost, cost
	w.out[a], w.out[b] = append(w.out[a], b), append(w.out[b], a)
}

// grid is like a map of roads: neighbours on a square, costs 1 to 100 thousandths.
func grid(side int, random *rand.Rand) *weighted {
	w := newWeighted(side * side)
	for i := range side {
		for j := range side {
			at := uint32(i*side + j)
			if j+1 < side {
				w.join(at, at+1, float64(1+random.IntN(100))/1000)
			}
			if i+1 < side {
				w.join(at, at+uint32(side), float64(1+random.IntN(100))/1000)
			}
		}
	}
	return w
}

// scaleFree attaches each node to three earlier ones, those with many links more likely (Barabási, Albert 1999).
func scaleFree(nodes int, random *rand.Rand) *weighted {
	w := newWeighted(nodes)
	ends := []uint32{0}
	for i := uint32(1); i < uint32(nodes); i++ {
		for range 3 {
			other := ends[random.IntN(len(ends))]
			if other != i {
				w.join(i, other, float64(1+random.IntN(100))/1000)
				ends = append(ends, i, other)
			}
		}
	}
	return w
}

func paths(rounds int, quick bool) error {
	side := 316
	if quick {
		side = 60
	}
	for _, kind := range []struct {
		name string
		made func(random *rand.Rand) *weighted
	}{
		{"grid", func(r *rand.Rand) *weighted { return grid(side, r) }},
		{"scale-free", func(r *rand.Rand) *weighted { return scaleFree(side*side, r) }},
	} {
		if err := pathsOn(kind.name, kind.made(rand.New(rand.NewPCG(3, 3))), rounds); err != nil {
			return err
		}
	}
	return nil
}

func pathsOn(name string, w *weighted, rounds int) error {
	g, err := build(&w.network, func(from, to uint32) float64 { return math.Exp(-w.cost[[2]uint32{from, to}]) })
	if err != nil {
		return err
	}
	theirs := simple.NewWeightedDirectedGraph(0, math.Inf(1))
	for pair, cost := range w.cost {
		theirs.SetWeightedEdge(theirs.NewWeightedEdge(simple.Node(pair[0]), simple.Node(pair[1]), cost))
	}
	random := rand.New(rand.NewPCG(11, 11))
	const questions = 4
	var plain, guided, peer samples
	prepare := samples{}
	for range rounds {
		var ends [questions][2]uint32
		for i := range ends {
			ends[i] = [2]uint32{random.Uint32N(uint32(len(w.keys))), random.Uint32N(uint32(len(w.keys)))}
		}
		ask := func() (float64, [questions]float64, error) {
			var costs [questions]float64
			begin := time.Now()
			for i, e := range ends {
				found, err := g.BestPath([]byte(w.keys[e[0]]), []byte(w.keys[e[1]]), 0, moment, nil)
				if err != nil {
					return 0, costs, err
				}
				costs[i] = found.Cost
			}
			return micros(time.Since(begin)) / questions, costs, nil
		}
		// A strengthened link makes the landmarks void, so that both ways are measured in each round.
		for _, strength := range []float64{0.001, 0.002} {
			if err := g.Add([]byte("far"), []byte("away"), strength, moment); err != nil {
				return err
			}
		}
		took, costs, err := ask()
		if err != nil {
			return err
		}
		plain = append(plain, took)
		begin := time.Now()
		for i, e := range ends {
			_, cost := path.DijkstraFromTo(simple.Node(e[0]), simple.Node(e[1]), theirs)
			if math.Abs(cost-costs[i]) > 1e-9*max(1, cost) {
				return fmt.Errorf("%s: the path costs %v here and %v there", name, costs[i], cost)
			}
		}
		peer = append(peer, micros(time.Since(begin))/questions)
		begin = time.Now()
		if err := g.Prepare(moment, nil); err != nil {
			return err
		}
		prepare = append(prepare, time.Since(begin).Seconds())
		took, again, err := ask()
		if err != nil {
			return err
		}
		for i := range again {
			if math.Abs(again[i]-costs[i]) > 1e-9 {
				return fmt.Errorf("%s: landmarks lead to another path", name)
			}
		}
		guided = append(guided, took)
	}
	note := fmt.Sprintf("%d nodes, %d links, random ends, the peer's costs are the same; explained with every link", len(w.keys), w.links())
	emit(row{Metric: "best path, " + name, Unit: "µs", Ours: plain, PeerName: "gonum DijkstraFromTo", Peer: peer, Must: ratioAtMost(0.5), Note: note})
	emit(row{Metric: "best path with landmarks, " + name, Unit: "µs", Ours: guided, PeerName: "gonum DijkstraFromTo", Peer: peer, Must: ratioAtMost(0.5), Note: note})
	emit(row{Metric: "choosing landmarks, " + name, Unit: "s", Ours: prepare, Note: note})
	return nil
}
