package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

const (
	software = "histories"
	// answerWait is how long an answer may take before its outcome counts as unknown.
	answerWait = 4 * time.Second
	// dialAgain is the pause before a node that is away is tried again.
	dialAgain = 20 * time.Millisecond
	// tellEvery so many decided changes a line says how many there are.
	tellEvery = 10
)

// target is a node: its id, and its consensus socket.
type target struct{ node, socket string }

// load is what clients share.
type load struct {
	seed    uint64
	names   int
	began   time.Time
	targets []target

	mu      sync.Mutex
	history *json.Encoder
	told    io.Writer
	decided int
	failed  error
}

// now is the one clock of a history.
func (l *load) now() int64 { return int64(time.Since(l.began)) + 1 }

// record keeps a line, and says now and then how far the load is.
func (l *load) record(one *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = errors.Join(l.failed, l.history.Encode(one))
	if one.isChange() && one.Height > 0 {
		if l.decided++; l.decided%tellEvery == 0 {
			_, err := fmt.Fprintln(l.told, l.decided)
			l.failed = errors.Join(l.failed, err)
		}
	}
}

// run has clients ask for changes and read names until the context ends, and adds what was decided.
func (l *load) run(ctx context.Context, clients int) error {
	var all sync.WaitGroup
	for number := range clients {
		c := &client{
			load: l, number: number, target: l.targets[number%len(l.targets)],
			random: rand.New(rand.NewPCG(l.seed, uint64(number))), known: make(map[string]string),
			foreign: make(map[string]bool),
		}
		all.Go(func() { c.run(ctx) })
	}
	all.Wait()
	if l.failed != nil {
		return l.failed
	}
	return l.log()
}

// client asks one node for one thing after the other.
type client struct {
	load    *load
	number  int
	target  target
	random  *rand.Rand
	session int
	// known is what it believes that names mean, and foreign which of them it saw that are not its node's.
	known   map[string]string
	foreign map[string]bool
	made    uint64
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		dialing, end := context.WithTimeout(ctx, answerWait)
		conn, err := ipc.Dial(dialing, c.target.socket, protocol.ServiceConsensus, software)
		end()
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(dialAgain):
			}
			continue
		}
		c.session++
		for ctx.Err() == nil && c.step(conn) {
		}
		conn.Close()
	}
}

// step asks for one thing; false: the connection is of no more use. What was begun is ended also when the load is.
func (c *client) step(conn *ipc.Client) bool {
	one := c.next()
	ctx, end := context.WithTimeout(context.Background(), answerWait)
	defer end()
	one.Call = c.load.now()
	var err error
	if one.Kind == kindGet {
		err = c.get(ctx, conn, one)
	} else {
		err = c.change(ctx, conn, one)
	}
	one.Return = c.load.now()
	if err == nil || one.isChange() {
		c.load.record(one)
	}
	var failure *ipc.Failure
	return err == nil || errors.As(err, &failure) && failure.Status == protocol.StatusDeadline
}

// next makes up an operation.
func (c *client) next() *line {
	one := &line{
		Client: c.number, Session: c.session, Node: c.target.node,
		Name: fmt.Sprintf("history/%d", c.random.IntN(c.load.names)), Expect: expectAny,
	}
	// What it may not change anyway it mostly looks at, until it is free again.
	looks := c.foreign[one.Name] && c.random.IntN(3) > 0
	switch choice := c.random.IntN(10); {
	case looks || choice < 2:
		one.Kind, one.Expect = kindGet, ""
		return one
	case choice < 4:
		one.Kind = kindRemove
	default:
		one.Kind = kindSet
		c.made++
		var root [32]byte
		binary.LittleEndian.PutUint64(root[:], c.load.seed)
		binary.LittleEndian.PutUint64(root[8:], uint64(c.number))
		binary.LittleEndian.PutUint64(root[16:], c.made)
		one.Root = rootText(root)
	}
	switch known := c.known[one.Name]; {
	case c.random.IntN(3) == 0:
	case known != "":
		one.Expect, one.Expected = expectRoot, known
	case one.Kind == kindSet:
		one.Expect = expectAbsent
	}
	return one
}

func ask(ctx context.Context, conn *ipc.Client, method uint16, request, answer proto.Message) error {
	body, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	reply, err := conn.Call(ctx, method, protocol.ContentTypeProtobuf, body)
	if err != nil {
		return err
	}
	return proto.Unmarshal(reply.Body, answer)
}

func (c *client) get(ctx context.Context, conn *ipc.Client, one *line) error {
	var entry localpb.NameEntry
	if err := ask(ctx, conn, protocol.MethodConsensusName, &localpb.NameRequest{Name: one.Name}, &entry); err != nil {
		return err
	}
	one.Root, one.Owner, one.Height = entry.GetRoot(), entry.GetOwner(), entry.GetHeight()
	c.known[one.Name], c.foreign[one.Name] = one.Root, one.Root != "" && one.Owner != one.Node
	return nil
}

func (c *client) change(ctx context.Context, conn *ipc.Client, one *line) error {
	expect := &localpb.Expect{Kind: one.Expect, Root: one.Expected}
	action := &localpb.Action{SetName: &localpb.SetNameAction{Name: one.Name, Root: one.Root, Expect: expect}}
	if one.Kind == kindRemove {
		action = &localpb.Action{DeleteName: &localpb.DeleteNameAction{Name: one.Name, Expect: expect}}
	}
	var reply localpb.SubmitReply
	err := ask(ctx, conn, protocol.MethodConsensusSubmit, &localpb.SubmitRequest{Action: action}, &reply)
	if err != nil {
		one.Outcome = unknown
		if isNever(err) {
			one.Outcome = never
			return nil
		}
		return err
	}
	one.Outcome, one.Height, one.Place = reply.GetOutcome().GetCode(), reply.GetHeight(), reply.GetPlace()
	switch one.Outcome {
	case done:
		c.known[one.Name] = one.Root
	case conflict:
		one.Found = foundRoot(reply.GetOutcome().GetText())
		c.known[one.Name] = one.Found
	}
	return nil
}

// isNever says whether a failure means that the change was not decided and never will be.
func isNever(err error) bool {
	var failure *ipc.Failure
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Status {
	case protocol.StatusBusy, protocol.StatusLimit, protocol.StatusDenied:
		return true
	case protocol.StatusDeadline:
		return strings.Contains(failure.Text, "can no longer be decided")
	}
	return false
}

// foundRoot is the root in the text of a conflict; empty: there was none.
func foundRoot(text string) string {
	at := strings.Index(text, prefix+"1")
	if at < 0 {
		return ""
	}
	root, _, _ := strings.Cut(text[at:], ",")
	return root
}

// log adds the changes that were decided, as the first node has them and the last, and fails when they have different blocks of
// one height.
func (l *load) log() error {
	hashes := make(map[uint64]string)
	for _, target := range []target{l.targets[0], l.targets[len(l.targets)-1]} {
		if err := l.logOf(target, hashes); err != nil {
			return fmt.Errorf("log of %s: %w", target.node, err)
		}
	}
	return l.failed
}

func (l *load) logOf(target target, hashes map[uint64]string) error {
	ctx, end := context.WithTimeout(context.Background(), time.Minute)
	defer end()
	conn, err := ipc.Dial(ctx, target.socket, protocol.ServiceConsensus, software)
	if err != nil {
		return err
	}
	defer conn.Close()
	for height := uint64(0); ; {
		before := height
		request, err := proto.Marshal(&localpb.LogRequest{From: height + 1, Limit: 500})
		if err != nil {
			return err
		}
		_, err = conn.Stream(ctx, protocol.MethodConsensusLog, protocol.ContentTypeProtobuf, request, 16, func(event ipc.Event) error {
			var block localpb.DecidedBlock
			if err := proto.Unmarshal(event.Body, &block); err != nil {
				return err
			}
			height = block.GetHeight()
			switch hash, seen := hashes[height]; {
			case seen && hash != block.GetHash():
				return fmt.Errorf("two blocks of height %d are decided: %s and %s", height, hash, block.GetHash())
			case !seen:
				hashes[height] = block.GetHash()
				l.recordBlock(&block)
			}
			return nil
		})
		if err != nil || height == before {
			return err
		}
	}
}

func (l *load) recordBlock(block *localpb.DecidedBlock) {
	for place, one := range block.GetTransactions() {
		decided := &line{
			Kind: kindDecided, Node: one.GetAuthor(), Outcome: one.GetOutcome().GetCode(),
			Height: block.GetHeight(), Place: uint32(place),
		}
		switch action := one.GetAction(); {
		case action.GetSetName() != nil:
			decided.Change, decided.Name, decided.Root = kindSet, action.GetSetName().GetName(), action.GetSetName().GetRoot()
		case action.GetDeleteName() != nil:
			decided.Change, decided.Name = kindRemove, action.GetDeleteName().GetName()
		default:
			continue
		}
		l.record(decided)
	}
}

// untilClosed is a context that ends with the input.
func untilClosed(input io.Reader) context.Context {
	ctx, end := context.WithCancel(context.Background())
	go func() {
		defer end()
		// Whatever is said: only its end matters.
		_, _ = io.Copy(io.Discard, bufio.NewReader(input))
	}()
	return ctx
}
