package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// state is the simplest one: the list of all records.
type state struct{ records []string }

func open(directory string) (*Journal, *state, error) {
	s := &state{}
	add := func(record []byte) error {
		s.records = append(s.records, string(record))
		return nil
	}
	j, err := Open(directory, Options{Service: 8, Log: quiet}, add, add)
	return j, s, err
}

func mustOpen(t testing.TB, directory string) (*Journal, *state) {
	t.Helper()
	j, s, err := open(directory)
	if err != nil {
		t.Fatal(err)
	}
	return j, s
}

func (s *state) append(t testing.TB, j *Journal, record string) {
	t.Helper()
	ticket, err := j.Append([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Wait(ticket); err != nil {
		t.Fatal(err)
	}
	s.records = append(s.records, record)
}

func (s *state) snapshot(t testing.TB, j *Journal) {
	t.Helper()
	turn, err := j.Turn()
	if err != nil {
		t.Fatal(err)
	}
	if err := turn.Finish(s.write); err != nil {
		t.Fatal(err)
	}
}

func (s *state) write(emit func([]byte) error) error {
	for _, record := range s.records {
		if err := emit([]byte(record)); err != nil {
			return err
		}
	}
	return nil
}

func close(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasAcknowledgedComesBack(t *testing.T) {
	directory := t.TempDir()
	var want state
	for round := range 6 {
		j, s := mustOpen(t, directory)
		if !slices.Equal(s.records, want.records) {
			t.Fatalf("round %d: %q, want %q", round, s.records, want.records)
		}
		for i := range 5 {
			want.append(t, j, fmt.Sprint(round, "-", i, strings.Repeat("x", i*1000)))
			if round%2 == 1 && i == 2 {
				want.snapshot(t, j)
			}
		}
		close(t, j)
		if _, err := j.Append([]byte("late")); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
}

// A log that is cut at any byte gives back a beginning of what was written, as long as the cut allows.
func TestALogCutAtAnyByte(t *testing.T) {
	directory := t.TempDir()
	j, s := mustOpen(t, directory)
	var ends []int
	for i := range 8 {
		s.append(t, j, strings.Repeat("r", 1+i*7))
		ends = append(ends, int(j.Size()))
	}
	close(t, j)
	whole, err := os.ReadFile(filepath.Join(directory, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := headerBytes; cut <= len(whole); cut++ {
		other := t.TempDir()
		write(t, filepath.Join(other, "log"), whole[:cut])
		j, got := mustOpen(t, other)
		complete := 0
		for _, end := range ends {
			if end <= cut {
				complete++
			}
		}
		if !slices.Equal(got.records, s.records[:complete]) {
			t.Fatalf("cut at %d: %d records, want %d", cut, len(got.records), complete)
		}
		// It goes on from there.
		got.append(t, j, "after")
		close(t, j)
		j, again := mustOpen(t, other)
		if !slices.Equal(again.records, got.records) {
			t.Fatalf("cut at %d: %q", cut, again.records)
		}
		close(t, j)
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A bit that flips anywhere is never taken for data: it is refused, or, in the last record, cut off like a torn one.
func TestAFlippedBitAnywhere(t *testing.T) {
	directory := t.TempDir()
	j, s := mustOpen(t, directory)
	for i := range 4 {
		s.append(t, j, fmt.Sprint("record", i))
	}
	s.snapshot(t, j)
	lastAt := 0
	for i := range 4 {
		lastAt = int(j.Size())
		s.append(t, j, fmt.Sprint("later", i))
	}
	close(t, j)
	for _, name := range []string{"snapshot", "log"} {
		path := filepath.Join(directory, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range good {
			bad := bytes.Clone(good)
			bad[at] ^= 0x10
			write(t, path, bad)
			j, got, err := open(directory)
			if name == "log" && at >= lastAt {
				if err != nil || !slices.Equal(got.records, s.records[:len(s.records)-1]) {
					t.Fatalf("%s at %d: %v %v", name, at, got.records, err)
				}
				close(t, j)
				continue
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s at %d: %v", name, at, err)
			}
		}
		write(t, path, good)
	}
}

// Whatever step of a snapshot the process is killed at, the next start has everything. The steps are told apart by what they
// leave in the directory.
func TestKilledDuringASnapshot(t *testing.T) {
	directory := t.TempDir()
	j, s := mustOpen(t, directory)
	s.append(t, j, "one")
	before := files(t, directory)
	s.snapshot(t, j)
	after := files(t, directory)
	s.append(t, j, "two")
	with := files(t, directory)
	close(t, j)
	for name, step := range map[string]struct {
		files map[string][]byte
		want  []string
	}{
		"half a snapshot":      {merge(before, map[string][]byte{"snapshot.tmp": after["snapshot"][:30]}), []string{"one"}},
		"before the rename":    {merge(before, map[string][]byte{"snapshot.tmp": after["snapshot"]}), []string{"one"}},
		"between the renames":  {merge(before, map[string][]byte{"snapshot": after["snapshot"]}), []string{"one"}},
		"half a log":           {merge(before, map[string][]byte{"snapshot": after["snapshot"], "log.tmp": after["log"][:9]}), []string{"one"}},
		"after it":             {after, []string{"one"}},
		"and another record":   {with, []string{"one", "two"}},
		"nothing there at all": {nil, nil},
	} {
		other := t.TempDir()
		for file, data := range step.files {
			write(t, filepath.Join(other, file), data)
		}
		j, got := mustOpen(t, other)
		if !slices.Equal(got.records, step.want) {
			t.Errorf("%s: %q, want %q", name, got.records, step.want)
		}
		close(t, j)
	}
	// One without the other is not all there was.
	for _, name := range []string{"log", "snapshot"} {
		other := t.TempDir()
		write(t, filepath.Join(other, name), with[name])
		if _, _, err := open(other); !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	}
}

func files(t testing.TB, directory string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for _, name := range []string{"snapshot", "log"} {
		if data, err := os.ReadFile(filepath.Join(directory, name)); err == nil {
			found[name] = data
		}
	}
	return found
}

func merge(a, b map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	for _, m := range []map[string][]byte{a, b} {
		for name, data := range m {
			all[name] = data
		}
	}
	return all
}

// Many writers, snapshots in between: every acknowledged record is there afterwards, once, and in the order of the tickets.
func TestManyWritersAndSnapshots(t *testing.T) {
	directory := t.TempDir()
	j, _ := mustOpen(t, directory)
	var mu sync.Mutex
	var s state
	var writers sync.WaitGroup
	for writer := range 4 {
		writers.Go(func() {
			for i := range 100 {
				record := fmt.Sprint(writer, ":", i)
				mu.Lock()
				s.records = append(s.records, record)
				ticket, err := j.Append([]byte(record))
				mu.Unlock()
				if err == nil {
					err = j.Wait(ticket)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		mu.Lock()
		copied := state{slices.Clone(s.records)}
		turn, err := j.Turn()
		mu.Unlock()
		if err == nil {
			err = turn.Finish(copied.write)
		}
		if err != nil {
			t.Error(err)
		}
	}
	writers.Wait()
	close(t, j)
	j, again := mustOpen(t, directory)
	if !slices.Equal(again.records, s.records) {
		t.Fatalf("%d records, want %d", len(again.records), len(s.records))
	}
	close(t, j)
}

func TestRefusesWhatIsWrong(t *testing.T) {
	directory := t.TempDir()
	j, s := mustOpen(t, directory)
	for _, size := range []int{0, RecordBytesMax + 1} {
		if _, err := j.Append(make([]byte, size)); !errors.Is(err, ErrRecord) {
			t.Error(err)
		}
	}
	// A snapshot whose writing fails changes nothing.
	s.append(t, j, "one")
	turn, err := j.Turn()
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("as asked")
	if err := turn.Finish(func(func([]byte) error) error { return failure }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	s.append(t, j, "two")
	close(t, j)
	if j, again := mustOpen(t, directory); !slices.Equal(again.records, s.records) {
		t.Fatal(again.records)
	} else {
		close(t, j)
	}
	// Another service's directory is not touched.
	if _, err := Open(directory, Options{Service: 9, Log: quiet}, nil, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}
