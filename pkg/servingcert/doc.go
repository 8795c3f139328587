// Package servingcert makes the certificate that the server shows to the aggregation layer, and keeps the certificate authority
// behind it in the APIService, so that the connection is verified from the first request on.
package servingcert
