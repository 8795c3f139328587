package options

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
)

// sayAgain is how often the log says what the start waits for.
const sayAgain = time.Minute

// await returns when the attempt succeeds, or ctx ends. What the server cannot do without may come late: a process that
// ended would be started again and again, further and further apart.
func await(ctx context.Context, what string, attempt func(context.Context) error) error {
	logger := klog.FromContext(ctx)
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 1.5, Jitter: 0.1, Steps: 20, Cap: 3 * time.Second}
	begin, said := time.Now(), time.Time{}
	for {
		err := attempt(ctx)
		if err == nil {
			if !said.IsZero() {
				logger.Info("Has come", "what", what, "after", time.Since(begin).Round(time.Millisecond))
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// What comes within a second is not worth a line.
		if time.Since(begin) > time.Second && time.Since(said) >= sayAgain {
			logger.Info("Waiting; the port is closed until then", "for", what, "because", err.Error())
			said = time.Now()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(backoff.Step()):
		}
	}
}
