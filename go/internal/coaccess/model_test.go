package coaccess

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newModel(t testing.TB, bytes int64) *Model {
	t.Helper()
	m, err := New(Config{Bytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func group(keys ...string) [][]byte {
	list := make([][]byte, len(keys))
	for i, key := range keys {
		list[i] = []byte(key)
	}
	return list
}

func observe(t testing.TB, m *Model, now time.Time, keys ...string) {
	t.Helper()
	if err := m.Observe(group(keys...), now); err != nil {
		t.Fatal(err)
	}
}

func predict(t testing.TB, m *Model, key string, limit int) []string {
	t.Helper()
	list, err := m.Predict([]byte(key), limit, start)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	total := 0.0
	for _, p := range list {
		keys = append(keys, p.Key)
		if !(p.Share > 0) || p.Key == key {
			t.Fatalf("%s: %+v", key, p)
		}
		total += p.Share
	}
	if total > 1+1e-6 {
		t.Fatalf("the shares sum to %v", total)
	}
	return keys
}

// check fails when the model's counts, lists and indexes disagree.
func check(t testing.TB, m *Model) {
	t.Helper()
	keys, pairs, size := 0, 0, int64(0)
	members := map[*cluster]int{}
	slots := *m.slots.Load()
	for i := range slots {
		it := slots[i].Load()
		if it == nil {
			continue
		}
		if slot, ok := m.keys.Find([]byte(it.key)); !ok || slot != uint32(i) || it.ref.slot != uint32(i) {
			t.Fatalf("%s is misplaced", it.key)
		}
		keys, pairs = keys+1, pairs+len(it.pairs)
		size += itemBytes + int64(len(it.key)) + pairBytes*int64(cap(it.pairs))
		if len(it.pairs) > pairsMax {
			t.Fatalf("%s has %d companions", it.key, len(it.pairs))
		}
		for _, c := range it.name.clusters {
			members[c]++
		}
	}
	for c, n := range members {
		size += clusterBytes
		if c.members != n || len(*c.recent.Load()) > clusterMax || len(c.together.Load().list) > relationsMax {
			t.Fatalf("cluster %q counts %d members of %d", c.key, c.members, n)
		}
	}
	if c := m.counted; c.Keys != keys || c.Pairs != pairs || c.Bytes != size || m.keys.Len() != keys {
		t.Fatalf("counted %+v, there are %d keys, %d pairs, %d bytes", c, keys, pairs, size)
	}
}

func TestWhatGoesTogetherIsPredicted(t *testing.T) {
	m := newModel(t, 64<<20)
	random := rand.New(rand.NewPCG(1, 1))
	now := start
	for range 300 {
		// Ten families of three, one at a time, with a stranger now and then.
		f := random.IntN(10)
		keys := []string{fmt.Sprint("family", f, "a"), fmt.Sprint("family", f, "b"), fmt.Sprint("family", f, "c")}
		if random.IntN(3) == 0 {
			keys = append(keys, fmt.Sprint("stranger", random.IntN(50)))
		}
		now = now.Add(time.Minute)
		observe(t, m, now, keys...)
	}
	check(t, m)
	for f := range 10 {
		got := predict(t, m, fmt.Sprint("family", f, "b"), 2)
		slices.Sort(got)
		if !slices.Equal(got, []string{fmt.Sprint("family", f, "a"), fmt.Sprint("family", f, "c")}) {
			t.Errorf("family %d: %v", f, got)
		}
	}
	if s := m.Stats(); s.Events != 300 || s.Asked == 0 || s.Hits*2 < s.Asked {
		t.Errorf("%+v", s)
	}
}

// It finds out that the newest habit counts when habits change, without being told.
func TestHabitsThatChangeAreFollowed(t *testing.T) {
	m := newModel(t, 64<<20)
	random := rand.New(rand.NewPCG(2, 2))
	partner, right, asked := make([]int, 20), 0, 0
	for i := range 4000 {
		if i%100 == 0 {
			partner[random.IntN(20)] = random.IntN(20)
		}
		k := random.IntN(20)
		if i > 3000 {
			asked++
			if got := predict(t, m, fmt.Sprint("k", k), 1); len(got) == 1 && got[0] == fmt.Sprint("p", partner[k]) {
				right++
			}
		}
		observe(t, m, start.Add(time.Duration(i)*time.Second), fmt.Sprint("k", k), fmt.Sprint("p", partner[k]))
	}
	if right*100 < asked*90 {
		t.Fatalf("%d of %d", right, asked)
	}
}

func TestASameNameInAnotherPlaceAndAKeyNeverSeen(t *testing.T) {
	m := newModel(t, 64<<20)
	for i := range 200 {
		observe(t, m, start, fmt.Sprintf("src/m%d.c", i%50), fmt.Sprintf("tests/test_m%d.py", i%50))
	}
	observe(t, m, start, "src/new.c")
	if got := predict(t, m, "tests/test_new.py", 1); len(got) != 1 || got[0] != "src/new.c" {
		t.Fatalf("%v", got)
	}
}

func TestRefusesWhatIsWrong(t *testing.T) {
	m := newModel(t, 64<<20)
	long := bytes.Repeat([]byte("x"), KeyBytesMax+1)
	for _, keys := range [][][]byte{{nil}, {[]byte("a"), {}}, {long}} {
		if err := m.Observe(keys, start); !errors.Is(err, ErrKey) {
			t.Error(err)
		}
	}
	if err := m.Observe(make([][]byte, GroupMax+1), start); !errors.Is(err, ErrGroup) {
		t.Error(err)
	}
	for _, limit := range []int{0, -1, PredictMax + 1} {
		if _, err := m.Predict([]byte("a"), limit, start); !errors.Is(err, ErrLimit) {
			t.Error(err)
		}
	}
	if _, err := m.Predict(long, 1, start); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	for _, size := range []int64{-1, 0, BytesMin - 1, BytesMax + 1} {
		if _, err := New(Config{Bytes: size}); !errors.Is(err, ErrConfig) {
			t.Error(err)
		}
	}
	if list, err := m.Predict([]byte("never"), 5, start); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	// The same key many times, an empty group, time that runs backwards: nothing special.
	observe(t, m, start, "a", "a", "b", "a")
	observe(t, m, start)
	observe(t, m, start.Add(-time.Hour), "a", "b")
	check(t, m)
	if got := predict(t, m, "a", 5); len(got) != 1 || got[0] != "b" {
		t.Error(got)
	}
}

// An endless stream of new keys, and groups as large as allowed, stay inside the budget.
func TestEndlessKeysStayInsideTheBudget(t *testing.T) {
	m := newModel(t, 256<<10)
	random := rand.New(rand.NewPCG(5, 5))
	for i := range 1500 {
		keys := make([][]byte, 1+random.IntN(12))
		for j := range keys {
			keys[j] = fmt.Appendf(nil, "d%d/k%d.x", random.IntN(1000), random.IntN(100_000))
		}
		if err := m.Observe(keys, start); err != nil {
			t.Fatal(err)
		}
		if m.Stats().Bytes > 256<<10 {
			t.Fatalf("%d bytes after %d groups", m.Stats().Bytes, i)
		}
	}
	check(t, m)
	if m.Stats().Evicted == 0 {
		t.Fatal("nothing was forgotten")
	}
	hub := make([][]byte, GroupMax)
	for i := range hub {
		hub[i] = fmt.Appendf(nil, "all%d", i)
	}
	if err := m.Observe(hub, start); err != nil {
		t.Fatal(err)
	}
	check(t, m)
}

func TestReadersBesideTheWriter(t *testing.T) {
	m := newModel(t, 512<<10)
	var done atomic.Bool
	var readers sync.WaitGroup
	for reader := range 3 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 9))
			for !done.Load() {
				key := fmt.Sprint("d", random.IntN(20), "/k", random.IntN(400))
				if _, err := m.Predict([]byte(key), 10, start); err != nil {
					t.Error(err)
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(7, 7))
	for range 700 {
		keys := make([]string, 1+random.IntN(5))
		for j := range keys {
			keys[j] = fmt.Sprint("d", random.IntN(20), "/k", random.IntN(400))
		}
		observe(t, m, start, keys...)
	}
	done.Store(true)
	readers.Wait()
	check(t, m)
}

// The budget must not promise less memory than the heap takes.
func TestBytesCoverTheHeap(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	for _, size := range []int{1, 3, 12} {
		random, before := rand.New(rand.NewPCG(3, 3)), heap()
		m := newModel(t, BytesMax)
		for range 2000 {
			keys := make([][]byte, size)
			for j := range keys {
				keys[j] = fmt.Appendf(nil, "directory%d/%032d.x", random.IntN(500), random.IntN(5000))
			}
			if err := m.Observe(keys, start); err != nil {
				t.Fatal(err)
			}
		}
		taken, counted := heap()-before, m.Stats().Bytes
		t.Logf("groups of %d: counted %d, taken %d (%.2f)", size, counted, taken, float64(taken)/float64(counted))
		if taken > counted+(2<<20) {
			t.Errorf("groups of %d: %d bytes are counted, the heap holds %d", size, counted, taken)
		}
		runtime.KeepAlive(m)
	}
}
