package coaccess

import (
	"math"
	"time"
)

// The features of a candidate. Each is a small number, and each value has a weight of its own.
const (
	features  = 25
	perColumn = 256
)

// weights are a feature's column after the other.
type weights [features * perColumn]float32

// describe computes a candidate's features. usual are the asked item's own rates now.
func describe(c *candidate, asked *item, usual *[scales]float32, v *view, now time.Time) {
	it := c.it
	var together float32
	var count, history uint32
	var rates [scales]float32
	gap := uint32(math.MaxUint32)
	if p := c.pair; p != nil {
		together, count = p.together, uint32(p.together)
		gap = v.event - p.event
		for s := range rates {
			rates[s] = p.rates[s] * fade(s, gap) / usual[s]
		}
		history = p.historyAt(asked.count)
	}
	n, nb := float32(max(asked.count, 1)), float32(max(it.count, 1))
	distance, nameClass := compareNames(&asked.name, &it.name)
	own := it.rates[1] * fade(1, v.event-it.event)
	seconds := max(0, now.UnixNano()-it.seen) / int64(time.Second)
	f := [features]uint16{
		half(together / n),
		half(rates[0]),
		half(rates[1]),
		half(rates[2]),
		half(c.spread),
		half(float32(float64(together) / math.Sqrt(float64(n*nb)))),
		uint16(c.rank),
		distance*4 + nameClass,
		nameClass*8 + uint16(min(count, 7)),
		half(own),
		log2(uint64(v.event-it.event), 20),
		uint16(min(count, 6))*8 + log2(uint64(asked.count), 7),
		min(distance, 3)*8 + log2(uint64(it.count), 7),
		uint16(history & 0xff),
		log2(uint64(seconds), 40),
		half(c.cousin)*2 + b2u(distance == 0),
		uint16(c.ranks[byDirectory])*4 + min(uint16(count), 3),
		uint16(c.ranks[byStem])*4 + min(uint16(count), 3),
		half(together / nb),
		min(log2(uint64(seconds), 31), 31)*8 + min(distance, 3)*2 + b2u(count > 0),
		half(own)/2*8 + half(rates[1])/7,
		uint16(history&0xf)*16 + log2(uint64(asked.count), 7)*2 + b2u(distance == 0),
		half(c.spread)/2*8 + min(distance, 3)*2 + b2u(nameClass > 1),
		log2(uint64(gap), 20)*8 + uint16(min(count, 7)),
		min(uint16(c.rank), 24)*8 + min(distance, 3)*2 + b2u(count > 0),
	}
	for i := range f {
		c.features[i] = uint16(i)*perColumn + f[i]
	}
}

func b2u(b bool) uint16 {
	if b {
		return 1
	}
	return 0
}

// compareNames is how many steps of the tree lie between two directories, 0 to 9, and how alike the names are: 0 not, 1 by
// their ending, 2 by their stem, 3 by both.
func compareNames(a, b *name) (distance, class uint16) {
	if a.clusters[byDirectory] != b.clusters[byDirectory] {
		common := 0
		for common < len(a.parts) && common < len(b.parts) && a.parts[common] == b.parts[common] {
			common++
		}
		distance = uint16(min(len(a.parts)+len(b.parts)-2*common, 9))
	}
	if a.ending == b.ending {
		class = 1
	}
	if a.clusters[byStem] == b.clusters[byStem] {
		class += 2
	}
	return distance, class
}

// learner finds the weights: the score of a candidate is the sum of its features' weights, its share the softmax of the
// scores, and each observed group is a question for each of its keys. The gradient of the log loss moves the weights, each
// with the step that its own past gradients allow (AdaGrad, Duchi and others 2011): nothing has to be tuned.
type learner struct {
	weights weights
	squares weights
}

const (
	step         = 0.1
	firstSquare  = 0.1
	leastMistake = 1e-4
)

// newLearner starts from the belief that what was together more often, and more lately, will be so again.
func newLearner() learner {
	var l learner
	for _, column := range [...]int{0, 1, 2, 3, 4} {
		for value := range 48 {
			l.weights[column*perColumn+value] = float32(value) * 0.08
		}
	}
	for i := range l.squares {
		l.squares[i] = firstSquare
	}
	return l
}

func (l *learner) publish() *weights {
	w := l.weights
	return &w
}

// learn asks for each key of the group what the model would have said, before the group is remembered.
func (m *Model) learn(v *view, group []ref, now time.Time) {
	if len(group) < 2 || len(group) > learnGroupMax {
		return
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for _, r := range group {
		asked := m.get(r)
		s.gather(m, v, asked, now)
		s.score(&m.learner.weights)
		m.counted.Asked++
		if m.learner.correct(s.candidates, group) {
			m.counted.Hits++
		}
	}
}

// correct moves the weights and says whether the best guess was right.
func (l *learner) correct(candidates []candidate, group []ref) bool {
	wanted, top := 0, 0
	isWanted := func(c *candidate) bool {
		for _, r := range group {
			if c.it.ref == r {
				return true
			}
		}
		return false
	}
	for i := range candidates {
		if isWanted(&candidates[i]) {
			wanted++
		}
		if candidates[i].score > candidates[top].score {
			top = i
		}
	}
	if wanted == 0 {
		return false
	}
	hit := isWanted(&candidates[top])
	highest, total := candidates[top].score, float32(0)
	for i := range candidates {
		c := &candidates[i]
		c.score = float32(math.Exp(float64(c.score - highest)))
		total += c.score
	}
	for i := range candidates {
		c := &candidates[i]
		mistake := -c.score / total
		if isWanted(c) {
			mistake += 1 / float32(wanted)
		}
		if mistake < leastMistake && mistake > -leastMistake {
			continue
		}
		for _, f := range c.features {
			l.squares[f] += mistake * mistake
			l.weights[f] += step * mistake / float32(math.Sqrt(float64(l.squares[f])))
		}
	}
	return hit
}
