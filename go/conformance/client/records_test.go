package main

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestRecordVectors(t *testing.T) {
	if said := recordVectors("../../../integration/vectors/ifr_flows.txt"); !strings.HasPrefix(said, "vectors ") {
		t.Fatal(said)
	}
}

// Noise is an error or a whole answer, never a panic.
func TestRecordNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		body := make([]byte, []int{0, 16, 40, 48, 80, 96, random.IntN(120)}[random.IntN(7)])
		for range random.IntN(12) {
			if len(body) > 0 {
				body[random.IntN(len(body))] = byte(random.Uint32())
			}
		}
		for _, kind := range []string{"decision", "pool_stats", "expired"} {
			_, _ = read(kind, body)
		}
		if len(body) > 0 {
			_, _ = read("record", body)
		}
	}
}
