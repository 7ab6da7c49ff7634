package coaccess

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

func records(t testing.TB, image *Image) [][]byte {
	t.Helper()
	var list [][]byte
	if err := image.Encode(func(record []byte) error {
		list = append(list, bytes.Clone(record))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func decode(list [][]byte, size int64) (*Model, error) {
	d, err := NewDecoder(Config{Bytes: size})
	if err != nil {
		return nil, err
	}
	for _, record := range list {
		if err := d.Add(record); err != nil {
			return nil, err
		}
	}
	return d.Model()
}

// A model that was written and read says the same as the one that was not, now and after learning on.
func TestAnImageComesBack(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	next := func() [][]byte {
		keys := make([][]byte, 1+random.IntN(5))
		for j := range keys {
			keys[j] = fmt.Appendf(nil, "d%d/k%d.x", random.IntN(8), random.IntN(60))
		}
		return keys
	}
	m := newModel(t, 64<<20)
	for range 300 {
		if err := m.Observe(next(), start); err != nil {
			t.Fatal(err)
		}
	}
	list := records(t, m.Image())
	again, err := decode(list, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	check(t, again)
	for i := range 200 {
		keys, now := next(), start.Add(time.Duration(i)*time.Minute)
		a, err := m.Predict(keys[0], 10, now)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := again.Predict(keys[0], 10, now); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("after %d more: %v\n%v\n%v", i, err, a, b)
		}
		for _, one := range []*Model{m, again} {
			if err := one.Observe(keys, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := decode(list, BytesMin); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		bad := make([][]byte, len(list))
		copy(bad, list)
		at := random.IntN(len(bad))
		bad[at] = bytes.Clone(bad[at])
		bad[at][random.IntN(len(bad[at]))] ^= 1 << random.IntN(8)
		if random.IntN(4) == 0 {
			bad[at] = bad[at][:random.IntN(len(bad[at]))]
		}
		if broken, err := decode(bad, 64<<20); err == nil {
			check(t, broken)
			if _, err := broken.Predict([]byte("d1/k1.x"), 10, start); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, ErrImage) {
			t.Fatal(err)
		}
	}
}
