package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// RecordBytesMax is the longest payload.
	RecordBytesMax = 16 << 20
	magic          = "MFNJ"
	version        = 1
	kindLog        = 1
	kindSnapshot   = 2
	headerBytes    = 24
	recordHead     = 8
	// queueBytesMax is how much may be queued before Append refuses; more than the longest record.
	queueBytesMax = 64 << 20
)

// Errors, wrapped with what is wrong.
var (
	ErrCorrupt = errors.New("stored data is damaged; restore the file from a copy, or move it away to start without it")
	ErrRecord  = errors.New("a record has 1 to 16777216 bytes")
	ErrBusy    = errors.New("more is queued than the disk takes; try again later")
	ErrFailed  = errors.New("the journal failed earlier and takes nothing until a restart")
	ErrClosed  = errors.New("the journal is closed")
	ErrLocked  = errors.New("it is open already, in another process or in this one; close it there, or use another directory")
)

// Mode says what an acknowledgement promises.
type Mode int

const (
	// Sync acknowledges what the disk has: nothing acknowledged is lost, whatever happens.
	Sync Mode = iota
	// None acknowledges what the operating system has: a killed process loses nothing, a power cut may lose the last seconds.
	None
)

// Options of a journal.
type Options struct {
	// Service is the number of the service whose state this is.
	Service byte
	Mode    Mode
	Log     *slog.Logger
}

// Journal is open for appending. It is safe for concurrent use.
type Journal struct {
	directory string
	options   Options

	// lock is held while the journal is open, by flock.
	lock *os.File

	mu   sync.Mutex
	cond *sync.Cond
	file *os.File
	// generation of snapshot and log.
	generation uint64
	// queue holds encoded records that no one has begun to write; queued counts all ever, durable those that are.
	queue           []byte
	queued, durable uint64
	writing         bool
	// turning says that a snapshot is under way: records wait for the log of the next generation.
	turning bool
	failed  error
	size    int64
}

// Open recovers the state: restore gets each record of the snapshot, then replay each of the log, in order. An error of
// theirs ends Open with that error. The directory is made if it is not there; it may be open once at a time, else ErrLocked.
func Open(directory string, options Options, restore, replay func(record []byte) error) (*Journal, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	j := &Journal{directory: directory, options: options}
	j.cond = sync.NewCond(&j.mu)
	if err := j.takeLock(); err != nil {
		return nil, err
	}
	if err := j.recover(restore, replay); err != nil {
		return nil, errors.Join(err, j.lock.Close())
	}
	return j, nil
}

// takeLock keeps every other process, and this one, from opening the directory as well.
func (j *Journal) takeLock() error {
	lock, err := os.OpenFile(j.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		j.lock = lock
		return nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	return errors.Join(fmt.Errorf("%s: %w", lock.Name(), err), lock.Close())
}

func (j *Journal) recover(restore, replay func(record []byte) error) error {
	for _, name := range []string{"snapshot.tmp", "log.tmp"} {
		// What a crash left half written.
		if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := j.recoverSnapshot(restore); err != nil {
		return err
	}
	if err := j.recoverLog(replay); err != nil {
		return err
	}
	if j.file == nil {
		if err := j.beginLog(); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) path(name string) string { return filepath.Join(j.directory, name) }

func (j *Journal) header(kind byte, generation uint64) []byte {
	h := append(make([]byte, 0, headerBytes), magic...)
	h = binary.LittleEndian.AppendUint16(h, version)
	h = append(h, kind, j.options.Service)
	h = binary.LittleEndian.AppendUint64(h, generation)
	h = binary.LittleEndian.AppendUint32(h, 0)
	return binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
}

func appendRecord(out, payload []byte) []byte {
	at := len(out)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(payload)))
	sum := crc32.Update(crc32.ChecksumIEEE(out[at:]), crc32.IEEETable, payload)
	out = binary.LittleEndian.AppendUint32(out, sum)
	return append(out, payload...)
}

// beginLog makes the log of the present generation and opens it.
func (j *Journal) beginLog() error {
	file, err := os.OpenFile(j.path("log.tmp"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(j.header(kindLog, j.generation))
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(j.path("log.tmp"), j.path("log"))
	}
	if err == nil {
		err = j.syncDirectory()
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	j.file, j.size = file, headerBytes
	return nil
}

func (j *Journal) syncDirectory() error {
	directory, err := os.Open(j.directory)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// Ready says why a record of that many bytes could not be appended now, if so. A caller that keeps others from appending asks
// before it changes its state.
func (j *Journal) Ready(size int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ready(size)
}

func (j *Journal) ready(size int) error {
	switch {
	case size == 0 || size > RecordBytesMax:
		return fmt.Errorf("%w, this one %d", ErrRecord, size)
	case j.failed != nil:
		return j.failed
	case len(j.queue)+size > queueBytesMax:
		return ErrBusy
	}
	return nil
}

// Append queues a record and returns the ticket to wait for. The payload may be reused afterwards.
func (j *Journal) Append(payload []byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.ready(len(payload)); err != nil {
		return 0, err
	}
	j.queue = appendRecord(j.queue, payload)
	j.queued++
	return j.queued, nil
}

// Wait returns when the record of that ticket, and so all before it, is as safe as the mode promises.
func (j *Journal) Wait(ticket uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.durable < ticket {
		switch {
		case j.failed != nil:
			return j.failed
		case j.writing || j.turning:
			j.cond.Wait()
		default:
			j.flush()
		}
	}
	return nil
}

// flush writes what is queued. It is called with the lock, gives it up meanwhile, and has it again in the end.
func (j *Journal) flush() {
	data, upTo := j.queue, j.queued
	if len(data) == 0 {
		return
	}
	j.queue, j.writing = nil, true
	file := j.file
	j.mu.Unlock()
	_, err := file.Write(data)
	if err == nil && j.options.Mode == Sync {
		err = unix.Fdatasync(int(file.Fd()))
	}
	j.mu.Lock()
	j.writing = false
	if err != nil {
		j.fail(err)
	} else {
		j.durable = upTo
		j.size += int64(len(data))
	}
	j.cond.Broadcast()
}

func (j *Journal) fail(err error) {
	if j.failed == nil {
		j.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		j.options.Log.Error("the journal failed; nothing is acknowledged until a restart", "error", err)
	}
}

// Size is how long the log is, with what is queued.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size + int64(len(j.queue))
}

// Turn begins a snapshot. The caller holds its own lock, so that no record comes between the state that it copies and this
// call. Records that are appended from now on belong to the next log and are acknowledged when Finish has made it; readers of
// the state are not concerned. Only one snapshot is under way at a time: Turn waits for another to finish.
//
// Everything queued before becomes durable first, so that a failing snapshot loses nothing.
func (j *Journal) Turn() (*Snapshot, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.turning || j.writing {
		j.cond.Wait()
	}
	for len(j.queue) > 0 && j.failed == nil {
		j.flush()
	}
	if j.failed != nil {
		return nil, j.failed
	}
	j.turning = true
	return &Snapshot{j: j}, nil
}

// Snapshot is one under way.
type Snapshot struct{ j *Journal }

// Finish writes the snapshot: write gets a function that takes one record after the other. When writing fails, the old
// snapshot and log go on; when the renames fail, the journal has failed.
func (s *Snapshot) Finish(write func(emit func(record []byte) error) error) error {
	j := s.j
	err := j.writeSnapshot(j.generation+1, write)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.turning = false
	defer j.cond.Broadcast()
	if err != nil {
		return err
	}
	old := j.file
	err = os.Rename(j.path("snapshot.tmp"), j.path("snapshot"))
	if err == nil {
		err = j.syncDirectory()
	}
	if err == nil {
		j.generation++
		err = j.beginLog()
	}
	if err != nil {
		j.fail(err)
		return j.failed
	}
	return old.Close()
}

func (j *Journal) writeSnapshot(generation uint64, write func(emit func(record []byte) error) error) error {
	file, err := os.OpenFile(j.path("snapshot.tmp"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buffer := j.header(kindSnapshot, generation)
	emit := func(record []byte) error {
		if len(record) == 0 || len(record) > RecordBytesMax {
			return fmt.Errorf("%w, this one %d", ErrRecord, len(record))
		}
		buffer = appendRecord(buffer, record)
		if len(buffer) < 1<<20 {
			return nil
		}
		_, err := file.Write(buffer)
		buffer = buffer[:0]
		return err
	}
	err = write(emit)
	if err == nil {
		_, err = file.Write(appendRecord(buffer, nil))
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Close makes durable what is queued and ends.
func (j *Journal) Close() error { return j.end() }

// Abandon ends without writing what is queued, of which nobody was told that it is kept: for an owner whose state is not to be
// trusted any more.
func (j *Journal) Abandon() error {
	j.mu.Lock()
	j.queue = nil
	j.mu.Unlock()
	return j.end()
}

func (j *Journal) end() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.writing || j.turning {
		j.cond.Wait()
	}
	for len(j.queue) > 0 && j.failed == nil {
		j.flush()
	}
	failed := j.failed
	if failed == nil {
		j.failed = ErrClosed
	}
	if errors.Is(failed, ErrClosed) {
		return nil
	}
	j.cond.Broadcast()
	return errors.Join(failed, j.file.Close(), j.lock.Close())
}
