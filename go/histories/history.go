package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// What a line is about.
const (
	kindSet     = "set"
	kindRemove  = "rm"
	kindGet     = "get"
	kindDecided = "decided"
)

// What became of a change. The words of decided outcomes are those of the consensus socket.
const (
	done     = "done"
	conflict = "conflict"
	notOwner = "not_owner"
	absent   = "absent"
	// unknown: no answer came. It may have been decided, and may be at any later time.
	unknown = "unknown"
	// never: the node said that it was not decided and never will be.
	never = "never"
)

// What a name is expected to be before a change.
const (
	expectAny    = "any"
	expectAbsent = "absent"
	expectRoot   = "root"
)

// line is one line of a history: a change that a client asked for, what it read, or what was decided.
type line struct {
	Kind string `json:"kind"`
	// Client and Session: who asked, on which of its connections.
	Client  int `json:"client"`
	Session int `json:"session,omitempty"`
	// Node is the node that was asked, which is the author of its clients' changes; of a decided change its author.
	Node string `json:"node"`
	// Call and Return are monotonic nanoseconds of one process.
	Call   int64 `json:"call,omitempty"`
	Return int64 `json:"return,omitempty"`

	Name string `json:"name"`
	// Root that was set, or read; empty: none.
	Root     string `json:"root,omitempty"`
	Expect   string `json:"expect,omitempty"`
	Expected string `json:"expected,omitempty"`
	// Change of a decided line: set or rm.
	Change string `json:"change,omitempty"`

	Outcome string `json:"outcome,omitempty"`
	// Found is the root that stood in the way of a change that was a conflict.
	Found string `json:"found,omitempty"`
	// Owner that was read.
	Owner string `json:"owner,omitempty"`
	// Height and Place: where a change was decided; of a read, the height that its answer is of.
	Height uint64 `json:"height,omitempty"`
	Place  uint32 `json:"place,omitempty"`
}

// isChange says whether a client asked for a change, whatever became of it.
func (l *line) isChange() bool { return l.Kind == kindSet || l.Kind == kindRemove }

// end is when its answer came; an open one has none.
func (l *line) end() int64 {
	if l.Outcome == unknown {
		return math.MaxInt64
	}
	return l.Return
}

func (l *line) String() string {
	text := fmt.Sprintf("client %d at %.12s…", l.Client, l.Node)
	switch l.Kind {
	case kindGet:
		return fmt.Sprintf("%s read %s as %q at height %d", text, l.Name, l.Root, l.Height)
	case kindSet:
		text += fmt.Sprintf(" set %s to %s", l.Name, l.Root)
	default:
		text += " removed " + l.Name
	}
	text += " if " + l.Expect
	if l.Expect == expectRoot {
		text += " " + l.Expected
	}
	text += ": " + l.Outcome
	if l.Outcome == conflict {
		text += fmt.Sprintf(" with %q", l.Found)
	}
	return fmt.Sprintf("%s [%d, %d]", text, l.Call, l.end())
}

// readHistory reads one JSON object for each line.
func readHistory(from io.Reader) ([]*line, error) {
	var all []*line
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		one := new(line)
		if err := json.Unmarshal(lines.Bytes(), one); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		all = append(all, one)
	}
	return all, lines.Err()
}
