// Command web is a web server for tests on a real Node: it says which Pod it is, and which version.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	address := os.Getenv("ADDRESS")
	if address == "" {
		address = ":80"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s\n", name, os.Getenv("VERSION"))
	})
	http.HandleFunc("/from-here", fetch)
	server := &http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second}
	// SIGTERM comes when the endpoints are about to forget us: who has not heard of that yet is still answered.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go func() {
		<-ctx.Done()
		time.Sleep(2 * time.Second)
		drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(drain)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// fetch answers what the Pod is answered at the url.
func fetch(w http.ResponseWriter, r *http.Request) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(r.FormValue("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(w, response.Body)
}
