// Package access says who may: requests are authenticated by the host cluster's certificates and token reviews, and authorized
// by its access reviews.
package access
