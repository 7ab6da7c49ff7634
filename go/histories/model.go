package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// patience is how long the checker may look for an order; histories of the tests take it well under a second.
const patience = time.Minute

// meaning is what a name means, and to whom it belongs. No root: there is no such name.
type meaning struct{ root, owner string }

// apply is the dumb version of the rules: what a change makes of a name, and with which outcome.
func (m meaning) apply(change *line) (meaning, string) {
	if m.root != "" && m.owner != change.Node {
		return m, notOwner
	}
	met := change.Expect == expectAny ||
		change.Expect == expectAbsent && m.root == "" ||
		change.Expect == expectRoot && m.root == change.Expected
	switch {
	case !met:
		return m, conflict
	case change.Kind == kindSet:
		return meaning{change.Root, change.Node}, done
	case m.root == "":
		return m, absent
	}
	return meaning{}, done
}

// model is one name. Input is a change, which carries its outcome.
var model = porcupine.Model{
	Init: func() any { return meaning{} },
	Step: func(state, input, _ any) (bool, any) {
		before, change := state.(meaning), input.(*line)
		after, outcome := before.apply(change)
		switch {
		case change.Outcome == unknown:
			return true, after
		case outcome != change.Outcome:
			return false, nil
		case outcome == conflict:
			return before.root == change.Found, after
		}
		return true, after
	},
	DescribeOperation: func(input, _ any) string { return input.(*line).String() },
}

// checkChanges finds for each name an order of its changes in which each answer is right, and none that came before another
// was asked for stands behind it. Otherwise it says which name has none, and how far one got.
func checkChanges(history []*line) error {
	names := make(map[string][]porcupine.Operation)
	for _, one := range history {
		// What was never decided has no place in an order.
		if !one.isChange() || one.Outcome == never {
			continue
		}
		names[one.Name] = append(names[one.Name], porcupine.Operation{
			ClientId: one.Client, Input: one, Call: one.Call, Return: one.end(),
		})
	}
	for _, name := range sortedKeys(names) {
		changes := names[name]
		result, info := porcupine.CheckOperationsVerbose(model, changes, patience)
		switch result {
		case porcupine.Ok:
		case porcupine.Unknown:
			return fmt.Errorf("name %s: no verdict on %d changes within %s", name, len(changes), patience)
		default:
			return fmt.Errorf("name %s: no order of its %d changes is right: %s", name, len(changes), offending(changes, info))
		}
	}
	return nil
}

// offending says how far the longest order got, and what could not follow it.
func offending(changes []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []int
	for _, orders := range info.PartialLinearizations() {
		for _, order := range orders {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := make(map[int]bool)
	for _, at := range longest {
		placed[at] = true
	}
	var rest []*line
	for at, change := range changes {
		if one := change.Input.(*line); !placed[at] && one.Outcome != unknown {
			rest = append(rest, one)
		}
	}
	slices.SortFunc(rest, func(a, b *line) int { return int(a.Call - b.Call) })
	var text strings.Builder
	fmt.Fprintf(&text, "%d can be placed", len(longest))
	for _, at := range longest[max(0, len(longest)-2):] {
		fmt.Fprintf(&text, "\n  placed     %s", changes[at].Input.(*line))
	}
	for _, one := range rest[:min(4, len(rest))] {
		fmt.Fprintf(&text, "\n  not placed %s", one)
	}
	return text.String()
}
