package coaccess

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"hypermesh.dev/hypermesh/internal/keytable"
)

const (
	// KeyBytesMax is the longest key.
	KeyBytesMax = 1024
	// GroupMax is the most keys of one group; a longer one is refused. Groups of more than pairsGroupMax keys say that
	// their keys were used, not that they belong together.
	GroupMax = 10_000
	// PredictMax is the most keys of one answer.
	PredictMax = 1_000
	// BytesMin is the smallest budget: a handful of keys with full lists.
	BytesMin = 64 << 10
	// BytesMax is the largest budget.
	BytesMax = 1 << 36

	pairsGroupMax = 30
	// learnGroupMax is the longest group whose keys are questions to learn from; the work of a group is bounded by it.
	learnGroupMax = 10
	// pairsMax is how many companions one key remembers; the one met least is forgotten first.
	pairsMax = 128
)

// Errors of the package, wrapped with the offending value.
var (
	ErrKey    = errors.New("a key has 1 to 1024 bytes")
	ErrGroup  = errors.New("a group has at most 10000 keys")
	ErrLimit  = errors.New("an answer has 1 to 1000 keys")
	ErrConfig = errors.New("a limit of the model is out of range")
)

// Config bounds a model.
type Config struct {
	// Bytes is the most memory, by the formula of Stats.Bytes.
	Bytes int64
}

// DefaultConfig allows 64 MiB: about 20,000 busy keys.
func DefaultConfig() Config { return Config{Bytes: 64 << 20} }

// Validate names the limit that is out of range.
func (c Config) Validate() error {
	if c.Bytes < BytesMin || c.Bytes > BytesMax {
		return fmt.Errorf("%w: bytes %d, want %d to %d", ErrConfig, c.Bytes, BytesMin, int64(BytesMax))
	}
	return nil
}

// Stats describes a model.
type Stats struct {
	Keys, Pairs int
	Bytes       int64
	Events      uint64
	// Evicted counts keys forgotten to stay inside the budget.
	Evicted uint64
	// Asked and Hits count the questions that the model put to itself while learning, and those whose best guess was right.
	Asked, Hits uint64
}

// Model is the predictor. Predict and Stats may run beside each other and beside one Observe, and never wait for it: what
// they read is immutable and replaced as a whole. Observe calls wait for each other.
type Model struct {
	mu     sync.Mutex
	config Config

	keys  *keytable.Table
	slots atomic.Pointer[[]atomic.Pointer[item]]
	view  atomic.Pointer[view]
	stats atomic.Pointer[Stats]

	// The rest is the writer's.
	free       []uint32
	generation uint32
	clusters   [clusterKinds]sync.Map // string -> *cluster; readers look, the writer changes
	order      useOrder
	learner    learner
	counted    Stats
}

// view is what a prediction needs beside the items: it changes with every event.
type view struct {
	event   uint32
	recent  []ref // the keys used last, newest first
	weights *weights
}

// ref names an item safely: a slot that was given to another key has another generation.
type ref struct{ slot, generation uint32 }

// item is one version of what is known about a key. It never changes once published.
type item struct {
	key  string
	ref  ref
	name name
	// seen is when it was last used, by the caller's clock in nanoseconds.
	seen int64
	record
}

// record counts how often something was used, and with what.
type record struct {
	count uint32
	// event is when it was used last; rates are decayed counts as of then.
	event uint32
	rates [scales]float32
	// weight is the sum of the pairs' weights.
	weight float32
	pairs  []pair
}

// pair is one companion.
type pair struct {
	to ref
	// together counts groups with both; weight counts each as 1/(size-1): a small group says more.
	together float32
	weight   float32
	rates    [scales]float32
	event    uint32
	// history has a bit for each of the last uses of the first key, newest lowest: whether the companion was there.
	// It is as of the use number count.
	history uint32
	count   uint32
}

// scales of time, in events: an item's past at three removes, each eight times the one before. They are powers of two
// chosen for their spread; the learner finds out which of them matters.
const scales = 3

var timeConstants = [scales]float32{32, 256, 2048}

// fade is the factor by which rates shrink in that many events. It is the product of two entries of a table: a question needs
// hundreds of them.
func fade(scale int, events uint32) float32 {
	if events >= 1<<16 {
		return float32(math.Exp(-float64(events) / float64(timeConstants[scale])))
	}
	return fades[scale].low[events&0xff] * fades[scale].high[events>>8]
}

var fades = func() (tables [scales]struct{ low, high [256]float32 }) {
	for s := range tables {
		for i := range 256 {
			tables[s].low[i] = float32(math.Exp(-float64(i) / float64(timeConstants[s])))
			tables[s].high[i] = float32(math.Exp(-float64(i<<8) / float64(timeConstants[s])))
		}
	}
	return tables
}()

// What the budget in bytes counts. A test compares it with the heap.
const (
	itemBytes    = 448
	pairBytes    = 48
	clusterBytes = 384
)

// New makes an empty model.
func New(config Config) (*Model, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	m := &Model{config: config}
	m.reset()
	return m, nil
}

func (m *Model) reset() {
	slots := make([]atomic.Pointer[item], 64)
	m.slots.Store(&slots)
	m.keys = keytable.New(func(slot uint32) string {
		if it := m.at(slot); it != nil {
			return it.key
		}
		return ""
	})
	for kind := range m.clusters {
		m.clusters[kind].Clear()
	}
	m.learner = newLearner()
	m.view.Store(&view{weights: m.learner.publish()})
	m.counted = Stats{}
	m.stats.Store(&Stats{})
}

// Stats is as of the last event.
func (m *Model) Stats() Stats { return *m.stats.Load() }

// at is the present version of a slot's item, nil when it is free.
func (m *Model) at(slot uint32) *item {
	slots := *m.slots.Load()
	if int(slot) >= len(slots) {
		return nil
	}
	return slots[slot].Load()
}

// get follows a reference; nil when its item was forgotten.
func (m *Model) get(r ref) *item {
	if it := m.at(r.slot); it != nil && it.ref.generation == r.generation {
		return it
	}
	return nil
}

// Limit changes the budget in bytes; the keys used longest ago go when it became smaller.
func (m *Model) Limit(bytes int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	config := Config{Bytes: bytes}
	if err := config.Validate(); err != nil {
		return err
	}
	m.config = config
	m.trim()
	published := m.counted
	m.stats.Store(&published)
	return nil
}

// Check says what is wrong with a group, before it is observed.
func Check(keys [][]byte) error {
	if len(keys) > GroupMax {
		return fmt.Errorf("%w, this one %d", ErrGroup, len(keys))
	}
	for _, key := range keys {
		if len(key) == 0 || len(key) > KeyBytesMax {
			return fmt.Errorf("%w, this one %d", ErrKey, len(key))
		}
	}
	return nil
}

// Observe says that these keys were used together, at that moment. Keys that appear twice count once. It learns first from
// the group what it should have predicted, then remembers the group.
func (m *Model) Observe(keys [][]byte, now time.Time) error {
	if err := Check(keys); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.observe(keys, now)
	return nil
}

func (m *Model) observe(keys [][]byte, now time.Time) {
	before := m.view.Load()
	group := m.admit(keys)
	m.learn(before, group, now)
	event := before.event + 1
	m.remember(group, event, now)
	m.counted.Events++
	m.view.Store(&view{event: event, recent: renew(before.recent, group, recentMax), weights: m.learner.publish()})
	m.trim()
	published := m.counted
	m.stats.Store(&published)
}

// renew puts the group's keys, last first, before what was recent, and keeps the first most of them.
func renew(recent []ref, group []ref, most int) []ref {
	renewed := make([]ref, 0, most)
	for i := len(group) - 1; i >= 0 && len(renewed) < most; i-- {
		renewed = append(renewed, group[i])
	}
	taken := len(renewed)
next:
	for _, r := range recent {
		if len(renewed) == most {
			break
		}
		for _, g := range renewed[:taken] {
			if g == r {
				continue next
			}
		}
		renewed = append(renewed, r)
	}
	return renewed
}
