package script

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
)

// slate is eight octets of a file that node and worker both have open. The worker
// writes the number of the call it is working for, so that the node knows of which
// call it died even if it could not say so any more.
type slate struct {
	mu   sync.Mutex
	file *os.File
}

func newSlate() (*slate, error) {
	f, err := os.CreateTemp("", "tarishi-script-*")
	if err != nil {
		return nil, fmt.Errorf("make a file that a worker shares: %w", err)
	}
	// It has no name any more, and is gone with the last who has it open.
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(8)); err != nil {
		f.Close()
		return nil, err
	}
	return &slate{file: f}, nil
}

func (s *slate) read() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b [8]byte
	if s.file == nil {
		return 0
	}
	if _, err := s.file.ReadAt(b[:], 0); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (s *slate) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}
