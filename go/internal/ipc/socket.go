package ipc

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pathBytesMax is the longest path that fits a sockaddr_un with its closing zero.
const pathBytesMax = 107

// ErrInUse says that another process serves the socket.
var ErrInUse = errors.New("another process serves it; stop that one first")

// bound is a listening socket with its lock.
type bound struct {
	listener *net.UnixListener
	lock     *os.File
	path     string
}

// bind makes the directory, takes the lock, and replaces a stale socket.
func bind(path string) (*bound, error) {
	if len(path) > pathBytesMax {
		return nil, fmt.Errorf("%s is longer than the %d bytes that a socket's path may have", path, pathBytesMax)
	}
	if err := ensureDirectory(filepath.Dir(path)); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	b := &bound{lock: lock, path: path}
	if err := b.listen(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

func (b *bound) listen() error {
	if err := unix.Flock(int(b.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrInUse
		}
		return err
	}
	switch info, err := os.Lstat(b.path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("something that is no socket is there; move it away")
	default:
		// We hold the lock, so whoever bound it is gone.
		if err := os.Remove(b.path); err != nil {
			return err
		}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.path, Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(b.path, 0o600); err != nil {
		listener.Close()
		return err
	}
	b.listener = listener
	return nil
}

// close removes the socket; the lock goes last.
func (b *bound) close() {
	// The listener may be closed already; it removes its file.
	_ = b.listener.Close()
	_ = b.lock.Close()
}

// ensureDirectory makes the directory, or checks that the one there is ours and closes it to others. One that others
// share is refused.
func ensureDirectory(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case stat.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory; move it away", path)
	case int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, not to us", path, stat.Uid)
	case stat.Mode&unix.S_ISVTX != 0:
		return fmt.Errorf("%s is shared with others, whom closing it would lock out; give a directory of its own", path)
	case stat.Mode&0o077 != 0:
		return os.Chmod(path, 0o700)
	}
	return nil
}

// allowed says whether the caller runs as our user or as root.
func allowed(conn *net.UnixConn) (uid uint32, ok bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var credentials *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		credentials, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, false, err
	}
	return credentials.Uid, credentials.Uid == 0 || int(credentials.Uid) == os.Geteuid(), nil
}
