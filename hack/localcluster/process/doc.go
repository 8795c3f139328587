// Package process runs programs that never outlive the one that started them.
package process
