// What measures almd beside its peers; a module of its own, so that almd does not depend on them.
module hypermesh.dev/hypermesh/bench

go 1.26.0

replace hypermesh.dev/hypermesh => ../

require (
	// The histories of repositories are compressed with it.
	github.com/klauspost/compress v1.20.4
	// The peer for paths.
	gonum.org/v1/gonum v0.17.0
	hypermesh.dev/hypermesh v0.0.0-00010101000000-000000000000
)
