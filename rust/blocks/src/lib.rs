//! Content: chunking, hashing, manifests, the block store, extraction.
