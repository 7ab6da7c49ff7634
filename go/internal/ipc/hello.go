package ipc

import (
	"encoding/binary"

	"hypermesh.dev/hypermesh/internal/protocol"
)

// frameBytesLeast is what every side takes, whatever it announces: what ends a connection must fit.
const frameBytesLeast = 8 << 10

// announced is what the other side's HELLO allows.
type announced struct {
	// frameBytes is the longest frame to send to it.
	frameBytes int
	// inFlight is the most requests to have in flight with it.
	inFlight int
}

// heard reads the limits of a HELLO. What it does not say, or says as 0, is the limit of the wire.
func heard(tlvs []protocol.TLV) announced {
	a := announced{frameBytes: protocol.FrameBytesMax, inFlight: protocol.RequestsInFlightMax}
	for _, tlv := range tlvs {
		if tlv.Type != protocol.TLVLimits {
			continue
		}
		// The decoder has checked its length.
		if most := binary.LittleEndian.Uint32(tlv.Value); most > 0 {
			a.frameBytes = int(min(max(most, frameBytesLeast), protocol.FrameBytesMax))
		}
		if most := binary.LittleEndian.Uint32(tlv.Value[4:]); most > 0 {
			a.inFlight = int(min(most, protocol.RequestsInFlightMax))
		}
	}
	return a
}

// check says whether a body fits what the other side takes.
func (a announced) check(body []byte) error {
	if protocol.HeaderBytes+len(body) > a.frameBytes {
		return Fail(protocol.StatusFrameTooLarge, "%d bytes are more than the other side takes; send less at once", len(body))
	}
	return nil
}
