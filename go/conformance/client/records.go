package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"hypermesh.dev/hypermesh/internal/ifr"
	"hypermesh.dev/hypermesh/internal/protocol"
)

// patience is for one call.
const patience = 10 * time.Second

// records obeys one command about pools of records.
func (c *client) records(verb string, words []string) string {
	if verb == "vectors" {
		return recordVectors(words[0])
	}
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	answer, err := c.record(ctx, verb, words)
	if errors.Is(err, ifr.ErrBody) {
		return fmt.Sprintf("failed %d %v", protocol.StatusBadBody, err)
	}
	if err != nil {
		return fmt.Sprintf("failed %d %v", statusOf(err), err)
	}
	return answer
}

func (c *client) record(ctx context.Context, verb string, words []string) (string, error) {
	pool := func() uint32 { return uint32(wide(words[0])) }
	switch verb {
	case "pool_add":
		return "done", c.flows.PoolAdd(ctx, poolOf(words))
	case "pools":
		pools, err := c.flows.Pools(ctx)
		return fmt.Sprintf("pools %d %s", len(pools), poolsWords(pools)), err
	case "value_put":
		return valued(c.flows.ValuePut(ctx, pool(), keyOf(words[1:]), ifr.Value(unhex(words[3]))))
	case "value_get":
		return valued(c.flows.ValueGet(ctx, pool(), keyOf(words[1:])))
	case "value_remove":
		return valued(c.flows.ValueRemove(ctx, pool(), keyOf(words[1:])))
	case "pool_drop":
		return "done", c.flows.PoolDrop(ctx, pool())
	case "pool_stats":
		stats, err := c.flows.PoolStats(ctx, pool())
		return "stats " + statsWords(stats), err
	case "put":
		return found(c.flows.FlowPut(ctx, pool(), recordOf(words[2:]), time.Duration(wide(words[1]))))
	case "get":
		return found(c.flows.FlowGet(ctx, pool(), digest(words[1])))
	case "remove":
		return found(c.flows.FlowRemove(ctx, pool(), digest(words[1])))
	case "expire":
		count, err := c.flows.FlowExpire(ctx, pool(), uint32(wide(words[1])))
		return fmt.Sprintf("expired %d", count), err
	case "route":
		decision, err := c.flows.FlowRoute(ctx, pool(), digest(words[1]), uint16(wide(words[2])))
		return decided(decision), err
	case "learn":
		return "done", c.flows.FlowLearn(ctx, uint16(wide(words[0])), ifr.Layer(wide(words[1])), words[2] == "1")
	case "fill":
		return c.fill(pool(), wide(words[1])), nil
	case "raw":
		body, err := c.flows.Call(ctx, uint16(wide(words[0])), unhex(words[1]))
		return "body " + text(body), err
	}
	return "", fmt.Errorf("no command %s", verb)
}

// fill puts records of keys that count up, until one is refused.
func (c *client) fill(pool uint32, count uint64) string {
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	for number := range count {
		var key ifr.Digest
		binary.LittleEndian.PutUint64(key[:], number)
		if _, err := c.flows.FlowPut(ctx, pool, &ifr.FlowRecord{Key: key}, 0); err != nil {
			return fmt.Sprintf("filled %d %d", number, statusOf(err))
		}
	}
	return fmt.Sprintf("filled %d 0", count)
}

func wide(word string) uint64 {
	value, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func digest(word string) ifr.Digest { return ifr.Digest(unhex(word)) }

func poolOf(words []string) ifr.Pool {
	flags := wide(words[1])
	return ifr.Pool{ID: uint32(wide(words[0])), Refuses: flags&1 != 0, Values: flags&2 != 0, BytesMax: wide(words[2])}
}

// poolsWords are in the order of the pools' numbers.
func poolsWords(pools []ifr.PoolAbout) string {
	slices.SortFunc(pools, func(a, b ifr.PoolAbout) int { return cmp.Compare(a.ID, b.ID) })
	each := make([]string, 0, len(pools))
	for _, pool := range pools {
		flags := 0
		if pool.Refuses {
			flags |= 1
		}
		if pool.Values {
			flags |= 2
		}
		each = append(each, fmt.Sprintf("%d %d %d %s", pool.ID, flags, pool.BytesMax, statsWords(pool.Stats)))
	}
	return strings.Join(each, " ")
}

// keyOf reads a kind and the key's bytes.
func keyOf(words []string) ifr.Key {
	if words[0] == "1" {
		return ifr.OfDigest(digest(words[1]))
	}
	return ifr.OfBytes(unhex(words[1]))
}

func valued(value *ifr.Value, err error) (string, error) {
	if err != nil || value == nil {
		return "none", err
	}
	return "value " + hex.EncodeToString(value[:]), nil
}

func found(record *ifr.FlowRecord, err error) (string, error) {
	if err != nil || record == nil {
		return "none", err
	}
	return "record " + recordWords(record), nil
}

func decided(d ifr.RoutingDecision) string {
	confidence := math.Float32bits(d.Confidence)
	switch d.Outcome {
	case ifr.FoundExact:
		return "exact " + recordWords(&d.Record)
	case ifr.FoundPartial:
		return fmt.Sprintf("partial %d %d %s", d.Next, confidence, recordWords(&d.Record))
	}
	return fmt.Sprintf("route %d %d", d.Next, confidence)
}

func recordOf(words []string) *ifr.FlowRecord {
	return &ifr.FlowRecord{
		Key: digest(words[0]), Size: wide(words[1]), CreatedNS: wide(words[2]), UpdatedNS: wide(words[3]),
		ExpiresNS: wide(words[4]), Reference: wide(words[5]), Component: uint16(wide(words[6])), Kind: uint16(wide(words[7])),
		Priority: uint8(wide(words[8])),
	}
}

func recordWords(r *ifr.FlowRecord) string {
	return fmt.Sprintf("%x %d %d %d %d %d %d %d %d",
		r.Key, r.Size, r.CreatedNS, r.UpdatedNS, r.ExpiresNS, r.Reference, r.Component, r.Kind, r.Priority)
}

func statsWords(s ifr.PoolStats) string {
	return fmt.Sprintf("%d %d %d %d %d", s.Records, s.Bytes, s.BytesMax, s.Evictions, s.Expirations)
}

// recordVectors writes the requests of the golden vectors and reads the answers.
func recordVectors(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "failed " + err.Error()
	}
	good, bad := 0, 0
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		body, name, isGood, given, fields := words[0], words[1], words[2] == "0", unhex(words[3]), words[4:]
		request := written(body, fields)
		if request == nil {
			text, err := read(body, given)
			if isGood != (err == nil) || (isGood && text != strings.Join(fields, " ")) {
				return fmt.Sprintf("failed %s %s: %s %v", body, name, text, err)
			}
		} else if isGood && hex.EncodeToString(request) != words[3] {
			return fmt.Sprintf("failed %s %s: %x", body, name, request)
		}
		if isGood {
			good++
		} else {
			bad++
		}
	}
	return fmt.Sprintf("vectors %d %d", good, bad)
}

// written is the request of these fields; nil: the body is an answer. A bad request is the daemon's to refuse: it has no fields.
func written(body string, fields []string) []byte {
	isAnswer := body == "decision" || body == "record" || body == "pool_stats" || body == "pools" || body == "expired"
	if isAnswer {
		return nil
	}
	if len(fields) == 0 {
		return []byte{}
	}
	first := uint32(wide(fields[0]))
	switch body {
	case "pool":
		return poolOf(fields).Append(nil)
	case "flow_put":
		return ifr.AppendFlowPut(nil, first, wide(fields[1]), recordOf(fields[2:]))
	case "flow_key":
		key := digest(fields[1])
		return ifr.AppendKey(nil, first, &key)
	case "expire":
		return ifr.AppendExpire(nil, first, uint32(wide(fields[1])))
	case "flow_route":
		key := digest(fields[2])
		return ifr.AppendRoute(nil, first, uint16(wide(fields[1])), &key)
	case "learn":
		return ifr.AppendLearn(nil, uint16(first), ifr.Layer(wide(fields[1])), fields[2] == "1")
	}
	return []byte("unknown")
}

// read is an answer in words.
func read(body string, bytes []byte) (string, error) {
	switch body {
	case "decision":
		d, err := ifr.DecodeDecision(bytes)
		return fmt.Sprintf("%d %d %d %s", d.Outcome, d.Next, math.Float32bits(d.Confidence), recordWords(&d.Record)), err
	case "record":
		record, err := ifr.DecodeAnswer(bytes)
		if err != nil {
			return "", err
		}
		return recordWords(record), nil
	case "pool_stats":
		stats, err := ifr.DecodePoolStats(bytes)
		return statsWords(stats), err
	}
	if body == "pools" {
		pools, err := ifr.DecodePools(bytes)
		return poolsWords(pools), err
	}
	looked, expired, err := ifr.DecodeExpired(bytes)
	return fmt.Sprintf("%d %d", looked, expired), err
}
