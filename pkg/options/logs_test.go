package options

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	logsapi "k8s.io/component-base/logs/api/v1"
)

func TestLogs(t *testing.T) {
	for format, encoder := range map[string]zapcore.Encoder{"text": zapcore.NewConsoleEncoder(logFormat()), "json": zapcore.NewJSONEncoder(logFormat())} {
		t.Run(format, func(t *testing.T) {
			var log bytes.Buffer
			logger, control := newLogger(encoder, logsapi.VerbosityLevel(8), zapcore.AddSync(&log), nil)
			begin := time.Now().Truncate(time.Millisecond)
			logger.WithName("x").WithValues("key", 1).V(8).Info("Request Body", "body", "secret")
			logger.Error(errors.New("cause"), "failed")
			logger.V(9).Info("too verbose")
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if len(lines) != 2 || strings.Contains(log.String(), "secret") || !strings.Contains(lines[1], "cause") || !strings.Contains(lines[1], "ERROR") {
				t.Fatalf("logged:\n%s", log.String())
			}
			at, _, _ := strings.Cut(lines[0], " ")
			if format == "json" {
				var entry struct{ TS string }
				if err := json.Unmarshal([]byte(lines[0]), &entry); err != nil {
					t.Fatal(err)
				}
				at = entry.TS
			}
			logged, err := time.Parse(time.RFC3339Nano, at)
			if err != nil || logged.Before(begin) || time.Since(logged) > time.Minute {
				t.Errorf("time %q: %v", at, err)
			}
			if err := control.SetVerbosityLevel(9); err != nil {
				t.Fatal(err)
			}
			logger.V(9).Info("verbose")
			if !strings.Contains(log.String(), `verbose`) {
				t.Error("the verbosity cannot be raised")
			}
		})
	}
}

func TestErrorsHaveAStreamOfTheirOwn(t *testing.T) {
	var info, failures bytes.Buffer
	logger, _ := newLogger(zapcore.NewJSONEncoder(logFormat()), 0, zapcore.AddSync(&info), zapcore.AddSync(&failures))
	logger.Info("information")
	logger.Error(nil, "failure", "body", "secret")
	if !strings.Contains(info.String(), "information") || strings.Contains(info.String(), "failure") ||
		!strings.Contains(failures.String(), "failure") || strings.Contains(failures.String(), "information") || strings.Contains(failures.String(), "secret") {
		t.Errorf("information:\n%s\nfailures:\n%s", info.String(), failures.String())
	}
}
