package graph

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// An image is the graph at one moment. Its bytes are a sequence of records, each at most RecordBytesMax long, for a file
// whose records carry checksums. All is little-endian; the first byte says what a record is:
//
//	1  head   version u8 (2), then u64 each: time in Unix nanoseconds, nodes, links
//	2  keys   many of: u16 length, key
//	3  links  many of: from u32, to u32, kind u8, evidence u32, cost f64, bandwidth f64, expires i64
//
// from and to are places in the list of keys, which ascends; links are sorted by cost, from, to, kind. One graph at one
// moment has exactly one image, and a decoder refuses what an encoder would not have written.
const (
	imageVersion   = 2
	imageHeadBytes = 26
	imageLinkBytes = 37
	recordHead     = 1
	recordKeys     = 2
	recordLinks    = 3
	// RecordBytesMax is the longest record.
	RecordBytesMax = 1 << 20
)

// ErrImage says that records are not an image. It is wrapped with what is wrong.
var ErrImage = errors.New("not an image of the graph")

// Image is the graph at one moment, independent of the graph it came from.
type Image struct {
	Time  time.Time
	Keys  []string // ascending
	Edges []ImageEdge
}

// ImageEdge is an edge between two places in Image.Keys.
type ImageEdge struct {
	From, To  uint32
	Kind      Kind
	Evidence  uint32
	Cost      float64
	Bandwidth float64
	Expires   int64 // Unix nanoseconds; 0 is never
}

// Image copies the graph. Sorting is left to Encode, so that the copy, during which other writers wait, is quick.
// Edges that have faded are left out, and so are nodes that only such edges have.
func (g *Graph) Image(now time.Time) Image {
	g.writing.Lock()
	defer g.writing.Unlock()
	decay := g.decayAt(now)
	image := Image{
		Time:  g.epoch.Add(time.Duration(decay / g.decayPerSecond * float64(time.Second))),
		Edges: make([]ImageEdge, 0, len(g.pairs)),
	}
	places := make([]uint32, len(g.nodes)) // place + 1 in Keys; 0 is none
	place := func(id uint32) uint32 {
		if places[id] == 0 {
			image.Keys = append(image.Keys, g.nodes[id].key)
			places[id] = uint32(len(image.Keys))
		}
		return places[id] - 1
	}
	for _, id := range g.weakestEdges {
		if cost := g.cost(id, decay); cost <= costMax {
			e := &g.edges[id]
			image.Edges = append(image.Edges, ImageEdge{
				From: place(e.from), To: place(e.to), Kind: e.kind, Evidence: e.evidence,
				Cost: cost, Bandwidth: e.bandwidth, Expires: e.expires,
			})
		}
	}
	return image
}

// Restore makes a graph from an image. Its time goes on where the image's ended. When the limits do not allow everything,
// the weakest edges are left out and counted as evicted.
func Restore(config Config, image Image) (*Graph, error) {
	g, err := New(config, image.Time)
	if err != nil {
		return nil, err
	}
	image.sort() // Strongest first.
	defer g.begin()()
	for _, e := range image.Edges {
		from, to := []byte(image.Keys[e.From]), []byte(image.Keys[e.To])
		if !g.fits(from, to) {
			g.evicted++
			continue
		}
		f, t := g.node(from), g.node(to)
		g.insert(edge{
			level: -e.Cost, bandwidth: e.Bandwidth, expires: e.Expires, from: f, to: t, kind: e.Kind, evidence: e.Evidence,
		})
	}
	return g, nil
}

func (image *Image) sort() {
	if !slices.IsSorted(image.Keys) {
		order := make([]uint32, len(image.Keys))
		for i := range order {
			order[i] = uint32(i)
		}
		slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(image.Keys[a], image.Keys[b]) })
		keys, moved := make([]string, len(order)), make([]uint32, len(order))
		for to, from := range order {
			keys[to], moved[from] = image.Keys[from], uint32(to)
		}
		image.Keys = keys
		for i := range image.Edges {
			image.Edges[i].From, image.Edges[i].To = moved[image.Edges[i].From], moved[image.Edges[i].To]
		}
	}
	slices.SortFunc(image.Edges, compareEdges)
}

func compareEdges(a, b ImageEdge) int {
	return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
}

// Encode gives the image's records to write, one after the other. It may reorder the image's own lists.
func (image *Image) Encode(write func(record []byte) error) error {
	image.sort()
	head := []byte{recordHead, imageVersion}
	for _, field := range [...]uint64{uint64(image.Time.UnixNano()), uint64(len(image.Keys)), uint64(len(image.Edges))} {
		head = binary.LittleEndian.AppendUint64(head, field)
	}
	if err := write(head); err != nil {
		return err
	}
	record := []byte{recordKeys}
	flush := func(kind byte, most int) error {
		if len(record) == 1 || len(record) <= most {
			return nil
		}
		err := write(record)
		record = append(record[:0], kind)
		return err
	}
	for _, key := range image.Keys {
		record = binary.LittleEndian.AppendUint16(record, uint16(len(key)))
		record = append(record, key...)
		if err := flush(recordKeys, RecordBytesMax-KeyBytesMax-2); err != nil {
			return err
		}
	}
	if err := flush(recordLinks, 0); err != nil {
		return err
	}
	record = append(record[:0], recordLinks)
	for _, e := range image.Edges {
		record = binary.LittleEndian.AppendUint32(record, e.From)
		record = binary.LittleEndian.AppendUint32(record, e.To)
		record = append(record, byte(e.Kind))
		record = binary.LittleEndian.AppendUint32(record, e.Evidence)
		record = binary.LittleEndian.AppendUint64(record, math.Float64bits(e.Cost))
		record = binary.LittleEndian.AppendUint64(record, math.Float64bits(e.Bandwidth))
		record = binary.LittleEndian.AppendUint64(record, uint64(e.Expires))
		if err := flush(recordLinks, RecordBytesMax-imageLinkBytes); err != nil {
			return err
		}
	}
	return flush(recordLinks, 0)
}

// Decoder makes an image from records.
type Decoder struct {
	image        Image
	nodes, links uint64
	begun        bool
	last         string
}

// Add reads the next record. Memory is taken in proportion to what was read, whatever the counts claim.
func (d *Decoder) Add(record []byte) error {
	if len(record) == 0 {
		return fmt.Errorf("%w: an empty record", ErrImage)
	}
	if d.begun == (record[0] == recordHead) {
		return fmt.Errorf("%w: the head stands first, and once", ErrImage)
	}
	switch record[0] {
	case recordHead:
		if len(record) != imageHeadBytes || record[1] != imageVersion {
			return fmt.Errorf("%w: a head of %d bytes; this program reads version %d", ErrImage, len(record), imageVersion)
		}
		d.begun = true
		d.image.Time = time.Unix(0, int64(binary.LittleEndian.Uint64(record[2:]))).UTC()
		d.nodes, d.links = binary.LittleEndian.Uint64(record[10:]), binary.LittleEndian.Uint64(record[18:])
		if d.nodes > NodesMax || d.links > EdgesMax {
			return fmt.Errorf("%w: %d nodes and %d links are more than a graph has", ErrImage, d.nodes, d.links)
		}
		return nil
	case recordKeys:
		return d.keys(record[1:])
	case recordLinks:
		return d.edges(record[1:])
	}
	return fmt.Errorf("%w: a record of kind %d", ErrImage, record[0])
}

func (d *Decoder) keys(rest []byte) error {
	for len(rest) > 0 {
		if len(rest) < 2 {
			return fmt.Errorf("%w: a key is cut off", ErrImage)
		}
		length := int(binary.LittleEndian.Uint16(rest))
		rest = rest[2:]
		if length == 0 || length > KeyBytesMax || length > len(rest) {
			return fmt.Errorf("%w: key %d has %d bytes", ErrImage, len(d.image.Keys), length)
		}
		key := string(rest[:length])
		if key <= d.last || uint64(len(d.image.Keys)) == d.nodes {
			return fmt.Errorf("%w: key %d is out of order or too many", ErrImage, len(d.image.Keys))
		}
		d.image.Keys, d.last, rest = append(d.image.Keys, key), key, rest[length:]
	}
	return nil
}

func (d *Decoder) edges(rest []byte) error {
	nodes := uint32(len(d.image.Keys))
	if uint64(nodes) != d.nodes || len(rest)%imageLinkBytes != 0 {
		return fmt.Errorf("%w: links before all keys, or a link that is cut off", ErrImage)
	}
	for ; len(rest) > 0; rest = rest[imageLinkBytes:] {
		le, i := binary.LittleEndian, len(d.image.Edges)
		e := ImageEdge{
			From: le.Uint32(rest), To: le.Uint32(rest[4:]), Kind: Kind(rest[8]), Evidence: le.Uint32(rest[9:]),
			Cost: math.Float64frombits(le.Uint64(rest[13:])), Bandwidth: math.Float64frombits(le.Uint64(rest[21:])),
			Expires: int64(le.Uint64(rest[29:])),
		}
		switch {
		case e.From >= nodes || e.To >= nodes || e.From == e.To:
			return fmt.Errorf("%w: link %d joins %d and %d of %d nodes", ErrImage, i, e.From, e.To, nodes)
		case !(e.Cost >= 0 && e.Cost <= costMax) || math.Signbit(e.Cost):
			return fmt.Errorf("%w: link %d has cost %v", ErrImage, i, e.Cost)
		case !(e.Bandwidth >= 0) || math.IsInf(e.Bandwidth, 1) || e.Expires < 0 || e.Evidence == 0:
			return fmt.Errorf("%w: link %d has a bandwidth, an expiry or an evidence that cannot be", ErrImage, i)
		case uint64(i) == d.links:
			return fmt.Errorf("%w: more links than the head says", ErrImage)
		case i > 0 && compareEdges(d.image.Edges[i-1], e) >= 0:
			return fmt.Errorf("%w: link %d is out of order", ErrImage, i)
		}
		d.image.Edges = append(d.image.Edges, e)
	}
	return nil
}

// Image is the whole image, once all records were added.
func (d *Decoder) Image() (Image, error) {
	if !d.begun || uint64(len(d.image.Keys)) != d.nodes || uint64(len(d.image.Edges)) != d.links {
		return Image{}, fmt.Errorf("%w: records are missing", ErrImage)
	}
	joined, pairs := make([]bool, d.nodes), make(map[uint64]struct{}, d.links)
	for i, e := range d.image.Edges {
		p := pair(e.From, e.To, e.Kind)
		if _, twice := pairs[p]; twice {
			return Image{}, fmt.Errorf("%w: link %d is there twice", ErrImage, i)
		}
		pairs[p] = struct{}{}
		joined[e.From], joined[e.To] = true, true
	}
	if slices.Contains(joined, false) {
		return Image{}, fmt.Errorf("%w: a node has no link", ErrImage)
	}
	return d.image, nil
}
