// Package elasticweb is what the API does with an ElasticWeb: its strategies, its storage and its columns.
package elasticweb
