// Package template refuses an ElasticWeb's template from a user who may not create Deployments.
package template
