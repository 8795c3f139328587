// Package openapi holds the generated OpenAPI definitions of every type that the API serves.
package openapi
