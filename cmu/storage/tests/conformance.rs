//! One suite for both engines. PostgreSQL runs as a temporary server of its own when it is
//! installed; otherwise that half is skipped, loudly.

mod postgres;
mod suite;

use cmu_storage::Database;

/// Each case gets a database handle of a domain of its own.
macro_rules! both_engines {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().expect("a folder");
                let url = format!("sqlite:{}", dir.path().join("t.sqlite").display());
                let open = |domain: &str| super::open(url.clone(), domain.to_owned());
                super::suite::$case(&open("one").await, &open("two").await).await;
            })*
        }
        #[tokio::test]
        async fn postgres_conforms() {
            let Some(server) = postgres::Server::start() else { return };
            $({
                let open =
                    |n: &str| open(server.url(), format!("{}-{n}", stringify!($case)));
                suite::$case(&open("one").await, &open("two").await).await;
            })*
        }
    };
}

async fn open(url: String, domain: String) -> Database {
    Database::connect(&url, domain.parse().expect("a domain")).await.expect("opened")
}

both_engines!(
    accounts,
    sms_codes,
    rate_limits,
    sign_ins,
    devices,
    leases,
    bindings,
    play_tokens,
    audit_and_keys,
    network_stats,
    relay_usages,
    viewer_paths,
    recorder_reports,
    relations,
    cloud_space,
    cloud_lists,
    cloud_notes,
    cloud_terms,
    cloud_erased,
);

#[tokio::test]
async fn a_report_of_a_recorder_that_cannot_be_read_counts_as_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", dir.path().join("t.sqlite").display());
    let db = open(url.clone(), "one".to_owned()).await;
    let raw = sqlx::SqlitePool::connect(&url).await.expect("opened");
    suite::unreadable_report(&db, &raw).await;
}

#[tokio::test]
async fn other_engines_are_refused_in_words() {
    for url in ["mysql://x", "", "cmu.sqlite"] {
        let opened = Database::connect(url, "d".parse().expect("valid")).await;
        assert!(opened.is_err(), "{url} was taken");
    }
}
