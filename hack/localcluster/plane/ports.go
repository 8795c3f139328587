package plane

import (
	"errors"
	"fmt"
	"net"
)

// Ports are taken from below the range that Linux gives to outgoing connections (from 32768), and outside that of node ports
// (from 30000): nothing else on the machine is likely to come by one between our choice and its use.
const (
	firstPort = 20000
	lastPort  = 29999
)

// guardAddress is a loopback address on which nothing is ever served. Holding a port there marks it as taken: for other
// local clusters to see, and given back by the kernel whenever and however we end.
const guardAddress = "127.10.20.30"

// ports hands out free ports on 127.0.0.1.
type ports struct {
	guards []net.Listener
}

func (p *ports) next() (int, error) {
	for port := firstPort; port <= lastPort; port++ {
		guard, err := listen(guardAddress, port)
		if err != nil {
			continue
		}
		probe, err := listen("127.0.0.1", port)
		if err != nil {
			_ = guard.Close()
			continue
		}
		_ = probe.Close()
		p.guards = append(p.guards, guard)
		return port, nil
	}
	return 0, errors.New("no free port between 20000 and 29999 on 127.0.0.1")
}

func (p *ports) release() {
	for _, guard := range p.guards {
		_ = guard.Close()
	}
}

func listen(address string, port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort(address, fmt.Sprint(port)))
}
