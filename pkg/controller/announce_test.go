package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/capacity"
)

func TestAnnounce(t *testing.T) {
	before := func(replicas int32, image string) func(*observation) {
		return func(o *observation) {
			o.deployment.Spec.Replicas = ptr.To(replicas)
			o.deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "sidecar", Image: "x"}, {Name: v1.ContainerName, Image: image}}
		}
	}
	tests := []struct {
		name   string
		how    string
		want   string
		change func(*observation)
	}{
		{name: "new", how: created, change: func(o *observation) { o.deployment = nil }, want: "Created the Deployment with 3 replicas: ceil(2400/800) = 3"},
		{name: "an orphan", how: adopted, change: func(o *observation) { o.deployment = nil }, want: "Adopted the Deployment with 3 replicas: ceil(2400/800) = 3"},
		{name: "another count", how: updated, change: before(2, "nginx"), want: "Scaled 2→3: ceil(2400/800) = 3"},
		{name: "another image", how: updated, change: before(3, "nginx:1"), want: "Rolls out image nginx, before nginx:1"},
		{name: "something else", how: updated, change: before(3, "nginx"), want: "Updated the Deployment"},
		{name: "the upper limit", how: updated, want: "Scaled 2→3: ceil(2400/800) = 3, maxReplicas allows 3", change: func(o *observation) {
			before(2, "nginx")(o)
			o.limited, o.limits = capacity.TooManyReplicas, capacity.Limits{Max: ptr.To[int32](3), Cap: 1000}
		}},
		{name: "the server's limit", how: updated, want: "Scaled 2→3: ceil(2400/800) = 3, the server (--max-replicas-per-elasticweb) allows 3", change: func(o *observation) {
			before(2, "nginx")(o)
			o.limited, o.limits = capacity.TooManyReplicas, capacity.Limits{Cap: 3}
		}},
		{name: "the lower limit", how: updated, want: "Scaled 2→3: ceil(2400/800) = 3, minReplicas asks for 3", change: func(o *observation) {
			before(2, "nginx")(o)
			o.limited, o.limits = capacity.TooFewReplicas, capacity.Limits{Min: 3, Cap: 1000}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := record.NewFakeRecorder(10)
			c := &Controller{events: events}
			o := with(seen(3, 3, 3), tt.change)
			c.announce(t.Context(), o, &written{tt.how}, nil)
			if got, want := <-events.Events, "Normal "+tt.how+" "+tt.want; got != want || len(events.Events) > 0 {
				t.Errorf("got %q and %d more, want %q", got, len(events.Events), want)
			}
			c.announce(t.Context(), o, errNotYetSeen, errChanged)
			if len(events.Events) > 0 {
				t.Errorf("nothing was written, and yet: %s", <-events.Events)
			}
		})
	}
}

// A stall is told when it begins and when its reason changes, not at every write of the status.
func TestWarn(t *testing.T) {
	stalledFor := func(reason string) *v1.ElasticWebStatus {
		return with(seen(3, 3, 3), func(o *observation) {
			if reason != "" {
				o.obstacles = []*obstacle{{reason: reason, message: "why"}}
			}
		}).status()
	}
	for _, tt := range []struct {
		name, before, after string
		want                string
	}{
		{name: "it begins", after: "NotOwned", want: "Warning NotOwned why"},
		{name: "it goes on", before: "NotOwned", after: "NotOwned"},
		{name: "another reason", before: "NotOwned", after: "QuotaExceeded", want: "Warning QuotaExceeded why"},
		{name: "it ends", before: "NotOwned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := record.NewFakeRecorder(10)
			web := sample()
			web.Status = *stalledFor(tt.before)
			(&Controller{events: events}).warn(t.Context(), web, stalledFor(tt.after))
			got := ""
			if len(events.Events) > 0 {
				got = <-events.Events
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
