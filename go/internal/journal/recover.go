package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// searchBytesMax bounds the look for records behind one that does not verify. A tail that is not settled by then is taken for
// damage, which loses nothing.
const searchBytesMax = 1 << 30

func corrupt(path string, offset int64, what string) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrCorrupt, path, offset, what)
}

// readHeader checks the header and gives the generation.
func (j *Journal) readHeader(path string, r io.Reader, kind byte) (uint64, error) {
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, corrupt(path, 0, "the header is cut off")
	}
	switch {
	case string(header[:4]) != magic:
		return 0, corrupt(path, 0, "it begins with other bytes than a journal")
	case crc32.ChecksumIEEE(header[:20]) != binary.LittleEndian.Uint32(header[20:]):
		return 0, corrupt(path, 0, "the header does not fit its checksum")
	case binary.LittleEndian.Uint16(header[4:]) != version:
		return 0, corrupt(path, 4, "a version that this program does not know")
	case header[6] != kind || header[7] != j.options.Service:
		return 0, corrupt(path, 6, "it is another kind of file, or another service's")
	}
	return binary.LittleEndian.Uint64(header[8:]), nil
}

// readRecord reads one record: ok says that it verifies. Memory is taken as bytes arrive, never on the word of a length.
func readRecord(r io.Reader, left int64, payload []byte) (record []byte, ok bool, err error) {
	var head [recordHead]byte
	if left < recordHead {
		return payload, false, nil
	}
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return payload, false, err
	}
	length := int64(binary.LittleEndian.Uint32(head[:]))
	if length > RecordBytesMax || length > left-recordHead {
		return payload, false, nil
	}
	if int64(cap(payload)) < length {
		payload = make([]byte, length)
	}
	payload = payload[:length]
	if _, err := io.ReadFull(r, payload); err != nil {
		return payload, false, err
	}
	sum := crc32.Update(crc32.ChecksumIEEE(head[:4]), crc32.IEEETable, payload)
	return payload, sum == binary.LittleEndian.Uint32(head[4:]), nil
}

func (j *Journal) recoverSnapshot(restore func([]byte) error) error {
	path := j.path("snapshot")
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	reader := bufio.NewReaderSize(file, 1<<20)
	if j.generation, err = j.readHeader(path, reader, kindSnapshot); err != nil {
		return err
	}
	if j.generation == 0 {
		return corrupt(path, 8, "a snapshot has a generation above 0")
	}
	var payload []byte
	for offset := int64(headerBytes); ; offset += recordHead + int64(len(payload)) {
		var ok bool
		if payload, ok, err = readRecord(reader, info.Size()-offset, payload); err != nil {
			return err
		}
		if !ok {
			return corrupt(path, offset, "a record does not verify")
		}
		if len(payload) == 0 {
			if offset+recordHead != info.Size() {
				return corrupt(path, offset, "something follows the end")
			}
			return nil
		}
		if err := restore(payload); err != nil {
			return err
		}
	}
}

func (j *Journal) recoverLog(replay func([]byte) error) error {
	path := j.path("log")
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist) && j.generation > 0:
		// A log is only ever replaced, so this one was taken away.
		return corrupt(path, 0, "the log that follows the snapshot is missing")
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	kept := false
	defer func() {
		if !kept {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	reader := bufio.NewReaderSize(file, 1<<20)
	generation, err := j.readHeader(path, reader, kindLog)
	if err != nil {
		return err
	}
	switch {
	case generation > j.generation:
		return corrupt(path, 8, fmt.Sprintf("it is of generation %d, the snapshot of %d: the snapshot is missing or older than it was",
			generation, j.generation))
	case generation < j.generation:
		// The process ended between the two renames; a new log takes its place.
		j.options.Log.Info("a log from before the snapshot is replaced", "path", path, "generation", generation)
		return nil
	}
	offset := int64(headerBytes)
	var payload []byte
	for offset < info.Size() {
		var ok bool
		if payload, ok, err = readRecord(reader, info.Size()-offset, payload); err != nil {
			return err
		}
		if !ok || len(payload) == 0 {
			if err := j.cutTail(file, path, offset, info.Size()); err != nil {
				return err
			}
			break
		}
		if err := replay(payload); err != nil {
			return fmt.Errorf("%s at offset %d: %w", path, offset, err)
		}
		offset += recordHead + int64(len(payload))
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	j.file, j.size, kept = file, offset, true
	return nil
}

// cutTail cuts off what a crash tore, or refuses when a record that verifies comes after the offset.
func (j *Journal) cutTail(file *os.File, path string, offset, size int64) error {
	// One batch was being written, and no batch is longer than the queue.
	if size-offset > 2*queueBytesMax {
		return corrupt(path, offset, "a record does not verify, and more follows than one write can leave")
	}
	tail := make([]byte, size-offset)
	if _, err := file.ReadAt(tail, offset); err != nil {
		return err
	}
	budget := int64(searchBytesMax)
	for at := int64(1); at+recordHead < int64(len(tail)); at++ {
		length := int64(binary.LittleEndian.Uint32(tail[at:]))
		if length == 0 || length > RecordBytesMax || length > int64(len(tail))-at-recordHead {
			continue
		}
		if budget -= length; budget < 0 {
			return corrupt(path, offset, "a record does not verify, and what follows is too much to judge")
		}
		sum := crc32.Update(crc32.ChecksumIEEE(tail[at:at+4]), crc32.IEEETable, tail[at+recordHead:at+recordHead+length])
		if sum == binary.LittleEndian.Uint32(tail[at+4:]) {
			return corrupt(path, offset, fmt.Sprintf("a record does not verify, and one at offset %d does", offset+at))
		}
	}
	j.options.Log.Warn("a torn tail is cut off the log", "path", path, "offset", offset, "bytes", size-offset)
	if err := file.Truncate(offset); err != nil {
		return err
	}
	return file.Sync()
}
