package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// session is one connection of a client to a node.
type session struct{ client, number int }

// checkReads holds reads against what they promise: the state at the height that the answer names, heights that never go back
// on a connection, and none below a change that was answered on it before.
func checkReads(history []*line) error {
	states := replay(history)
	last := make(map[session]*line)
	for _, one := range history {
		if one.Kind == kindDecided || one.Height == 0 {
			continue
		}
		at := session{one.Client, one.Session}
		if one.Kind == kindGet {
			meant := states.at(one.Name, one.Height)
			if meant != (meaning{one.Root, one.Owner}) {
				return fmt.Errorf("%s, where it meant %q of %q", one, meant.root, meant.owner)
			}
			if before := last[at]; before != nil && one.Height < before.Height {
				return fmt.Errorf("%s, after %s at height %d", one, before, before.Height)
			}
		}
		if before := last[at]; before == nil || one.Height > before.Height {
			last[at] = one
		}
	}
	return nil
}

// checkDecided holds answers against what was decided: each change that has an outcome is there, where its answer said, and
// what the dumb rules make of all that was decided is what was said of it.
func checkDecided(history []*line) error {
	type place struct {
		height uint64
		place  uint32
	}
	decided := make(map[place]*line)
	for _, one := range history {
		if one.Kind == kindDecided {
			decided[place{one.Height, one.Place}] = one
		}
	}
	for _, one := range history {
		if !one.isChange() || one.Outcome == unknown || one.Outcome == never {
			continue
		}
		found := decided[place{one.Height, one.Place}]
		if found == nil {
			return fmt.Errorf("%s: nothing is decided at height %d, place %d", one, one.Height, one.Place)
		}
		if found.Node != one.Node || found.Name != one.Name || found.Change != one.Kind || found.Root != one.Root ||
			found.Outcome != one.Outcome {
			return fmt.Errorf("%s: something else is decided at height %d, place %d: %+v", one, one.Height, one.Place, *found)
		}
	}
	return nil
}

// version is what a name means from a height on.
type version struct {
	height uint64
	meaning
}

type versions map[string][]version

// replay is the dumb state: what names meant, by what was decided and done.
func replay(history []*line) versions {
	var decided []*line
	for _, one := range history {
		if one.Kind == kindDecided && one.Outcome == done {
			decided = append(decided, one)
		}
	}
	slices.SortFunc(decided, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.Height, b.Height), cmp.Compare(a.Place, b.Place))
	})
	states := make(versions)
	for _, one := range decided {
		next := version{height: one.Height}
		if one.Change == kindSet {
			next.meaning = meaning{one.Root, one.Node}
		}
		states[one.Name] = append(states[one.Name], next)
	}
	return states
}

// at is the meaning of a name after the block of a height.
func (v versions) at(name string, height uint64) meaning {
	all := v[name]
	after, _ := slices.BinarySearchFunc(all, height, func(one version, height uint64) int {
		if one.height <= height {
			return -1
		}
		return 1
	})
	if after == 0 {
		return meaning{}
	}
	return all[after-1].meaning
}

func sortedKeys[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
