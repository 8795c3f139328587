// Package capacity is the arithmetic between queries per second and replicas: pure functions over integers.
package capacity
