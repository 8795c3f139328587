// Package workload builds the Deployment and the Service that an ElasticWeb asks for: pure functions, in which the same input
// gives the same bytes. (Another byte would roll the Deployment on every pass.)
package workload
