package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hypermesh.dev/hypermesh/internal/graph"
)

// network is a graph as lists of numbers: what ours is built from and what exact answers are computed on.
type network struct {
	keys  []string
	out   [][]uint32
	words []uint32 // nodes to ask about
}

func (n *network) links() int {
	links := 0
	for _, out := range n.out {
		links += len(out)
	}
	return links
}

// readWordNet makes a graph of the words and the sets of synonyms of WordNet: a word and its sets, a set and those that it is
// related to, both ways, each link once.
func readWordNet(directory string) (*network, error) {
	n, ids := &network{}, map[string]uint32{}
	number := func(key string) uint32 {
		id, ok := ids[key]
		if !ok {
			id = uint32(len(n.keys))
			ids[key] = id
			n.keys, n.out = append(n.keys, key), append(n.out, nil)
		}
		return id
	}
	join := func(a, b uint32) {
		n.out[a], n.out[b] = append(n.out[a], b), append(n.out[b], a)
	}
	for _, name := range []string{"noun", "verb", "adj", "adv"} {
		file, err := os.Open(filepath.Join(directory, "data."+name))
		if err != nil {
			return nil, err
		}
		defer file.Close()
		scanner := bufio.NewScanner(file)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			if strings.HasPrefix(scanner.Text(), " ") {
				continue
			}
			fields := strings.Split(scanner.Text(), " ")
			position := func(p string) string { return strings.Replace(p, "s", "a", 1) }
			set := number(position(fields[2]) + fields[0])
			words, err := strconv.ParseUint(fields[3], 16, 16)
			if err != nil {
				return nil, err
			}
			for i := range int(words) {
				before := len(n.keys)
				word := number("_" + strings.ToLower(fields[4+2*i]))
				if len(n.keys) > before {
					n.words = append(n.words, word)
				}
				join(set, word)
			}
			at := 4 + 2*int(words)
			pointers, err := strconv.Atoi(fields[at])
			if err != nil {
				return nil, err
			}
			for i := range pointers {
				p := fields[at+1+4*i:]
				join(set, number(position(p[2])+p[1]))
			}
		}
		if err := scanner.Err(); err != nil {
			return nil, err
		}
	}
	for i, out := range n.out {
		slices.Sort(out)
		out = slices.Compact(out)
		// A set that is related to itself: ours has no such link.
		n.out[i] = slices.DeleteFunc(out, func(other uint32) bool { return other == uint32(i) })
	}
	return n, nil
}

func build(n *network, strength func(from, to uint32) float64) (*graph.Graph, error) {
	config := graph.Config{Nodes: 1 << 22, Edges: 1 << 24, Bytes: 1 << 34, HalfLife: 24 * time.Hour}
	g, err := graph.New(config, moment)
	if err != nil {
		return nil, err
	}
	for from, out := range n.out {
		for _, to := range out {
			if err := g.Add([]byte(n.keys[from]), []byte(n.keys[to]), strength(uint32(from), to), moment); err != nil {
				return nil, err
			}
		}
	}
	return g, nil
}

// exact is personalised PageRank by power iteration until nothing moves: the top of it, with the source left out.
func exact(n *network, source uint32, restart float64, top int) []uint32 {
	walking, next, ended := make([]float64, len(n.keys)), make([]float64, len(n.keys)), make([]float64, len(n.keys))
	active, nextActive := []uint32{source}, []uint32{}
	walking[source] = 1
	for left := 1.0; left > 1e-5; {
		nextActive = nextActive[:0]
		for _, node := range active {
			amount := walking[node]
			walking[node] = 0
			if len(n.out[node]) == 0 {
				ended[node] += amount
				continue
			}
			ended[node] += restart * amount
			share := (1 - restart) * amount / float64(len(n.out[node]))
			for _, other := range n.out[node] {
				if next[other] == 0 {
					nextActive = append(nextActive, other)
				}
				next[other] += share
			}
		}
		walking, next = next, walking
		active, nextActive = nextActive, active
		left = 0
		for _, node := range active {
			left += walking[node]
		}
	}
	ended[source] = 0
	ids := make([]uint32, 0, 1024)
	for id, score := range ended {
		if score > 1e-5 {
			ids = append(ids, uint32(id))
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int {
		switch {
		case ended[a] > ended[b]:
			return -1
		case ended[a] < ended[b]:
			return 1
		}
		return strings.Compare(n.keys[a], n.keys[b])
	})
	return ids[:min(top, len(ids))]
}

// wordNet are the rows of associates: how much of the exact top ten is found, and in what time.
func wordNet(directory string, rounds int) error {
	n, err := readWordNet(directory)
	if err != nil {
		return err
	}
	g, err := build(n, func(uint32, uint32) float64 { return 1 })
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(5, 5))
	queries, asked := make([][]byte, 2000), 20
	truth := make([]map[string]bool, asked)
	start := time.Now()
	for i := range queries {
		id := n.words[random.IntN(len(n.words))]
		queries[i] = []byte(n.keys[id])
		if i < asked {
			truth[i] = map[string]bool{}
			for _, found := range exact(n, id, graph.RestartDefault, 10) {
				truth[i][n.keys[found]] = true
			}
		}
	}
	power := micros(time.Since(start)) / float64(asked)
	trial := func(ask func(graph.Walks, time.Time) (graph.Associates, error)) (agree, mean, p99 samples, err error) {
		for range rounds {
			found, all, total := 0.0, 0.0, time.Duration(0)
			took := make([]time.Duration, len(queries))
			for i, key := range queries {
				begin := time.Now()
				a, err := ask(graph.Walks{From: key, Limit: 10}, moment)
				if err != nil {
					return nil, nil, nil, err
				}
				took[i] = time.Since(begin)
				total += took[i]
				if i < asked {
					all += float64(len(truth[i]))
					for _, one := range a.List {
						if truth[i][one.Key] {
							found++
						}
					}
				}
			}
			slices.Sort(took)
			agree = append(agree, found/all)
			mean = append(mean, micros(total)/float64(len(queries)))
			p99 = append(p99, micros(took[len(took)*99/100]))
		}
		return agree, mean, p99, nil
	}
	agree, mean, p99, err := trial(g.Associates)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("WordNet: %d nodes, %d links, 2000 random words; of 20 of them the exact answer by power iteration", len(n.keys), n.links())
	emit(row{Metric: "associates: share of exact top ten", Unit: "of 1", Ours: agree, Must: atLeast(0.95), Note: note})
	emit(row{Metric: "associates: mean", Unit: "µs", Ours: mean, PeerName: "power iteration", Peer: samples{power}, Must: atMost(150), Note: note})
	emit(row{Metric: "associates: p99", Unit: "µs", Ours: p99, Note: note})
	used, err := onCPU(func() error {
		for _, key := range queries {
			if _, err := g.Associates(graph.Walks{From: key, Limit: 10}, moment); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	emit(row{Metric: "associates: processor time, mean", Unit: "µs", Ours: samples{micros(used) / float64(len(queries))}, Note: note})
	if agree, mean, _, err = trial(g.Spread); err != nil {
		return err
	}
	emit(row{Metric: "two-hop spreading: share of exact top ten", Unit: "of 1", Ours: agree, Note: note})
	emit(row{Metric: "two-hop spreading: mean", Unit: "µs", Ours: mean, Note: note})
	return nil
}
