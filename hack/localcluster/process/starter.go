package process

import (
	"os/exec"
	"runtime"
	"sync"
)

// starter starts every program from one thread that lives as long as we do: the kernel sends the parent-death signal when
// the thread that started a program ends, and Go ends threads at will.
var starter = &threadedStarter{requests: make(chan startRequest)}

type threadedStarter struct {
	once     sync.Once
	requests chan startRequest
}

type startRequest struct {
	command *exec.Cmd
	result  chan error
}

func (s *threadedStarter) start(command *exec.Cmd) error {
	s.once.Do(func() {
		go func() {
			runtime.LockOSThread()
			for request := range s.requests {
				request.result <- request.command.Start()
			}
		}()
	})
	request := startRequest{command: command, result: make(chan error, 1)}
	s.requests <- request
	return <-request.result
}
