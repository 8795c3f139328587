package controller

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/capacity"
	"elasticweb.example.com/pkg/generated/clientset/versioned/fake"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// seen is an observation of the sample in the middle of its life: three Pods wanted, and a Deployment that says this.
func seen(replicas, updated, ready int32, conditions ...appsv1.DeploymentCondition) *observation {
	return &observation{
		web: sample(), now: metav1.NewTime(start), demand: 3, desired: 3, asWanted: true,
		deployment: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Generation: 2},
			Status: appsv1.DeploymentStatus{
				ObservedGeneration: 2, Replicas: replicas, UpdatedReplicas: updated, ReadyReplicas: ready, Conditions: conditions,
			},
		},
		// Others have put ports of theirs before and behind ours.
		service: &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
			{Name: "theirs", NodePort: 30098}, {Name: v1.PortName, NodePort: 30003}, {Name: "more", NodePort: 30099},
		}}},
	}
}

func with(o *observation, change func(*observation)) *observation {
	change(o)
	return o
}

func TestStatus(t *testing.T) {
	tests := []struct {
		name string
		seen *observation
		// wantReady is the reason of the condition Ready, after "+" if it is True and "-" if it is False.
		wantReady string
		// wantAbnormal is Reconciling or Stalled or neither.
		wantAbnormal string
		wantReal     *int64
		wantCapacity metav1.ConditionStatus
	}{
		{
			name: "nothing observed yet", seen: with(seen(0, 0, 0), func(o *observation) { o.deployment, o.service, o.asWanted = nil, nil, false }),
			wantReady: "-Applying", wantAbnormal: v1.ConditionReconciling, wantCapacity: metav1.ConditionUnknown,
		},
		{
			name: "the Deployment is new", seen: with(seen(0, 0, 0), func(o *observation) { o.deployment.Status.ObservedGeneration = 0 }),
			wantReady: "-Applying", wantAbnormal: v1.ConditionReconciling, wantCapacity: metav1.ConditionUnknown,
		},
		{
			name: "two of three are ready", seen: seen(3, 3, 2),
			wantReady: "-Scaling", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](1600), wantCapacity: metav1.ConditionFalse,
		},
		{
			name: "all are ready", seen: seen(3, 3, 3),
			wantReady: "+AllReplicasReady", wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "one too many", seen: seen(4, 4, 4),
			wantReady: "-Scaling", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](3200), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "a rollout, with a Pod above the count", seen: seen(4, 1, 4),
			wantReady: "-RollingOut", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](3200), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "a rollout that has not begun", seen: seen(3, 0, 3),
			wantReady: "-RollingOut", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "the Deployment speaks of an older generation", seen: with(seen(3, 3, 3), func(o *observation) { o.deployment.Generation = 3 }),
			wantReady: "-Applying", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "our last write is not seen yet", seen: with(seen(3, 3, 3), func(o *observation) { o.asWanted = false }),
			wantReady: "-Applying", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "a foreign Service stands in the way", seen: with(seen(3, 3, 3), func(o *observation) {
				o.asWanted, o.obstacles = false, []*obstacle{{reason: "NotOwned"}}
			}),
			wantReady: "-NotOwned", wantAbnormal: v1.ConditionStalled, wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "a namesake's children are going", seen: with(seen(0, 0, 0), func(o *observation) {
				o.deployment, o.asWanted, o.obstacles = nil, false, []*obstacle{{reason: "WaitingForGarbageCollection", message: "wait", passing: true}}
			}),
			wantReady: "-WaitingForGarbageCollection", wantAbnormal: v1.ConditionReconciling, wantCapacity: metav1.ConditionUnknown,
		},
		{
			name: "a lasting obstacle outweighs a passing one", seen: with(seen(0, 0, 0), func(o *observation) {
				o.asWanted, o.obstacles = false, []*obstacle{{reason: "WaitingForGarbageCollection", passing: true}, {reason: "NotOwned"}}
			}),
			wantReady: "-NotOwned", wantAbnormal: v1.ConditionStalled, wantReal: ptr.To[int64](0), wantCapacity: metav1.ConditionFalse,
		},
		{
			name: "Pods over quota", seen: seen(1, 1, 1, appsv1.DeploymentCondition{
				Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "pods is forbidden: exceeded quota: q",
			}),
			wantReady: "-QuotaExceeded", wantAbnormal: v1.ConditionStalled, wantReal: ptr.To[int64](800), wantCapacity: metav1.ConditionFalse,
		},
		{
			name: "a rollout that does not get on", seen: seen(4, 1, 3, appsv1.DeploymentCondition{
				Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "has timed out",
			}),
			wantReady: "-ProgressDeadlineExceeded", wantAbnormal: v1.ConditionStalled, wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "being deleted", seen: with(seen(3, 3, 3), func(o *observation) { o.leaving = true }),
			wantReady: "-Terminating", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "paused with a change pending", seen: with(seen(3, 3, 3), func(o *observation) { o.web.Spec.Paused, o.asWanted = true, false }),
			wantReady: "-Paused", wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "paused with nothing pending", seen: with(seen(3, 3, 3), func(o *observation) { o.web.Spec.Paused = true }),
			wantReady: "+AllReplicasReady", wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "paused before there was anything", seen: with(seen(0, 0, 0), func(o *observation) {
				o.web.Spec.Paused, o.asWanted, o.deployment, o.service = true, false, nil, nil
			}),
			wantReady: "-Paused", wantCapacity: metav1.ConditionUnknown,
		},
		{
			name: "paused and being deleted", seen: with(seen(3, 3, 3), func(o *observation) {
				o.web.Spec.Paused, o.asWanted, o.leaving = true, false, true
			}),
			wantReady: "-Terminating", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](2400), wantCapacity: metav1.ConditionTrue,
		},
		{
			name: "the Deployment was deleted after it had been observed", seen: with(seen(0, 0, 0), func(o *observation) {
				o.deployment, o.asWanted, o.web.Status.RealQPS = nil, false, ptr.To[int64](2400)
			}),
			wantReady: "-Applying", wantAbnormal: v1.ConditionReconciling, wantReal: ptr.To[int64](0), wantCapacity: metav1.ConditionFalse,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status := tt.seen.status()
			if status.ObservedGeneration != 1 || status.DesiredReplicas != 3 || status.DesiredQPS != 2400 {
				t.Errorf("observedGeneration, desiredReplicas, desiredQPS = %d, %d, %d, want 1, 3, 2400",
					status.ObservedGeneration, status.DesiredReplicas, status.DesiredQPS)
			}
			ready := apimeta.FindStatusCondition(status.Conditions, v1.ConditionReady)
			sign := map[metav1.ConditionStatus]string{metav1.ConditionTrue: "+", metav1.ConditionFalse: "-"}[ready.Status]
			if got := sign + ready.Reason; got != tt.wantReady {
				t.Errorf("Ready = %s, want %s", got, tt.wantReady)
			}
			for _, kind := range []string{v1.ConditionReconciling, v1.ConditionStalled} {
				if present := apimeta.FindStatusCondition(status.Conditions, kind) != nil; present != (kind == tt.wantAbnormal) {
					t.Errorf("%s is present: %v, want %v", kind, present, !present)
				}
			}
			if got := status.RealQPS; (got == nil) != (tt.wantReal == nil) || got != nil && *got != *tt.wantReal {
				t.Errorf("realQPS = %v, want %v", ptr.Deref(got, -1), ptr.Deref(tt.wantReal, -1))
			}
			if got := apimeta.FindStatusCondition(status.Conditions, v1.ConditionCapacitySatisfied).Status; got != tt.wantCapacity {
				t.Errorf("CapacitySatisfied = %s, want %s", got, tt.wantCapacity)
			}
			for _, condition := range status.Conditions {
				if condition.Reason == "" || condition.ObservedGeneration != 1 || condition.LastTransitionTime.IsZero() {
					t.Errorf("condition %+v lacks a reason, a generation or a time", condition)
				}
			}
		})
	}
}

func TestStatusSaysThatALimitActs(t *testing.T) {
	tests := []struct {
		name         string
		limits       capacity.Limits
		wantReason   string
		wantMessage  string
		wantCapacity bool
	}{
		{"none acts", capacity.Limits{Cap: 1000}, "WithinLimits", "needs 3 replicas", true},
		{"the user's upper one", capacity.Limits{Max: ptr.To[int32](2), Cap: 1000}, "TooManyReplicas", "maxReplicas allows 2", false},
		{"the server's", capacity.Limits{Max: ptr.To[int32](3), Cap: 2}, "TooManyReplicas", "--max-replicas-per-elasticweb) allows 2", false},
		{"the user's lower one", capacity.Limits{Min: 5, Cap: 1000}, "TooFewReplicas", "minReplicas asks for 5", true},
		{"the server's, below the user's lower one", capacity.Limits{Min: 9, Cap: 5}, "TooFewReplicas", "minReplicas asks for 9, the server (--max-replicas-per-elasticweb) allows 5", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desired, limited := tt.limits.Replicas(3)
			o := seen(desired, desired, desired)
			o.demand, o.desired, o.limits, o.limited = 3, desired, tt.limits, limited
			status := o.status()
			limiting := apimeta.FindStatusCondition(status.Conditions, v1.ConditionScalingLimited)
			if want := tt.wantReason != "WithinLimits"; (limiting.Status == metav1.ConditionTrue) != want || limiting.Reason != tt.wantReason || !strings.Contains(limiting.Message, tt.wantMessage) {
				t.Errorf("ScalingLimited = %+v, want %s and %q", limiting, tt.wantReason, tt.wantMessage)
			}
			if !apimeta.IsStatusConditionTrue(status.Conditions, v1.ConditionReady) {
				t.Errorf("Ready is not True: the limit is met, whether or not the demand is: %+v", status.Conditions)
			}
			if got := apimeta.IsStatusConditionTrue(status.Conditions, v1.ConditionCapacitySatisfied); got != tt.wantCapacity {
				t.Errorf("CapacitySatisfied = %t with %d Pods", got, desired)
			}
		})
	}
}

func TestStatusShowsTheArithmetic(t *testing.T) {
	o := seen(4, 4, 4)
	o.demand, o.desired, o.web.Spec.TargetUtilizationPercentage = 4, 4, ptr.To[int32](75)
	got := apimeta.FindStatusCondition(o.status().Conditions, v1.ConditionReady).Message
	if want := "4 of 4 Pods are ready: ceil(2400/(800 × 75%)) = 4"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
}

func TestStatusReportsTheNodePort(t *testing.T) {
	if got := seen(3, 3, 3).status().NodePort; got != 30003 {
		t.Errorf("nodePort = %d, want 30003", got)
	}
}

func TestStatusWrites(t *testing.T) {
	web := sample()
	web.Status = *seen(3, 3, 2).status()
	client := fake.NewClientset(web)
	store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	clock := testingclock.NewFakePassiveClock(start)
	writer := newStatusWriter(client, store, clock)
	write := func(status *v1.ElasticWebStatus) time.Duration {
		t.Helper()
		_, again, err := writer.write(t.Context(), web, status)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	writes := func() (n int) {
		for _, action := range client.Actions() {
			if action.Matches("update", "elasticwebs/status") {
				n++
			}
		}
		return n
	}

	if write(web.Status.DeepCopy()); writes() != 0 {
		t.Fatal("a status that says nothing new was written")
	}
	changed := web.Status.DeepCopy()
	changed.ReadyReplicas = 1
	if write(changed); writes() != 1 {
		t.Fatalf("%d writes, want 1", writes())
	}
	clock.SetTime(start.Add(300 * time.Millisecond))
	if again := write(changed); writes() != 1 || again != 700*time.Millisecond {
		t.Errorf("%d writes and again in %v, want none more for numbers alone, but in 700ms", writes(), again)
	}
	if write(seen(3, 3, 3).status()); writes() != 2 {
		t.Errorf("%d writes, want a second one at once: Ready has changed", writes())
	}
	clock.SetTime(start.Add(1300 * time.Millisecond))
	if write(changed); writes() != 3 {
		t.Errorf("%d writes, want a third one after a second", writes())
	}
	// What is compared with is what the cache has.
	inOtherWords := web.Status.DeepCopy()
	inOtherWords.Conditions[0].Message = "request 4711 was refused"
	clock.SetTime(start.Add(10 * time.Second))
	if again := write(inOtherWords); writes() != 3 || again != maxDelay-8700*time.Millisecond {
		t.Errorf("%d writes and again in %v, want none more for other words, but in 21.3s", writes(), again)
	}
	clock.SetTime(start.Add(40 * time.Second))
	if write(inOtherWords); writes() != 4 {
		t.Errorf("%d writes, want a fourth one after %v", writes(), maxDelay)
	}
}
