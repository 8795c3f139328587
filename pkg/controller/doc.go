// Package controller turns ElasticWebs into Deployments and Services and reports what is there. One pass, for one object,
// works from caches only: what is desired, what was applied, what is observed.
package controller
