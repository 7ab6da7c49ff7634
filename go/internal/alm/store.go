package alm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"hypermesh.dev/hypermesh/internal/graph"
)

// Store keeps one snapshot in a directory.
type Store struct {
	directory string
	log       *slog.Logger
}

// NewStore uses the directory, which is made if it is not there.
func NewStore(directory string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	return &Store{directory: directory, log: log}, nil
}

func (s *Store) path() string { return filepath.Join(s.directory, "graph.snapshot") }

// Load makes the graph from the snapshot, or an empty one. A snapshot that cannot be read as one is set aside under
// another name: associations are advice, so a node must start without them.
func (s *Store) Load(config graph.Config, now time.Time) (*graph.Graph, error) {
	data, err := readBounded(s.path(), graph.ImageBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return graph.New(config, now)
	}
	if err == nil {
		var image graph.Image
		if image, err = graph.DecodeImage(data); err == nil {
			return graph.Restore(config, image)
		}
	}
	aside := fmt.Sprintf("%s.bad-%d", s.path(), now.UnixNano())
	s.log.Error("the snapshot cannot be used; it is set aside and the graph starts empty", "error", err, "aside", aside)
	if err := os.Rename(s.path(), aside); err != nil {
		return nil, err
	}
	return graph.New(config, now)
}

func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return data, err
}

// Save replaces the snapshot. After a crash the old one or the new one is there, whole.
func (s *Store) Save(image graph.Image) error {
	data, err := image.Encode()
	if err != nil {
		return err
	}
	temporary := s.path() + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(temporary, s.path())
	}
	if err != nil {
		return err
	}
	directory, err := os.Open(s.directory)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// strength is the product of strengths that a cost stands for; never 0, since a path that is there has one.
func strength(cost float64) float64 {
	return max(math.Exp(-cost), math.SmallestNonzeroFloat64)
}
