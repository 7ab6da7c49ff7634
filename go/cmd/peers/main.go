// Peers lists the peers of a running node: an example of a program that speaks the local wire.
//
//	peers DIR/run/hypermesh_transport.sock
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"hypermesh.dev/hypermesh/internal/ipc"
	"hypermesh.dev/hypermesh/internal/protocol"
	"hypermesh.dev/hypermesh/internal/protocol/localpb"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: peers SOCKET\n  SOCKET is run/hypermesh_transport.sock in a node's directory")
		os.Exit(2)
	}
	peers, err := list(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	for _, peer := range peers {
		state, address := "away", ""
		if peer.GetConnected() {
			state = "connected"
		}
		if len(peer.GetAddresses()) > 0 {
			address = peer.GetAddresses()[0]
		}
		fmt.Println(peer.GetNodeId(), state, address)
	}
}

// list asks once.
func list(path string) ([]*localpb.Peer, error) {
	ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	client, err := ipc.Dial(ctx, path, protocol.ServiceTransport, "peers")
	if err != nil {
		return nil, err
	}
	defer client.Close()
	reply, err := client.Call(ctx, protocol.MethodTransportPeers, protocol.ContentTypeNone, nil)
	if err != nil {
		return nil, err
	}
	var answer localpb.PeerList
	err = proto.Unmarshal(reply.Body, &answer)
	return answer.GetPeers(), err
}
