// Package validation holds the rules that an ElasticWeb must keep; every violation names the field and what is allowed.
package validation
