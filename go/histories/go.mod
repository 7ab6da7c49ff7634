// What checks histories of names; a module of its own, so that almd does not depend on the checker.
module hypermesh.dev/hypermesh/histories

go 1.26.0

replace hypermesh.dev/hypermesh => ../

require (
	// Finds an order of concurrent operations in which each answer is right, or shows that there is none.
	github.com/anishathalye/porcupine v1.3.1
	// Bodies of the local wire.
	google.golang.org/protobuf v1.36.12
	hypermesh.dev/hypermesh v0.0.0-00010101000000-000000000000
)

require golang.org/x/sys v0.49.0 // indirect
