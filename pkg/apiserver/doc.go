// Package apiserver assembles the server: the scheme, the configuration (Config, Complete, New), and what starts and stops with
// it.
package apiserver
