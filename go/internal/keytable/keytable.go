// Package keytable finds the number of a key, for any number of readers beside one writer.
//
// It is an open-addressing table whose slots are single atomic words: the upper half is the hash of a key, the lower half its
// number plus one. A reader loads words and compares keys; it takes no lock and never waits. The writer publishes a slot with
// one store, replaces a removed one by a tombstone that keeps probes going, and, when too few slots are free, fills a new
// table and publishes that: a reader that still probes the old one finds what was there when it began.
//
// The keys themselves belong to the caller, who says what key a number has. Hashes are seeded per table, so that nobody
// outside can choose keys that collide.
package keytable

import (
	"hash/maphash"
	"sync/atomic"
)

// NumberMax is the largest number that a key may have.
const NumberMax = 1<<32 - 3

const (
	free      = 0
	tombstone = 1<<32 - 1
	slotsMin  = 16
)

// Table maps keys to numbers. One writer at a time may call Put and Remove; Find may run beside it.
type Table struct {
	seed  maphash.Seed
	keyOf func(number uint32) string
	slots atomic.Pointer[[]atomic.Uint64]
	// used counts slots that are not free, tombstones included; live only those with a number. They are the writer's.
	used, live int
}

// New makes an empty table. keyOf must answer for every number that is in the table, from any goroutine.
func New(keyOf func(number uint32) string) *Table {
	t := &Table{seed: maphash.MakeSeed(), keyOf: keyOf}
	slots := make([]atomic.Uint64, slotsMin)
	t.slots.Store(&slots)
	return t
}

// Len is how many keys the table holds. Only the writer may ask.
func (t *Table) Len() int { return t.live }

// Find is the number of a key.
func (t *Table) Find(key []byte) (uint32, bool) {
	hash := maphash.Bytes(t.seed, key)
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		word := slots[at].Load()
		low := uint32(word)
		if low == free {
			return 0, false
		}
		if low != tombstone && uint32(word>>32) == uint32(hash>>32) && t.keyOf(low-1) == string(key) {
			return low - 1, true
		}
	}
}

// Put adds a key that is not in the table.
func (t *Table) Put(key []byte, number uint32) {
	if slots := *t.slots.Load(); (t.used+1)*4 > len(slots)*3 {
		t.rebuild()
	}
	t.place(*t.slots.Load(), maphash.Bytes(t.seed, key), number)
	t.live++
}

// place fills the first slot that is free. Tombstones stay: a reader may be on its way across them.
func (t *Table) place(slots []atomic.Uint64, hash uint64, number uint32) {
	mask := uint64(len(slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		if slots[at].Load() == free {
			slots[at].Store(hash>>32<<32 | uint64(number+1))
			t.used++
			return
		}
	}
}

// Remove takes a key out, if it is there.
func (t *Table) Remove(key []byte) {
	hash := maphash.Bytes(t.seed, key)
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		word := slots[at].Load()
		low := uint32(word)
		if low == free {
			return
		}
		if low != tombstone && uint32(word>>32) == uint32(hash>>32) && t.keyOf(low-1) == string(key) {
			slots[at].Store(tombstone)
			t.live--
			return
		}
	}
}

// rebuild publishes a table without tombstones, a third full at most.
func (t *Table) rebuild() {
	size := slotsMin
	for size < (t.live+1)*3 {
		size *= 2
	}
	slots := make([]atomic.Uint64, size)
	old := *t.slots.Load()
	t.used = 0
	for i := range old {
		if low := uint32(old[i].Load()); low != free && low != tombstone {
			t.place(slots, maphash.String(t.seed, t.keyOf(low-1)), low-1)
		}
	}
	t.slots.Store(&slots)
}
