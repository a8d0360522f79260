//! One trace follows a viewer's request through CMU, SCU and PU and back (OpenTelemetry), and the
//! centre ends in time while people are looking.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use e2e::{Centre, Cu, browsed, browser, wait_for};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value,
};
use prost::Message;

/// Service and name of each span, by trace.
type Traces = Arc<Mutex<BTreeMap<Vec<u8>, BTreeSet<(String, String)>>>>;

/// An OTLP collector over HTTP; it lives as long as the test's process.
fn collector() -> (String, Traces) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let traces = Traces::default();
    let kept = Arc::clone(&traces);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || serve(stream, &kept));
        }
    });
    (url, traces)
}

fn serve(mut stream: TcpStream, traces: &Traces) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        keep(&ExportTraceServiceRequest::decode(&body[..]).expect("OTLP"), traces);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn keep(request: &ExportTraceServiceRequest, traces: &Traces) {
    for resource in &request.resource_spans {
        let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
        let name = attributes.filter(|a| a.key == "service.name").find_map(|a| {
            match a.value.as_ref()?.value.as_ref()? {
                Value::StringValue(name) => Some(name.clone()),
                _ => None,
            }
        });
        let service = name.unwrap_or_default();
        let mut traces = traces.lock().expect("not poisoned");
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let spans = traces.entry(span.trace_id.clone()).or_default();
            spans.insert((service.clone(), span.name.clone()));
        }
    }
}

fn watch(centre: &Centre, via: &str) -> Cu {
    let ca = centre.ca();
    let cu = Cu::login(&centre.portal, "+8613800138000", &centre.sms_log(), Some(&ca));
    cu.ok(&["bind", &centre.claim_code]);
    cu.wait_for_camera("Yard");
    cu.ok(&["play", "Yard", "--via", via, "--seconds", "2"]);
    cu
}

/// A centre that reports its spans; `None` when there is no NATS server.
fn traced() -> Option<(Centre, Traces)> {
    const KEY: &str = "SIGHTLINE_TELEMETRY__OTLP_ENDPOINT";
    let (url, traces) = collector();
    let to_collector = ["cmu", "scu", "pu-agent"].map(|unit| (unit, KEY, url.as_str()));
    Some((Centre::start_with(&to_collector)?, traces))
}

#[test]
fn one_trace_spans_cmu_scu_and_pu() {
    let Some((centre, traces)) = traced() else { return };
    watch(&centre, "webrtc");
    spans_all(&traces);
}

#[test]
fn a_click_in_the_portal_is_one_trace() {
    let Some((centre, traces)) = traced() else { return };
    let sms = centre.sms_log();
    let run = browser(&centre.portal, "+8613800138000", &centre.claim_code, &sms);
    let Some(mut run) = run else { return };
    run.args(["--seconds", "2", "--no-barcode", "--tone", "0", "--out"]).arg(centre.data.path());
    println!("{}", browsed(run));
    spans_all(&traces);
}

/// Waits for a trace with every step of a play request that WebRTC serves.
fn spans_all(traces: &Traces) {
    let wanted = [
        ("cmu", "POST /api/v1/cameras/"),
        ("scu", "Sm prepare_media"),
        ("pu-agent", "Ps prepare_media"),
        // A8.4 steps 4 to 9, from the CU's offer to the answer.
        ("scu", "Cs offer"),
        ("pu-agent", "Ps media_offer"),
        ("scu", "Ps token_check"),
        ("cmu", "Sc token_check"),
        ("pu-agent", "Ps token_result"),
        ("scu", "Ps media_answer"),
    ];
    let has = |spans: &BTreeSet<(String, String)>, (unit, name): (&str, &str)| {
        spans.iter().any(|(service, span)| service == unit && span.starts_with(name))
    };
    let begin = Instant::now();
    loop {
        let traces = traces.lock().expect("not poisoned");
        if let Some(spans) = traces.values().find(|spans| wanted.iter().all(|w| has(spans, *w))) {
            println!("{} spans of one trace: {spans:?}", spans.len());
            return;
        }
        let best = traces.values().max_by_key(|s| wanted.iter().filter(|w| has(s, **w)).count());
        assert!(begin.elapsed() < Duration::from_secs(30), "no trace has them all: {best:?}");
        drop(traces);
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn the_cmu_ends_on_sigterm_although_somebody_follows_its_events() {
    let Some(mut centre) = Centre::start() else { return };
    let ca = centre.ca();
    let cu = Cu::login(&centre.portal, "+8613800138000", &centre.sms_log(), Some(&ca));
    let mut stream = TcpStream::connect(("127.0.0.1", centre.ports.portal)).expect("connected");
    let token = cu.access_token();
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .expect("sent");
    let mut seen = Vec::new();
    wait_for("the event stream", Duration::from_secs(10), || {
        let mut part = [0; 1_024];
        let count = stream.read(&mut part).ok()?;
        seen.extend_from_slice(&part[..count]);
        String::from_utf8_lossy(&seen).contains("resync").then_some(())
    });
    let begin = Instant::now();
    assert_eq!(centre.cmu.stop(), Some(0));
    println!("the CMU ended after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
}
