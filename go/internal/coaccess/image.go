package coaccess

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
)

// ErrImage says that records are not an image of a model. It is wrapped with what is wrong.
var ErrImage = errors.New("not an image of the predictor")

// Image is a model at one moment, for a file of checked records: see Encode.
type Image struct {
	event    uint32
	recent   []ref
	items    []*item // those used longest ago first
	clusters [clusterKinds][]*cluster
	recents  map[*cluster][]ref
	together map[*cluster]*relations
	learner  learner
	counted  Stats
}

// Image copies the model. Items are immutable, so that this takes little while an Observe may have to wait for it.
func (m *Model) Image() *Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.view.Load()
	image := &Image{
		event: v.event, recent: v.recent, learner: m.learner, counted: m.counted,
		recents: map[*cluster][]ref{}, together: map[*cluster]*relations{},
	}
	for at := m.order.oldest; at != 0; at = m.order.links[at-1].newer {
		it := m.at(at - 1)
		image.items = append(image.items, it)
		for kind, c := range it.name.clusters {
			if _, seen := image.recents[c]; !seen {
				image.recents[c] = *c.recent.Load()
				image.together[c] = c.together.Load()
				image.clusters[kind] = append(image.clusters[kind], c)
			}
		}
	}
	for kind := range image.clusters {
		list := image.clusters[kind]
		sort.Slice(list, func(i, j int) bool { return list[i].key < list[j].key })
	}
	return image
}

// The kinds of records. Numbers are little-endian; floats are their bits.
const (
	imageVersion  = 1
	recordHead    = 1
	recordItem    = 2
	recordCluster = 3
)

type writer []byte

func (w *writer) u8(v byte)     { *w = append(*w, v) }
func (w *writer) u32(v uint32)  { *w = binary.LittleEndian.AppendUint32(*w, v) }
func (w *writer) u64(v uint64)  { *w = binary.LittleEndian.AppendUint64(*w, v) }
func (w *writer) f32(v float32) { w.u32(math.Float32bits(v)) }
func (w *writer) text(s string) { w.u32(uint32(len(s))); *w = append(*w, s...) }

// Encode gives the image's records to write: a head with the weights, then one for each item, those used longest ago first,
// then one for each cluster. Items name each other by their place.
func (image *Image) Encode(write func(record []byte) error) error {
	places := make(map[ref]uint32, len(image.items))
	for i, it := range image.items {
		places[it.ref] = uint32(i)
	}
	var w writer
	refs := func(list []ref) {
		count := len(w)
		w.u32(0)
		n := uint32(0)
		for _, r := range list {
			if place, ok := places[r]; ok {
				w.u32(place)
				n++
			}
		}
		binary.LittleEndian.PutUint32(w[count:], n)
	}
	w.u8(recordHead)
	w.u8(imageVersion)
	w.u32(features)
	w.u32(perColumn)
	w.u32(uint32(len(image.items)))
	w.u32(image.event)
	for _, v := range [...]uint64{image.counted.Events, image.counted.Evicted, image.counted.Asked, image.counted.Hits} {
		w.u64(v)
	}
	for i := range image.learner.weights {
		w.f32(image.learner.weights[i])
		w.f32(image.learner.squares[i])
	}
	refs(image.recent)
	if err := write(w); err != nil {
		return err
	}
	for _, it := range image.items {
		w = w[:0]
		w.u8(recordItem)
		w.text(it.key)
		w.u64(uint64(it.seen))
		w.u32(it.count)
		w.u32(it.event)
		for _, rate := range it.rates {
			w.f32(rate)
		}
		for i := range it.pairs {
			p := &it.pairs[i]
			place, ok := places[p.to]
			if !ok {
				continue // Forgotten.
			}
			w.u32(place)
			w.f32(p.together)
			w.f32(p.weight)
			for _, rate := range p.rates {
				w.f32(rate)
			}
			w.u32(p.event)
			w.u32(p.history)
			w.u32(p.count)
		}
		if err := write(w); err != nil {
			return err
		}
	}
	for kind, list := range image.clusters {
		for _, c := range list {
			w = w[:0]
			w.u8(recordCluster)
			w.u8(byte(kind))
			w.text(c.key)
			refs(image.recents[c])
			t := image.together[c]
			w.u32(t.count)
			w.u32(t.event)
			w.f32(t.rate)
			for _, one := range t.list {
				if _, alive := image.recents[one.with]; alive {
					w.text(one.with.key)
					w.f32(one.rate)
					w.u32(one.event)
				}
			}
			if err := write(w); err != nil {
				return err
			}
		}
	}
	return nil
}

type reader struct {
	data []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.data) {
		r.bad = true
		return make([]byte, min(max(n, 0), 8))
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) f32() float32 {
	v := math.Float32frombits(r.u32())
	if v != v || math.IsInf(float64(v), 0) {
		r.bad = true
	}
	return v
}

func (r *reader) text(most int) string {
	n := r.u32()
	if n > uint32(most) {
		r.bad = true
		return ""
	}
	return string(r.take(int(n)))
}

// Decoder makes a model from records. Memory is taken in proportion to what was read.
type Decoder struct {
	m       *Model
	items   uint32
	begun   bool
	recent  []uint32
	pending [][]uint32 // the places that each item's pairs point to
}

// NewDecoder begins with an empty model.
func NewDecoder(config Config) (*Decoder, error) {
	m, err := New(config)
	if err != nil {
		return nil, err
	}
	return &Decoder{m: m}, nil
}

// Add reads the next record.
func (d *Decoder) Add(record []byte) error {
	r := &reader{data: record}
	kind := r.u8()
	switch {
	case d.begun == (kind == recordHead):
		return fmt.Errorf("%w: the head stands first, and once", ErrImage)
	case kind == recordHead:
		return d.head(r)
	case kind == recordItem:
		return d.item(r)
	case kind == recordCluster:
		return d.cluster(r)
	}
	return fmt.Errorf("%w: a record of kind %d", ErrImage, kind)
}

func (d *Decoder) head(r *reader) error {
	if r.u8() != imageVersion || r.u32() != features || r.u32() != perColumn {
		return fmt.Errorf("%w: another version", ErrImage)
	}
	m := d.m
	d.items = r.u32()
	event := r.u32()
	for _, v := range [...]*uint64{&m.counted.Events, &m.counted.Evicted, &m.counted.Asked, &m.counted.Hits} {
		*v = r.u64()
	}
	for i := range m.learner.weights {
		m.learner.weights[i], m.learner.squares[i] = r.f32(), r.f32()
		if !(m.learner.squares[i] > 0) {
			r.bad = true
		}
	}
	d.recent = r.places(recentMax)
	if r.bad || len(r.data) > 0 {
		return fmt.Errorf("%w: a head that cannot be", ErrImage)
	}
	d.begun = true
	m.view.Store(&view{event: event, weights: m.learner.publish()})
	return nil
}

func (r *reader) places(most int) []uint32 {
	n := r.u32()
	if n > uint32(most) {
		r.bad = true
		return nil
	}
	list := make([]uint32, n)
	for i := range list {
		list[i] = r.u32()
	}
	return list
}

func (d *Decoder) item(r *reader) error {
	m := d.m
	key := r.text(KeyBytesMax)
	_, twice := m.keys.Find([]byte(key))
	if key == "" || twice || r.bad || uint32(len(d.pending)) == d.items {
		return fmt.Errorf("%w: item %d has no key, or one that is there already", ErrImage, len(d.pending))
	}
	slot := m.make(key)
	it := *m.at(slot)
	it.seen, it.count, it.event = int64(r.u64()), r.u32(), r.u32()
	for s := range it.rates {
		it.rates[s] = r.f32()
	}
	var to []uint32
	for len(r.data) > 0 && !r.bad && len(to) < pairsMax {
		to = append(to, r.u32())
		p := pair{together: r.f32(), weight: r.f32()}
		for s := range p.rates {
			p.rates[s] = r.f32()
		}
		p.event, p.history, p.count = r.u32(), r.u32(), r.u32()
		it.pairs = append(it.pairs, p)
		it.weight += p.weight
	}
	if r.bad || len(r.data) > 0 {
		return fmt.Errorf("%w: item %d is cut off or too long", ErrImage, len(d.pending))
	}
	m.counted.Pairs += len(it.pairs)
	m.counted.Bytes += pairBytes * int64(cap(it.pairs))
	(*m.slots.Load())[slot].Store(&it)
	d.pending = append(d.pending, to)
	return nil
}

func (d *Decoder) cluster(r *reader) error {
	kind := clusterKind(r.u8())
	key := r.text(KeyBytesMax)
	if kind >= clusterKinds || r.bad {
		return fmt.Errorf("%w: a cluster of kind %d", ErrImage, kind)
	}
	found, ok := d.m.clusters[kind].Load(key)
	if !ok {
		return fmt.Errorf("%w: a cluster without members", ErrImage)
	}
	c := found.(*cluster)
	recent := d.refs(r.places(clusterMax), r)
	c.recent.Store(&recent)
	t := &relations{count: r.u32(), event: r.u32(), rate: r.f32()}
	for len(r.data) > 0 && !r.bad && len(t.list) < relationsMax {
		with, ok := d.m.clusters[kind].Load(r.text(KeyBytesMax))
		rate, event := r.f32(), r.u32()
		if !ok {
			r.bad = true
			break
		}
		t.list = append(t.list, relation{with.(*cluster), rate, event})
	}
	if r.bad || len(r.data) > 0 {
		return fmt.Errorf("%w: a cluster that cannot be", ErrImage)
	}
	c.together.Store(t)
	return nil
}

// refs are the items in those places.
func (d *Decoder) refs(places []uint32, r *reader) []ref {
	list := make([]ref, 0, len(places))
	for _, place := range places {
		if place >= uint32(len(d.pending)) {
			r.bad = true
			return nil
		}
		// Slots of a new model are given in order.
		list = append(list, d.m.at(place).ref)
	}
	return list
}

// Model is the whole model, once all records were added. When the budget has become smaller, the keys used longest ago go.
func (d *Decoder) Model() (*Model, error) {
	m := d.m
	if !d.begun || uint32(len(d.pending)) != d.items {
		return nil, fmt.Errorf("%w: records are missing", ErrImage)
	}
	r := &reader{}
	for slot, to := range d.pending {
		refs := d.refs(to, r)
		if r.bad {
			return nil, fmt.Errorf("%w: item %d goes with one that is not there", ErrImage, slot)
		}
		it := m.at(uint32(slot))
		for i := range refs {
			it.pairs[i].to = refs[i]
		}
	}
	v := *m.view.Load()
	v.recent = d.refs(d.recent, r)
	if r.bad {
		return nil, fmt.Errorf("%w: a recent key that is not there", ErrImage)
	}
	m.view.Store(&v)
	m.trim()
	published := m.counted
	m.stats.Store(&published)
	return m, nil
}
