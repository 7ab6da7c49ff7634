package coaccess

import (
	"math"
	"strings"
	"sync/atomic"
	"time"
)

// useOrder is a doubly linked list of slots by last use. Slot numbers are one too high in it, so that 0 is none.
type useOrder struct {
	links          []useLink
	oldest, newest uint32
}

type useLink struct{ older, newer uint32 }

func (o *useOrder) remove(slot uint32) {
	l := o.links[slot]
	if l.older != 0 {
		o.links[l.older-1].newer = l.newer
	} else {
		o.oldest = l.newer
	}
	if l.newer != 0 {
		o.links[l.newer-1].older = l.older
	} else {
		o.newest = l.older
	}
}

func (o *useOrder) append(slot uint32) {
	for int(slot) >= len(o.links) {
		o.links = append(o.links, useLink{})
	}
	o.links[slot] = useLink{older: o.newest}
	if o.newest != 0 {
		o.links[o.newest-1].newer = slot + 1
	} else {
		o.oldest = slot + 1
	}
	o.newest = slot + 1
}

// clusterKind is a way in which names belong together.
type clusterKind int

const (
	byDirectory clusterKind = iota
	byStem
	clusterKinds
)

// cluster is what shares a directory, or a name without its ending and decoration.
type cluster struct {
	key     string
	members int
	recent  atomic.Pointer[[]ref] // newest first
	// together counts which directories are used in one group; directories only.
	together atomic.Pointer[relations]
}

// relations are the directories used with one, strongest first, at most relationsMax. They never change once published.
type relations struct {
	count uint32
	event uint32
	rate  float32
	list  []relation
}

type relation struct {
	with  *cluster
	rate  float32
	event uint32
}

const (
	relationsMax = 24
	clusterMax   = 32
	recentMax    = 64
)

// name is what a key's text says by itself: for keys that look like paths, where they lie and what they are called.
type name struct {
	clusters [clusterKinds]*cluster
	ending   string
	parts    []string // of the directory
}

// splitName cuts a key at its last '/' and first '.', and strips the decoration of tests, so that `a/test_x.py` and `b/x.c`
// share a stem. A key without either is its own stem.
func splitName(key string) (directory, stem, ending string) {
	base := key
	if at := strings.LastIndexByte(key, '/'); at >= 0 {
		directory, base = key[:at], key[at+1:]
	}
	stem = base
	if at := strings.IndexByte(base[min(1, len(base)):], '.'); at >= 0 {
		stem, ending = base[:at+1], base[at+1:]
	}
	for _, prefix := range [...]string{"test_", "tests_"} {
		stem = strings.TrimPrefix(stem, prefix)
	}
	for _, suffix := range [...]string{"_test", "_tests"} {
		stem = strings.TrimSuffix(stem, suffix)
	}
	return directory, stem, ending
}

// admit finds or makes the items of a group, each once.
func (m *Model) admit(keys [][]byte) []ref {
	group := make([]ref, 0, len(keys))
	seen := make(map[uint32]struct{}, len(keys))
	for _, key := range keys {
		slot, ok := m.keys.Find(key)
		if !ok {
			slot = m.make(string(key))
		}
		if _, twice := seen[slot]; !twice {
			seen[slot] = struct{}{}
			group = append(group, m.at(slot).ref)
		}
	}
	return group
}

func (m *Model) make(key string) uint32 {
	slots := *m.slots.Load()
	var slot uint32
	if last := len(m.free) - 1; last >= 0 {
		slot, m.free = m.free[last], m.free[:last]
	} else {
		slot = uint32(len(m.order.links))
	}
	m.generation++
	it := &item{key: key, ref: ref{slot, m.generation}}
	it.name = describeName(key, m.join)
	m.order.append(slot)
	if int(slot) >= len(slots) {
		larger := make([]atomic.Pointer[item], 2*len(slots))
		for i := range slots {
			larger[i].Store(slots[i].Load())
		}
		// A reader with the old array sees the versions of this moment, and no newer keys.
		m.slots.Store(&larger)
		slots = larger
	}
	slots[slot].Store(it)
	m.keys.Put([]byte(key), slot)
	m.counted.Keys++
	m.counted.Bytes += itemBytes + int64(len(key))
	return slot
}

// describeName splits a key and finds its clusters.
func describeName(key string, find func(clusterKind, string) *cluster) name {
	directory, stem, ending := splitName(key)
	n := name{ending: ending}
	if directory != "" {
		n.parts = strings.Split(directory, "/")
	}
	for kind, key := range [clusterKinds]string{directory, stem} {
		n.clusters[kind] = find(clusterKind(kind), key)
	}
	return n
}

// nobody is the cluster of a name that shares nothing with any other.
var nobody = newCluster("")

func newCluster(key string) *cluster {
	c := &cluster{key: key}
	c.recent.Store(new([]ref))
	c.together.Store(new(relations))
	return c
}

// stranger is what can be said about a key that was never used: what its name says.
func (m *Model) stranger(key string) *item {
	return &item{key: key, ref: ref{slot: math.MaxUint32}, name: describeName(key, func(kind clusterKind, key string) *cluster {
		if c, ok := m.clusters[kind].Load(key); ok {
			return c.(*cluster)
		}
		return nobody
	})}
}

// join finds or makes a cluster and counts a member.
func (m *Model) join(kind clusterKind, key string) *cluster {
	c := newCluster(key)
	if there, ok := m.clusters[kind].LoadOrStore(key, c); ok {
		c = there.(*cluster)
	} else {
		m.counted.Bytes += clusterBytes
	}
	c.members++
	return c
}

func (m *Model) leave(kind clusterKind, c *cluster) {
	if c.members--; c.members == 0 {
		m.clusters[kind].Delete(c.key)
		m.counted.Bytes -= clusterBytes
	}
}

// forget takes an item out. References to it find nothing from then on.
func (m *Model) forget(slot uint32) {
	it := m.at(slot)
	m.keys.Remove([]byte(it.key))
	(*m.slots.Load())[slot].Store(nil)
	m.order.remove(slot)
	m.free = append(m.free, slot)
	for kind, c := range it.name.clusters {
		m.leave(clusterKind(kind), c)
	}
	m.counted.Keys--
	m.counted.Pairs -= len(it.pairs)
	m.counted.Bytes -= itemBytes + int64(len(it.key)) + pairBytes*int64(cap(it.pairs))
}

// trim forgets the keys used longest ago until the budget holds; those of the newest group are the last to go.
func (m *Model) trim() {
	for m.counted.Bytes > m.config.Bytes && m.counted.Keys > 1 {
		m.forget(m.order.oldest - 1)
		m.counted.Evicted++
	}
}

// remember counts a group.
func (m *Model) remember(group []ref, event uint32, now time.Time) {
	slots := *m.slots.Load()
	pairs := len(group) >= 2 && len(group) <= pairsGroupMax
	for _, r := range group {
		old := slots[r.slot].Load()
		it := &item{key: old.key, ref: old.ref, name: old.name, seen: max(old.seen, now.UnixNano()), record: old.record}
		gap := event - it.event
		it.count++
		for s := range it.rates {
			it.rates[s] = it.rates[s]*fade(s, gap) + 1
		}
		it.event = event
		if pairs {
			m.meet(it, old.pairs, group, event)
		}
		slots[r.slot].Store(it)
		m.order.remove(r.slot)
		m.order.append(r.slot)
	}
	if pairs {
		m.meetDirectories(group, event)
	}
	for _, r := range group {
		it := slots[r.slot].Load()
		for _, c := range it.name.clusters {
			recent := renew(*c.recent.Load(), []ref{r}, clusterMax)
			c.recent.Store(&recent)
		}
	}
}

// meet writes the group into a new list of the item's companions.
func (m *Model) meet(it *item, old []pair, group []ref, event uint32) {
	list := make([]pair, len(old), min(pairsMax+len(group), len(old)+len(group)))
	copy(list, old)
	weight := 1 / float32(len(group)-1)
next:
	for _, other := range group {
		if other == it.ref {
			continue
		}
		for i := range list {
			if list[i].to == other {
				list[i].meet(weight, event, it.count)
				continue next
			}
		}
		list = append(list, pair{to: other, event: event, count: it.count})
		list[len(list)-1].meet(weight, event, it.count)
	}
	for len(list) > pairsMax {
		list = m.dropWeakest(list, event)
	}
	it.weight = 0
	for i := range list {
		it.weight += list[i].weight
	}
	m.counted.Pairs += len(list) - len(old)
	m.counted.Bytes += pairBytes * int64(cap(list)-cap(old))
	it.pairs = list
}

func (p *pair) meet(weight float32, event, count uint32) {
	p.together++
	p.weight += weight
	for s := range p.rates {
		p.rates[s] = p.rates[s]*fade(s, event-p.event) + weight
	}
	p.event = event
	p.history = p.historyAt(count) | 1
	p.count = count
}

// historyAt is the history as of a later use of the first key.
func (p *pair) historyAt(count uint32) uint32 {
	if gap := count - p.count; gap < 32 {
		return p.history << gap
	}
	return 0
}

// dropWeakest takes out a companion that is gone, else the one whose slowest rate has fallen lowest.
func (m *Model) dropWeakest(list []pair, event uint32) []pair {
	weakest, least := 0, float32(2)
	for i := range list {
		p := &list[i]
		rate := p.rates[scales-1] * fade(scales-1, event-p.event)
		if m.get(p.to) == nil {
			rate = -1
		}
		if i == 0 || rate < least {
			weakest, least = i, rate
		}
	}
	list[weakest] = list[len(list)-1]
	return list[:len(list)-1]
}

// meetDirectories counts which directories the group joins.
func (m *Model) meetDirectories(group []ref, event uint32) {
	var directories []*cluster
	for _, r := range group {
		directory := m.get(r).name.clusters[byDirectory]
		found := false
		for _, d := range directories {
			found = found || d == directory
		}
		if !found {
			directories = append(directories, directory)
		}
	}
	for _, d := range directories {
		old := d.together.Load()
		renewed := &relations{count: old.count + 1, event: event, rate: old.rate*fade(scales-1, event-old.event) + 1}
		renewed.list = append(make([]relation, 0, min(relationsMax, len(old.list)+len(directories))+1), old.list...)
		for _, other := range directories {
			if other != d {
				renewed.list = meetOne(renewed.list, other, event)
			}
		}
		d.together.Store(renewed)
	}
}

func meetOne(list []relation, with *cluster, event uint32) []relation {
	at := -1
	weakest, least := 0, float32(0)
	for i := range list {
		rate := list[i].rate * fade(scales-1, event-list[i].event)
		if list[i].with == with {
			at = i
		}
		if i == 0 || rate < least {
			weakest, least = i, rate
		}
	}
	switch {
	case at >= 0:
		list[at].rate = list[at].rate*fade(scales-1, event-list[at].event) + 1
		list[at].event = event
	case len(list) < relationsMax:
		list = append(list, relation{with, 1, event})
	default:
		list[weakest] = relation{with, 1, event}
	}
	return list
}
