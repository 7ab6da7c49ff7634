package ipc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hypermesh.dev/hypermesh/internal/protocol"
)

// Reply ends a call that succeeded.
type Reply struct {
	ContentType protocol.ContentType
	Body        []byte
}

// Failure ends a call that failed. Its text names the cause and the repair.
type Failure struct {
	Status protocol.Status
	Text   string
}

func (f *Failure) Error() string { return f.Text }

// Fail makes a Failure.
func Fail(status protocol.Status, format string, args ...any) *Failure {
	return &Failure{Status: status, Text: fmt.Sprintf(format, args...)}
}

// Call is one request.
type Call struct {
	Method      uint16
	ContentType protocol.ContentType
	Body        []byte
	// TraceID and SpanID name the caller's call in its trace; zeros are none. Sampled asks to record it.
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool

	id         uint64
	running    *running
	connection *connection
}

// Handler answers calls. Many run at once. The context ends when the caller cancels, the deadline passes, or the
// connection is lost. An error that is no *Failure is answered INTERNAL.
type Handler func(ctx context.Context, call Call) (Reply, error)

// Limits bound a server. The zero value of a field means its default.
type Limits struct {
	// InFlight is the most requests under way per connection; more are answered BUSY.
	InFlight int
	// Connections is the most connections; more are answered BUSY and closed.
	Connections int
	// HelloTimeout is how long a new connection may take to say HELLO.
	HelloTimeout time.Duration
	// WriteTimeout is how long a caller may take to read an answer.
	WriteTimeout time.Duration
	// DrainTimeout is how long accepted calls may take to end after Serve's context has ended.
	DrainTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	set := func(value *int, standard int) {
		if *value <= 0 {
			*value = standard
		}
	}
	wait := func(value *time.Duration, standard time.Duration) {
		if *value <= 0 {
			*value = standard
		}
	}
	set(&l.InFlight, 256)
	set(&l.Connections, 256)
	wait(&l.HelloTimeout, 5*time.Second)
	wait(&l.WriteTimeout, 10*time.Second)
	wait(&l.DrainTimeout, 5*time.Second)
	return l
}

// Server is one bound socket.
type Server struct {
	bound    *bound
	service  protocol.Service
	software string
	limits   Limits
	handler  Handler
	log      *slog.Logger

	open     atomic.Int64
	requests atomic.Uint64
	running  sync.WaitGroup
	// ended gets a token when a connection ends: descriptors are free again.
	ended chan struct{}
}

// Listen binds the socket. Serve answers on it; until then callers wait.
func Listen(path string, service protocol.Service, software string, limits Limits, handler Handler, log *slog.Logger) (*Server, error) {
	b, err := bind(path)
	if err != nil {
		return nil, err
	}
	return &Server{
		bound: b, service: service, software: software, limits: limits.withDefaults(), handler: handler, log: log,
		ended: make(chan struct{}, 1),
	}, nil
}

// Requests counts the requests since Listen.
func (s *Server) Requests() uint64 { return s.requests.Load() }

const (
	pauseMin = 5 * time.Millisecond
	pauseMax = time.Second
)

// Serve answers until the context ends, then lets accepted calls end.
func (s *Server) Serve(ctx context.Context) error {
	defer s.bound.close()
	stop := context.AfterFunc(ctx, func() {
		// Accept returns then.
		_ = s.bound.listener.Close()
	})
	defer stop()
	pause := pauseMin
	for {
		conn, err := s.bound.listener.AcceptUnix()
		switch {
		case err == nil:
			pause = pauseMin
			s.admit(ctx, conn)
		case ctx.Err() != nil:
			s.running.Wait()
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
			s.log.Warn("cannot accept", "error", err)
			select {
			case <-s.ended:
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, pauseMax)
		case errors.Is(err, unix.ECONNABORTED):
		default:
			s.running.Wait()
			return err
		}
	}
}

func (s *Server) admit(ctx context.Context, conn *net.UnixConn) {
	refuse := func(status protocol.Status, text string) {
		// A fresh socket takes so little at once; a caller that is gone needs no reason.
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		if frame, err := protocol.Append(nil, s.errorHeader(0, 0, status), nil, []byte(text)); err == nil {
			_, _ = conn.Write(frame)
		}
		_ = conn.Close()
	}
	uid, ok, err := allowed(conn)
	switch {
	case err != nil:
		s.log.Warn("cannot tell who connects", "error", err)
		refuse(protocol.StatusDenied, "the kernel does not say who connects")
	case !ok:
		s.log.Warn("refused another user", "uid", uid)
		refuse(protocol.StatusDenied, "this socket serves another user")
	case s.open.Load() >= int64(s.limits.Connections):
		refuse(protocol.StatusBusy, "all connections of this socket are taken; close one and try again")
	default:
		s.open.Add(1)
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			defer func() {
				s.open.Add(-1)
				select {
				case s.ended <- struct{}{}:
				default:
				}
			}()
			newConnection(s, conn).run(ctx)
		}()
	}
}

func (s *Server) errorHeader(id uint64, method uint16, status protocol.Status) protocol.Header {
	return protocol.Header{
		Kind: protocol.KindError, Service: s.service, ContentType: protocol.ContentTypeText,
		Method: method, RequestID: id, Status: status,
	}
}

func (s *Server) hello() ([]byte, error) {
	var features [8]byte
	var limits []byte
	limits = binary.LittleEndian.AppendUint32(limits, protocol.FrameBytesMax)
	limits = binary.LittleEndian.AppendUint32(limits, uint32(s.limits.InFlight))
	limits = binary.LittleEndian.AppendUint32(limits, uint32(s.limits.Connections))
	return protocol.Append(nil, protocol.Header{Kind: protocol.KindHello, Service: s.service}, []protocol.TLV{
		{Type: protocol.TLVFeatures, Value: features[:]},
		{Type: protocol.TLVLimits, Value: limits},
		{Type: protocol.TLVSoftware, Value: []byte(s.software)},
	}, nil)
}
