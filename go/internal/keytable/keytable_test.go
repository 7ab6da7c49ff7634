package keytable

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func TestAgreesWithAMap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		keys := make([]string, 200)
		for i := range keys {
			keys[i] = fmt.Sprint("key", i)
		}
		table, model := New(func(n uint32) string { return keys[n] }), map[string]uint32{}
		for range 3000 {
			number := uint32(random.IntN(len(keys)))
			key := keys[number]
			if _, there := model[key]; there {
				table.Remove([]byte(key))
				delete(model, key)
			} else {
				table.Put([]byte(key), number)
				model[key] = number
			}
			probe := keys[random.IntN(len(keys))]
			got, ok := table.Find([]byte(probe))
			want, there := model[probe]
			if ok != there || got != want || table.Len() != len(model) {
				t.Fatalf("seed %d: %s is %d %v, want %d %v", seed, probe, got, ok, want, there)
			}
		}
	}
}

// What stays in the table is found at every moment, however much comes and goes around it.
func TestReadersBesideTheWriter(t *testing.T) {
	keys := make([]string, 2000)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	table := New(func(n uint32) string { return keys[n] })
	for i := range 100 {
		table.Put([]byte(keys[i]), uint32(i))
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for reader := range 3 {
		readers.Go(func() {
			for i := reader; !done.Load(); i++ {
				if n, ok := table.Find([]byte(keys[i%100])); !ok || n != uint32(i%100) {
					t.Errorf("%s is %d %v", keys[i%100], n, ok)
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(3, 3))
	there := make([]bool, len(keys))
	for range 30_000 {
		i := 100 + random.IntN(len(keys)-100)
		if there[i] {
			table.Remove([]byte(keys[i]))
		} else {
			table.Put([]byte(keys[i]), uint32(i))
		}
		there[i] = !there[i]
	}
	done.Store(true)
	readers.Wait()
}
