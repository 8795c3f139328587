// Package probe finds out, before the server starts, which of the host cluster's admission APIs it can follow.
package probe
