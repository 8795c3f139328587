// Package port refuses an ElasticWeb whose port another one holds.
package port
