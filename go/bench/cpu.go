package main

import (
	"runtime"
	"syscall"
	"time"
)

// threadCPU is the processor time that this thread has used. Unlike the clock it does not count the time in which others had
// the processor. The caller is locked to its thread meanwhile.
func threadCPU() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var usage syscall.Rusage
	if err := syscall.Getrusage(thread, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// onCPU runs work and says what processor time it took.
func onCPU(work func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadCPU()
	err := work()
	return threadCPU() - before, err
}
