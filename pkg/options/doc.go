// Package options turns flags into a configured server; it is the only place that knows every part.
package options
