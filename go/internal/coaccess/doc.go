// Package coaccess predicts what is used together: given one key, which others will be in the same group. It learns for ever,
// one group at a time, and has nothing to tune.
//
//	model, err := coaccess.New(coaccess.DefaultConfig())
//	err = model.Observe([][]byte{[]byte("a.c"), []byte("a.h")}, now)
//	list, err := model.Predict([]byte("a.c"), 10, now)
//
// # How
//
// For each key the model keeps its companions: how often both were used together, at three scales of time, and in which of
// the last uses. A question gathers a bounded number of candidates: the companions, theirs (one unit of activation is spread
// over two hops), what was used last anywhere, in the same directory, under the same stem, and in directories that go with
// this one. Each candidate is described by small discrete features (confidence, recency, spreading, cosine, the bits of its
// history, the distance of the names, ...), each value of a feature has a weight, and the softmax of the summed weights is the
// candidate's share. The weights are learnt from every observed group, which asks for each of its keys what the model would
// have said before: a conditional logit (McFadden 1974) with the step sizes of AdaGrad (Duchi, Hazan, Singer 2011). Which
// signal deserves belief is therefore found out from the stream itself, and may change.
//
// # Bounds
//
// Config.Bytes bounds the memory; the keys used longest ago are forgotten first. A key has at most 128 companions, a question
// at most 512 candidates, a group at most GroupMax keys, of which at most 30 are joined in pairs and 10 asked.
//
// # Threads
//
// Everything that Predict reads is immutable once published and replaced by an atomic store: the versions of the items, the
// lists of the clusters, the weights. Predict takes no lock and never waits. It may see one key of a group that is just being
// observed and not yet the other; nothing it returns is half written. References carry the generation of their slot, so that
// a key which replaced a forgotten one is never taken for it.
package coaccess
