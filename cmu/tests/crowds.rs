//! Attacks and accidents that take thousands: of guesses, of devices. CI runs fewer than
//! SECURITY.md asks for; `TEST_CROWD=1` runs them all.

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cmu::Config;
use cmu_domain::limit::Limit;
use futures_util::{FutureExt, future::join_all};
use serde_json::Value;
use sightline_protocol::sc::{ScReply, ScRequest};
use support::{Camera, Events, Server};

/// So many in CI, so many with `TEST_CROWD`.
fn crowd(few: u32, all: u32) -> u32 {
    if std::env::var_os("TEST_CROWD").is_some() { all } else { few }
}

/// No rate limits: what they stop is what is to be tried here.
fn unlimited(config: &mut Config) {
    let limits = &mut config.limits;
    for limit in [
        &mut limits.sms_per_address,
        &mut limits.sms_per_network,
        &mut limits.sms_total,
        &mut limits.sign_in_per_address,
        &mut limits.bind_per_user,
        &mut limits.bind_per_address,
        &mut limits.not_found_per_user,
    ] {
        *limit = Limit { count: u32::MAX, per_s: 60 };
    }
}

fn phone(number: u32) -> String {
    format!("+86138{number:08}")
}

/// Unknown, unbound and foreign cameras cannot be told apart, by the answer or by its time.
#[tokio::test]
async fn ilnkp2p_many_guesses_tell_nothing() {
    let server = Server::with(unlimited).await;
    let (anna, bert) = (server.token(&phone(0)).await, server.token(&phone(1)).await);
    let foreign = Camera::owned_by(&server, 1, &anna).await;
    let unbound = Camera::new(2);
    unbound.register(&server).await;
    let each = crowd(1_000, 33_334);
    let (mut texts, mut times) = (None, [const { Vec::new() }; 3]);
    for number in 0..each {
        // A new one every time, in turn, so that what the machine does meanwhile meets all alike.
        let unknown = Camera::numbered(number);
        for (kind, camera) in [&foreign, &unbound, &unknown].into_iter().enumerate() {
            let path = format!("/api/v1/cameras/{}", camera.id());
            let begun = Instant::now();
            let answer = server.get(&path, &bert).await;
            times[kind].push(begun.elapsed());
            let answer = answer.problem(404, "not_found");
            let seen = (answer.text, format!("{:?}", answer.headers));
            assert_eq!(*texts.get_or_insert_with(|| seen.clone()), seen, "{kind} {number}");
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!("{each} guesses of each kind, medians (foreign, unbound, unknown): {medians:?}");
    let (least, most) = (medians.iter().min(), medians.iter().max());
    let (least, most) = (least.expect("three"), most.expect("three"));
    // A look into another table, or a signature checked, would take several times this.
    assert!(*most < least.mul_f64(1.25) + Duration::from_micros(20), "{medians:?}");
}

/// What devices call their camera after the reconnect, so that their owners are told of each.
const NEW_NAME: &str = "Yard, after the reconnect";

async fn reconnect(camera: &Camera, server: &Server) {
    let mut request = camera.request();
    if let ScRequest::Register { registration, .. } = &mut request {
        registration.channels[0].name = NEW_NAME.into();
    }
    assert!(matches!(server.sc(&request).await, ScReply::Registered(_)));
}

/// One owner's event stream; every event of it is checked.
struct Follower<'a> {
    events: Events,
    mine: &'a [String],
    seen: BTreeSet<String>,
}

impl Follower<'_> {
    fn check(&mut self, event: &Value) {
        let camera = &event["camera"];
        match (event["type"].as_str(), camera["id"].as_str()) {
            (Some("resync"), None) => {}
            (Some("camera"), Some(id)) => {
                assert!(self.mine.iter().any(|mine| mine == id), "not theirs: {event}");
                let pu = id.trim_end_matches(".0");
                assert!(camera["device"].to_string().contains(pu), "mixed up: {event}");
                if camera["name"] == NEW_NAME {
                    self.seen.insert(id.to_owned());
                }
            }
            _ => panic!("nothing else has happened: {event}"),
        }
    }

    /// Reads until each of the owner's cameras has come back.
    async fn follow(mut self) -> Self {
        while self.seen.len() < self.mine.len() {
            let event = self.events.next().await;
            self.check(&event);
        }
        self
    }

    /// Reads what there is by now.
    fn drain(mut self) {
        while let Some(event) = self.events.next().now_or_never() {
            self.check(&event);
        }
    }
}

/// All devices come back at once while their owners look: nobody sees what is not theirs.
#[tokio::test]
async fn wyze_a_mass_reconnect_mixes_nothing_up() {
    const OWNERS: u32 = 20;
    let server = Server::with(unlimited).await;
    let mut owners = Vec::new();
    for number in 0..OWNERS {
        owners.push((server.token(&phone(number)).await, Vec::new()));
    }
    let devices = crowd(400, 10_000);
    let mut cameras = Vec::new();
    for number in 0..devices {
        let camera = Camera::numbered(number);
        camera.register(&server).await;
        camera.connect(&server).await;
        let (token, mine) = &mut owners[(number % OWNERS) as usize];
        camera.bind(&server, token).await.expect(201);
        mine.push(camera.id());
        cameras.push(camera);
    }
    for (_, mine) in &mut owners {
        mine.sort_unstable();
    }
    let mut followers = Vec::new();
    // The last one too: its last camera comes back last.
    for (token, mine) in owners.iter().step_by(6).chain(owners.last()) {
        let mut events = server.events(token).await;
        assert_eq!(events.next().await["type"], "resync");
        followers.push(Follower { events, mine, seen: BTreeSet::new() });
    }
    let reconnects = async {
        for camera in &cameras {
            reconnect(camera, &server).await;
        }
    };
    let polls = async {
        for (round, (token, mine)) in owners.iter().cycle().take(5 * OWNERS as usize).enumerate() {
            let list = server.get("/api/v1/cameras", token).await.expect(200).body;
            let seen = list["cameras"].as_array().expect("a list");
            let mut seen: Vec<_> = seen.iter().filter_map(|c| c["id"].as_str()).collect();
            seen.sort_unstable();
            assert_eq!(seen, *mine, "round {round}");
            let stranger = &cameras[(round + 1) % cameras.len()];
            if !mine.contains(&stranger.id()) {
                stranger.play(&server, token, "client").await.problem(404, "not_found");
            }
        }
    };
    let follow = join_all(followers.into_iter().map(Follower::follow));
    let (followers, ()) = tokio::join!(follow, async { tokio::join!(reconnects, polls) }.map(drop));
    followers.into_iter().for_each(Follower::drain);
}
