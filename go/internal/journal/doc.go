// Package journal keeps a state on disk as a snapshot and a log of what happened since, so that killing the process at any
// moment, or a power cut in mode Sync, loses nothing that was acknowledged.
//
// A directory holds two files, `snapshot` and `log`. All numbers are little-endian. Each file begins with 24 bytes:
//
//	offset  size  field
//	0       4     "MFNJ"
//	4       2     format version, 1
//	6       1     kind: 1 log, 2 snapshot
//	7       1     number of the service
//	8       8     generation
//	16      4     0
//	20      4     CRC-32 (IEEE) of the 20 bytes before
//
// and goes on with records: u32 length of the payload, at most RecordBytesMax; u32 CRC-32 of those four bytes and the payload;
// the payload. A snapshot ends with an empty record. What payloads mean is the caller's affair.
//
// A snapshot is written as `snapshot.tmp`, synced, renamed, and the directory synced; then a log of its generation begins, as
// `log.tmp`, renamed. A log counts only if its generation is the snapshot's, or 0 where there is no snapshot.
//
// # Recovery
//
// Records of the log are replayed up to the first one that does not verify. If none that verifies comes after it, it is the
// tail that a crash tore, was never acknowledged, and is cut off. If one does, the file was damaged: ErrCorrupt names the file
// and the offset, and nothing is changed. A log older than the snapshot is what a crash between the two renames left: the
// snapshot holds all of it, and a new log replaces it. A newer one, or none beside a snapshot, is damage.
//
// # Writing
//
// Append only queues a record, so that it can be called under the caller's own lock, in the order of the changes. Wait returns
// when the record is durable; the first that waits writes and syncs for all that are queued (group commit). After an error of
// the disk the journal refuses everything: what is on disk then is known only after a restart.
package journal
