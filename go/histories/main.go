// Histories asks a running mesh for changes of names from many clients at once, writes down what each was told and when, and
// checks such a history: whether there is an order of all changes that explains all answers (they are linearizable), and
// whether each read kept what reads promise. Tests run it; it is no part of a node.
//
//	histories load --seed 7 --clients 8 --names 5 FILE ID=SOCKET...   until its input ends
//	histories check FILE                                              status 1: no, and why
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "histories:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: histories load [--seed N] [--clients N] [--names N] FILE ID=SOCKET... | histories check FILE")

func run(arguments []string) error {
	switch {
	case len(arguments) > 0 && arguments[0] == "load":
		return runLoad(arguments[1:])
	case len(arguments) == 2 && arguments[0] == "check":
		return runCheck(arguments[1])
	}
	return errUsage
}

func runLoad(arguments []string) (err error) {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	seed := flags.Uint64("seed", 0, "of what clients ask for")
	clients := flags.Int("clients", 8, "at once")
	names := flags.Int("names", 5, "that they change")
	if err := flags.Parse(arguments); err != nil || flags.NArg() < 2 {
		return errors.Join(err, errUsage)
	}
	file, err := os.Create(flags.Arg(0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	l := &load{seed: *seed, names: *names, began: time.Now(), history: json.NewEncoder(file), told: os.Stdout}
	for _, argument := range flags.Args()[1:] {
		node, socket, found := strings.Cut(argument, "=")
		if !found {
			return errUsage
		}
		l.targets = append(l.targets, target{node, socket})
	}
	return l.run(untilClosed(os.Stdin), *clients)
}

func runCheck(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	// Only read from.
	defer file.Close()
	history, err := readHistory(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := check(history); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(count(history))
}

// check holds a history against all that is promised.
func check(history []*line) error {
	return errors.Join(checkChanges(history), checkDecided(history), checkReads(history))
}

// counts says what there was to check: a history of nothing is right, and shows nothing.
type counts struct {
	Names    int            `json:"names"`
	Reads    int            `json:"reads"`
	Outcomes map[string]int `json:"outcomes"`
}

func count(history []*line) counts {
	names, all := make(map[string]bool), counts{Outcomes: make(map[string]int)}
	for _, one := range history {
		switch {
		case one.isChange():
			names[one.Name] = true
			all.Outcomes[one.Outcome]++
		case one.Kind == kindGet:
			all.Reads++
		}
	}
	all.Names = len(names)
	return all
}
