package options

import (
	"os"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	logsjson "k8s.io/component-base/logs/json"
	"k8s.io/klog/v2"
)

func init() {
	// --feature-gates covers the gates of logging, too.
	utilruntime.Must(logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate))
	utilruntime.Must(logsapi.RegisterLogFormat(logsapi.JSONLogFormat, jsonLogs{}, logsapi.LoggingBetaOptions))
}

// applyLogs sets the log up. Its times can be read, in both formats: the library's JSON counts milliseconds since 1970, and its
// text leaves out the year. And neither has a secret in it, as the library's has from verbosity 8 on.
func (o *Options) applyLogs() error {
	if err := logsapi.ValidateAndApply(o.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	if o.Logs.Format == logsapi.DefaultLogFormat {
		o.beginLogs()
	}
	return nil
}

// beginLogs sets up the text format, as what is logged before the flags are known to be valid has it, too.
func (o *Options) beginLogs() {
	logger, _ := newLogger(zapcore.NewConsoleEncoder(logFormat()), o.Logs.Verbosity, zapcore.Lock(logsjson.AddNopSync(os.Stderr)), nil)
	klog.SetLoggerWithOptions(logger, klog.ContextualLogger(true))
}

// jsonLogs makes the JSON format of --logging-format.
type jsonLogs struct{}

// Feature implements logsapi.LogFormatFactory.
func (jsonLogs) Feature() featuregate.Feature { return logsapi.LoggingBetaOptions }

// Create implements logsapi.LogFormatFactory.
func (jsonLogs) Create(c logsapi.LoggingConfiguration, o logsapi.LoggingOptions) (logr.Logger, logsapi.RuntimeControl) {
	errors := zapcore.Lock(logsjson.AddNopSync(o.ErrorStream))
	if c.Options.JSON.SplitStream {
		return newLogger(zapcore.NewJSONEncoder(logFormat()), c.Verbosity, zapcore.Lock(logsjson.AddNopSync(o.InfoStream)), errors)
	}
	return newLogger(zapcore.NewJSONEncoder(logFormat()), c.Verbosity, errors, nil)
}

// newLogger writes errors to a stream of their own if there is one.
func newLogger(encoder zapcore.Encoder, verbosity logsapi.VerbosityLevel, to, errors zapcore.WriteSyncer) (logr.Logger, logsapi.RuntimeControl) {
	// zap counts downwards: what is more verbose is lower.
	level := zap.NewAtomicLevelAt(zapcore.Level(-int(verbosity)))
	var core zapcore.Core = discreet{zapcore.NewCore(encoder, to, level)}
	if errors != nil {
		isError := zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= zapcore.ErrorLevel })
		isNone := zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l < zapcore.ErrorLevel && level.Enabled(l) })
		core = zapcore.NewTee(discreet{zapcore.NewCore(encoder, errors, isError)}, discreet{zapcore.NewCore(encoder, to, isNone)})
	}
	logger := zap.New(core, zap.WithCaller(true))
	return zapr.NewLoggerWithOptions(logger, zapr.ErrorKey("err")), logsapi.RuntimeControl{
		SetVerbosityLevel: func(v uint32) error {
			level.SetLevel(zapcore.Level(-int(v)))
			return nil
		},
		Flush: func() { _ = logger.Sync() },
	}
}

// discreet leaves the bodies of requests out: those to the host cluster are Secrets and bearer tokens.
type discreet struct{ zapcore.Core }

// With implements zapcore.Core.
func (d discreet) With(fields []zapcore.Field) zapcore.Core { return discreet{d.Core.With(fields)} }

// Check implements zapcore.Core.
func (d discreet) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if d.Enabled(entry.Level) {
		return checked.AddCore(entry, d)
	}
	return checked
}

// Write implements zapcore.Core.
func (d discreet) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	for i := range fields {
		if fields[i].Key == "body" {
			fields[i] = zap.String("body", "[not logged]")
		}
	}
	return d.Core.Write(entry, fields)
}

func logFormat() zapcore.EncoderConfig {
	return zapcore.EncoderConfig{
		TimeKey:        "ts",
		LevelKey:       "level",
		CallerKey:      "caller",
		NameKey:        "logger",
		MessageKey:     "msg",
		EncodeTime:     zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00"),
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeCaller:   zapcore.ShortCallerEncoder,
		// logr has two: what is more verbose is information, too.
		EncodeLevel: func(level zapcore.Level, encoder zapcore.PrimitiveArrayEncoder) {
			encoder.AppendString(max(level, zapcore.InfoLevel).CapitalString())
		},
		ConsoleSeparator: " ",
	}
}
