// Peers lists the peers of a running node: an example of a program that speaks the local wire.
//
//	peers DIR/run/hypermesh_transport.sock
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

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

// list asks once: HELLO, the request, and its one answer.
func list(path string) ([]*localpb.Peer, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	out, err := protocol.Append(nil, protocol.Header{Kind: protocol.KindHello, Service: protocol.ServiceTransport}, nil, nil)
	if err != nil {
		return nil, err
	}
	request := protocol.Header{
		Kind: protocol.KindRequest, Service: protocol.ServiceTransport, Method: protocol.MethodTransportPeers, RequestID: 1,
	}
	if out, err = protocol.Append(out, request, nil, nil); err != nil {
		return nil, err
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	for {
		frame, err := read(conn)
		if err != nil {
			return nil, err
		}
		switch frame.Header.Kind {
		case protocol.KindReply:
			var answer localpb.PeerList
			err := proto.Unmarshal(frame.Body, &answer)
			return answer.GetPeers(), err
		case protocol.KindError:
			return nil, fmt.Errorf("%s (%v)", frame.Body, frame.Header.Status)
		case protocol.KindHello:
		default:
			return nil, errors.New("the node answers something else")
		}
	}
}

func read(conn net.Conn) (protocol.Frame, error) {
	data := make([]byte, protocol.LengthBytes)
	if _, err := io.ReadFull(conn, data); err != nil {
		return protocol.Frame{}, err
	}
	total, err := protocol.FrameLength(data)
	if err != nil {
		return protocol.Frame{}, err
	}
	data = append(data, make([]byte, total-len(data))...)
	if _, err := io.ReadFull(conn, data[protocol.LengthBytes:]); err != nil {
		return protocol.Frame{}, err
	}
	return protocol.Decode(data)
}
