//! One suite for both stores. The S3 store is SeaweedFS, where it is installed; else that half is
//! skipped, loudly.

mod seaweed;
mod suite;

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use sightline_cloud_store::{LocalStore, S3Config, S3Store, SegmentStore};
use sightline_model::{Secret, UnixMicros};
use suite::Tried;

macro_rules! both_stores {
    ($($case:ident),* $(,)?) => {
        mod local {
            $(#[tokio::test]
            async fn $case() {
                let (tried, _dir) = super::local().await;
                super::suite::$case(&tried).await;
            })*
        }
        #[tokio::test]
        async fn s3_conforms() {
            let Some(server) = seaweed::Server::start().await else { return };
            $({
                let tried = s3(&server, &stringify!($case).replace('_', "-")).await;
                suite::$case(&tried).await;
            })*
        }
    };
}

both_stores!(
    what_is_sent_is_found_read_and_deleted,
    a_request_stores_one_object_of_one_length_and_content,
    an_altered_or_expired_address_is_refused,
    no_path_leads_elsewhere,
    lists_are_whole_and_come_in_pages,
);

fn wall() -> UnixMicros {
    UnixMicros::from(SystemTime::now())
}

async fn local() -> (Tried, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at: SocketAddr = listener.local_addr().expect("an address");
    let secret = Secret::new([7; 32]);
    let base = format!("http://{at}/");
    let store = LocalStore::open(dir.path().join("cs"), &base, secret, Arc::new(wall));
    let store = store.expect("opened");
    let router = store.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Tried { store: Arc::new(store), http: client() }, dir)
}

async fn s3(server: &seaweed::Server, bucket: &str) -> Tried {
    server.make_bucket(bucket).await;
    let config = S3Config {
        url: server.url.parse().expect("a URL"),
        bucket: bucket.to_owned(),
        region: "us-east-1".to_owned(),
        path_style: true,
    };
    let secret = Secret::new(seaweed::SECRET_KEY.to_owned());
    let store = S3Store::new(&config, seaweed::ACCESS_KEY, &secret, client()).expect("usable");
    let checks = store.checks_content().await.expect("probed");
    println!("the S3 store checks contents by itself: {checks}");
    Tried { store: Arc::new(store), http: client() }
}

fn client() -> reqwest::Client {
    sightline_service_kit::tls::install_provider();
    reqwest::Client::new()
}
