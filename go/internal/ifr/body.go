package ifr

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"hypermesh.dev/hypermesh/internal/protocol"
)

const (
	// DigestBytes is the length of a key.
	DigestBytes = 32
	// ValueBytes is the length of a value.
	ValueBytes = 16
	// KeyBytesMax is the length of the longest byte key.
	KeyBytesMax = protocol.IFRKeyBytesMax
	// PriorityMax is the highest priority of a record.
	PriorityMax = 7

	recordBytes   = 80
	decisionBytes = 16 + recordBytes
	statsBytes    = 40
	poolBytes     = 16
	expiredBytes  = 16
	flagRefuses   = 1
	flagValues    = 2
)

// ErrBody says that an answer is not laid out as its method's: the other side is no ifrd, or one of another version.
var ErrBody = errors.New("the answer is not laid out as this method's; see docs/PROTOCOL.md")

var little = binary.LittleEndian

// Digest is 32 bytes that are evenly spread, such as a BLAKE3 hash.
type Digest [DigestBytes]byte

// Value is what a key in a pool of values maps to; its meaning is the caller's.
type Value [ValueBytes]byte

// Key is a digest, or bytes of any form; two kinds are never equal. The zero value is the empty byte key.
type Key struct {
	kind  byte
	bytes []byte
}

// OfDigest is the key of a digest.
func OfDigest(digest Digest) Key { return Key{protocol.IFRKeyDigest, digest[:]} }

// OfBytes is a key of at most KeyBytesMax bytes of any form. It borrows them.
func OfBytes(bytes []byte) Key { return Key{protocol.IFRKeyBytes, bytes} }

// appendTo writes the body of get and remove, or with a value that of put.
func (k Key) appendTo(body []byte, pool uint32, value []byte) []byte {
	kind := k.kind
	if kind == 0 {
		kind = protocol.IFRKeyBytes
	}
	body = append(little.AppendUint32(body, pool), kind, 0, 0, 0)
	return append(append(body, value...), k.bytes...)
}

// decodeValue reads an answer about one key: its value, or nil for none.
func decodeValue(body []byte) (*Value, error) {
	switch len(body) {
	case 0:
		return nil, nil
	case ValueBytes:
		value := Value(body)
		return &value, nil
	}
	return nil, ErrBody
}

// Pool is a pool of records or of values, and what it does when its budget is full.
type Pool struct {
	// ID is not 0, which is a pool of values that is always there.
	ID uint32
	// Refuses a record that does not fit; else a cold one is evicted.
	Refuses bool
	// Values says that it holds keys with values in place of records. It refuses what does not fit in any case.
	Values bool
	// BytesMax is at least 1 MiB.
	BytesMax uint64
}

// Append writes the body of pool_add; of a Pool with its ID alone, that of pool_drop and pool_stats.
func (p Pool) Append(body []byte) []byte {
	flags := uint32(0)
	if p.Values {
		flags = flagRefuses | flagValues
	} else if p.Refuses {
		flags = flagRefuses
	}
	return little.AppendUint64(little.AppendUint32(little.AppendUint32(body, p.ID), flags), p.BytesMax)
}

// PoolStats are what a pool holds, and has lost since the daemon started.
type PoolStats struct {
	// Records, or keys with values.
	Records uint64
	// Bytes are held now, BytesMax at most.
	Bytes, BytesMax uint64
	// Evictions are of records that lived, Expirations of those whose time was over.
	Evictions, Expirations uint64
}

// DecodePoolStats reads the answer to pool_stats. It skips what a later version appends.
func DecodePoolStats(body []byte) (PoolStats, error) {
	if len(body) < statsBytes {
		return PoolStats{}, ErrBody
	}
	number := func(index int) uint64 { return little.Uint64(body[8*index:]) }
	return PoolStats{number(0), number(1), number(2), number(3), number(4)}, nil
}

// PoolAbout is a pool and what it holds.
type PoolAbout struct {
	Pool
	Stats PoolStats
}

// DecodePools reads the answer to pools. It skips what a later version appends to each.
func DecodePools(body []byte) ([]PoolAbout, error) {
	if len(body) < 8 {
		return nil, ErrBody
	}
	count, entryBytes := uint64(little.Uint32(body)), uint64(little.Uint32(body[4:]))
	rest := body[8:]
	if entryBytes < poolBytes+statsBytes || uint64(len(rest)) != count*entryBytes {
		return nil, ErrBody
	}
	pools := make([]PoolAbout, 0, count)
	for ; len(rest) > 0; rest = rest[entryBytes:] {
		flags := little.Uint32(rest[4:])
		if flags > flagRefuses && flags != flagRefuses|flagValues {
			return nil, ErrBody
		}
		stats, err := DecodePoolStats(rest[poolBytes:entryBytes])
		if err != nil {
			return nil, err
		}
		pool := Pool{little.Uint32(rest), flags&flagRefuses != 0, flags&flagValues != 0, little.Uint64(rest[8:])}
		pools = append(pools, PoolAbout{pool, stats})
	}
	return pools, nil
}

// FlowRecord is what is known of a digest. Times are nanoseconds since 1970.
type FlowRecord struct {
	Key Digest
	// Size is the bytes of what the key stands for.
	Size uint64
	// CreatedNS 0 in a put becomes that of the record that is replaced, else now; UpdatedNS 0 becomes now.
	CreatedNS, UpdatedNS uint64
	// ExpiresNS 0 is never.
	ExpiresNS uint64
	// Reference is the caller's: where it lies, whom it belongs to.
	Reference       uint64
	Component, Kind uint16
	// Priority is 0 to 7; the higher, the longer it stays.
	Priority uint8
}

func (r *FlowRecord) append(body []byte) []byte {
	body = append(body, r.Key[:]...)
	for _, number := range [...]uint64{r.Size, r.CreatedNS, r.UpdatedNS, r.ExpiresNS, r.Reference} {
		body = little.AppendUint64(body, number)
	}
	body = little.AppendUint16(little.AppendUint16(body, r.Component), r.Kind)
	return append(body, r.Priority, 0, 0, 0)
}

func decodeRecord(body []byte) (*FlowRecord, error) {
	if len(body) != recordBytes || body[76] > PriorityMax || body[77]|body[78]|body[79] != 0 {
		return nil, ErrBody
	}
	number := func(index int) uint64 { return little.Uint64(body[DigestBytes+8*index:]) }
	return &FlowRecord{
		Key: Digest(body[:DigestBytes]), Size: number(0), CreatedNS: number(1), UpdatedNS: number(2), ExpiresNS: number(3),
		Reference: number(4), Component: little.Uint16(body[72:]), Kind: little.Uint16(body[74:]), Priority: body[76],
	}, nil
}

// DecodeAnswer reads an answer about one record: that, or nil for none.
func DecodeAnswer(body []byte) (*FlowRecord, error) {
	if len(body) == 0 {
		return nil, nil
	}
	return decodeRecord(body)
}

// AppendFlowPut writes the body of flow_put.
func AppendFlowPut(body []byte, pool uint32, ttlNS uint64, record *FlowRecord) []byte {
	body = little.AppendUint32(little.AppendUint32(body, pool), 0)
	return record.append(little.AppendUint64(body, ttlNS))
}

// AppendKey writes the body of flow_get and flow_remove.
func AppendKey(body []byte, pool uint32, key *Digest) []byte {
	body = append(little.AppendUint32(body, pool), protocol.IFRKeyDigest, 0, 0, 0)
	return append(body, key[:]...)
}

// AppendExpire writes the body of flow_expire.
func AppendExpire(body []byte, pool, looks uint32) []byte {
	return little.AppendUint32(little.AppendUint32(body, pool), looks)
}

// DecodeExpired reads the answer to flow_expire: how many records were looked at, and how many of them taken out.
func DecodeExpired(body []byte) (looked, expired uint32, err error) {
	if len(body) != expiredBytes || little.Uint64(body[8:]) != 0 {
		return 0, 0, ErrBody
	}
	looked, expired = little.Uint32(body), little.Uint32(body[4:])
	if expired > looked {
		return 0, 0, ErrBody
	}
	return looked, expired, nil
}

// AppendRoute writes the body of flow_route.
func AppendRoute(body []byte, pool uint32, kind uint16, key *Digest) []byte {
	body = little.AppendUint16(little.AppendUint32(body, pool), kind)
	return append(append(body, 0, 0), key[:]...)
}

// AppendLearn writes the body of flow_learn.
func AppendLearn(body []byte, kind uint16, layer Layer, found bool) []byte {
	said := byte(0)
	if found {
		said = 1
	}
	return append(little.AppendUint16(body, kind), byte(layer), said, 0, 0, 0, 0)
}

// Layer is a layer behind this one.
type Layer uint32

// What may be asked next; LayerNone after an exact find.
const (
	LayerNone        Layer = 0
	LayerSimilarity  Layer = 2
	LayerAssociation Layer = 3
	LayerPrediction  Layer = 4
)

// Outcome says what a decision is.
type Outcome uint32

const (
	// FoundExact is the live record of the key in that pool.
	FoundExact Outcome = 0
	// FoundPartial is a record of the key, but expired, or in another pool.
	FoundPartial Outcome = 1
	// RouteToLayers means that nothing is here.
	RouteToLayers Outcome = 2
)

// RoutingDecision is what to do about a key: use the record, or ask a layer.
type RoutingDecision struct {
	Outcome Outcome
	// Next is who may know more.
	Next Layer
	// Confidence is 0 to 1. Exact: 1. Partial: 1 for a live record; for an expired one the share that its life has of the
	// time since it began. Route: how often the next layer had an answer for this kind of key.
	Confidence float32
	// Record is zero when there is none.
	Record FlowRecord
}

// DecodeDecision reads the answer to flow_route.
func DecodeDecision(body []byte) (RoutingDecision, error) {
	if len(body) != decisionBytes || little.Uint32(body[12:]) != 0 {
		return RoutingDecision{}, ErrBody
	}
	record, err := decodeRecord(body[16:])
	if err != nil {
		return RoutingDecision{}, err
	}
	decision := RoutingDecision{
		Outcome: Outcome(little.Uint32(body)), Next: Layer(little.Uint32(body[4:])),
		Confidence: math.Float32frombits(little.Uint32(body[8:])), Record: *record,
	}
	isLayer := slices.Contains([]Layer{LayerSimilarity, LayerAssociation, LayerPrediction}, decision.Next)
	isWhole := false
	switch decision.Outcome {
	case FoundExact:
		isWhole = decision.Next == LayerNone
	case FoundPartial:
		isWhole = isLayer
	case RouteToLayers:
		isWhole = isLayer && *record == FlowRecord{}
	}
	// What is no number is not in between.
	if !isWhole || !(decision.Confidence >= 0 && decision.Confidence <= 1) {
		return RoutingDecision{}, ErrBody
	}
	return decision, nil
}
