package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"time"

	"hypermesh.dev/hypermesh/internal/graph"
)

// mixed measures questions while nothing changes and beside 10,000 changes a second, round by round.
func mixed(rounds int, quick bool) error {
	nodes, degree, questions := 100_000, 10, 20_000
	if quick {
		nodes, questions = 5_000, 1_000
	}
	random := rand.New(rand.NewPCG(21, 21))
	key := func() []byte { return fmt.Appendf(nil, "n%d", random.IntN(nodes)) }
	g, err := graph.New(graph.Config{Nodes: 1 << 20, Edges: nodes * degree, Bytes: 1 << 34, HalfLife: time.Hour}, moment)
	if err != nil {
		return err
	}
	change := func(from, to []byte) error {
		if string(from) == string(to) {
			return nil
		}
		return g.Add(from, to, 1-random.Float64(), moment)
	}
	for range nodes * degree {
		if err := change(key(), key()); err != nil {
			return err
		}
	}
	asker := rand.New(rand.NewPCG(22, 22))
	ask := func() (float64, error) {
		took := make([]time.Duration, questions)
		for i := range took {
			k := fmt.Appendf(nil, "n%d", asker.IntN(nodes))
			begin := time.Now()
			if i%2 == 0 {
				g.Neighbours(k, 10, moment)
			} else if _, err := g.Associates(graph.Walks{From: k, Limit: 10}, moment); err != nil {
				return 0, err
			}
			took[i] = time.Since(begin)
		}
		slices.Sort(took)
		return micros(took[len(took)*99/100]), nil
	}
	var idle, busy, rate samples
	for range rounds {
		quiet, err := ask()
		if err != nil {
			return err
		}
		var stop atomic.Bool
		ended := make(chan error, 1)
		begin, changes := time.Now(), 0
		go func() {
			// As many as are due, ten times a millisecond at most: a rate, not a burst.
			for !stop.Load() {
				for due := int(time.Since(begin).Seconds() * 10_000); changes < due; changes++ {
					if err := change(key(), key()); err != nil {
						ended <- err
						return
					}
				}
				time.Sleep(100 * time.Microsecond)
			}
			ended <- nil
		}()
		beside, err := ask()
		stop.Store(true)
		if err := <-ended; err != nil {
			return err
		}
		if err != nil {
			return err
		}
		idle, busy = append(idle, quiet), append(busy, beside)
		rate = append(rate, float64(changes)/time.Since(begin).Seconds())
	}
	note := fmt.Sprintf("%d nodes, %d links, neighbours and associates in turn; the graph is full, so that each new link evicts one", nodes, nodes*degree)
	emit(row{Metric: "question beside 10,000 changes a second, p99", Unit: "µs", Ours: busy, PeerName: "nothing changes", Peer: idle, Must: ratioAtMost(2), Note: note})
	emit(row{Metric: "changes made meanwhile", Unit: "per s", Ours: rate, Note: note})
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	emit(row{Metric: "pause of the collector, p99.9", Unit: "ms", Ours: samples{1000 * quantile(h, 0.999)}, Note: note + "; all pauses of the run"})
	return nil
}

// quantile is the upper end of the bucket that holds it.
func quantile(h *metrics.Float64Histogram, q float64) float64 {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	left := uint64(math.Ceil(float64(total) * q))
	for i, n := range h.Counts {
		if left <= n {
			return h.Buckets[i+1]
		}
		left -= n
	}
	return 0
}
