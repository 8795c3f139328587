package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// InitCommand, as the first argument, makes our binary the first process of the namespaces.
	InitCommand = "node-init"
	// addressVariable, in the environment, is the Node's address: who has it is inside.
	addressVariable = "LOCALCLUSTER_NODE_ADDRESS"
	// outsideVariable is the process id by which those outside know us.
	outsideVariable = "LOCALCLUSTER_OUTSIDE_PID"
)

// Inside returns the Node's address, and whether we are in its namespaces.
func Inside() (address string, inside bool) {
	address = os.Getenv(addressVariable)
	return address, address != ""
}

// OutsidePID is the process to signal, as those outside see it.
func OutsidePID() string { return os.Getenv(outsideVariable) }

// Enter runs our binary again with the same arguments, in namespaces of its own for processes, mounts, the network and the host's
// name, and returns when it has ended. The one way into its network is from this machine, to the Node's address. The error is an
// *Ended if it failed.
func Enter(ctx context.Context) error {
	if err := check(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	defer makeMissing(foldersOfItsOwn)()
	// The parent-death signal comes when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command := exec.Command(self, append([]string{InitCommand}, os.Args[1:]...)...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.ExtraFiles = []*os.File{reader}
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%d", outsideVariable, os.Getpid()))
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setpgid:    true, Pdeathsig: syscall.SIGKILL,
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	defer removeCgroups()
	address, err := connect(command.Process.Pid)
	if err != nil {
		err = errors.Join(fmt.Errorf("connect the Node's network: %w", err), writer.Close(), command.Process.Kill(), command.Wait())
		return err
	}
	if _, err := fmt.Fprintln(writer, address); err != nil {
		return err
	}
	_ = writer.Close()
	defer context.AfterFunc(ctx, func() { _ = command.Process.Signal(syscall.SIGTERM) })()
	err = command.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &Ended{Code: max(exit.ExitCode(), 1)}
	}
	return err
}

// Ended is a failure that the process inside has explained.
type Ended struct{ Code int }

// Error implements error.
func (e *Ended) Error() string { return fmt.Sprintf("ended with status %d", e.Code) }

// check says what is missing.
func check() error {
	if os.Geteuid() != 0 {
		return errors.New("a real Node needs root: run this as root, or without NODE=real")
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc", "ctr", "nft", "conntrack"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: a real Node needs containerd, runc, CNI plugins, nftables and conntrack; on Debian: apt-get install containerd runc containernetworking-plugins nftables conntrack", err)
		}
	}
	return checkCgroups()
}

// connect joins the network of the process with ours by a pair of interfaces, which go with it, and returns its address there.
func connect(pid int) (address string, err error) {
	host, err := freeNetwork()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("ew%d", pid)
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(link); err != nil {
		return "", err
	}
	ours, err := netlink.LinkByName(name)
	if err != nil {
		return "", err
	}
	if err := netlink.AddrAdd(ours, &netlink.Addr{IPNet: &net.IPNet{IP: host, Mask: net.CIDRMask(30, 32)}}); err != nil {
		return "", err
	}
	return beside(host).String(), netlink.LinkSetUp(ours)
}

// freeNetwork returns our address in a network of two that this machine does not use.
func freeNetwork() (net.IP, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for third := range 256 {
		host := net.IPv4(10, 203, byte(third), 1)
		used := false
		for _, address := range addresses {
			network, ok := address.(*net.IPNet)
			used = used || ok && (network.Contains(host) || (&net.IPNet{IP: host, Mask: net.CIDRMask(30, 32)}).Contains(network.IP))
		}
		if !used {
			return host, nil
		}
	}
	return nil, errors.New("every network 10.203.x.0/30 is in use")
}

// beside is the other address of a network of two.
func beside(ip net.IP) net.IP {
	other := append(net.IP(nil), ip.To4()...)
	other[3] ^= 3
	return other
}

// Init is the first process of the namespaces: it makes them a place to live in, runs our binary again, buries whatever is orphaned,
// and ends when that has. With it ends all that lives there.
func Init() {
	code, err := initialise()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		code = 1
	}
	os.Exit(code)
}

func initialise() (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	pipe := os.NewFile(3, "address")
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		return 0, err
	}
	_ = pipe.Close()
	address := strings.TrimSpace(line)
	if err := errors.Join(furnish(), setUpNetwork(address)); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec(self, append([]string{self}, os.Args[2:]...), &syscall.ProcAttr{
		Env: append(os.Environ(), addressVariable+"="+address), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(pid, s.(syscall.Signal))
		}
	}()
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case ended == pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case ended == pid:
			return status.ExitStatus(), nil
		}
	}
}

func setUpNetwork(address string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	ip := net.ParseIP(address)
	if err := errors.Join(
		netlink.LinkSetUp(lo),
		netlink.AddrAdd(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(30, 32)}}),
		netlink.LinkSetUp(eth0),
	); err != nil {
		return err
	}
	// Leads no further than to this machine, which forwards nothing. Without one, a cluster's virtual addresses are unreachable.
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: beside(ip)}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// EndContainers ends every process of the namespaces but the first, and us.
func EndContainers() error {
	// Of any other place it would be the end.
	first, err := os.ReadFile("/proc/1/cmdline")
	if err != nil {
		return err
	}
	if words := strings.Split(string(first), "\x00"); os.Getppid() != 1 || len(words) < 2 || words[1] != InitCommand {
		return errors.New("not in the namespaces of a Node")
	}
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end containers: %w", err)
	}
	return nil
}

// removeCgroups takes away what kubelet leaves behind; whatever was in them has ended.
func removeCgroups() {
	deadline := time.Now().Add(5 * time.Second)
	for _, dir := range cgroups() {
		for !remove(dir) && time.Now().Before(deadline) {
			time.Sleep(50 * time.Millisecond)
		}
	}
}
