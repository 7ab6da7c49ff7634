package alm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/journal"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func fixed() time.Time { return time.Unix(1_700_000_000, 0) }

func open(t testing.TB, directory string) *Service {
	t.Helper()
	killed(t, directory)
	service, err := New(DefaultOptions(), directory, fixed, quiet)
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

func link(from, to string, strength float64) *localpb.AlmEdge {
	return &localpb.AlmEdge{From: []byte(from), To: []byte(to), Strength: strength}
}

func fill(t testing.TB, s *Service) {
	t.Helper()
	all := edges(link("a", "b", 0.9), link("b", "c", 0.9), link("a", "c", 0.5), link("c", "d", 1))
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
	if err := ask(t, s, protocol.MethodALMReinforce, edges(link("a", "c", 0.9)), nil); err != nil {
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
	if err := ask(t, s, protocol.MethodALMRemove, edges(link("a", "", 0)), nil); err != nil {
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
		"strength 0":     {protocol.MethodALMAdd, edges(link("a", "b", 0)), protocol.StatusInvalidArgument},
		"strength NaN":   {protocol.MethodALMAdd, edges(link("a", "b", math.NaN())), protocol.StatusInvalidArgument},
		"no key":         {protocol.MethodALMAdd, edges(link("", "b", 1)), protocol.StatusInvalidArgument},
		"to itself":      {protocol.MethodALMReinforce, edges(link("b", "b", 1)), protocol.StatusInvalidArgument},
		"unknown node":   {protocol.MethodALMBestPath, &localpb.AlmPathRequest{From: []byte("x"), To: []byte("y")}, protocol.StatusNotFound},
		"unknown method": {99, edges(), protocol.StatusUnsupported},
		"no pool":        {protocol.MethodALMObserve, &localpb.AlmGroup{PoolId: 9}, protocol.StatusNotFound},
		"an empty key":   {protocol.MethodALMObserve, &localpb.AlmGroup{Keys: [][]byte{{}}}, protocol.StatusInvalidArgument},
		"kind 256":       {protocol.MethodALMAdd, edges(&localpb.AlmEdge{From: []byte("a"), To: []byte("b"), Strength: 1, Kind: 256}), protocol.StatusInvalidArgument},
		"bandwidth -1":   {protocol.MethodALMAdd, edges(&localpb.AlmEdge{From: []byte("a"), To: []byte("b"), Strength: 1, Bandwidth: -1}), protocol.StatusInvalidArgument},
		"restart 2":      {protocol.MethodALMAssociates, &localpb.AlmAssociatesRequest{Node: []byte("a"), Restart: 2}, protocol.StatusInvalidArgument},
		"100 paths":      {protocol.MethodALMBestPaths, &localpb.AlmPathRequest{From: []byte("a"), To: []byte("b"), Paths: 100}, protocol.StatusInvalidArgument},
		"pool 0 dropped": {protocol.MethodALMPoolDrop, &localpb.AlmPool{}, protocol.StatusInvalidArgument},
		"a huge pool":    {protocol.MethodALMPoolSet, &localpb.AlmPool{PoolId: 1, LinksBytesMax: 1 << 40}, protocol.StatusLimit},
		"tiny budgets":   {protocol.MethodALMPoolSet, &localpb.AlmPool{PoolId: 1, LinksBytesMax: 1}, protocol.StatusInvalidArgument},
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

// state describes all that questions can see.
func state(t testing.TB, s *Service) string {
	t.Helper()
	var out bytes.Buffer
	for _, p := range *s.pools.Load() {
		image := p.graph.Image(fixed())
		write := func(record []byte) error { out.Write(record); return nil }
		if err := image.Encode(write); err != nil {
			t.Fatal(err)
		}
		if err := p.model.Image().Encode(write); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// act makes a random change.
func act(t testing.TB, s *Service, random *rand.Rand) {
	t.Helper()
	name := func() string { return string(rune('a' + random.IntN(12))) }
	var err error
	switch from, to := name(), name(); {
	case random.IntN(3) == 0:
		err = ask(t, s, protocol.MethodALMObserve, &localpb.AlmGroup{Keys: [][]byte{[]byte(from), []byte(to), []byte(name())}}, nil)
	case random.IntN(10) == 0:
		err = ask(t, s, protocol.MethodALMRemove, edges(link(from, "", 0)), nil)
	case from == to:
	case random.IntN(2) == 0:
		err = ask(t, s, protocol.MethodALMReinforce, edges(link(from, to, 0.3)), nil)
	default:
		err = ask(t, s, protocol.MethodALMAdd, edges(link(from, to, random.Float64()), link(to, from, 0.5)), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Killed after any acknowledged change, with or without a snapshot on the way, it comes back as it was.
func TestWhatIsAcknowledgedComesBack(t *testing.T) {
	directory := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	s := open(t, directory)
	for round := range 40 {
		for range 1 + random.IntN(6) {
			act(t, s, random)
		}
		if round%5 == 4 {
			if err := ask(t, s, protocol.MethodALMSnapshot, edges(), nil); err != nil {
				t.Fatal(err)
			}
		}
		// Not closed: as after kill -9, the files are what they are.
		again := open(t, directory)
		if round%5 != 4 && state(t, again) != state(t, s) {
			t.Fatalf("round %d: another state came back", round)
		}
		if got, want := again.stats(), s.stats(); got.GetEdges() != want.GetEdges() || got.GetGroups() != want.GetGroups() {
			t.Fatalf("round %d: %v, want %v", round, got, want)
		}
		s = again
	}
}

// killed frees the lock of who has the directory open, as the kernel does when that process ends. The files are what they are.
func killed(t testing.TB, directory string) {
	t.Helper()
	if err := os.Remove(filepath.Join(directory, "lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestADirectoryIsOpenOnce(t *testing.T) {
	directory := t.TempDir()
	open(t, directory)
	if _, err := New(DefaultOptions(), directory, fixed, quiet); !errors.Is(err, journal.ErrLocked) {
		t.Fatal(err)
	}
}

func TestPools(t *testing.T) {
	directory := t.TempDir()
	s := open(t, directory)
	set := &localpb.AlmPool{PoolId: 7, LinksBytesMax: 1 << 20, PredictBytesMax: 1 << 20}
	if err := ask(t, s, protocol.MethodALMPoolSet, set, nil); err != nil {
		t.Fatal(err)
	}
	in7 := edges(link("x", "y", 1))
	in7.PoolId = 7
	if err := ask(t, s, protocol.MethodALMAdd, in7, nil); err != nil {
		t.Fatal(err)
	}
	near := func(s *Service, pool uint64) int {
		var found localpb.AlmEdges
		if err := ask(t, s, protocol.MethodALMNeighbours, &localpb.AlmNeighboursRequest{Node: []byte("x"), PoolId: pool}, &found); err != nil {
			t.Fatal(err)
		}
		return len(found.GetEdges())
	}
	if near(s, 7) != 1 || near(s, 0) != 0 {
		t.Fatal("pools mix")
	}
	if err := ask(t, s, protocol.MethodALMSnapshot, edges(), nil); err != nil {
		t.Fatal(err)
	}
	s = open(t, directory)
	var pools localpb.AlmPools
	if err := ask(t, s, protocol.MethodALMPools, edges(), &pools); err != nil || len(pools.GetPools()) != 2 || near(s, 7) != 1 {
		t.Fatal(&pools, err)
	}
	if err := ask(t, s, protocol.MethodALMPoolDrop, set, nil); err != nil {
		t.Fatal(err)
	}
	s = open(t, directory)
	if len(*s.pools.Load()) != 1 {
		t.Fatal("a dropped pool came back")
	}
}

func TestDamageIsRefusedOrSetAside(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "alm")
	s := open(t, directory)
	fill(t, s)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(directory, "snapshot")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	killed(t, directory)
	good[len(good)/2] ^= 1
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(DefaultOptions(), directory, fixed, quiet); !errors.Is(err, journal.ErrCorrupt) {
		t.Fatal(err)
	}
	options := DefaultOptions()
	options.SetAside = true
	s, err = New(options, directory, fixed, quiet)
	if err != nil || s.stats().GetEdges() != 0 {
		t.Fatal(err)
	}
	if aside, err := filepath.Glob(directory + ".bad-*"); err != nil || len(aside) != 1 {
		t.Fatal(aside, err)
	}
}

// A service that ends before its keeper ran once has its snapshot all the same.
func TestKeepWritesTheLastSnapshot(t *testing.T) {
	directory := t.TempDir()
	service := open(t, directory)
	fill(t, service)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	service.Keep(ctx, time.Hour)
	if _, err := os.Stat(filepath.Join(directory, "snapshot")); err != nil {
		t.Fatal(err)
	}
}
