//go:build libalm

// Libalm is layer 3 as a C archive, for programs that want it in-process. Its contract is ffi/include/mfn/alm.h. The tag keeps
// plain builds from paying for cgo:
//
//	go build -tags libalm -buildmode=c-archive -o libmfn_alm.a ./cmd/libalm
package main

/*
#include <stddef.h>
#include <stdint.h>
*/
import "C"

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"hypermesh.dev/hypermesh/internal/alm"
	"hypermesh.dev/hypermesh/internal/handles"
	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/journal"
	"hypermesh.dev/hypermesh/internal/protocol"
)

const (
	abiVersion  = 0x00010000
	durableNone = 1
	setAside    = 2
	bodyMax     = protocol.FrameBytesMax
	snapshots   = time.Minute
	// closing is how long the end of a broken memory is waited for.
	closing = time.Second
)

// memory is one open service with what keeps it.
type memory struct {
	service *alm.Service
	stop    context.CancelFunc
	kept    chan struct{}
	// using lets Close wait for calls that are under way.
	using sync.RWMutex
	ended bool
	// broken says that a call panicked. Locks of the service may be held for ever, so that nobody waits for any again.
	broken atomic.Bool
}

var open handles.Table[*memory]

func main() {}

//export mfn_alm_abi_version
func mfn_alm_abi_version() C.uint32_t { return abiVersion }

// caught turns a panic into a status: one that crosses into C would end the process.
func caught(status *C.int32_t) {
	if reason := recover(); reason != nil {
		slog.Error("layer 3 panicked; close the handle", "reason", reason)
		*status = C.int32_t(protocol.StatusPanic)
	}
}

// keep writes snapshots. Nobody else would catch its panic, and one of any goroutine ends the process.
func (m *memory) keep(ctx context.Context) {
	defer close(m.kept)
	var status C.int32_t
	defer func() {
		if status != 0 {
			m.breaks()
		}
	}()
	defer caught(&status)
	m.service.Keep(ctx, snapshots)
}

// breaks says that a call panicked.
func (m *memory) breaks() {
	m.broken.Store(true)
	m.service.Abandon()
}

//export mfn_alm_open
func mfn_alm_open(directory *C.char, flags C.uint32_t, bytesMax C.uint64_t, handle *C.uint64_t) (status C.int32_t) {
	defer caught(&status)
	if directory == nil || handle == nil || flags&^(durableNone|setAside) != 0 {
		return C.int32_t(protocol.StatusInvalidArgument)
	}
	options := alm.DefaultOptions()
	if flags&durableNone != 0 {
		options.Mode = journal.None
	}
	options.SetAside = flags&setAside != 0
	if bytesMax != 0 {
		// Three quarters for links, the rest for the predictor.
		options.PoolsBytes = int64(min(uint64(bytesMax), 1<<37))
		options.PredictBytes = options.PoolsBytes / 4
		options.Graph.Bytes = options.PoolsBytes - options.PredictBytes
	}
	if err := options.Validate(); err != nil {
		return C.int32_t(protocol.StatusInvalidArgument)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	service, err := alm.New(options, C.GoString(directory), time.Now, log)
	if err != nil {
		log.Error("layer 3 cannot be opened", "error", err)
		if errors.Is(err, journal.ErrCorrupt) {
			return C.int32_t(protocol.StatusCorrupt)
		}
		return C.int32_t(protocol.StatusIO)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &memory{service: service, stop: stop, kept: make(chan struct{})}
	go m.keep(ctx)
	*handle = C.uint64_t(open.Add(m))
	return C.int32_t(protocol.StatusOK)
}

//export mfn_alm_call
func mfn_alm_call(
	handle C.uint64_t, method C.uint16_t, body *C.uint8_t, bodyBytes C.size_t, timeoutMS C.uint64_t,
	out *C.uint8_t, capacity C.size_t, needed *C.size_t,
) (status C.int32_t) {
	defer caught(&status)
	m, ok := open.Get(uint64(handle))
	if !ok {
		return C.int32_t(protocol.StatusClosed)
	}
	if needed == nil || (body == nil && bodyBytes > 0) || (out == nil && capacity > 0) || bodyBytes > bodyMax {
		return C.int32_t(protocol.StatusInvalidArgument)
	}
	if m.broken.Load() {
		return C.int32_t(protocol.StatusPanic)
	}
	m.using.RLock()
	defer m.using.RUnlock()
	if m.ended {
		return C.int32_t(protocol.StatusClosed)
	}
	whole := false
	defer func() {
		if !whole {
			m.breaks()
		}
	}()
	ctx := context.Background()
	if timeoutMS > 0 {
		limited, done := context.WithTimeout(ctx, time.Duration(min(uint64(timeoutMS), 1<<40))*time.Millisecond)
		defer done()
		ctx = limited
	}
	call := ipc.Call{Method: uint16(method), ContentType: protocol.ContentTypeProtobuf}
	if bodyBytes > 0 {
		// A copy: C may do with its own what it likes once we are back.
		call.Body = C.GoBytes(unsafe.Pointer(body), C.int(bodyBytes))
	}
	reply, err := m.service.Handle(ctx, call)
	whole = true
	answer := reply.Body
	status = C.int32_t(protocol.StatusOK)
	if err != nil {
		failure := &ipc.Failure{Status: protocol.StatusInternal, Text: err.Error()}
		errors.As(err, &failure)
		if failure.Status == protocol.StatusCancelled {
			failure.Status = protocol.StatusDeadline // There is no other way to stop a call.
		}
		answer, status = []byte(failure.Text), C.int32_t(failure.Status)
	}
	*needed = C.size_t(len(answer))
	written := min(len(answer), int(min(capacity, 1<<30)))
	copy(unsafe.Slice((*byte)(unsafe.Pointer(out)), written), answer)
	if err == nil && written < len(answer) {
		return C.int32_t(protocol.StatusNoSpace)
	}
	return status
}

//export mfn_alm_close
func mfn_alm_close(handle C.uint64_t) (status C.int32_t) {
	defer caught(&status)
	m, ok := open.Remove(uint64(handle))
	if !ok {
		return C.int32_t(protocol.StatusClosed)
	}
	if m.broken.Load() {
		// Without a snapshot: the log has what was acknowledged. Its lock is let go, unless the panic left it held.
		m.stop()
		select {
		case <-m.kept:
		case <-time.After(closing):
		}
		return C.int32_t(protocol.StatusPanic)
	}
	m.using.Lock()
	m.ended = true
	m.using.Unlock()
	m.stop()
	<-m.kept
	return C.int32_t(protocol.StatusOK)
}
