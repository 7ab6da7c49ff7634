// Alm-bench measures the association mesh beside its peers: a row of JSON per line, for hypermesh-bench to judge and keep.
//
//	alm-bench cochange DIRECTORY | wordnet DIRECTORY | paths | mixed   [--quick]
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// samples are the values of one metric, one per round.
type samples []float64

// must names a condition and its limit, as hypermesh-bench knows them.
type must map[string]float64

func atLeast(limit float64) must      { return must{"at_least": limit} }
func atMost(limit float64) must       { return must{"at_most": limit} }
func ratioAtLeast(limit float64) must { return must{"ratio_at_least": limit} }
func ratioAtMost(limit float64) must  { return must{"ratio_at_most": limit} }

type row struct {
	Metric   string  `json:"metric"`
	Unit     string  `json:"unit"`
	Ours     samples `json:"ours"`
	PeerName string  `json:"peer_name,omitempty"`
	Peer     samples `json:"peer,omitempty"`
	Must     must    `json:"must,omitempty"`
	Note     string  `json:"note"`
}

func emit(r row) {
	// A row is plain numbers and text.
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "alm-bench:", err)
	}
}

// moment is when everything happens: graphs take their time as an argument.
var moment = time.Unix(1_800_000_000, 0)

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func run(args []string) error {
	quick, rounds := false, 5
	if len(args) > 0 && args[len(args)-1] == "--quick" {
		quick, rounds, args = true, 1, args[:len(args)-1]
	}
	switch {
	case len(args) == 2 && args[0] == "cochange":
		return coChanges(args[1], quick)
	case len(args) == 2 && args[0] == "wordnet":
		return wordNet(args[1], rounds)
	case len(args) == 1 && args[0] == "paths":
		return paths(rounds, quick)
	case len(args) == 1 && args[0] == "mixed":
		return mixed(rounds, quick)
	}
	return errors.New("usage: alm-bench cochange DIRECTORY | wordnet DIRECTORY | paths | mixed   [--quick]")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "alm-bench:", err)
		os.Exit(1)
	}
}
