package ipc

import (
	"math"
	"math/bits"
	"time"

	"hypermesh.dev/hypermesh/internal/protocol"
)

// BreakerOptions say when a breaker opens, and how it comes back.
type BreakerOptions struct {
	// Window is how long a call counts.
	Window time.Duration
	// CallsMin is how many calls of the window prove something.
	CallsMin uint32
	// FailedShareMax opens it when more than this share of the calls failed.
	FailedShareMax float64
	// SlowFrom is how long a slow call takes at least.
	SlowFrom time.Duration
	// SlowShareMax opens it when more than this share of the calls was slow.
	SlowShareMax float64
	// Probes are let through after a pause. All must succeed, none slowly; the first that does not opens it again.
	Probes uint32
	// PauseFirst doubles for each pause in a row, up to PauseMax. A pause is a random part of that.
	PauseFirst, PauseMax time.Duration
}

// DefaultBreaker is what a pool uses for each method.
func DefaultBreaker() BreakerOptions {
	return BreakerOptions{
		Window: 10 * time.Second, CallsMin: 20, FailedShareMax: 0.5, SlowFrom: time.Second, SlowShareMax: 0.8, Probes: 3,
		PauseFirst: 100 * time.Millisecond, PauseMax: 10 * time.Second,
	}
}

// connecting is of the breaker that guards connecting: one failure is enough, one success ends it.
func connecting() BreakerOptions {
	o := DefaultBreaker()
	o.CallsMin, o.FailedShareMax, o.SlowShareMax, o.Probes = 1, 0, 1, 1
	o.PauseFirst, o.PauseMax = 20*time.Millisecond, time.Second
	return o
}

// Phase is what a breaker does with calls.
type Phase uint8

// All calls go through; none does; probes do.
const (
	BreakerClosed Phase = iota
	BreakerOpen
	BreakerHalfOpen
)

// BreakerState is a phase with what belongs to it.
type BreakerState struct {
	Phase Phase
	// UntilNS is when an open one lets a probe through, on the caller's clock.
	UntilNS uint64
	// Admitted probes are under way or have succeeded; of a half-open one.
	Admitted, Succeeded uint32
}

// Outcome is how a call ended, for the breaker.
type Outcome uint8

// OutcomeUnknown says nothing of the other side: the caller gave up, or asked for what cannot be.
const (
	OutcomeUnknown Outcome = iota
	OutcomeSucceeded
	OutcomeFailed
)

// Permit is leave for one call, whose outcome must be recorded, OutcomeUnknown at least.
type Permit struct{ epoch uint64 }

// breakerParts of the window are forgotten at once.
const breakerParts = 10

type breakerPart struct {
	// number says which part of time this counts.
	number              uint64
	calls, failed, slow uint64
}

// Breaker is the state machine for one peer and method, after Nygard, "Release It!" (2007): a sliding window of counts, an
// exact number of probes, and pauses with full jitter (Brooker, "Exponential Backoff And Jitter", 2015). Time and
// randomness are arguments. It is not safe for concurrent use. integration/vectors/breaker.txt has what it must do.
type Breaker struct {
	options BreakerOptions
	state   BreakerState
	// epoch rises with each change of state: what was admitted before says nothing of now.
	epoch uint64
	// pauses since it was closed last.
	pauses uint
	parts  [breakerParts]breakerPart
	// now does not run backwards in here.
	now uint64
}

// NewBreaker makes a closed one that has seen nothing.
func NewBreaker(options BreakerOptions) *Breaker { return &Breaker{options: options} }

// State is what it does now.
func (b *Breaker) State() BreakerState { return b.state }

// Admit asks for leave to make a call. Without it, retryIn is how long until the next call may be let through.
func (b *Breaker) Admit(nowNS uint64) (permit Permit, retryIn time.Duration, ok bool) {
	b.now = max(b.now, nowNS)
	if b.state.Phase == BreakerOpen && b.now >= b.state.UntilNS {
		b.change(BreakerState{Phase: BreakerHalfOpen})
	}
	switch b.state.Phase {
	case BreakerOpen:
		return Permit{}, time.Duration(min(b.state.UntilNS-b.now, math.MaxInt64)), false
	case BreakerHalfOpen:
		if b.state.Admitted >= max(b.options.Probes, 1) {
			return Permit{}, b.options.PauseFirst, false
		}
		b.state.Admitted++
	}
	return Permit{b.epoch}, 0, true
}

// Record says how a call ended and how long it took. random is any number, equally likely; it spreads pauses.
func (b *Breaker) Record(permit Permit, nowNS uint64, outcome Outcome, took time.Duration, random uint64) {
	b.now = max(b.now, nowNS)
	if permit.epoch != b.epoch {
		return
	}
	slow := took >= b.options.SlowFrom
	switch {
	case b.state.Phase == BreakerOpen:
	case outcome == OutcomeUnknown:
		if b.state.Phase == BreakerHalfOpen {
			b.state.Admitted--
		}
	case b.state.Phase == BreakerClosed:
		b.count(outcome == OutcomeFailed, slow)
		if b.isTooBad() {
			b.open(random)
		}
	case outcome == OutcomeFailed || slow:
		b.open(random)
	default:
		b.state.Succeeded++
		if b.state.Succeeded >= b.options.Probes {
			b.pauses = 0
			b.change(BreakerState{})
		}
	}
}

// part is which part of time it is.
func (b *Breaker) part() uint64 { return b.now / max(uint64(b.options.Window)/breakerParts, 1) }

func (b *Breaker) count(failed, slow bool) {
	part := &b.parts[b.part()%breakerParts]
	if part.number != b.part() {
		*part = breakerPart{number: b.part()}
	}
	part.calls++
	if failed {
		part.failed++
	}
	if slow {
		part.slow++
	}
}

func (b *Breaker) isTooBad() bool {
	var calls, failed, slow uint64
	for _, part := range b.parts {
		if part.number+breakerParts > b.part() {
			calls, failed, slow = calls+part.calls, failed+part.failed, slow+part.slow
		}
	}
	return calls >= uint64(b.options.CallsMin) &&
		(float64(failed) > b.options.FailedShareMax*float64(calls) || float64(slow) > b.options.SlowShareMax*float64(calls))
}

func (b *Breaker) open(random uint64) {
	longest := uint64(b.options.PauseMax)
	if high, doubled := bits.Mul64(uint64(b.options.PauseFirst), 1<<min(b.pauses, 63)); b.pauses < 64 && high == 0 {
		longest = min(doubled, longest)
	}
	// Equally likely from 0 to the longest: the high half of the product.
	pause, _ := bits.Mul64(random, longest+1)
	b.pauses++
	until, overflow := bits.Add64(b.now, pause, 0)
	if overflow != 0 {
		until = math.MaxUint64
	}
	b.change(BreakerState{Phase: BreakerOpen, UntilNS: until})
}

func (b *Breaker) change(state BreakerState) {
	b.state = state
	b.epoch++
	b.parts = [breakerParts]breakerPart{}
}

// outcomeOf is what an answer with a status says of who gave it.
func outcomeOf(status protocol.Status) Outcome {
	switch status {
	case protocol.StatusCancelled, protocol.StatusClosed:
		// The caller gave up; the call was not taken.
		return OutcomeUnknown
	case protocol.StatusNotReady:
		// It answers; there is only nothing to serve yet.
		return OutcomeSucceeded
	case protocol.StatusInternal, protocol.StatusPanic:
		return OutcomeFailed
	}
	// It broke a rule of the wire, or says that we did.
	isWire := status <= protocol.StatusFrameShort && status >= protocol.StatusUnexpectedFrame
	if status.IsRetryable() || isWire {
		return OutcomeFailed
	}
	return OutcomeSucceeded
}
