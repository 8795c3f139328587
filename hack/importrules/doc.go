// Package importrules holds the test of who may import whom.
package importrules
