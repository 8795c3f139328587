package capacity

import (
	"math"
	"math/big"
	"testing"

	"k8s.io/utils/ptr"
)

func TestDemand(t *testing.T) {
	tests := []struct {
		name                          string
		totalQPS, single, utilization int32
		want                          int32
	}{
		{name: "the sample", totalQPS: 2400, single: 800, utilization: 100, want: 3},
		{name: "one query more needs one Pod more", totalQPS: 2401, single: 800, utilization: 100, want: 4},
		{name: "one query less still needs all", totalQPS: 2399, single: 800, utilization: 100, want: 3},
		{name: "no demand, no Pods", totalQPS: 0, single: 800, utilization: 100, want: 0},
		{name: "less than one Pod's worth", totalQPS: 1, single: 800, utilization: 100, want: 1},
		{name: "a quarter in reserve", totalQPS: 2400, single: 800, utilization: 75, want: 4},
		{name: "a reserve that is no integer, at it", totalQPS: 3, single: 3, utilization: 50, want: 2},
		{name: "a reserve that is no integer, above it", totalQPS: 4, single: 3, utilization: 50, want: 3},
		{name: "the largest demand", totalQPS: math.MaxInt32, single: 1, utilization: 100, want: math.MaxInt32},
		{name: "the largest demand, by percent", totalQPS: math.MaxInt32, single: 100, utilization: 1, want: math.MaxInt32},
		{name: "both at the end of int32", totalQPS: math.MaxInt32, single: math.MaxInt32, utilization: 100, want: 1},
		{name: "the sum would pass the end of int32", totalQPS: math.MaxInt32, single: math.MaxInt32 - 1, utilization: 100, want: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (PerPod{tt.single, tt.utilization}).Demand(tt.totalQPS); got != tt.want {
				t.Errorf("Demand of %d at %d × %d%% = %d, want %d", tt.totalQPS, tt.single, tt.utilization, got, tt.want)
			}
		})
	}
}

func TestValid(t *testing.T) {
	tests := []struct {
		perPod PerPod
		want   bool
	}{
		{PerPod{1, 100}, true},
		{PerPod{1, 99}, false},
		{PerPod{100, 1}, true},
		{PerPod{99, 1}, false},
		{PerPod{800, 101}, false},
		{PerPod{800, 0}, false},
		{PerPod{0, 100}, false},
		{PerPod{-100, -100}, false},
		{PerPod{math.MaxInt32, 100}, true},
	}
	for _, tt := range tests {
		if got := tt.perPod.Valid(); got != tt.want {
			t.Errorf("%+v.Valid() = %t, want %t", tt.perPod, got, tt.want)
		}
	}
}

// grid is where arithmetic breaks: the ends, and what does not divide.
var grid = func() (perPods []PerPod) {
	for _, single := range []int32{1, 2, 3, 7, 10, 99, 100, 101, 799, 800, 801, 65535, 1 << 20, 2147483, math.MaxInt32 - 1, math.MaxInt32} {
		for _, utilization := range []int32{1, 2, 3, 33, 50, 66, 75, 80, 99, 100} {
			if p := (PerPod{single, utilization}); p.Valid() {
				perPods = append(perPods, p)
			}
		}
	}
	return perPods
}()

// The demand is the least number of replicas that carries the load, whatever the numbers.
func TestDemandIsTheLeastThatCarries(t *testing.T) {
	carries := func(p PerPod, replicas int32, total int32) bool {
		planned := new(big.Int).Mul(big.NewInt(int64(replicas)), big.NewInt(p.hundredfold()))
		return planned.Cmp(big.NewInt(int64(total)*100)) >= 0
	}
	for _, p := range grid {
		for _, total := range []int32{0, 1, 2, 3, 799, 800, 801, 1600, 1601, 999983, math.MaxInt32 - 1, math.MaxInt32} {
			n := p.Demand(total)
			if n < 0 || !carries(p, n, total) {
				t.Errorf("%+v: %d replicas do not carry %d", p, n, total)
			}
			if n > 0 && carries(p, n-1, total) {
				t.Errorf("%+v: %d replicas for %d, but one less would do", p, n, total)
			}
		}
	}
}

// What is written through the scale subresource reads back: for every n, unless its load is no int32.
func TestScaleReadsBack(t *testing.T) {
	for _, p := range grid {
		for n := int32(0); n <= 1000; n++ {
			readsBack(t, p, n)
		}
	}
}

func TestMaxReplicas(t *testing.T) {
	for _, p := range grid {
		most := p.MaxReplicas()
		if _, ok := p.TotalQPS(most); !ok {
			t.Errorf("%+v: MaxReplicas %d has no TotalQPS", p, most)
		}
		if most < math.MaxInt32 {
			if _, ok := p.TotalQPS(most + 1); ok {
				t.Errorf("%+v: one more than MaxReplicas %d has a TotalQPS", p, most)
			}
		}
	}
}

func TestLeastUtilization(t *testing.T) {
	for _, single := range []int32{1, 2, 3, 7, 99, 100, 101, math.MaxInt32} {
		least := LeastUtilization(single)
		if !(PerPod{single, least}).Valid() || (PerPod{single, least - 1}).Valid() {
			t.Errorf("LeastUtilization(%d) = %d", single, least)
		}
	}
}

func FuzzScaleReadsBack(f *testing.F) {
	f.Add(int32(800), int32(75), int32(4))
	f.Add(int32(2), int32(100), int32(math.MaxInt32))
	f.Add(int32(math.MaxInt32), int32(100), int32(math.MaxInt32))
	// The product is 2^64 and a little: 64 bits would keep the little.
	f.Add(int32(math.MaxInt32), int32(100), int32(85899346))
	f.Fuzz(func(t *testing.T, single, utilization, n int32) {
		if p := (PerPod{single, utilization}); p.Valid() && n >= 0 {
			readsBack(t, p, n)
		}
	})
}

func readsBack(t *testing.T, p PerPod, n int32) {
	t.Helper()
	exact := new(big.Int).Mul(big.NewInt(int64(n)), big.NewInt(p.hundredfold()))
	exact.Div(exact, big.NewInt(100))
	total, ok := p.TotalQPS(n)
	if fits := exact.Cmp(big.NewInt(math.MaxInt32)) <= 0; ok != fits {
		t.Fatalf("%+v.TotalQPS(%d): ok = %t, but it is %v", p, n, ok, exact)
	}
	if !ok {
		return
	}
	if int64(total) != exact.Int64() {
		t.Fatalf("%+v.TotalQPS(%d) = %d, want %v", p, n, total, exact)
	}
	if got := p.Demand(total); got != n {
		t.Fatalf("%+v: %d replicas are written as totalQPS %d, which reads back as %d", p, n, total, got)
	}
}

func TestReplicas(t *testing.T) {
	tests := []struct {
		name        string
		demand      int32
		limits      Limits
		want        int32
		wantLimited Limited
	}{
		{name: "below the cap", demand: 3, limits: Limits{Cap: 1000}, want: 3, wantLimited: NotLimited},
		{name: "at the cap", demand: 1000, limits: Limits{Cap: 1000}, want: 1000, wantLimited: NotLimited},
		{name: "above the cap", demand: 1001, limits: Limits{Cap: 1000}, want: 1000, wantLimited: TooManyReplicas},
		{name: "zero", demand: 0, limits: Limits{Cap: 1}, want: 0, wantLimited: NotLimited},
		{name: "below the minimum", demand: 0, limits: Limits{Min: 2, Cap: 1000}, want: 2, wantLimited: TooFewReplicas},
		{name: "at the minimum", demand: 2, limits: Limits{Min: 2, Cap: 1000}, want: 2, wantLimited: NotLimited},
		{name: "at the maximum", demand: 5, limits: Limits{Max: ptr.To[int32](5), Cap: 1000}, want: 5, wantLimited: NotLimited},
		{name: "above the maximum", demand: 6, limits: Limits{Max: ptr.To[int32](5), Cap: 1000}, want: 5, wantLimited: TooManyReplicas},
		{name: "the cap is below the maximum", demand: 6, limits: Limits{Max: ptr.To[int32](5), Cap: 4}, want: 4, wantLimited: TooManyReplicas},
		{name: "the cap is below the minimum", demand: 3, limits: Limits{Min: 9, Cap: 4}, want: 4, wantLimited: TooFewReplicas},
		{name: "the cap is below both", demand: 6, limits: Limits{Min: 9, Cap: 4}, want: 4, wantLimited: TooManyReplicas},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, limited := tt.limits.Replicas(tt.demand)
			if got != tt.want || limited != tt.wantLimited {
				t.Errorf("%+v.Replicas(%d) = %d, %v, want %d, %v", tt.limits, tt.demand, got, limited, tt.want, tt.wantLimited)
			}
		})
	}
}

func TestQPS(t *testing.T) {
	if got, want := QPS(math.MaxInt32, math.MaxInt32), int64(4611686014132420609); got != want {
		t.Errorf("QPS at the end of int32 = %d, want %d: the product wrapped", got, want)
	}
}
