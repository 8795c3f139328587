package options

import (
	"io"
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
// text leaves out the year.
func (o *Options) applyLogs() error {
	if err := logsapi.ValidateAndApply(o.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	if o.Logs.Format == logsapi.DefaultLogFormat {
		logger := textLogger(os.Stderr, zapcore.Level(-int(o.Logs.Verbosity)))
		klog.SetLoggerWithOptions(logger, klog.ContextualLogger(true))
	}
	return nil
}

// jsonLogs makes the JSON format of --logging-format.
type jsonLogs struct{}

// Feature implements logsapi.LogFormatFactory.
func (jsonLogs) Feature() featuregate.Feature { return logsapi.LoggingBetaOptions }

// Create implements logsapi.LogFormatFactory.
func (jsonLogs) Create(c logsapi.LoggingConfiguration, o logsapi.LoggingOptions) (logr.Logger, logsapi.RuntimeControl) {
	format := logFormat()
	format.TimeKey, format.MessageKey = "ts", "msg"
	errors := zapcore.Lock(logsjson.AddNopSync(o.ErrorStream))
	if c.Options.JSON.SplitStream {
		return logsjson.NewJSONLogger(c.Verbosity, zapcore.Lock(logsjson.AddNopSync(o.InfoStream)), errors, &format)
	}
	return logsjson.NewJSONLogger(c.Verbosity, errors, nil, &format)
}

func textLogger(to io.Writer, level zapcore.Level) logr.Logger {
	format := logFormat()
	format.TimeKey, format.MessageKey, format.LevelKey = "ts", "msg", "level"
	format.EncodeLevel = func(level zapcore.Level, encoder zapcore.PrimitiveArrayEncoder) {
		// logr has two: what is more verbose is information, too.
		encoder.AppendString(max(level, zapcore.InfoLevel).CapitalString())
	}
	format.ConsoleSeparator = " "
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(format), zapcore.Lock(logsjson.AddNopSync(to)), level)
	return zapr.NewLoggerWithOptions(zap.New(core, zap.WithCaller(true)), zapr.ErrorKey("err"))
}

func logFormat() zapcore.EncoderConfig {
	return zapcore.EncoderConfig{
		CallerKey:      "caller",
		NameKey:        "logger",
		EncodeTime:     zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00"),
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeCaller:   zapcore.ShortCallerEncoder,
	}
}
