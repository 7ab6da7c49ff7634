package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

const vectorDirectory = "../../../integration/vectors"

type vector struct {
	Name         string
	Hex          string
	Status       Status
	Kind         Kind
	Service      Service
	ContentType  ContentType `json:"content_type"`
	Method       uint16
	Flags        uint16
	HeaderStatus Status `json:"header_status"`
	RequestID    uint64 `json:"request_id"`
	DeadlineNS   uint64 `json:"deadline_ns"`
	TraceID      string `json:"trace_id"`
	SpanID       string `json:"span_id"`
	Credit       uint32
	Body         string
	TLVs         []struct {
		Type  uint16
		Value string
	}
}

func readVectors(t testing.TB, path string) []vector {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(path, err)
	}
	return vectors
}

// disagreement says what is different from what the vector says; empty is agreement.
func disagreement(t testing.TB, v vector) string {
	t.Helper()
	data, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := Decode(data)
	var wire *Error
	if errors.As(err, &wire) {
		if wire.Status != v.Status {
			return wire.Status.String() + " instead of " + v.Status.String()
		}
		return ""
	}
	if v.Status != StatusOK {
		return "decoded instead of " + v.Status.String()
	}
	h := frame.Header
	want := Header{
		Kind: v.Kind, Service: v.Service, ContentType: v.ContentType, Method: v.Method, Flags: v.Flags &^ FlagTLV,
		Status: v.HeaderStatus, RequestID: v.RequestID, DeadlineNS: v.DeadlineNS, Credit: v.Credit,
		TraceID: h.TraceID, SpanID: h.SpanID,
	}
	if h != want || hex.EncodeToString(h.TraceID[:]) != v.TraceID || hex.EncodeToString(h.SpanID[:]) != v.SpanID {
		return "another header"
	}
	if hex.EncodeToString(frame.Body) != v.Body || len(frame.TLVs) != len(v.TLVs) {
		return "another body or other entries"
	}
	for i, tlv := range frame.TLVs {
		if tlv.Type != v.TLVs[i].Type || hex.EncodeToString(tlv.Value) != v.TLVs[i].Value {
			return "another entry"
		}
	}
	again, err := Append(nil, h, frame.TLVs, frame.Body)
	if err != nil {
		return err.Error()
	}
	// The one form that is not given back: a flag with an empty area.
	if !bytes.Equal(again, data) && (v.Flags&FlagTLV == 0 || len(v.TLVs) > 0) {
		return "it encodes to other bytes"
	}
	return ""
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob(vectorDirectory + "/wire/*.json")
	if err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for _, file := range files {
		for _, v := range readVectors(t, file) {
			if text := disagreement(t, v); text != "" {
				t.Errorf("%s: %s", v.Name, text)
			}
			if v.Status == StatusOK {
				good++
			} else {
				bad++
			}
		}
	}
	if good+bad < 200 || bad < 100 {
		t.Fatalf("%d good, %d bad", good, bad)
	}
}

func TestCanary(t *testing.T) {
	if disagreement(t, readVectors(t, vectorDirectory+"/canary.json")[0]) == "" {
		t.Fatal("the reader agrees with a vector that is wrong on purpose")
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob(vectorDirectory + "/wire/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		for _, v := range readVectors(f, file) {
			data, err := hex.DecodeString(v.Hex)
			if err != nil {
				f.Fatal(err)
			}
			if len(data) < 4096 {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := Decode(data)
		if err != nil {
			return
		}
		if _, err := Append(nil, frame.Header, frame.TLVs, frame.Body); err != nil {
			t.Fatal(err)
		}
	})
}
