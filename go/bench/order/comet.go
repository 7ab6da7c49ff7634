package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	rpc "github.com/cometbft/cometbft/rpc/client/http"
)

// How many transactions one request carries.
const batch = 128

// How often it is asked what was decided.
const poll = 20 * time.Millisecond

// comet is four nodes of CometBFT with the kvstore that it brings.
type comet struct{ nodes []*rpc.HTTP }

func newComet(load load) (*comet, error) {
	system := &comet{}
	for _, address := range load.addresses {
		node, err := rpc.New(address, "/websocket")
		if err != nil {
			return nil, err
		}
		system.nodes = append(system.nodes, node)
	}
	return system, nil
}

// transaction is what the kvstore takes: a key, one equals sign, a value.
func transaction(payload []byte) []byte {
	// The key is long enough to be the only one of its kind.
	payload[min(24, len(payload)-2)] = '='
	return payload
}

func (c *comet) one(ctx context.Context, payload []byte) error {
	answer, err := c.nodes[0].BroadcastTxCommit(ctx, transaction(payload))
	switch {
	case err != nil:
		return err
	case answer.CheckTx.Code != 0:
		return fmt.Errorf("refused: %s", answer.CheckTx.Log)
	case answer.TxResult.Code != 0:
		return fmt.Errorf("failed: %s", answer.TxResult.Log)
	}
	return nil
}

func (c *comet) height(ctx context.Context) (int64, error) {
	status, err := c.nodes[0].Status(ctx)
	if err != nil {
		return 0, err
	}
	return status.SyncInfo.LatestBlockHeight, nil
}

func (c *comet) flood(ctx context.Context, load load) (result, error) {
	first, err := c.height(ctx)
	if err != nil {
		return result{}, err
	}
	var sent, committed atomic.Int64
	sending, stop := context.WithTimeout(ctx, load.seconds)
	defer stop()
	failed := make(chan error, len(c.nodes))
	for _, node := range c.nodes {
		go func() {
			for sending.Err() == nil {
				if sent.Add(batch)-committed.Load() > int64(load.inFlight) {
					sent.Add(-batch)
					time.Sleep(time.Millisecond)
					continue
				}
				if err := send(sending, node, load.bytes); err != nil && sending.Err() == nil {
					failed <- err
					return
				}
			}
		}()
	}
	began := time.Now()
	height := first
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case err := <-failed:
			return result{}, err
		case <-sending.Done():
			seconds := time.Since(began).Seconds()
			// What was decided when the time was over, and no more.
			count, _, err := c.decided(ctx, height)
			if err != nil {
				return result{}, err
			}
			last, err := c.height(ctx)
			return result{
				Committed: uint64(committed.Load() + count),
				Seconds:   seconds,
				Heights:   uint64(last - first),
			}, err
		case <-ticker.C:
			count, last, err := c.decided(ctx, height)
			if err != nil {
				return result{}, err
			}
			committed.Add(count)
			height = last
		}
	}
}

func send(ctx context.Context, node *rpc.HTTP, bytes int) error {
	request := node.NewBatch()
	for range batch {
		if _, err := request.BroadcastTxAsync(ctx, transaction(payload(bytes))); err != nil {
			return err
		}
	}
	_, err := request.Send(ctx)
	return err
}

// decided counts the transactions of all blocks after a height, and says which was the last.
func (c *comet) decided(ctx context.Context, after int64) (int64, int64, error) {
	last, err := c.height(ctx)
	if err != nil {
		return 0, after, err
	}
	count := int64(0)
	for after < last {
		// At most 20 come at once, the newest ones first.
		info, err := c.nodes[0].BlockchainInfo(ctx, after+1, min(after+20, last))
		if err != nil {
			return 0, after, err
		}
		if len(info.BlockMetas) == 0 {
			return 0, after, fmt.Errorf("no block after height %d of %d", after, last)
		}
		for _, block := range info.BlockMetas {
			count += int64(block.NumTxs)
		}
		after = info.BlockMetas[0].Header.Height
	}
	return count, after, nil
}
