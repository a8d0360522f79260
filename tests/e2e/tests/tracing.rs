//! One trace follows a viewer's request through CMU, SCU and PU and back (OpenTelemetry), and the
//! centre ends in time while people are looking.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use e2e::{Centre, Cu, browsed, browser, wait_for};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message;

/// The spans of each trace.
type Traces = Arc<Mutex<BTreeMap<Vec<u8>, Vec<Seen>>>>;

/// One span.
#[derive(Debug)]
struct Seen {
    service: String,
    name: String,
    /// Nanoseconds since 1970.
    start: u64,
    end: u64,
    numbers: BTreeMap<String, i64>,
}

impl Seen {
    fn is(&self, (service, name): (&str, &str)) -> bool {
        self.service == service && self.name.starts_with(name)
    }
}

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
            let number = |a: &KeyValue| match a.value.as_ref()?.value.as_ref()? {
                Value::IntValue(number) => Some((a.key.clone(), *number)),
                _ => None,
            };
            traces.entry(span.trace_id.clone()).or_default().push(Seen {
                service: service.clone(),
                name: span.name.clone(),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                numbers: span.attributes.iter().filter_map(number).collect(),
            });
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
    find(traces, &wanted, |spans| {
        let names: Vec<_> = spans.iter().map(|s| format!("{}: {}", s.service, s.name)).collect();
        println!("{} spans of one trace: {names:?}", spans.len());
    });
}

/// Waits for a trace with all of these spans, by service and the beginning of their names.
fn find<T>(traces: &Traces, wanted: &[(&str, &str)], read: impl Fn(&[Seen]) -> T) -> T {
    let has = |spans: &[Seen], wanted: (&str, &str)| spans.iter().any(|span| span.is(wanted));
    let begin = Instant::now();
    loop {
        let traces = traces.lock().expect("not poisoned");
        if let Some(spans) = traces.values().find(|spans| wanted.iter().all(|w| has(spans, *w))) {
            return read(spans);
        }
        let best = traces.values().max_by_key(|s| wanted.iter().filter(|w| has(s, **w)).count());
        assert!(begin.elapsed() < Duration::from_secs(30), "no trace has them all: {best:#?}");
        drop(traces);
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// The stages that the player reports are in the trace of the click. They add up to its total, and
/// what the centre measured of them fits into them.
#[test]
fn the_stages_of_a_click_add_up_in_its_trace() {
    let Some((centre, traces)) = traced() else { return };
    let sms = centre.sms_log();
    let run = browser(&centre.portal, "+8613800138000", &centre.claim_code, &sms);
    let Some(mut run) = run else { return };
    run.args(["--seconds", "2", "--no-barcode", "--tone", "0", "--out"]).arg(centre.data.path());
    println!("{}", browsed(run));
    let (first, play) = (("cmu", "first frame"), ("cmu", "POST /api/v1/cameras/"));
    let (offer, answer) = (("scu", "Cs offer"), ("scu", "Ps media_answer"));
    let wanted = [first, play, offer, answer, ("scu", "Cs path_report")];
    find(&traces, &wanted, |spans| {
        let span = |wanted| spans.iter().find(|span| span.is(wanted)).expect("just found");
        let stages = &span(first).numbers;
        println!("{stages:?}");
        let ms = |name: &str| stages[&format!("{name}_ms")];
        let all = ["play", "signalling", "answer", "path", "secure", "packet", "frame"];
        let sum: i64 = all.into_iter().map(ms).sum();
        // Each is rounded for itself.
        assert!((sum - ms("total")).abs() <= 7, "{stages:?}");
        assert!(ms("total") > 0 && all.into_iter().all(|stage| ms(stage) >= 0), "{stages:?}");

        let took = |from: u64, to: u64| i64::try_from(to.saturating_sub(from) / 1_000_000);
        let at_cmu = took(span(play).start, span(play).end).expect("a short time");
        println!("of the stage \"play\", {at_cmu} ms were the CMU's");
        assert!(at_cmu <= ms("play") + 1, "{at_cmu} ms: {stages:?}");
        let of_answer = took(span(offer).start, span(answer).start).expect("a short time");
        println!("until the answer, {of_answer} ms were the SCU's and the device's");
        // The offer may be with the SCU before the page notes that it was sent.
        assert!(of_answer <= ms("signalling") + ms("answer") + 1, "{of_answer} ms: {stages:?}");
        // From the click to the report, by the clocks of the units, is no less than the total.
        let whole = took(span(play).start, span(first).start).expect("a short time");
        assert!(whole + (ms("play") - at_cmu) + 1 >= ms("total"), "{whole} ms: {stages:?}");
    });
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
