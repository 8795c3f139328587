package fault

import (
	"net"
	"sync"
	"testing"
)

// proxy is a way on the network that can be cut. What is on its way then is not lost: it arrives when the cut is mended, as
// packets do that are sent again.
type proxy struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	// open is closed while bytes may pass.
	open chan struct{}
	// conns are what to close in the end.
	conns []net.Conn
}

// newProxy listens at the address, and leads to the target.
func newProxy(t testing.TB, address, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target, open: make(chan struct{})}
	close(p.open)
	go p.accept()
	t.Cleanup(func() {
		_ = listener.Close()
		p.mend()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, conn := range p.conns {
			_ = conn.Close()
		}
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// pass returns when bytes may pass.
func (p *proxy) pass() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			p.pass()
			far, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = near.Close()
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			go p.copy(far, near)
			p.copy(near, far)
		}()
	}
}

func (p *proxy) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.pass()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
