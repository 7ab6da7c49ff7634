package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// How many callers share one connection.
const callers = 128

// etcd is three nodes of it.
type etcd struct{ nodes []*clientv3.Client }

func newEtcd(load load) (*etcd, error) {
	system := &etcd{}
	for _, address := range load.addresses {
		node, err := clientv3.New(clientv3.Config{
			Endpoints:   []string{address},
			DialTimeout: 5 * time.Second,
		})
		if err != nil {
			return nil, err
		}
		system.nodes = append(system.nodes, node)
	}
	return system, nil
}

func put(ctx context.Context, node *clientv3.Client, payload []byte) error {
	key := min(24, len(payload)-1)
	_, err := node.Put(ctx, string(payload[:key]), string(payload[key:]))
	return err
}

func (e *etcd) one(ctx context.Context, payload []byte) error {
	return put(ctx, e.nodes[0], payload)
}

func (e *etcd) flood(ctx context.Context, load load) (result, error) {
	sending, stop := context.WithTimeout(ctx, load.seconds)
	defer stop()
	var committed atomic.Uint64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began := time.Now()
	for at := range min(load.inFlight, callers*len(e.nodes)) {
		node := e.nodes[at%len(e.nodes)]
		all.Go(func() {
			for sending.Err() == nil {
				if err := put(sending, node, payload(load.bytes)); err == nil {
					committed.Add(1)
				} else if sending.Err() == nil {
					// It answers so when its disk is behind: not committed, and asked for another.
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil && committed.Load() == 0 {
		return result{}, *err
	}
	return result{Committed: committed.Load(), Seconds: time.Since(began).Seconds()}, nil
}
