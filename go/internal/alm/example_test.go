package alm_test

import (
	"fmt"
	"time"

	"hypermesh.dev/hypermesh/internal/coaccess"
	"hypermesh.dev/hypermesh/internal/graph"
)

// The two parts of a pool, in-process: links with their walks and paths, and the predictor.
func Example() {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	g, err := graph.New(graph.DefaultConfig(), now)
	if err != nil {
		panic(err)
	}
	for _, l := range []graph.Link{
		{From: []byte("home"), To: []byte("office"), Strength: 0.9, Bandwidth: 10},
		{From: []byte("office"), To: []byte("shop"), Strength: 0.9, Bandwidth: 10},
		{From: []byte("home"), To: []byte("shop"), Strength: 0.5, Bandwidth: 100},
	} {
		if err := g.Set(l, now); err != nil {
			panic(err)
		}
	}
	wide := graph.Filter{Bandwidth: 50}
	for _, q := range []graph.Query{
		{From: []byte("home"), To: []byte("shop")},
		{From: []byte("home"), To: []byte("shop"), Filter: wide},
	} {
		path, err := g.Best(q, now.Add(time.Hour))
		fmt.Println(path.Nodes, err)
	}
	near, err := g.Associates(graph.Walks{From: []byte("home"), Limit: 2}, now)
	fmt.Printf("%s %.2f, wrong by at most %.0e %v\n", near.List[0].Key, near.List[0].Score, near.Bound, err)

	m, err := coaccess.New(coaccess.DefaultConfig())
	if err != nil {
		panic(err)
	}
	for range 3 {
		if err := m.Observe([][]byte{[]byte("parse.c"), []byte("parse.h")}, now); err != nil {
			panic(err)
		}
	}
	list, err := m.Predict([]byte("parse.c"), 1, now)
	fmt.Println(list[0].Key, list[0].Together, err)
	// Output:
	// [home office shop] <nil>
	// [home shop] <nil>
	// shop 0.77, wrong by at most 0e+00 <nil>
	// parse.h 3 <nil>
}
