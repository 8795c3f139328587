// Package servingcert keeps the certificate that the server shows to the aggregation layer, in a Secret that all replicas share,
// and the certificate authority behind it in the APIService, so that the connection is verified from the first request on.
package servingcert
