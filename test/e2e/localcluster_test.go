package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processes are the command lines of the running programs that work in the folder.
func processes(t *testing.T, folder string) (found []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no processes in /proc: %v", err)
	}
	for _, dir := range dirs {
		cwd, err := os.Readlink(filepath.Join(dir, "cwd"))
		if err != nil || cwd != folder {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(line) > 0 {
			found = append(found, strings.ReplaceAll(string(line[:min(len(line), 120)]), "\x00", " "))
		}
	}
	return found
}

// nothingLeft fails if a program of the cluster runs on, or a file of it is left but its logs.
func nothingLeft(t *testing.T, state string) {
	t.Helper()
	if left := processes(t, state); len(left) > 0 {
		t.Errorf("still running: %s", strings.Join(left, "\n"))
	}
	entries, err := os.ReadDir(state)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "logs" {
			t.Errorf("left behind: %s", entry.Name())
		}
	}
}

// stoppedInOrder fails if our server was cut short.
func stoppedInOrder(t *testing.T, state string) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(state, "logs", "elasticweb-apiserver.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), " Stopped\n") {
		t.Errorf("the server was cut short; its last line is %s", lastLine(log))
	}
}

// stateFolder is one without links in its path, as the kernel shows it.
func stateFolder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "state")
}

func localcluster(ctx context.Context, state string, args ...string) *exec.Cmd {
	args = append(args, "--state="+state,
		"--server="+filepath.Join(root, "bin", "elasticweb-apiserver"), "--artifacts="+filepath.Join(root, "artifacts"))
	return exec.CommandContext(ctx, filepath.Join(root, "bin", "localcluster"), args...)
}

// Beside the cluster of the other tests: both serve, and the one that ends takes nothing of the other with it.
func TestUpIsIdempotentAndDownLeavesOnlyLogs(t *testing.T) {
	state := stateFolder(t)
	t.Cleanup(func() { _ = localcluster(context.Background(), state, "down").Run() })
	say := func(command string) string {
		t.Helper()
		output, err := localcluster(t.Context(), state, command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
		return string(output)
	}
	say("up")
	before := processes(t, state)
	if len(before) != 6 {
		t.Errorf("%d programs run in the folder, want etcd, three of Kubernetes, kwok and our server:\n%s", len(before), strings.Join(before, "\n"))
	}
	if again := say("up"); !strings.HasPrefix(again, "Already up in "+state) || strings.Count(again, "\n") != 1 {
		t.Errorf("a second up says %q, want one line: Already up", again)
	}
	if after := processes(t, state); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("a second up changed what runs: %q, before %q", after, before)
	}
	if output, err := localcluster(t.Context(), state, "run", "--once").CombinedOutput(); err == nil || !strings.Contains(string(output), "already running in "+state) {
		t.Errorf("run beside a cluster that is up says %q (%v), want that one is already running", output, err)
	}
	kubectl(t, "--kubeconfig="+filepath.Join(state, "kubeconfig"), "get", "ew", "--all-namespaces")
	kubectl(t, "get", "ew", "--all-namespaces")
	say("down")
	nothingLeft(t, state)
	stoppedInOrder(t, state)
	kubectl(t, "get", "ew", "--all-namespaces")
	if again := say("down"); again != "Nothing was running.\n" {
		t.Errorf("a second down says %q", again)
	}
}

// However and whenever it ends, nothing runs on.
func TestNothingOutlivesTheLocalCluster(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signal os.Signal
		// after is the line of output after which the signal comes.
		after string
		// files: what is written is removed, too. Nobody can do that after a SIGKILL.
		files bool
	}{
		{name: "Ctrl-C while it starts", signal: os.Interrupt, after: "    etcd and kube-apiserver", files: true},
		{name: "Ctrl-C when it runs", signal: os.Interrupt, after: "Running.", files: true},
		{name: "terminal closed", signal: syscall.SIGHUP, after: "    etcd and kube-apiserver", files: true},
		{name: "killed", signal: syscall.SIGKILL, after: "Running."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state := stateFolder(t)
			command := localcluster(t.Context(), state, "run")
			var output bytes.Buffer
			reader, writer := io.Pipe()
			command.Stdout = io.MultiWriter(&output, writer)
			command.Stderr = command.Stdout
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			awaitLine(t, reader, tt.after)
			if err := command.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			_ = command.Wait()
			if strings.Contains(output.String(), "goroutine ") {
				t.Errorf("a stack trace:\n%s", output.String())
			}
			eventually(t, "its programs to end", func(context.Context) (bool, string) {
				left := processes(t, state)
				return len(left) == 0, strings.Join(left, "\n")
			})
			if tt.files {
				nothingLeft(t, state)
			}
		})
	}
}

// awaitLine reads until a line begins with prefix, and goes on reading in the background, so that nobody waits to be read.
func awaitLine(t *testing.T, reader io.Reader, prefix string) {
	t.Helper()
	found := make(chan struct{})
	go func() {
		seen := ""
		buffer := make([]byte, 4096)
		for {
			n, err := reader.Read(buffer)
			if seen += string(buffer[:n]); found != nil && strings.Contains("\n"+seen, "\n"+prefix) {
				close(found)
				found = nil
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case <-found:
	case <-time.After(limit):
		t.Fatalf("no line begins with %q", prefix)
	}
}

// The folder's contents get deleted: one that holds somebody's files is refused.
func TestAFolderWithOthersFilesIsRefused(t *testing.T) {
	state := t.TempDir()
	file := filepath.Join(state, "precious")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"run", "up", "down"} {
		output, err := localcluster(t.Context(), state, command).CombinedOutput()
		if err == nil || !strings.Contains(string(output), "which is not a local cluster's") {
			t.Errorf("%s says %q (%v), want that the folder is not its own", command, output, err)
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("the file is gone")
	}
}

// A program that cannot start takes the rest with it, and says why.
func TestAFailedStartLeavesNothing(t *testing.T) {
	state := stateFolder(t)
	command := localcluster(t.Context(), state, "run", "--once")
	command.Args = append(command.Args, "--server=/bin/false")
	output, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "error: elasticweb-apiserver stopped by itself") {
		t.Errorf("output %q (%v), want that the server stopped by itself", output, err)
	}
	nothingLeft(t, state)
}

// Nothing is put into somebody's cluster that could not be reached from there.
func TestACurrentClusterNeedsAnAddress(t *testing.T) {
	for address, want := range map[string]string{
		"": "CLUSTER=current needs ADVERTISE_ADDRESS=<IP address>", "127.0.0.1": "ADVERTISE_ADDRESS=127.0.0.1: it must be an IP address of this machine",
	} {
		output, err := localcluster(t.Context(), stateFolder(t), "run", "--cluster=current", "--advertise-address="+address).CombinedOutput()
		if err == nil || !strings.Contains(lastLine(output), "error: "+want) {
			t.Errorf("address %q: %v, %s", address, err, output)
		}
	}
}

// Mistakes of configuration are told in a line.
func TestTheServerRefusesWhatItCannotUse(t *testing.T) {
	port := strings.TrimPrefix(fields(t, shared.Output, "==> elasticweb-apiserver")[3], "https://127.0.0.1:")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a busy port", []string{"--secure-port=" + port, "--bind-address=127.0.0.1", "--data-dir=" + stateFolder(t)}, "127.0.0.1:" + port + " is in use"},
		{"a folder in use", []string{"--data-dir=" + filepath.Join(shared.State, "elasticweb-apiserver")}, "in use by another process"},
		{"a limit of 0", []string{"--max-replicas-per-elasticweb=0"}, "--max-replicas-per-elasticweb is 0: it must be 1 or more"},
		{"a typo", []string{"--max-replica=3"}, "unknown flag: --max-replica"},
		{"a flag that would do nothing", []string{"--vmodule=guard=4"}, "--vmodule is not known here"},
		{"an argument", []string{"start"}, `unknown command "start"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			args := append([]string{"--kubeconfig=" + shared.Kubeconfig}, tt.args...)
			output, err := exec.CommandContext(ctx, filepath.Join(root, "bin", "elasticweb-apiserver"), args...).CombinedOutput()
			if err == nil || ctx.Err() != nil {
				t.Fatalf("it did not refuse: %v", err)
			}
			last := lastLine(output)
			if !strings.HasPrefix(last, "error: ") || !strings.Contains(last, tt.want) {
				t.Errorf("the last line is %q, want an error with %q", last, tt.want)
			}
			if strings.Contains(string(output), "goroutine ") {
				t.Errorf("a stack trace:\n%s", output)
			}
		})
	}
}

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[len(lines)-1]
}
