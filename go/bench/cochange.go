package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"hypermesh.dev/hypermesh/internal/coaccess"
	"hypermesh.dev/hypermesh/internal/graph"
)

// commit is one group of files that were changed together.
type commit struct {
	at    time.Time
	files []uint32
}

// history is a repository's past: commits in order, and the path of each file.
type history struct {
	commits []commit
	paths   [][]byte
}

func readZstd(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoder, err := zstd.NewReader(file)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(decoder); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// readHistory reads lines of time, region, path, size, commit, blob.
func readHistory(directory, name string) (history, error) {
	var h history
	paths, err := readZstd(filepath.Join(directory, name+".paths.zst"))
	if err != nil {
		return h, err
	}
	for line := range bytes.Lines(paths) {
		h.paths = append(h.paths, bytes.TrimRight(line, "\n"))
	}
	lines, err := readZstd(filepath.Join(directory, name+".tsv.zst"))
	if err != nil {
		return h, err
	}
	last, scanner := "", bufio.NewScanner(bytes.NewReader(lines))
	for scanner.Scan() {
		fields := strings.Split(scanner.Text(), "\t")
		if len(fields) < 5 {
			return h, fmt.Errorf("%s: a line has %d fields", name, len(fields))
		}
		at, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return h, err
		}
		file, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return h, err
		}
		if fields[4] != last {
			h.commits, last = append(h.commits, commit{at: time.Unix(at, 0)}), fields[4]
		}
		c := &h.commits[len(h.commits)-1]
		if !slices.Contains(c.files, uint32(file)) {
			c.files = append(c.files, uint32(file))
		}
	}
	return h, scanner.Err()
}

// confidence is the peer: how often another file was in the commits of this one, counted.
type confidence struct {
	together []map[uint32]int
}

func newConfidence(files int) *confidence {
	return &confidence{together: make([]map[uint32]int, files)}
}

func (c *confidence) observe(files []uint32) {
	if len(files) < 2 || len(files) > 30 {
		return
	}
	for _, a := range files {
		if c.together[a] == nil {
			c.together[a] = map[uint32]int{}
		}
		for _, b := range files {
			if a != b {
				c.together[a][b]++
			}
		}
	}
}

func (c *confidence) predict(file uint32, limit int) []uint32 {
	list := make([]uint32, 0, len(c.together[file]))
	for other := range c.together[file] {
		list = append(list, other)
	}
	slices.SortFunc(list, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(c.together[file][b], c.together[file][a]), cmp.Compare(a, b))
	})
	return list[:min(limit, len(list))]
}

// plainWalks is the other peer: personalised PageRank over the counts of co-changes, with nothing learnt.
type plainWalks struct{ links *graph.Graph }

func (w plainWalks) observe(keys [][]byte) error {
	if len(keys) < 2 || len(keys) > 30 {
		return nil
	}
	for i, a := range keys {
		for j, b := range keys {
			if i != j {
				// Strengths are in (0, 1]: each time together counts a thousandth, which nearly adds up.
				if err := w.links.Reinforce(a, b, 0.001/float64(len(keys)-1), moment); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

var repositories = []struct {
	file, name string
	must       must
}{
	{"numpy+numpy", "numpy", atLeast(0.42)},
	{"rust-lang+rust-analyzer", "rust-analyzer", atLeast(0.44)},
	{"open-telemetry+opentelemetry.io", "opentelemetry.io", ratioAtLeast(1.15)},
	{"ohmyzsh+ohmyzsh", "ohmyzsh", nil},
	{"tldr-pages+tldr", "tldr", nil},
}

func coChanges(directory string, quick bool) error {
	for _, repository := range repositories {
		if quick && repository.name != "ohmyzsh" {
			continue
		}
		h, err := readHistory(directory, repository.file)
		if err == nil {
			err = coChange(h, repository.name, repository.must)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// coChange is the protocol: of each commit of 2 to 10 files among the last fifth, given one file, the others are to be among
// ten guesses. Everything is learnt online, each commit after it was predicted.
func coChange(h history, name string, wanted must) error {
	var eligible []int
	for i, c := range h.commits {
		if len(c.files) >= 2 && len(c.files) <= 10 {
			eligible = append(eligible, i)
		}
	}
	cut := eligible[len(eligible)*8/10]
	model, err := coaccess.New(coaccess.Config{Bytes: 1 << 30})
	if err != nil {
		return err
	}
	config := graph.DefaultConfig()
	config.Nodes, config.Edges, config.Bytes = 1<<20, 1<<24, 1<<34
	links, err := graph.New(config, moment)
	if err != nil {
		return err
	}
	peer, walks := newConfidence(len(h.paths)), plainWalks{links}
	var ours, theirs, walked, queries float64
	var took []time.Duration
	for i, c := range h.commits {
		keys := make([][]byte, len(c.files))
		for j, file := range c.files {
			keys[j] = h.paths[file]
		}
		if i >= cut && len(c.files) >= 2 && len(c.files) <= 10 {
			for j, asked := range c.files {
				others := make(map[string]bool, len(c.files))
				for k, key := range keys {
					if k != j {
						others[string(key)] = true
					}
				}
				begin := time.Now()
				list, err := model.Predict(keys[j], 10, c.at)
				if err != nil {
					return err
				}
				took = append(took, time.Since(begin))
				for _, p := range list {
					ours += share(others, p.Key)
				}
				for _, other := range peer.predict(asked, 10) {
					theirs += share(others, string(h.paths[other]))
				}
				near, err := links.Associates(graph.Walks{From: keys[j], Limit: 10, Error: 1e-5}, moment)
				if err != nil {
					return err
				}
				for _, one := range near.List {
					walked += share(others, one.Key)
				}
				queries++
			}
		}
		if err := model.Observe(keys, c.at); err != nil {
			return err
		}
		if err := walks.observe(keys); err != nil {
			return err
		}
		peer.observe(c.files)
	}
	last, asked := h.commits[len(h.commits)-1], 0
	used, err := onCPU(func() error {
		for _, c := range h.commits[cut:] {
			for _, file := range c.files[:min(2, len(c.files))] {
				if _, err := model.Predict(h.paths[file], 10, last.at); err != nil {
					return err
				}
				asked++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	total := time.Duration(0)
	for _, t := range took {
		total += t
	}
	slices.Sort(took)
	note := fmt.Sprintf("%d questions on the last fifth of the commits of 2 to 10 files, learning online; commits are groups, paths are keys", int(queries))
	emit(row{Metric: "co-change recall@10, " + name, Unit: "of 1", Ours: samples{ours / queries},
		PeerName: "confidence", Peer: samples{theirs / queries}, Must: wanted, Note: note})
	emit(row{Metric: "co-change recall@10, " + name + ", beside plain walks", Unit: "of 1", Ours: samples{ours / queries},
		PeerName: "personalised PageRank", Peer: samples{walked / queries}, Note: note})
	emit(row{Metric: "co-change question, " + name + ", mean", Unit: "µs", Ours: samples{micros(total) / queries}, Note: note})
	emit(row{Metric: "co-change question, " + name + ", processor time, mean", Unit: "µs", Ours: samples{micros(used) / float64(asked)}, Note: note})
	emit(row{Metric: "co-change question, " + name + ", median", Unit: "µs", Ours: samples{micros(took[len(took)/2])}, Note: note})
	return nil
}

func share(others map[string]bool, key string) float64 {
	if others[key] {
		return 1 / float64(len(others))
	}
	return 0
}
