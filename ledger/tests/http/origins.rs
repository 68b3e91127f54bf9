//! What pages of other sites can do to a payment server on this machine: nothing.

use crate::client::{Answer, Call, Open};
use crate::process::{Place, Server, charge, transfer};

/// What a browser adds to a request of a page that is not the server's own.
const FOREIGN: [&[(&str, &str)]; 6] = [
    &[("origin", "https://evil.example")],
    &[("origin", "null")],
    // Another port of this machine is another origin.
    &[("origin", "http://localhost:1")],
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site")],
    &[
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ],
];

fn with(mut call: Call, headers: &[(&str, &str)]) -> Call {
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call
}

#[track_caller]
fn assert_unreadable(answer: &Answer) {
    assert_eq!(
        answer.header("access-control-allow-origin"),
        None,
        "{answer:?}"
    );
}

#[test]
fn a_page_of_another_site_reads_nothing_moves_no_money_and_ends_no_server() {
    let place = Place::new();
    let mut server = place.start(&["--faults"]);
    assert_eq!(server.send(&charge("own", 1)).status, 201);
    let balance = server.account("alice");
    let patch = Call::of("PATCH", "/api/accounts/alice").header("if-match", "\"1\"");
    let event = Call::post("/webhooks/shop").header("event-id", "evt-1");
    let crash = |call: Call| call.header("demo-fault", "crash-after-effect");
    let writes = [
        charge("a", 1),
        transfer("b", 1),
        crash(charge("c", 1)),
        crash(transfer("d", 1)),
        patch.key("e").json("{\"delta\":1}"),
        event.json("{}"),
        // What needs no preflight.
        Call::post("/api/transfers").body("text/plain", "{}"),
    ];
    for headers in FOREIGN {
        for write in &writes {
            let answer = server.send(&with(write.clone(), headers));
            answer.assert_problem(403, "foreign-origin");
            assert_unreadable(&answer);
        }
        for path in ["/api/charges", "/api/effects", "/api/accounts", "/metrics"] {
            assert_unreadable(&server.send(&with(Call::get(path), headers)));
        }
        let preflight = Call::of("OPTIONS", "/api/charges")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "demo-fault");
        assert_unreadable(&server.send(&with(preflight, headers)));
    }
    assert!(!server.has_ended());
    assert_eq!(server.account("alice"), balance);
    assert_eq!(place.charges().len(), 1, "the one of before");
    // The first delivery of that event is still to come.
    let genuine = Call::post("/webhooks/shop").header("event-id", "evt-1");
    let genuine = server.send(&genuine.json("{}"));
    assert_eq!(genuine.text(), "{\"sighting\":\"first\"}");
}

#[test]
fn the_page_of_the_server_itself_may_do_everything() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let own = |name: &str| format!("{name}:{}", server.addr.port());
    for (number, name) in ["localhost", "127.0.0.1", "[::1]", "demo.localhost"]
        .into_iter()
        .enumerate()
    {
        let host = own(name);
        let call = |site: &[(&str, &str)], key: String| {
            let call = Call::at(&host, "POST", "/api/charges").key(&key);
            with(call.header("origin", format!("http://{host}")), site)
                .json("{\"customer\":\"ann\",\"amount\":1,\"currency\":\"EUR\"}")
        };
        let new = call(
            &[("sec-fetch-site", "same-origin")],
            format!("new-{number}"),
        );
        let old = call(&[], format!("old-{number}"));
        assert_eq!(server.send(&new).status, 201, "{name}");
        // Browsers from before 2023 do not send it.
        assert_eq!(server.send(&old).status, 201, "{name}");
    }
}

/// A name of an attacker's that resolves to this machine makes the attacker's page one of the
/// same origin: only the name gives it away.
#[test]
fn a_name_that_is_not_this_machines_is_refused() {
    let place = Place::new();
    let www = place.path("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("index.html"), "<p>Pay").unwrap();
    let server = place.start(&["--faults", "--www", www.to_str().unwrap()]);
    let rebound = format!("evil.example:{}", server.addr.port());
    for host in [
        rebound.as_str(),
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "",
        "localhost:1@evil.example",
    ] {
        for path in ["/", "/api/charges", "/metrics", "/nowhere"] {
            let read = Call::at(host, "GET", path);
            server.send(&read).assert_problem(421, "unknown-host");
        }
        let write = Call::at(host, "POST", "/api/charges")
            .header("origin", format!("http://{host}"))
            .header("sec-fetch-site", "same-origin")
            .key("a")
            .json("{\"customer\":\"ann\",\"amount\":1,\"currency\":\"EUR\"}");
        server.send(&write).assert_problem(421, "unknown-host");
    }
    assert_eq!(place.charges(), []);
}

#[test]
fn a_request_names_one_host() {
    let place = Place::new();
    let server = place.start(&[]);
    let raw = |head: &str| {
        let bytes = format!("GET {head}connection: close\r\n\r\n");
        let open = Open::with(server.addr, bytes.as_bytes()).unwrap();
        open.answer().unwrap()
    };
    let both = "/api/health HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n";
    for refused in [both, "/api/health HTTP/1.1\r\n"] {
        raw(refused).assert_problem(421, "unknown-host");
    }
    // The target names the host where it is a whole address.
    let other = "http://evil.example/api/health HTTP/1.1\r\nhost: localhost\r\n";
    raw(other).assert_problem(421, "unknown-host");
}

#[test]
fn other_names_and_origins_are_allowed_one_by_one() {
    let place = Place::new();
    let allowed = ["--allow-host", "pay.example"];
    let origins = ["--allow-origin", "https://shop.example"];
    let server = place.start(&[allowed, origins].concat());
    let health = |host: &str| server.send(&Call::at(host, "GET", "/api/health")).status;
    assert_eq!(health("pay.example"), 200);
    assert_eq!(health("PAY.example:8787"), 200);
    assert_eq!(health("localhost"), 200);
    assert_eq!(health("shop.example"), 421);
    let from = |server: &Server, origin: &str| {
        let call = charge("a", 1).header("sec-fetch-site", "cross-site");
        server.send(&call.header("origin", origin)).status
    };
    assert_eq!(from(&server, "https://shop.example"), 201);
    assert_eq!(from(&server, "http://shop.example"), 403);
    assert_eq!(from(&server, "https://shop.example.evil.example"), 403);
}

#[test]
fn no_other_site_shows_the_page_in_a_frame() {
    let place = Place::new();
    let www = place.path("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("index.html"), "<p>Pay").unwrap();
    let server = place.start(&["--www", www.to_str().unwrap()]);
    for path in ["/", "/api/accounts", "/nowhere"] {
        let answer = Call::get(path).send(server.addr);
        let header = |name| answer.header(name).unwrap_or_default();
        assert_eq!(header("content-security-policy"), "frame-ancestors 'self'");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(header("x-content-type-options"), "nosniff");
    }
}
