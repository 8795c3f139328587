package capacity

// Limited says whether a limit changed the number of replicas that the demand alone would give.
type Limited int

// The values of Limited.
const (
	NotLimited Limited = iota
	// TooManyReplicas: the demand needs more replicas than the limit allows.
	TooManyReplicas
)

// Demand is the number of replicas (0 and more) that totalQPS queries per second need when one Pod takes singlePodsQPS of
// them: ceil(totalQPS / singlePodsQPS), exactly. singlePodsQPS must be at least 1 and totalQPS at least 0, as validation
// ensures.
func Demand(totalQPS, singlePodsQPS int32) int32 {
	// In 64 bits: the sum below may pass the end of an int32.
	total, single := int64(totalQPS), int64(singlePodsQPS)
	return int32((total + single - 1) / single)
}

// Replicas applies the server's limit, maxReplicas (1 and more), to a demand in replicas.
func Replicas(demand, maxReplicas int32) (int32, Limited) {
	if demand > maxReplicas {
		return maxReplicas, TooManyReplicas
	}
	return demand, NotLimited
}

// QPS is the capacity, in queries per second, of so many replicas.
func QPS(singlePodsQPS, replicas int32) int64 {
	return int64(singlePodsQPS) * int64(replicas)
}
