// Package handles gives Go values numbers that C may hold. No Go pointer ever leaves Go.
package handles

import "sync"

// first is where the numbers begin: a stray 0 or 1 is no handle.
const first = 42<<32 + 1

// Table maps handles to values. The zero value is empty and ready; it is safe for concurrent use. Numbers are never reused.
type Table[T any] struct {
	mu     sync.RWMutex
	last   uint64
	values map[uint64]T
}

// Add gives a value its handle.
func (t *Table[T]) Add(value T) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.values == nil {
		t.values = make(map[uint64]T)
		t.last = first
	}
	t.last++
	t.values[t.last] = value
	return t.last
}

// Get is the value of a handle.
func (t *Table[T]) Get(handle uint64) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	value, ok := t.values[handle]
	return value, ok
}

// Remove takes a handle out; only one of several callers gets the value.
func (t *Table[T]) Remove(handle uint64) (T, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	value, ok := t.values[handle]
	delete(t.values, handle)
	return value, ok
}
