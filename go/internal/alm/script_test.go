package alm

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into testdata, to be looked at before it is committed")

// TestScripts runs testdata/*.txt: lines that begin with "> " are commands, the lines after one are exactly what it prints.
// Empty lines and those that begin with # are kept as they are.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			wanted, printed := strings.Split(string(want), "\n"), strings.Split(got, "\n")
			for i, line := range printed {
				if i >= len(wanted) || wanted[i] != line {
					t.Fatalf("%s:%d: it prints\n%s", file, i+1, strings.Join(printed[i:min(i+8, len(printed))], "\n"))
				}
			}
			if len(wanted) != len(printed) {
				t.Fatalf("%s: %d lines, it prints %d", file, len(wanted), len(printed))
			}
		})
	}
}

// script is a service under a clock that only commands move.
type script struct {
	t         *testing.T
	service   *Service
	directory string
	now       time.Time
	pool      uint64
	out       bytes.Buffer
}

func run(t *testing.T, text string) string {
	s := &script{t: t, directory: t.TempDir(), now: fixed()}
	s.open()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&s.out, line)
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&s.out, line)
			s.command(strings.Fields(line[2:]))
		}
	}
	return s.out.String()
}

func (s *script) open() {
	killed(s.t, s.directory)
	service, err := New(DefaultOptions(), s.directory, func() time.Time { return s.now }, quiet)
	if err != nil {
		s.t.Fatal(err)
	}
	s.service = service
}

// options splits "a b x=1 y=2".
func options(words []string) (plain [][]byte, named map[string]string) {
	named = map[string]string{}
	for _, word := range words {
		if name, value, ok := strings.Cut(word, "="); ok {
			named[name] = value
		} else {
			plain = append(plain, []byte(word))
		}
	}
	return plain, named
}

func (s *script) number(text string) float64 {
	if text == "" {
		return 0
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *script) filter(named map[string]string) *localpb.AlmFilter {
	f := &localpb.AlmFilter{BandwidthMin: s.number(named["bandwidth"])}
	if named["kinds"] != "" {
		for kind := range strings.SplitSeq(named["kinds"], ",") {
			f.Kinds = append(f.Kinds, uint32(s.number(kind)))
		}
	}
	return f
}

func (s *script) command(words []string) {
	plain, named := options(words[1:])
	key := func(at int) []byte {
		if at < len(plain) {
			return plain[at]
		}
		return nil
	}
	count := func(at int) uint32 { return uint32(s.number(string(key(at)))) }
	limit := uint32(s.number(named["limit"]))
	switch words[0] {
	case "advance":
		step, err := time.ParseDuration(string(key(0)))
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(step)
	case "pool":
		s.pool = uint64(count(0))
	case "reopen":
		s.open() // As after a kill: nothing was closed.
	case "sweep":
		s.service.Sweep()
	case "add", "reinforce", "remove":
		e := &localpb.AlmEdge{
			From: key(0), To: key(1), Strength: s.number(string(key(2))), Kind: uint32(s.number(named["kind"])),
			Bandwidth: s.number(named["bandwidth"]),
		}
		if ttl := named["ttl"]; ttl != "" {
			step, err := time.ParseDuration(ttl)
			if err != nil {
				s.t.Fatal(err)
			}
			e.ExpiresUnixNs = uint64(s.now.Add(step).UnixNano())
		}
		method := map[string]uint16{
			"add": protocol.MethodALMAdd, "reinforce": protocol.MethodALMReinforce, "remove": protocol.MethodALMRemove,
		}[words[0]]
		s.ask(method, &localpb.AlmEdges{Edges: []*localpb.AlmEdge{e}, PoolId: s.pool}, nil)
	case "observe":
		s.ask(protocol.MethodALMObserve, &localpb.AlmGroup{Keys: plain, PoolId: s.pool}, nil)
	case "pool_set":
		s.ask(protocol.MethodALMPoolSet, &localpb.AlmPool{
			PoolId: uint64(count(0)), LinksBytesMax: uint64(s.number(named["links"])), PredictBytesMax: uint64(s.number(named["predict"])),
		}, nil)
	case "pool_drop":
		s.ask(protocol.MethodALMPoolDrop, &localpb.AlmPool{PoolId: uint64(count(0))}, nil)
	case "snapshot":
		s.ask(protocol.MethodALMSnapshot, &localpb.AlmEdges{}, nil)
	case "prepare":
		s.ask(protocol.MethodALMPrepare, &localpb.AlmPool{PoolId: s.pool}, &localpb.AlmPool{})
	case "near":
		var found localpb.AlmEdges
		q := &localpb.AlmNeighboursRequest{Node: key(0), Limit: limit, PoolId: s.pool, Filter: s.filter(named)}
		if s.ask(protocol.MethodALMNeighbours, q, &found) {
			for _, e := range found.GetEdges() {
				s.link(e)
			}
		}
	case "path":
		var found localpb.AlmPath
		q := &localpb.AlmPathRequest{From: key(0), To: key(1), HopsMax: uint32(s.number(named["hops"])), PoolId: s.pool, Filter: s.filter(named)}
		if s.ask(protocol.MethodALMBestPath, q, &found) {
			s.path(&found)
			for _, e := range found.GetLinks() {
				s.link(e)
			}
		}
	case "paths":
		var found localpb.AlmPaths
		q := &localpb.AlmPathRequest{From: key(0), To: key(1), Paths: count(2), PoolId: s.pool, Filter: s.filter(named)}
		if s.ask(protocol.MethodALMBestPaths, q, &found) {
			for _, p := range found.GetPaths() {
				s.path(p)
			}
		}
	case "rank":
		var found localpb.AlmRanking
		if s.ask(protocol.MethodALMRank, &localpb.AlmRankRequest{From: key(0), Candidates: plain[1:], PoolId: s.pool}, &found) {
			for _, one := range found.GetRanked() {
				fmt.Fprintf(&s.out, "%s known=%v cost=%.4f\n", one.GetNode(), one.GetKnown(), one.GetCost())
			}
		}
	case "associates", "spread":
		var found localpb.AlmAssociates
		q := &localpb.AlmAssociatesRequest{
			Node: key(0), Limit: limit, PoolId: s.pool, Filter: s.filter(named), Spread: words[0] == "spread",
			Error: s.number(named["error"]),
		}
		if s.ask(protocol.MethodALMAssociates, q, &found) {
			for _, one := range found.GetList() {
				fmt.Fprintf(&s.out, "%s %.4f\n", one.GetNode(), one.GetScore())
			}
			fmt.Fprintf(&s.out, "bound=%.6f looked=%d cut=%v\n", found.GetBound(), found.GetLooked(), found.GetCut())
		}
	case "predict":
		var found localpb.AlmPredictions
		if s.ask(protocol.MethodALMPredict, &localpb.AlmPredictRequest{Key: key(0), Limit: limit, PoolId: s.pool}, &found) {
			for _, one := range found.GetList() {
				fmt.Fprintf(&s.out, "%s share=%.3f together=%d\n", one.GetKey(), one.GetShare(), one.GetTogether())
			}
		}
	case "stats":
		var found localpb.AlmStats
		if s.ask(protocol.MethodALMStats, &localpb.AlmEdges{}, &found) {
			fmt.Fprintf(&s.out, "nodes=%d edges=%d pools=%d groups=%d keys=%d evicted=%d\n", found.GetNodes(), found.GetEdges(),
				found.GetPools(), found.GetGroups(), found.GetKeys(), found.GetEvicted())
		}
	default:
		s.t.Fatalf("no command %q", words[0])
	}
}

func (s *script) path(p *localpb.AlmPath) {
	fmt.Fprintf(&s.out, "%s strength=%.4f\n", bytes.Join(p.GetNodes(), []byte(" ")), p.GetStrength())
}

func (s *script) link(e *localpb.AlmEdge) {
	fmt.Fprintf(&s.out, "%s -> %s kind=%d strength=%.4f evidence=%d bandwidth=%g\n", e.GetFrom(), e.GetTo(), e.GetKind(),
		e.GetStrength(), e.GetEvidence(), e.GetBandwidth())
}

// ask prints an error, and says whether there was none.
func (s *script) ask(method uint16, question, answer proto.Message) bool {
	err := ask(s.t, s.service, method, question, answer)
	var failure *ipc.Failure
	switch {
	case errors.As(err, &failure):
		fmt.Fprintf(&s.out, "%v: %s\n", failure.Status, failure.Text)
	case err != nil:
		s.t.Fatal(err)
	case answer == nil:
		fmt.Fprintln(&s.out, "ok")
	}
	return err == nil
}
