package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

// This test binary is almd when the environment says so.
const asProgram = "ALMD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func launch(t *testing.T, socket, directory string) (*exec.Cmd, *ipc.Client) {
	t.Helper()
	command := exec.Command(os.Args[0], "--socket", socket, "--dir", directory, "--snapshot-every", "1s")
	command.Env = append(os.Environ(), asProgram+"=1")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithTimeout(t.Context(), 30*time.Second)
	defer done()
	for {
		client, err := ipc.Dial(ctx, socket, protocol.ServiceALM, "test")
		if err == nil {
			return command, client
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func tell(ctx context.Context, client *ipc.Client, method uint16, question proto.Message, answer proto.Message) error {
	body, err := proto.Marshal(question)
	if err != nil {
		return err
	}
	reply, err := client.Call(ctx, method, protocol.ContentTypeProtobuf, body)
	if err == nil && answer != nil {
		err = proto.Unmarshal(reply.Body, answer)
	}
	return err
}

// Killed at any moment, with callers and snapshots under way, almd has everything that it acknowledged when it is back.
func TestAKillLosesNothingAcknowledged(t *testing.T) {
	place := t.TempDir()
	socket, directory := filepath.Join(place, "run", "alm.sock"), filepath.Join(place, "alm")
	random := rand.New(rand.NewPCG(4, 4))
	acknowledged := 0
	for round := range 6 {
		command, client := launch(t, socket, directory)
		var found localpb.AlmEdges
		if err := tell(t.Context(), client, protocol.MethodALMNeighbours, &localpb.AlmNeighboursRequest{Node: []byte("hub")}, &found); err != nil {
			t.Fatal(err)
		}
		// One more may be there: done, and its answer lost with the process.
		if got := len(found.GetEdges()); got < acknowledged || got > acknowledged+1 {
			t.Fatalf("round %d: %d links, %d were acknowledged", round, got, acknowledged)
		}
		acknowledged = len(found.GetEdges())
		time.AfterFunc(time.Duration(20+random.IntN(300))*time.Millisecond, func() {
			// It may have ended, which the rest of the test would notice.
			_ = command.Process.Kill()
		})
		for i := 0; ; i++ {
			if i%50 == 49 {
				// A snapshot may be cut off, too; another call reports the end.
				_ = tell(t.Context(), client, protocol.MethodALMSnapshot, &localpb.AlmEdges{}, nil)
			}
			e := &localpb.AlmEdge{From: []byte("hub"), To: fmt.Appendf(nil, "leaf%d", acknowledged), Strength: 1}
			err := tell(t.Context(), client, protocol.MethodALMAdd, &localpb.AlmEdges{Edges: []*localpb.AlmEdge{e}}, nil)
			if errors.Is(err, ipc.ErrClosed) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			acknowledged++
		}
		// It was killed: the status says so.
		_ = command.Wait()
		client.Close()
	}
	if acknowledged == 0 {
		t.Fatal("nothing was acknowledged in any round")
	}
	t.Logf("%d links", acknowledged)
}
