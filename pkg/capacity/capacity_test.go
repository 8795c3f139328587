package capacity

import (
	"math"
	"testing"
)

func TestDemand(t *testing.T) {
	tests := []struct {
		name                    string
		totalQPS, singlePodsQPS int32
		want                    int32
	}{
		{name: "the sample", totalQPS: 2400, singlePodsQPS: 800, want: 3},
		{name: "one query more needs one Pod more", totalQPS: 2401, singlePodsQPS: 800, want: 4},
		{name: "one query less still needs all", totalQPS: 2399, singlePodsQPS: 800, want: 3},
		{name: "no demand, no Pods", totalQPS: 0, singlePodsQPS: 800, want: 0},
		{name: "less than one Pod's worth", totalQPS: 1, singlePodsQPS: 800, want: 1},
		{name: "the largest demand", totalQPS: math.MaxInt32, singlePodsQPS: 1, want: math.MaxInt32},
		{name: "both at the end of int32", totalQPS: math.MaxInt32, singlePodsQPS: math.MaxInt32, want: 1},
		{name: "the sum would pass the end of int32", totalQPS: math.MaxInt32, singlePodsQPS: math.MaxInt32 - 1, want: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Demand(tt.totalQPS, tt.singlePodsQPS); got != tt.want {
				t.Errorf("Demand(%d, %d) = %d, want %d", tt.totalQPS, tt.singlePodsQPS, got, tt.want)
			}
		})
	}
}

// The demand is the least number of replicas that carries the load, whatever the numbers.
func TestDemandIsTheLeastThatCarries(t *testing.T) {
	for _, single := range []int32{1, 2, 3, 7, 799, 800, 801, 65535, math.MaxInt32 - 1, math.MaxInt32} {
		for _, total := range []int32{0, 1, 2, 3, 799, 800, 801, 1600, 1601, 999983, math.MaxInt32 - 1, math.MaxInt32} {
			n := Demand(total, single)
			if QPS(single, n) < int64(total) {
				t.Errorf("Demand(%d, %d) = %d replicas carry only %d", total, single, n, QPS(single, n))
			}
			if n > 0 && QPS(single, n-1) >= int64(total) {
				t.Errorf("Demand(%d, %d) = %d, but %d replicas would do", total, single, n, n-1)
			}
		}
	}
}

func TestReplicas(t *testing.T) {
	tests := []struct {
		name        string
		demand, max int32
		want        int32
		wantLimited Limited
	}{
		{name: "below the limit", demand: 3, max: 1000, want: 3, wantLimited: NotLimited},
		{name: "at the limit", demand: 1000, max: 1000, want: 1000, wantLimited: NotLimited},
		{name: "above the limit", demand: 1001, max: 1000, want: 1000, wantLimited: TooManyReplicas},
		{name: "zero", demand: 0, max: 1, want: 0, wantLimited: NotLimited},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, limited := Replicas(tt.demand, tt.max)
			if got != tt.want || limited != tt.wantLimited {
				t.Errorf("Replicas(%d, %d) = %d, %v, want %d, %v", tt.demand, tt.max, got, limited, tt.want, tt.wantLimited)
			}
		})
	}
}

func TestQPS(t *testing.T) {
	if got, want := QPS(math.MaxInt32, math.MaxInt32), int64(4611686014132420609); got != want {
		t.Errorf("QPS at the end of int32 = %d, want %d: the product wrapped", got, want)
	}
}
