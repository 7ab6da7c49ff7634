package graph

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"
)

// An image is the graph at one moment, and the layout of its bytes is:
//
//	offset  size  field
//	0       8     magic "MFN-ALM" and a newline: a text-mode copy breaks it
//	8       4     version, 1
//	12      4     nodes
//	16      8     edges
//	24      8     time, Unix nanoseconds
//	32      8     bytes of all keys
//	40      2     length of a key, then the key; for each node, keys ascending
//	...     16    from u32, to u32, cost f64; for each edge, by cost, from, to ascending
//	end-4   4     CRC-32C of everything before
//
// All little-endian. from and to are places in the list of nodes. One graph at one moment has exactly one image: a decoder
// refuses everything that an encoder would not have written.
const (
	imageMagic     = "MFN-ALM\n"
	imageVersion   = 1
	imageHeader    = 40
	imageEdgeBytes = 16
	imageSumBytes  = 4
	// ImageBytesMax bounds an image: what a reader may have to hold in memory.
	ImageBytesMax = 1 << 30
)

// ErrImage says that bytes are not an image. It is wrapped with what is wrong.
var ErrImage = errors.New("not an image of the graph")

// ErrImageSize says that the graph is too large to be written as an image.
var ErrImageSize = fmt.Errorf("the image would be longer than %d bytes", ImageBytesMax)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Image is the graph at one moment, independent of the graph it came from.
type Image struct {
	Time  time.Time
	Keys  []string // ascending
	Edges []ImageEdge
}

// ImageEdge is an edge between two places in Image.Keys.
type ImageEdge struct {
	From, To uint32
	Cost     float64
}

// Image copies the graph. Sorting is left to Encode, so that the copy, during which the graph may not change, is quick.
// Edges that have faded are left out, and so are nodes that only such edges have.
func (g *Graph) Image(now time.Time) Image {
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
			image.Edges = append(image.Edges, ImageEdge{From: place(e.from), To: place(e.to), Cost: cost})
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
	for _, e := range image.Edges {
		from, to := []byte(image.Keys[e.From]), []byte(image.Keys[e.To])
		if !g.fits(from, to) {
			g.evicted++
			continue
		}
		g.set(from, to, e.Cost, 0)
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
	return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
}

// Encode writes the image as bytes. It may reorder the image's own lists.
func (image *Image) Encode() ([]byte, error) {
	image.sort()
	keyBytes := 0
	for _, key := range image.Keys {
		keyBytes += len(key)
	}
	size := imageSize(len(image.Keys), uint64(len(image.Edges)), uint64(keyBytes))
	if size > ImageBytesMax {
		return nil, ErrImageSize
	}
	out := make([]byte, 0, size)
	out = append(out, imageMagic...)
	out = binary.LittleEndian.AppendUint32(out, imageVersion)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(image.Keys)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(image.Edges)))
	out = binary.LittleEndian.AppendUint64(out, uint64(image.Time.UnixNano()))
	out = binary.LittleEndian.AppendUint64(out, uint64(keyBytes))
	for _, key := range image.Keys {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(key)))
		out = append(out, key...)
	}
	for _, e := range image.Edges {
		out = binary.LittleEndian.AppendUint32(out, e.From)
		out = binary.LittleEndian.AppendUint32(out, e.To)
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(e.Cost))
	}
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli)), nil
}

// imageSize is the length of an image. Its arguments come from a file: nodes has 32 bits, the others are capped so that the
// sum cannot overflow and still is far too long.
func imageSize(nodes int, edges, keyBytes uint64) uint64 {
	edges, keyBytes = min(edges, 1<<48), min(keyBytes, 1<<60)
	return imageHeader + 2*uint64(nodes) + keyBytes + imageEdgeBytes*edges + imageSumBytes
}

// DecodeImage reads an image. It allocates in proportion to len(data), whatever the counts inside claim.
func DecodeImage(data []byte) (Image, error) {
	if len(data) < imageHeader+imageSumBytes {
		return Image{}, fmt.Errorf("%w: %d bytes are too few", ErrImage, len(data))
	}
	if string(data[:8]) != imageMagic {
		return Image{}, fmt.Errorf("%w: it starts with other bytes", ErrImage)
	}
	if version := binary.LittleEndian.Uint32(data[8:]); version != imageVersion {
		return Image{}, fmt.Errorf("%w: version %d, this program reads version %d", ErrImage, version, imageVersion)
	}
	nodes, edges := binary.LittleEndian.Uint32(data[12:]), binary.LittleEndian.Uint64(data[16:])
	keyBytes := binary.LittleEndian.Uint64(data[32:])
	if size := imageSize(int(nodes), edges, keyBytes); size != uint64(len(data)) {
		return Image{}, fmt.Errorf("%w: %d bytes, its counts need %d", ErrImage, len(data), size)
	}
	body := data[:len(data)-imageSumBytes]
	if sum := crc32.Checksum(body, castagnoli); sum != binary.LittleEndian.Uint32(data[len(body):]) {
		return Image{}, fmt.Errorf("%w: the checksum does not fit", ErrImage)
	}
	image := Image{Time: time.Unix(0, int64(binary.LittleEndian.Uint64(data[24:]))).UTC()}
	rest, err := image.decodeKeys(body[imageHeader:], int(nodes), int(keyBytes))
	if err != nil {
		return Image{}, err
	}
	if err := image.decodeEdges(rest); err != nil {
		return Image{}, err
	}
	return image, nil
}

func (image *Image) decodeKeys(data []byte, nodes, keyBytes int) ([]byte, error) {
	image.Keys = make([]string, 0, nodes)
	rest, previous, seen := data, "", 0
	for i := range nodes {
		if len(rest) < 2 {
			return nil, fmt.Errorf("%w: key %d is cut off", ErrImage, i)
		}
		length := int(binary.LittleEndian.Uint16(rest))
		rest = rest[2:]
		if length == 0 || length > KeyBytesMax || length > len(rest) {
			return nil, fmt.Errorf("%w: key %d has %d bytes", ErrImage, i, length)
		}
		key := string(rest[:length])
		if key <= previous {
			return nil, fmt.Errorf("%w: key %d is out of order", ErrImage, i)
		}
		image.Keys, rest, previous, seen = append(image.Keys, key), rest[length:], key, seen+length
	}
	if seen != keyBytes {
		return nil, fmt.Errorf("%w: keys have %d bytes, the header says %d", ErrImage, seen, keyBytes)
	}
	return rest, nil
}

// decodeEdges reads the edges, which fill the rest exactly: DecodeImage compared the counts with the length.
func (image *Image) decodeEdges(rest []byte) error {
	count, nodes := len(rest)/imageEdgeBytes, uint32(len(image.Keys))
	image.Edges = make([]ImageEdge, 0, count)
	pairs, joined, unjoined := make(map[uint64]struct{}, count), make([]bool, nodes), int(nodes)
	for i := range count {
		e := ImageEdge{
			From: binary.LittleEndian.Uint32(rest[i*imageEdgeBytes:]),
			To:   binary.LittleEndian.Uint32(rest[i*imageEdgeBytes+4:]),
			Cost: math.Float64frombits(binary.LittleEndian.Uint64(rest[i*imageEdgeBytes+8:])),
		}
		if e.From >= nodes || e.To >= nodes || e.From == e.To {
			return fmt.Errorf("%w: edge %d joins %d and %d of %d nodes", ErrImage, i, e.From, e.To, nodes)
		}
		if !(e.Cost >= 0 && e.Cost <= costMax) || math.Signbit(e.Cost) {
			return fmt.Errorf("%w: edge %d has cost %v", ErrImage, i, e.Cost)
		}
		if i > 0 && compareEdges(image.Edges[i-1], e) >= 0 {
			return fmt.Errorf("%w: edge %d is out of order", ErrImage, i)
		}
		if _, twice := pairs[pair(e.From, e.To)]; twice {
			return fmt.Errorf("%w: edge %d is there twice", ErrImage, i)
		}
		pairs[pair(e.From, e.To)] = struct{}{}
		for _, id := range [2]uint32{e.From, e.To} {
			if !joined[id] {
				joined[id] = true
				unjoined--
			}
		}
		image.Edges = append(image.Edges, e)
	}
	if unjoined != 0 {
		return fmt.Errorf("%w: %d nodes have no edge", ErrImage, unjoined)
	}
	return nil
}
