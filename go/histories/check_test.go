package main

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// text is a history in few words: `name node call-return kind root expectation outcome [found]`.
func text(t *testing.T, lines ...string) []*line {
	t.Helper()
	var all []*line
	for at, words := range lines {
		f := strings.Fields(words)
		one := &line{Client: at, Node: f[0], Name: "n", Kind: f[2], Expect: expectAny}
		for at, letter := range strings.Split(f[1], "-") {
			value := int64(letter[0] - 'a' + 1)
			if at == 0 {
				one.Call = value
			} else {
				one.Return = value
			}
		}
		for _, word := range f[3:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "to":
				one.Root = value
			case "if":
				one.Expect, one.Expected = expectRoot, value
			case "new":
				one.Expect = expectAbsent
			case "found":
				one.Found = value
			default:
				one.Outcome = word
			}
		}
		all = append(all, one)
	}
	return all
}

func TestKnownHistoriesOfChanges(t *testing.T) {
	for name, test := range map[string]struct {
		right bool
		lines []string
	}{
		"one after the other": {true, []string{
			"A a-b set to=1 new done", "A c-d set to=2 if=1 done", "A e-f rm if=2 done", "B g-h set to=3 new done",
		}},
		"of two that are new one is": {true, []string{
			"A a-d set to=1 new done", "B b-c set to=2 new not_owner",
		}},
		"both are new": {false, []string{
			"A a-d set to=1 new done", "B b-c set to=2 new done",
		}},
		"a write is lost": {false, []string{
			"A a-b set to=1 new done", "A c-d set to=2 done", "A e-f set to=3 if=1 done",
		}},
		"a late answer sees what was before": {true, []string{
			"A a-b set to=1 new done", "A c-f set to=2 done", "A d-e set to=3 if=9 conflict found=1",
		}},
		"an answer sees what was before the last": {false, []string{
			"A a-b set to=1 new done", "A c-d set to=2 done", "A e-f set to=3 if=9 conflict found=1",
		}},
		"an answer before it was asked for": {false, []string{
			"A a-b set to=2 if=1 done", "A c-d set to=1 new done",
		}},
		"who has no answer may have been done": {true, []string{
			"A a-b set to=1 new unknown", "A c-d set to=2 if=1 done",
		}},
		"and done late": {true, []string{
			"A a-b set to=1 new unknown", "B c-d set to=2 new done", "B e-f rm done", "A g-h set to=3 if=1 done",
		}},
		"but not twice": {false, []string{
			"A a-b set to=1 new unknown", "A c-d set to=2 if=1 done", "A e-f set to=3 if=1 done",
		}},
		"nor before it was asked for": {false, []string{
			"A c-d set to=1 new unknown", "A a-b set to=2 if=1 done",
		}},
		"what was refused for ever is not done": {false, []string{
			"A a-b set to=1 new never", "A c-d set to=2 if=1 done",
		}},
		"who does not own it changes it": {false, []string{
			"A a-b set to=1 new done", "B c-d set to=2 done",
		}},
		"two with one expectation": {false, []string{
			"A a-b set to=1 new done", "A c-f set to=2 if=1 done", "A d-e set to=3 if=1 done",
		}},
		"there is nothing to remove": {true, []string{
			"A a-b rm absent", "A c-d set to=1 new done", "A e-f rm done", "A g-h rm absent",
		}},
	} {
		if err := checkChanges(text(t, test.lines...)); (err == nil) != test.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAWrongHistoryIsNamed(t *testing.T) {
	err := checkChanges(text(t, "A a-b set to=1 new done", "A c-d set to=2 if=9 done"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"name n", "1 can be placed", "not placed client 1", "set n to 2 if root 9"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

// random makes a history with the answers that the dumb rules give at a moment between asking and answer.
func random(r *rand.Rand, count int, wide int64) []*line {
	var now meaning
	var all []*line
	free := make(map[int]int64)
	for at := range count {
		moment := int64(at+1) * 10
		client := r.IntN(4)
		one := &line{
			Client: client, Node: string(rune('A' + client%2)), Name: "n", Expect: expectAny,
			Call: max(free[client], moment-r.Int64N(wide+1)), Return: moment + r.Int64N(wide+1),
		}
		if free[client] >= moment {
			continue
		}
		free[client] = one.Return + 1
		if one.Kind = kindRemove; r.IntN(3) > 0 {
			one.Kind, one.Root = kindSet, string(rune('a'+at%26))
		}
		switch r.IntN(3) {
		case 0:
			one.Expect = expectAbsent
		case 1:
			one.Expect, one.Expected = expectRoot, now.root
		}
		before := now
		if now, one.Outcome = now.apply(one); one.Outcome == conflict {
			one.Found = before.root
		}
		if r.IntN(8) == 0 && one.Outcome != done {
			one.Outcome, one.Found = unknown, ""
		}
		all = append(all, one)
	}
	return all
}

func TestRandomHistoriesAreRight(t *testing.T) {
	for seed := range uint64(200) {
		history := random(rand.New(rand.NewPCG(seed, 1)), 60, 40)
		if err := checkChanges(history); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// One after the other, so that each answer can only be what it is: any other one has to be seen.
func TestAnyOtherAnswerIsWrong(t *testing.T) {
	tried := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		history := random(r, 30, 0)
		at := r.IntN(len(history))
		one := history[at]
		if one.Outcome == unknown {
			continue
		}
		for _, other := range []string{done, conflict, notOwner, absent} {
			if other == one.Outcome {
				continue
			}
			changed := *one
			changed.Outcome = other
			history[at] = &changed
			tried++
			if err := checkChanges(history); err == nil {
				t.Errorf("seed %d: %s passes as %s", seed, one, other)
			}
		}
		if one.Outcome == conflict {
			changed := *one
			changed.Found += "x"
			history[at] = &changed
			if err := checkChanges(history); err == nil {
				t.Errorf("seed %d: %s passes with another root", seed, one)
			}
		}
		history[at] = one
	}
	if tried < 100 {
		t.Fatalf("only %d were tried", tried)
	}
}

func decidedLine(height uint64, change, root string) *line {
	return &line{Kind: kindDecided, Node: "A", Name: "n", Change: change, Root: root, Outcome: done, Height: height}
}

func read(session int, root string, height uint64) *line {
	owner := ""
	if root != "" {
		owner = "A"
	}
	return &line{Kind: kindGet, Node: "A", Name: "n", Session: session, Root: root, Owner: owner, Height: height}
}

func TestKnownReads(t *testing.T) {
	decided := []*line{decidedLine(3, kindSet, "1"), decidedLine(5, kindRemove, ""), decidedLine(7, kindSet, "2")}
	change := &line{Kind: kindSet, Node: "A", Name: "n", Root: "1", Outcome: done, Session: 1, Height: 3}
	for name, test := range map[string]struct {
		right bool
		lines []*line
	}{
		"as decided":                     {true, []*line{read(1, "", 2), read(1, "1", 3), read(1, "1", 4), read(1, "", 5), read(1, "2", 9)}},
		"behind, on another connection":  {true, []*line{read(1, "2", 7), read(2, "1", 4)}},
		"back on a connection":           {false, []*line{read(1, "2", 7), read(1, "1", 4)}},
		"what it does not mean yet":      {false, []*line{read(1, "2", 6)}},
		"what it means no longer":        {false, []*line{read(1, "1", 5)}},
		"its own change":                 {true, []*line{change, read(1, "1", 3)}},
		"not even its own change":        {false, []*line{change, read(1, "", 2)}},
		"a change that is not decided":   {false, []*line{{Kind: kindSet, Node: "A", Name: "n", Root: "3", Outcome: done, Height: 4}}},
		"a change that somebody else's":  {false, []*line{{Kind: kindSet, Node: "B", Name: "n", Root: "1", Outcome: done, Height: 3}}},
		"a change with another outcome":  {false, []*line{{Kind: kindSet, Node: "A", Name: "n", Root: "1", Outcome: conflict, Height: 3}}},
		"a change without known outcome": {true, []*line{{Kind: kindSet, Node: "A", Name: "n", Root: "3", Outcome: unknown}}},
	} {
		history := append(test.lines, decided...)
		err := checkReads(history)
		if err == nil {
			err = checkDecided(history)
		}
		if (err == nil) != test.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRootsHaveTheTextOfOthers(t *testing.T) {
	// As the command writes it.
	var root [32]byte
	for at := range root {
		root[at] = 5
	}
	if text := rootText(root); text != "hmr1q5zs2pg9q5zs2pg9q5zs2pg9q5zs2pg9q5zs2pg9q5zs2pg9q5zsgaqx06" {
		t.Error(text)
	}
	if found := foundRoot("refused: the name means " + rootText(root) + ", not what was expected"); found != rootText(root) {
		t.Error(found)
	}
	if found := foundRoot("refused: the name means nothing, not what was expected"); found != "" {
		t.Error(found)
	}
}

func TestAHistoryIsReadBack(t *testing.T) {
	history, err := readHistory(strings.NewReader(`{"kind":"set","client":2,"node":"A","name":"n","outcome":"unknown","call":4}` + "\n"))
	if err != nil || len(history) != 1 || history[0].Client != 2 || history[0].Call != 4 {
		t.Fatalf("%v %v", history, err)
	}
	if _, err := readHistory(strings.NewReader("{}\nrubbish\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Error(err)
	}
}
