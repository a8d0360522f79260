//! The web server of the portal.

mod support;

use axum::{
    body::Body,
    http::{Request, header},
};
use support::{Answer, Server, read};

async fn get(server: &Server, path: &str, accept: &str, etag: Option<&str>) -> Answer {
    let mut request = Request::get(path).header(header::ACCEPT_ENCODING, accept);
    if let Some(etag) = etag {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    read(server.raw(request.body(Body::empty()).expect("a request"), "192.0.2.1").await).await
}

async fn server(dir: &std::path::Path) -> Server {
    std::fs::create_dir_all(dir.join("assets")).expect("a folder");
    let page = format!("<!doctype html><title>Portal</title>{}", "<p>x</p>".repeat(200));
    std::fs::write(dir.join("index.html"), page).expect("written");
    std::fs::write(dir.join("assets/app-1a2b.js"), "console.log(1);".repeat(200)).expect("written");
    std::fs::write(dir.join("icon.png"), [0x89; 2_000]).expect("written");
    let portal_dir = dir.to_owned();
    Server::with(|c| c.portal_dir = Some(portal_dir)).await
}

#[tokio::test]
async fn files_are_served_compressed_cached_and_guarded() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path()).await;
    let page = get(&server, "/", "gzip, deflate, br", None).await.expect(200);
    let header = |a: &Answer, name: &str| {
        a.headers.get(name).map(|v| v.to_str().expect("text").to_owned()).unwrap_or_default()
    };
    assert_eq!(header(&page, "content-encoding"), "br");
    assert_eq!(header(&page, "cache-control"), "no-cache");
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    assert!(header(&page, "permissions-policy").contains("camera=(self)"));
    let csp = header(&page, "content-security-policy");
    let scripts = csp.split(';').find(|d| d.trim().starts_with("script-src")).expect("a rule");
    assert!(!scripts.contains("unsafe-inline"), "{csp}");

    let etag = header(&page, "etag");
    get(&server, "/", "br", Some(&etag)).await.expect(304);
    get(&server, "/", "br", Some("\"other\"")).await.expect(200);
    let plain = get(&server, "/", "identity, br;q=0", None).await.expect(200);
    assert!(plain.text.contains("<title>Portal") && header(&plain, "content-encoding").is_empty());

    let script = get(&server, "/assets/app-1a2b.js", "gzip", None).await.expect(200);
    assert_eq!(header(&script, "content-encoding"), "gzip");
    assert!(header(&script, "cache-control").contains("immutable"));
    assert!(header(&script, "content-type").starts_with("text/javascript"));
    let icon = get(&server, "/icon.png", "br", None).await.expect(200);
    assert!(header(&icon, "content-encoding").is_empty());
}

#[tokio::test]
async fn places_of_the_client_get_its_page_and_missing_files_do_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path()).await;
    for place in ["/cameras", "/cameras/abc/live", "/settings/"] {
        assert!(get(&server, place, "", None).await.expect(200).text.contains("Portal"));
    }
    for missing in ["/assets/old.js", "/favicon.ico", "/../../etc/passwd.txt", "/%2e%2e/x.txt"] {
        get(&server, missing, "", None).await.expect(404);
    }
    get(&server, "/api/nothing", "", None).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_folder_without_a_portal_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::with(|_| {}).await;
    let mut config = server.config.clone();
    config.portal_dir = Some(dir.path().to_owned());
    config.listen = "127.0.0.1:0".parse().expect("an address");
    config.admin_listen = "127.0.0.1:0".into();
    let start =
        |config: &cmu::Config| cmu::start(config.clone(), server.bus.clone(), &server.lifecycle);
    let error = start(&config).await.expect_err("no index.html").to_string();
    assert!(error.contains("index.html"), "{error}");
    config.portal_dir = None;
    let running = start(&config).await.expect("starts");
    assert!(running.addr.port() != 0 && running.admin_addr.is_some_and(|a| a.port() != 0));
}
