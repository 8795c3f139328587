package capacity

import (
	"math"
	"math/bits"
)

// PerPod is what one Pod is planned to carry: SingleQPS × UtilizationPercentage / 100 queries per second. It must be Valid for
// the functions below.
type PerPod struct {
	// SingleQPS is the load that one Pod can take, in queries per second, 1 or more.
	SingleQPS int32
	// UtilizationPercentage is the part of it that is planned with, 1 to 100.
	UtilizationPercentage int32
}

// Valid says whether one Pod is planned to carry at least one query per second. Below that, a number of Pods could not be
// told by the queries per second that it carries.
func (p PerPod) Valid() bool {
	return p.SingleQPS >= 1 && p.UtilizationPercentage >= 1 && p.UtilizationPercentage <= 100 && p.hundredfold() >= 100
}

// LeastUtilization is the least utilization, in percent, with which a Pod that takes singleQPS (1 or more) is Valid.
func LeastUtilization(singleQPS int32) int32 {
	return int32((100 + int64(singleQPS) - 1) / int64(singleQPS))
}

// hundredfold is what one Pod is planned to carry, in hundredths of a query per second: an integer.
func (p PerPod) hundredfold() int64 { return int64(p.SingleQPS) * int64(p.UtilizationPercentage) }

// Demand is the number of replicas (0 and more) that totalQPS queries per second (0 and more) need: ceil(totalQPS / p), exactly.
func (p PerPod) Demand(totalQPS int32) int32 {
	// In 64 bits: at most 2^31 × 100 + 2^31 × 100.
	total, perPod := int64(totalQPS)*100, p.hundredfold()
	return int32((total + perPod - 1) / perPod)
}

// TotalQPS is the largest load, in queries per second, that needs just so many replicas (0 and more): floor(replicas × p). Its
// Demand is replicas again, since p is at least 1. It is not ok beyond the range of an int32.
func (p PerPod) TotalQPS(replicas int32) (totalQPS int32, ok bool) {
	// The product of all three may pass the end of 64 bits.
	high, low := bits.Mul64(uint64(replicas), uint64(p.hundredfold()))
	if high >= 100 {
		return 0, false
	}
	total, _ := bits.Div64(high, low, 100)
	if total > math.MaxInt32 {
		return 0, false
	}
	return int32(total), true
}

// MaxReplicas is the largest number of replicas that has a TotalQPS.
func (p PerPod) MaxReplicas() int32 {
	// floor(n × p) ≤ MaxInt32, in hundredths: n × hundredfold < (MaxInt32 + 1) × 100.
	return int32(min(math.MaxInt32, ((math.MaxInt32+1)*100-1)/p.hundredfold()))
}

// Limits bound the number of replicas.
type Limits struct {
	// Min is the user's lower limit, 0 and more.
	Min int32
	// Max is the user's upper limit, at least 1 and at least Min; nil is none.
	Max *int32
	// Cap is the server's upper limit, 1 and more. It holds against Min, too.
	Cap int32
}

// Limited says whether a limit changed the number of replicas that the demand alone would give.
type Limited int

// The values of Limited.
const (
	NotLimited Limited = iota
	// TooFewReplicas: the demand needs fewer replicas than the limits allow.
	TooFewReplicas
	// TooManyReplicas: the demand needs more replicas than the limits allow.
	TooManyReplicas
)

// Replicas applies the limits to a demand in replicas.
func (l Limits) Replicas(demand int32) (int32, Limited) {
	replicas := max(demand, l.Min)
	if l.Max != nil {
		replicas = min(replicas, *l.Max)
	}
	replicas = min(replicas, l.Cap)
	switch {
	case replicas > demand:
		return replicas, TooFewReplicas
	case replicas < demand:
		return replicas, TooManyReplicas
	default:
		return replicas, NotLimited
	}
}

// QPS is the capacity, in queries per second, of so many replicas that take singlePodsQPS each.
func QPS(singlePodsQPS, replicas int32) int64 {
	return int64(singlePodsQPS) * int64(replicas)
}
