// Package protocol encodes and decodes frames of the local wire: what programs on one machine say over a Unix socket.
//
// The numbers are in gen.go, the messages of bodies in localpb; both are generated. The specification is
// docs/PROTOCOL.md. The package does no input or output.
package protocol
