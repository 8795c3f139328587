// Package ociimage makes container images of static binaries, without a container engine. The same binaries give the same image,
// to the byte, wherever it is made.
package ociimage
