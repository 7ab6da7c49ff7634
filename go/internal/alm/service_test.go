package alm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/graph"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func fixed() time.Time { return time.Unix(1_700_000_000, 0) }

func open(t testing.TB, directory string) *Service {
	t.Helper()
	store, err := NewStore(directory, quiet)
	if err != nil {
		t.Fatal(err)
	}
	service, err := New(graph.DefaultConfig(), store, fixed, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return service
}

func ask(t testing.TB, s *Service, method uint16, question, answer proto.Message) error {
	t.Helper()
	body, err := proto.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := s.Handle(context.Background(), ipc.Call{Method: method, ContentType: protocol.ContentTypeProtobuf, Body: body})
	if err == nil && answer != nil {
		err = proto.Unmarshal(reply.Body, answer)
	}
	return err
}

func edges(list ...*localpb.AlmEdge) *localpb.AlmEdges { return &localpb.AlmEdges{Edges: list} }

func edge(from, to string, strength float64) *localpb.AlmEdge {
	return &localpb.AlmEdge{From: []byte(from), To: []byte(to), Strength: strength}
}

func fill(t testing.TB, s *Service) {
	t.Helper()
	all := edges(edge("a", "b", 0.9), edge("b", "c", 0.9), edge("a", "c", 0.5), edge("c", "d", 1))
	if err := ask(t, s, protocol.MethodALMAdd, all, nil); err != nil {
		t.Fatal(err)
	}
}

func status(err error) protocol.Status {
	var failure *ipc.Failure
	if errors.As(err, &failure) {
		return failure.Status
	}
	return protocol.StatusOK
}

func TestMethods(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	var path localpb.AlmPath
	if err := ask(t, s, protocol.MethodALMBestPath, &localpb.AlmPathRequest{From: []byte("a"), To: []byte("d")}, &path); err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.Join(path.GetNodes(), []byte(" "))); got != "a b c d" || math.Abs(path.GetStrength()-0.81) > 1e-9 {
		t.Fatal(got, path.GetStrength())
	}
	err := ask(t, s, protocol.MethodALMBestPath, &localpb.AlmPathRequest{From: []byte("d"), To: []byte("a")}, nil)
	if status(err) != protocol.StatusNotFound {
		t.Fatal(err)
	}
	var near localpb.AlmEdges
	if err := ask(t, s, protocol.MethodALMNeighbours, &localpb.AlmNeighboursRequest{Node: []byte("a"), Limit: 1}, &near); err != nil {
		t.Fatal(err)
	}
	if len(near.GetEdges()) != 1 || string(near.GetEdges()[0].GetTo()) != "b" {
		t.Fatal(&near)
	}
	if err := ask(t, s, protocol.MethodALMReinforce, edges(edge("a", "c", 0.9)), nil); err != nil {
		t.Fatal(err)
	}
	var ranking localpb.AlmRanking
	question := &localpb.AlmRankRequest{From: []byte("a"), Candidates: [][]byte{[]byte("x"), []byte("b"), []byte("c")}}
	if err := ask(t, s, protocol.MethodALMRank, question, &ranking); err != nil {
		t.Fatal(err)
	}
	order := ""
	for _, one := range ranking.GetRanked() {
		order += string(one.GetNode())
	}
	if order != "cbx" || ranking.GetRanked()[2].GetKnown() {
		t.Fatal(order)
	}
	if err := ask(t, s, protocol.MethodALMRemove, edges(edge("a", "", 0)), nil); err != nil {
		t.Fatal(err)
	}
	var stats localpb.AlmStats
	if err := ask(t, s, protocol.MethodALMStats, edges(), &stats); err != nil {
		t.Fatal(err)
	}
	if stats.GetEdges() != 2 || stats.GetNodes() != 3 {
		t.Fatal(&stats)
	}
}

func TestWrongCalls(t *testing.T) {
	s := open(t, t.TempDir())
	for name, call := range map[string]struct {
		method uint16
		body   proto.Message
		want   protocol.Status
	}{
		"strength 0":     {protocol.MethodALMAdd, edges(edge("a", "b", 0)), protocol.StatusInvalidArgument},
		"strength NaN":   {protocol.MethodALMAdd, edges(edge("a", "b", math.NaN())), protocol.StatusInvalidArgument},
		"no key":         {protocol.MethodALMAdd, edges(edge("", "b", 1)), protocol.StatusInvalidArgument},
		"to itself":      {protocol.MethodALMReinforce, edges(edge("b", "b", 1)), protocol.StatusInvalidArgument},
		"unknown node":   {protocol.MethodALMBestPath, &localpb.AlmPathRequest{From: []byte("x"), To: []byte("y")}, protocol.StatusNotFound},
		"unknown method": {99, edges(), protocol.StatusUnsupported},
	} {
		if err := ask(t, s, call.method, call.body, nil); status(err) != call.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := s.Handle(context.Background(), ipc.Call{Method: protocol.MethodALMAdd, ContentType: protocol.ContentTypeProtobuf, Body: []byte{0xff}})
	if status(err) != protocol.StatusBadBody {
		t.Fatal(err)
	}
}

func TestSnapshotsSurvive(t *testing.T) {
	directory := t.TempDir()
	s := open(t, directory)
	fill(t, s)
	if err := ask(t, s, protocol.MethodALMSnapshot, edges(), nil); err != nil {
		t.Fatal(err)
	}
	again := open(t, directory)
	if stats := again.stats(); stats.GetEdges() != 4 {
		t.Fatal(stats)
	}
	// Nothing changed, nothing is written.
	if err := again.Save(); err != nil || again.snapshots != 0 {
		t.Fatal(err, again.snapshots)
	}
}

func TestADamagedSnapshotIsSetAside(t *testing.T) {
	directory := t.TempDir()
	s := open(t, directory)
	fill(t, s)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(directory, "graph.snapshot")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		for name, bad := range map[string][]byte{"cut": good[:at], "flipped": flip(good, at)} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if stats := open(t, directory).stats(); stats.GetEdges() != 0 {
				t.Fatalf("%s at %d: %v", name, at, stats)
			}
			aside, err := filepath.Glob(path + ".bad-*")
			if err != nil || len(aside) != 1 {
				t.Fatal(name, at, aside, err)
			}
			if err := os.Remove(aside[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func flip(data []byte, at int) []byte {
	bad := bytes.Clone(data)
	bad[at] ^= 0x10
	return bad
}
