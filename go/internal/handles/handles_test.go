package handles

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestHandlesAreTakenOnce(t *testing.T) {
	var table Table[string]
	if _, ok := table.Get(0); ok {
		t.Fatal("0 is a handle")
	}
	a, b := table.Add("a"), table.Add("b")
	if v, ok := table.Get(a); !ok || v != "a" || a == b || a < 2 {
		t.Fatal(a, b, v)
	}
	var taken atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, ok := table.Remove(a); ok {
				taken.Add(1)
			}
		})
	}
	group.Wait()
	if _, ok := table.Get(a); ok || taken.Load() != 1 {
		t.Fatal(taken.Load())
	}
	if c := table.Add("c"); c == a {
		t.Fatal("a number came back")
	}
}
