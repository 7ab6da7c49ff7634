// Package graph holds a weighted directed graph whose edges fade with time.
//
// It is the memory of layer 3: nodes are byte strings, an edge says how strongly its first node leads to its second, as a
// strength in (0, 1]. Strengths multiply along a path, so the cost -ln(strength) adds up along it and the strongest path is
// the cheapest one.
//
// The package does no input or output and reads no clock: every operation that depends on time takes it as an argument.
//
//	g, err := graph.New(graph.DefaultConfig(), now)
//	err = g.Add([]byte("a"), []byte("b"), 0.9, now)
//	err = g.Reinforce([]byte("b"), []byte("c"), 0.5, now)
//	path, err := g.BestPath([]byte("a"), []byte("c"), 0, now, nil)
//
// # Decay
//
// All edges share one half-life. Their strengths therefore shrink by the same factor, and the order of any two edges never
// changes by the passing of time alone. The graph stores one number per edge, its level: the logarithm of the strength,
// raised by the decay that had happened since the epoch of the graph when the edge was written. The cost of an edge at any
// later moment is "decay since the epoch" minus level. Nothing is rewritten as time passes, heaps stay in order, and a
// search needs no exponential per edge. An edge weaker than StrengthMin is forgotten: readers skip it at once, writers
// remove it.
//
// # Bounds
//
// Nodes, edges and bytes are limited by Config. A node exists while it has an edge. Room for an edge is made by forgetting
// the weakest edge, or, when a new node needs room, the node whose strongest edge is the weakest. Ties fall to the smaller
// key, so that the same operations at the same times always leave the same graph.
//
// # Duties of the caller
//
// A Graph is not safe for concurrent use by itself. Any number of readers (Neighbours, BestPath, Rank, Stats, Image) may run
// together; a writer (Add, Reinforce, Remove, RemoveNode, Sweep) needs the graph alone. Time that runs backwards is treated
// as standing still.
package graph
