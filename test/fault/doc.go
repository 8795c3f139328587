// Package fault tests what our server does to a cluster, and what it costs it: while it is killed, cut off and put to sleep, and
// while others meddle with the children. The cluster is a local one; the tests start the servers themselves.
package fault
