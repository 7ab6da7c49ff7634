package coaccess

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"
	"time"
)

// Prediction is one key that is likely used together with the one asked about.
type Prediction struct {
	Key string
	// Share is the candidate's part of the belief that is spread over all candidates: in (0, 1], and their sum is at most 1.
	Share float64
	// Together is how many groups had both keys, as far as is remembered.
	Together uint32
}

// Predict lists the keys that are most likely used together with one, best first, at most limit. A key that was never seen
// is judged by its name and by what was used last. The work is bounded whatever was observed: at most candidatesMax candidates are looked at.
func (m *Model) Predict(key []byte, limit int, now time.Time) ([]Prediction, error) {
	if limit < 1 || limit > PredictMax {
		return nil, fmt.Errorf("%w, not %d", ErrLimit, limit)
	}
	if len(key) == 0 || len(key) > KeyBytesMax {
		return nil, fmt.Errorf("%w, this one %d", ErrKey, len(key))
	}
	var it *item
	if slot, ok := m.keys.Find(key); ok {
		it = m.at(slot)
	}
	if it == nil || it.key != string(key) {
		it = m.stranger(string(key))
	}
	v := m.view.Load()
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.gather(m, v, it, now)
	s.score(v.weights)
	return s.best(limit), nil
}

const (
	candidatesMax = 512
	// How many are taken from each source.
	hubsMax      = 24
	secondHop    = 48
	recentTaken  = 24
	cousinsFrom  = 4
	cousinsTaken = 8
)

var clusterTaken = [clusterKinds]int{24, 16}

// scratch is the memory of one prediction.
type scratch struct {
	candidates []candidate
	// place holds, per slot, the candidate's number plus one, valid when stamp agrees.
	place []place
	stamp uint32
	hubs  []int32
	order []int32
	// spread and touched belong to the second hop.
	spread  []float32
	touched []ref
}

type place struct {
	stamp uint32
	at    int32
}

type candidate struct {
	it       *item
	pair     *pair
	spread   float32
	cousin   float32             // how strongly its directory goes with the asked one's
	rank     uint8               // among the keys used last, plus one
	ranks    [clusterKinds]uint8 // among those of the cluster used last, plus one
	features [features]uint16
	score    float32
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// add finds or makes the candidate; nil when it is gone, is the asked key itself, or there are too many.
func (s *scratch) add(m *Model, asked *item, r ref) *candidate {
	if r.slot == asked.ref.slot {
		return nil
	}
	if int(r.slot) >= len(s.place) {
		s.place = append(s.place, make([]place, int(r.slot)+1-len(s.place))...)
	}
	if p := s.place[r.slot]; p.stamp == s.stamp {
		if c := &s.candidates[p.at]; c.it.ref == r {
			return c
		}
		return nil
	}
	it := m.get(r)
	if it == nil || len(s.candidates) == candidatesMax {
		return nil
	}
	s.place[r.slot] = place{s.stamp, int32(len(s.candidates))}
	s.candidates = append(s.candidates, candidate{it: it})
	return &s.candidates[len(s.candidates)-1]
}

func (s *scratch) gather(m *Model, v *view, asked *item, now time.Time) {
	s.candidates = s.candidates[:0]
	if s.stamp++; s.stamp == 0 {
		clear(s.place)
		s.stamp = 1
	}
	for i := range asked.pairs {
		if c := s.add(m, asked, asked.pairs[i].to); c != nil {
			c.pair = &asked.pairs[i]
		}
	}
	s.spreadOut(m, asked)
	for i, r := range v.recent[:min(len(v.recent), recentTaken)] {
		if c := s.add(m, asked, r); c != nil {
			c.rank = uint8(i) + 1
		}
	}
	for kind, c := range asked.name.clusters {
		for i, r := range head(c, clusterTaken[kind]) {
			if c := s.add(m, asked, r); c != nil {
				c.ranks[kind] = uint8(i) + 1
			}
		}
	}
	together := asked.name.clusters[byDirectory].together.Load()
	relations := s.cousins(together, v.event)
	for _, one := range relations[:min(len(relations), cousinsFrom)] {
		for _, r := range head(one.with, cousinsTaken) {
			s.add(m, asked, r)
		}
	}
	var usual [scales]float32
	for scale := range usual {
		usual[scale] = asked.rates[scale]*fade(scale, v.event-asked.event) + 0.3
	}
	// Candidates of one directory come in runs.
	var directory *cluster
	cousin := float32(0)
	for i := range s.candidates {
		c := &s.candidates[i]
		if d := c.it.name.clusters[byDirectory]; d != directory {
			directory, cousin = d, 0
			for _, one := range relations {
				if one.with == d {
					cousin = one.rate
				}
			}
		}
		c.cousin = cousin
		describe(c, asked, &usual, v, now)
	}
}

func head(c *cluster, most int) []ref {
	recent := *c.recent.Load()
	return recent[:min(len(recent), most)]
}

// cousins are the related directories with their shares now, strongest first.
func (s *scratch) cousins(together *relations, event uint32) []relation {
	if together.count == 0 {
		return nil
	}
	total := together.rate*fade(scales-1, event-together.event) + 0.5
	list := make([]relation, len(together.list))
	for i, one := range together.list {
		list[i] = relation{one.with, one.rate * fade(scales-1, event-one.event) / total, event}
	}
	slices.SortFunc(list, func(a, b relation) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.with.key, b.with.key))
	})
	return list
}

// spreadOut sends one unit of activation from the asked key over its strongest companions to theirs.
func (s *scratch) spreadOut(m *Model, asked *item) {
	s.hubs = s.hubs[:0]
	for i := range s.candidates {
		s.hubs = append(s.hubs, int32(i))
	}
	s.hubs = strongest(s.hubs, hubsMax, func(i int32) float32 { return s.candidates[i].pair.weight })
	total := max(asked.weight, 1e-9)
	for i := range s.candidates {
		s.candidates[i].spread = s.candidates[i].pair.weight / total
	}
	s.touched = s.touched[:0]
	for _, h := range s.hubs {
		hub := s.candidates[h].it
		share := 0.5 * s.candidates[h].pair.weight / total / max(hub.weight, 1e-9)
		for i := range hub.pairs {
			p := &hub.pairs[i]
			if p.to.slot == asked.ref.slot {
				continue
			}
			if int(p.to.slot) >= len(s.spread) {
				s.spread = append(s.spread, make([]float32, int(p.to.slot)+1-len(s.spread))...)
			}
			if s.spread[p.to.slot] == 0 {
				s.touched = append(s.touched, p.to)
			}
			s.spread[p.to.slot] += share * p.weight
		}
	}
	// Those that are candidates already take their part; of the others the strongest become candidates.
	news := s.touched[:0]
	for _, r := range s.touched {
		if int(r.slot) < len(s.place) && s.place[r.slot].stamp == s.stamp {
			s.candidates[s.place[r.slot].at].spread += s.spread[r.slot]
			s.spread[r.slot] = 0
		} else {
			news = append(news, r)
		}
	}
	for _, r := range strongest(news, secondHop, func(r ref) float32 { return s.spread[r.slot] }) {
		if c := s.add(m, asked, r); c != nil {
			c.spread = s.spread[r.slot]
		}
	}
	for _, r := range news {
		s.spread[r.slot] = 0
	}
}

// strongest moves the most items of the highest value to the front, in no order, and returns those. The front is a heap with
// its weakest on top, so that a long list costs little more than one look at each.
func strongest[T any](list []T, most int, value func(T) float32) []T {
	if len(list) <= most {
		return list
	}
	top := list[:most]
	down := func(at int) {
		for {
			child := 2*at + 1
			if child >= most {
				return
			}
			if child+1 < most && value(top[child+1]) < value(top[child]) {
				child++
			}
			if value(top[at]) <= value(top[child]) {
				return
			}
			top[at], top[child] = top[child], top[at]
			at = child
		}
	}
	for at := most/2 - 1; at >= 0; at-- {
		down(at)
	}
	for i := most; i < len(list); i++ {
		if value(list[i]) > value(top[0]) {
			list[i], top[0] = top[0], list[i]
			down(0)
		}
	}
	return top
}

func (s *scratch) score(w *weights) {
	for i := range s.candidates {
		c := &s.candidates[i]
		sum := float32(0)
		for _, f := range c.features {
			sum += w[f]
		}
		c.score = sum
	}
}

// best lists the candidates with the highest scores.
func (s *scratch) best(limit int) []Prediction {
	s.order = s.order[:0]
	for i := range s.candidates {
		s.order = append(s.order, int32(i))
	}
	top, total := float32(math.Inf(-1)), 0.0
	for i := range s.candidates {
		top = max(top, s.candidates[i].score)
	}
	for i := range s.candidates {
		total += math.Exp(float64(s.candidates[i].score - top))
	}
	s.order = strongest(s.order, limit, func(i int32) float32 { return s.candidates[i].score })
	slices.SortFunc(s.order, func(a, b int32) int {
		x, y := &s.candidates[a], &s.candidates[b]
		return cmp.Or(cmp.Compare(y.score, x.score), cmp.Compare(x.it.key, y.it.key))
	})
	if len(s.order) == 0 {
		return nil
	}
	list := make([]Prediction, 0, len(s.order))
	for _, i := range s.order {
		c := &s.candidates[i]
		p := Prediction{Key: c.it.key, Share: math.Exp(float64(c.score-top)) / total}
		if c.pair != nil {
			p.Together = uint32(c.pair.together)
		}
		list = append(list, p)
	}
	return list
}

// half is the number of half octaves above 2^-14, 1 to 47; 0 for nothing.
func half(x float32) uint16 {
	if !(x > 0) {
		return 0
	}
	const lowest = (127 - 14) << 1
	return uint16(max(1, min(int(math.Float32bits(x)>>22)-lowest, 47)))
}

// log2 is the number of bits of a count, 0 to most.
func log2(n uint64, most int) uint16 { return uint16(min(bits.Len64(n), most)) }
