module hypermesh.dev/hypermesh

go 1.26.0

require (
	// SO_PEERCRED, flock and CLOCK_MONOTONIC, which the standard library does not have.
	golang.org/x/sys v0.49.0
	// Bodies of the local wire.
	google.golang.org/protobuf v1.36.12
)
