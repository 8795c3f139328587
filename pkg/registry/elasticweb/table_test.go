package elasticweb

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

func TestSummary(t *testing.T) {
	// status has three Pods desired, and so many that exist, are of the newest template and are ready.
	status := func(replicas, updated, ready int32, conditions ...metav1.Condition) elasticweb.ElasticWebStatus {
		return elasticweb.ElasticWebStatus{
			DesiredReplicas: 3, Replicas: replicas, UpdatedReplicas: updated, ReadyReplicas: ready,
			RealQPS: ptr.To(int64(ready) * 800), Conditions: conditions,
		}
	}
	condition := func(kind string, value metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: value, Reason: reason}
	}
	ready := condition(v1.ConditionReady, metav1.ConditionTrue, "AllReplicasReady")
	notReady := condition(v1.ConditionReady, metav1.ConditionFalse, "RollingOut")
	stalled := condition(v1.ConditionStalled, metav1.ConditionTrue, "NotOwned")

	tests := []struct {
		name                 string
		status               elasticweb.ElasticWebStatus
		deleted, paused      bool
		wantWord, wantReason string
	}{
		{name: "nothing is known", wantWord: "Unknown"},
		{name: "never observed", status: elasticweb.ElasticWebStatus{Conditions: []metav1.Condition{notReady}}, wantWord: "Unknown", wantReason: "RollingOut"},
		{name: "all ready", status: status(3, 3, 3, ready), wantWord: "Ready", wantReason: "AllReplicasReady"},
		{name: "one is missing", status: status(3, 3, 2, notReady), wantWord: "Scaling", wantReason: "RollingOut"},
		{name: "one too many", status: status(4, 4, 4, notReady), wantWord: "Scaling", wantReason: "RollingOut"},
		{name: "a rollout has a Pod above the count", status: status(4, 1, 4, notReady), wantWord: "Updating", wantReason: "RollingOut"},
		{name: "a rollout that has not begun", status: status(3, 3, 3, notReady), wantWord: "Updating", wantReason: "RollingOut"},
		{name: "stalled outweighs the count", status: status(3, 3, 2, notReady, stalled), wantWord: "Stalled", wantReason: "NotOwned"},
		{name: "a pause outweighs that", status: status(3, 3, 2, notReady, stalled), paused: true, wantWord: "Paused", wantReason: "RollingOut"},
		{name: "deletion outweighs all", status: status(3, 3, 2, notReady, stalled), deleted: true, paused: true, wantWord: "Terminating", wantReason: "RollingOut"},
		{name: "conditions are missing", status: status(3, 3, 3), wantWord: "Unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := &elasticweb.ElasticWeb{Status: tt.status, Spec: elasticweb.ElasticWebSpec{Paused: tt.paused}}
			if tt.deleted {
				web.DeletionTimestamp = ptr.To(metav1.Now())
			}
			if word, reason := summary(web); word != tt.wantWord || reason != tt.wantReason {
				t.Errorf("STATUS %s, REASON %s, want %s, %s", word, reason, tt.wantWord, tt.wantReason)
			}
		})
	}
}

// A row is printed of whatever is stored: nothing in it may be missed.
func TestCellsOfAnEmptyObject(t *testing.T) {
	if got := len(cells(&elasticweb.ElasticWeb{})); got != len(columns) {
		t.Errorf("%d cells, want one for each of %d columns", got, len(columns))
	}
}
