package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Header holds the fixed fields of a frame.
type Header struct {
	Kind        Kind
	Service     Service
	ContentType ContentType
	Method      uint16
	// Flags are bits of FlagSampled. FlagTLV is set by Append, and is not here after Decode.
	Flags uint16
	// Status is negative in an error, else StatusOK.
	Status Status
	// RequestID names the request that the frame is about; 0 where it is about the connection.
	RequestID uint64
	// DeadlineNS is CLOCK_MONOTONIC in nanoseconds; 0 is none.
	DeadlineNS uint64
	TraceID    [16]byte
	SpanID     [8]byte
	// Credit is how many events the caller allows.
	Credit uint32
}

// TLV is one entry between header and body.
type TLV struct {
	Type  uint16
	Value []byte
}

// Frame is a whole frame. TLVs and Body share memory with the bytes that it was decoded from.
type Frame struct {
	Header Header
	TLVs   []TLV
	Body   []byte
}

// Error is the first rule of the wire that some bytes break.
type Error struct {
	Status Status
}

func (e *Error) Error() string { return e.Status.Text() }

// ErrEncode says that a frame cannot be written: Decode would refuse it. It is wrapped with the rule.
var ErrEncode = errors.New("the frame breaks a rule of the wire")

func broken(status Status) error { return &Error{Status: status} }

const knownFlags = FlagTLV | FlagSampled

// FrameLength is how many bytes the frame at the start of a buffer takes, its length prefix included; 0 while fewer than
// four bytes are there. After an error no later byte of the stream can be trusted.
func FrameLength(data []byte) (int, error) {
	if len(data) < LengthBytes {
		return 0, nil
	}
	length := binary.LittleEndian.Uint32(data)
	if length > FrameBytesMax {
		return 0, broken(StatusFrameTooLarge)
	}
	if length < HeaderBytes {
		return 0, broken(StatusFrameShort)
	}
	return LengthBytes + int(length), nil
}

// Decode reads one whole frame, its length prefix included; nothing may follow it. Errors are of type *Error. The order
// of the checks is part of the specification.
func Decode(data []byte) (Frame, error) {
	total, err := FrameLength(data)
	switch {
	case err != nil:
		return Frame{}, err
	case total == 0:
		return Frame{}, broken(StatusFrameShort)
	case len(data) != total:
		return Frame{}, broken(StatusFrameLength)
	}
	header, rest := data[LengthBytes:LengthBytes+HeaderBytes], data[LengthBytes+HeaderBytes:]
	h := Header{
		Kind:        Kind(header[1]),
		Service:     Service(header[2]),
		ContentType: ContentType(header[3]),
		Method:      binary.LittleEndian.Uint16(header[4:]),
		Flags:       binary.LittleEndian.Uint16(header[6:]),
		Status:      Status(int32(binary.LittleEndian.Uint32(header[8:]))),
		RequestID:   binary.LittleEndian.Uint64(header[12:]),
		DeadlineNS:  binary.LittleEndian.Uint64(header[20:]),
		TraceID:     [16]byte(header[28:44]),
		SpanID:      [8]byte(header[44:52]),
		Credit:      binary.LittleEndian.Uint32(header[52:]),
	}
	switch {
	case header[0] != Version:
		return Frame{}, broken(StatusBadVersion)
	case !h.Kind.IsKnown():
		return Frame{}, broken(StatusBadKind)
	case !h.Service.IsKnown():
		return Frame{}, broken(StatusBadService)
	case !h.ContentType.IsKnown():
		return Frame{}, broken(StatusBadContentType)
	case h.Flags&^knownFlags != 0:
		return Frame{}, broken(StatusBadFlags)
	}
	if status := h.check(); status != StatusOK {
		return Frame{}, broken(status)
	}
	frame := Frame{Body: rest}
	if h.Flags&FlagTLV != 0 {
		if frame.TLVs, frame.Body, err = splitTLVs(rest); err != nil {
			return Frame{}, err
		}
		h.Flags &^= FlagTLV
	}
	frame.Header = h
	if status := checkBody(h, frame.TLVs, frame.Body); status != StatusOK {
		return Frame{}, broken(status)
	}
	return frame, nil
}

// check applies the rules between fields.
func (h Header) check() Status {
	isError := h.Kind == KindError
	if isError != (h.Status < 0) || h.Status > 0 {
		return StatusBadStatus
	}
	ofConnection := h.Kind == KindHello || h.Kind == KindGoaway
	if !isError && ofConnection != (h.RequestID == 0) {
		return StatusBadRequestID
	}
	most := uint32(0)
	if h.Kind == KindRequest || h.Kind == KindCredit {
		most = CreditMax
	}
	if h.Credit > most || (h.Kind == KindCredit && h.Credit == 0) {
		return StatusBadCredit
	}
	return StatusOK
}

func splitTLVs(rest []byte) (tlvs []TLV, body []byte, err error) {
	if len(rest) < 4 {
		return nil, nil, broken(StatusBadTLV)
	}
	length := binary.LittleEndian.Uint32(rest)
	rest = rest[4:]
	if length > TLVAreaBytesMax || uint64(length) > uint64(len(rest)) {
		return nil, nil, broken(StatusBadTLV)
	}
	area, body := rest[:length], rest[length:]
	for len(area) > 0 {
		if len(area) < 4 {
			return nil, nil, broken(StatusBadTLV)
		}
		kind, size := binary.LittleEndian.Uint16(area), int(binary.LittleEndian.Uint16(area[2:]))
		area = area[4:]
		if size > len(area) || (kind == TLVFeatures && size != 8) || (kind == TLVLimits && size != 12) {
			return nil, nil, broken(StatusBadTLV)
		}
		tlvs = append(tlvs, TLV{Type: kind, Value: area[:size]})
		area = area[size:]
	}
	return tlvs, body, nil
}

func checkBody(h Header, tlvs []TLV, body []byte) Status {
	if h.ContentType == ContentTypeNone && len(body) > 0 {
		return StatusBadContentType
	}
	if h.ContentType == ContentTypeText && !utf8.Valid(body) {
		return StatusBadUTF8
	}
	for _, tlv := range tlvs {
		if tlv.Type == TLVSoftware && !utf8.Valid(tlv.Value) {
			return StatusBadUTF8
		}
	}
	return StatusOK
}

// Append appends a whole frame. What Decode would refuse is an error, and nothing is appended then.
func Append(out []byte, h Header, tlvs []TLV, body []byte) ([]byte, error) {
	refuse := func(status Status) ([]byte, error) { return out, fmt.Errorf("%w: %v", ErrEncode, status) }
	if h.Flags&^FlagSampled != 0 {
		return refuse(StatusBadFlags)
	}
	if status := h.check(); status != StatusOK {
		return refuse(status)
	}
	if status := checkBody(h, tlvs, body); status != StatusOK {
		return refuse(status)
	}
	area := 0
	for _, tlv := range tlvs {
		if len(tlv.Value) > 0xffff {
			return refuse(StatusBadTLV)
		}
		area += 4 + len(tlv.Value)
	}
	length := HeaderBytes + len(body)
	if len(tlvs) > 0 {
		h.Flags |= FlagTLV
		length += 4 + area
	}
	if area > TLVAreaBytesMax {
		return refuse(StatusBadTLV)
	}
	if length > FrameBytesMax {
		return refuse(StatusFrameTooLarge)
	}
	le := binary.LittleEndian
	out = le.AppendUint32(out, uint32(length))
	out = append(out, Version, byte(h.Kind), byte(h.Service), byte(h.ContentType))
	out = le.AppendUint16(out, h.Method)
	out = le.AppendUint16(out, h.Flags)
	out = le.AppendUint32(out, uint32(h.Status))
	out = le.AppendUint64(out, h.RequestID)
	out = le.AppendUint64(out, h.DeadlineNS)
	out = append(out, h.TraceID[:]...)
	out = append(out, h.SpanID[:]...)
	out = le.AppendUint32(out, h.Credit)
	if len(tlvs) > 0 {
		out = le.AppendUint32(out, uint32(area))
		for _, tlv := range tlvs {
			out = le.AppendUint16(out, tlv.Type)
			out = le.AppendUint16(out, uint16(len(tlv.Value)))
			out = append(out, tlv.Value...)
		}
	}
	return append(out, body...), nil
}
