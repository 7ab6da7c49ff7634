// Package ifr asks ifrd, the daemon of layer 1, for records in pools: what is known of a digest, for how long that holds, and
// where to ask when nothing is known.
//
//	client := ifr.New(ifr.Options{Path: "/tmp/ifr/mfn_ifr.sock"})
//	defer client.Close()
//	err := client.PoolAdd(ctx, ifr.Pool{ID: 1, BytesMax: 8 << 20})
//	_, err = client.FlowPut(ctx, 1, &ifr.FlowRecord{Key: key, Size: 4096}, time.Minute)
//	decision, err := client.FlowRoute(ctx, 1, key, 3)
//
// A Client is a pool of connections with a circuit breaker for each method (package ipc); it is safe for concurrent use. Its
// errors are those of ipc.Pool, and ErrBody for an answer that is not laid out as its method's. The bodies are those of
// docs/PROTOCOL.md, "Bodies of ifr".
package ifr
