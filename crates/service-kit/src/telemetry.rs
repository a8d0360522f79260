//! Logs and traces.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::{propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use serde::Deserialize;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// Whether traces go anywhere; where they do not, following them costs nothing.
static TRACED: AtomicBool = AtomicBool::new(false);

/// `[telemetry]` of a configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What to log, as `tracing` filters: `info`, `info,scu=debug`.
    pub filter: String,
    /// How a log line looks.
    pub format: LogFormat,
    /// Where traces go: the base URL of an OTLP collector over HTTP, such as
    /// `http://127.0.0.1:4318`. Empty: nowhere.
    pub otlp_endpoint: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text, otlp_endpoint: String::new() }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("telemetry.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter cannot be made.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Somebody has set up logging before.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends out what is left when it is dropped.
#[derive(Debug)]
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            let _ = provider.shutdown();
        }
    }
}

/// Libraries that tell addresses of people at INFO; they speak when they are asked by name.
const QUIET: [&str; 4] = ["turn_client_proto", "turn_types", "stun_proto", "quinn_udp"];

/// Sets up logs on standard error and, when configured, traces. The environment variable
/// `SIGHTLINE_LOG` overrides the filter.
///
/// # Errors
/// [`TelemetryError`]: the configuration is wrong, or this was called before.
pub fn init(
    service: &'static str,
    config: &TelemetryConfig,
) -> Result<TelemetryGuard, TelemetryError> {
    let filter = std::env::var("SIGHTLINE_LOG").unwrap_or_else(|_| config.filter.clone());
    let mut levels = EnvFilter::try_new(&filter)?;
    for quiet in QUIET {
        if !filter.contains(quiet) {
            levels = levels.add_directive(format!("{quiet}=error").parse()?);
        }
    }
    let filter = levels;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let provider = tracer_provider(service, &config.otlp_endpoint)?;
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service)));
    tracing_subscriber::registry().with(filter).with(lines).with(traces).try_init()?;
    TRACED.store(provider.is_some(), Ordering::Relaxed);
    Ok(TelemetryGuard(provider))
}

fn tracer_provider(
    service: &'static str,
    endpoint: &str,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if endpoint.is_empty() {
        return Ok(None);
    }
    // The exporter's HTTP client needs it.
    crate::tls::install_provider();
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(Some(
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build(),
    ))
}

/// The W3C `traceparent` of the current span, to send along with a message.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    if !TRACED.load(Ordering::Relaxed) {
        return None;
    }
    let mut carrier = std::collections::HashMap::new();
    let context = tracing::Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove("traceparent")
}

/// Makes `span` part of the trace that a message came with.
pub fn continue_trace(span: &tracing::Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent.filter(|_| TRACED.load(Ordering::Relaxed)) else { return };
    let carrier =
        std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    // Without a subscriber that keeps traces there is nothing to continue.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}

/// A span for the work that a message causes, part of the trace that it came with. There is none
/// for a message that came without a trace, or where traces go nowhere.
#[must_use]
pub fn message_span(
    interface: &'static str,
    message: &str,
    traceparent: Option<&str>,
) -> tracing::Span {
    if traceparent.is_none() || !TRACED.load(Ordering::Relaxed) {
        return tracing::Span::none();
    }
    let name = format!("{interface} {message}");
    let span = tracing::info_span!("message", otel.name = name);
    continue_trace(&span, traceparent);
    span
}
