package ipc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"hypermesh.dev/hypermesh/internal/protocol"
)

const vectorDirectory = "../../../integration/vectors/"

func readTraces(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(vectorDirectory + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func must64(word string) uint64    { return must(strconv.ParseUint(word, 10, 64)) }
func mustF(word string) float64    { return must(strconv.ParseFloat(word, 64)) }
func ns(word string) time.Duration { return time.Duration(must64(word)) }

var outcomes = map[string]Outcome{"succeeded": OutcomeSucceeded, "failed": OutcomeFailed, "unknown": OutcomeUnknown}

func stateText(s BreakerState) string {
	switch s.Phase {
	case BreakerOpen:
		return fmt.Sprintf("open:%d", s.UntilNS)
	case BreakerHalfOpen:
		return fmt.Sprintf("half:%d:%d", s.Admitted, s.Succeeded)
	}
	return "closed"
}

// traceDisagreement says what is different from what the golden traces say; empty is agreement.
func traceDisagreement(text string) string {
	var breaker *Breaker
	var permits []Permit
	name, events := "", 0
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		wrong := func(found any) string { return fmt.Sprintf("%s: %s: %v", name, strings.TrimSpace(line), found) }
		switch words[0] {
		case "#":
			continue
		case "trace":
			name, permits = words[1], nil
			breaker = NewBreaker(BreakerOptions{
				Window: ns(words[2]), CallsMin: uint32(must64(words[3])), FailedShareMax: mustF(words[4]), SlowFrom: ns(words[5]),
				SlowShareMax: mustF(words[6]), Probes: uint32(must64(words[7])), PauseFirst: ns(words[8]), PauseMax: ns(words[9]),
			})
			continue
		case "status":
			if found := outcomeOf(protocol.Status(must(strconv.Atoi(words[1])))); found != outcomes[words[2]] {
				return wrong(found)
			}
			continue
		case "admit":
			permit, retryIn, ok := breaker.Admit(must64(words[1]))
			found := "yes"
			if ok {
				permits = append(permits, permit)
			} else {
				found = fmt.Sprint(int64(retryIn))
			}
			if found != words[2] {
				return wrong(found)
			}
		case "record":
			breaker.Record(permits[must64(words[2])], must64(words[1]), outcomes[words[3]], ns(words[4]), must64(words[5]))
		default:
			return wrong("no such line")
		}
		events++
		if found := stateText(breaker.State()); found != words[len(words)-1] {
			return wrong(found)
		}
	}
	if events == 0 {
		return "there is nothing"
	}
	return ""
}

func TestBreakersDoWhatTheGoldenTracesSay(t *testing.T) {
	if found := traceDisagreement(readTraces(t, "breaker.txt")); found != "" {
		t.Error(found)
	}
	if traceDisagreement(readTraces(t, "breaker_canary.txt")) == "" {
		t.Error("the canary agrees: nothing is looked at")
	}
}

func TestDefaultsAreThoseOfTheTraces(t *testing.T) {
	text := readTraces(t, "breaker.txt")
	for name, o := range map[string]BreakerOptions{"of_a_pool": DefaultBreaker(), "connecting_fails_once": connecting()} {
		line := fmt.Sprintf("trace %s %d %d %v %d %v %d %d %d\n", name, o.Window, o.CallsMin, o.FailedShareMax, o.SlowFrom,
			o.SlowShareMax, o.Probes, o.PauseFirst, o.PauseMax)
		if !strings.Contains(text, line) {
			t.Error("not there:", line)
		}
	}
}
