//! The packed tarball in the hands of others: TypeScript, Node, Vite, webpack, React, bare HTML.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::json;

use crate::harness::browser::{Browser, Tab};
use crate::harness::http::Reply;
use crate::harness::plan::Plan;
use crate::harness::server::Server;
use crate::harness::site;
use crate::readme;

/// What `cargo xtask test` packed; packed here where a person runs these tests alone.
const TARBALL: &str = "IDEMPOTENCY_TARBALL";

/// A command in a folder, which has to succeed; what it printed.
#[track_caller]
pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; Node 20 is needed"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let is_good = output.status.success();
    assert!(
        is_good,
        "{program} {}:\n{printed}\n{complaints}",
        arguments.join(" ")
    );
    printed
}

fn tarball(folder: &Path) -> PathBuf {
    if let Some(packed) = std::env::var_os(TARBALL) {
        return packed.into();
    }
    let pkg = site::pkg();
    let pkg = pkg.to_str().expect("the path is text");
    let name = run(folder, "npm", &["pack", "--silent", pkg]);
    folder.join(name.lines().last().unwrap_or("").trim())
}

/// The folder with the consumers and everything they need, made once for all tests of a run.
/// There is no lock file: it would name the registry that some machine uses.
pub(crate) fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = site::scratch().join("consumers");
        let _ = fs::remove_dir_all(folder.join("dist"));
        // npm takes a tarball of the same name for the same tarball.
        let _ = fs::remove_dir_all(folder.join("node_modules/@idempotency-ledger"));
        let _ = fs::remove_file(folder.join("node_modules/.package-lock.json"));
        fs::create_dir_all(&folder).expect("target can be written");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/consumers");
        for entry in fs::read_dir(sources).expect("the consumers are there") {
            let from = entry.expect("readable").path();
            let name = from.file_name().expect("a file has a name");
            fs::copy(&from, folder.join(name)).expect("files can be copied");
        }
        readme::write_consumers(&folder);
        let packed = tarball(&folder);
        fs::copy(packed, folder.join("client.tgz")).expect("the tarball is there");
        let install = [
            "install",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--silent",
        ];
        run(&folder, "npm", &install);
        folder
    })
}

#[test]
fn a_strict_typescript_consumer_compiles() {
    run(installed(), "node_modules/.bin/tsc", &["--project", "."]);
}

#[test]
fn node_imports_every_entry_without_effect_and_runs_tests_with_it() {
    assert_eq!(run(installed(), "node", &["node.mjs"]).trim(), "ok");
}

#[test]
fn a_server_that_imports_a_page_with_a_client_goes_on_serving() {
    assert_eq!(run(installed(), "node", &["server.mjs"]).trim(), "served");
}

#[test]
fn careless_callers_of_one_page_get_what_is_true() {
    let printed = run(installed(), "node", &["--test", "careless.mjs"]);
    assert!(printed.contains("# pass 25"), "{printed}");
}

#[test]
fn common_js_that_waits_for_the_import_gets_the_package() {
    let script = "import('@idempotency-ledger/client').then(({ newKey }) => {\n\
                  if (newKey === undefined) process.exitCode = 1; });";
    run(
        installed(),
        "node",
        &["--input-type=commonjs", "-e", script],
    );
}

/// Pays in an application that put the package on `window.app`, once with each entry.
fn pays(server: &Server, page: &str) {
    let browser = Browser::start();
    let tab = browser.first_tab();
    tab.load(page);
    let is_over_api = page.starts_with(&server.url(""));
    let send = if is_over_api {
        "(await fetch('/api/pay', { method: 'POST',\n\
         headers: { 'Idempotency-Key': attempt.header } })).json()"
    } else {
        "({ key: attempt.key })"
    };
    let script = format!(
        "for (let tries = 0; !window.app; tries += 1) {{\n\
           if (tries > 5_000) throw new Error('the application did not start');\n\
           await new Promise((resolve) => requestIdleCallback(resolve, {{ timeout: 20 }}));\n\
         }}\n\
         const send = async (attempt) => {send};\n\
         const clients = [await app.IdempotencyClient.open(),\n\
           await app.Served.open({{ wasm: app.wasm }})];\n\
         const ends = [];\n\
         for (const [number, client] of clients.entries()) {{\n\
           const outcome = await client.submit(`pay:${{number}}`, {{ amount: 25 }}, send);\n\
           ends.push([client.mode, outcome.status, outcome.value.key === outcome.key]);\n\
         }}\n\
         return [...ends, app.newKey().length];"
    );
    let ends = tab.run(&script);
    let each = json!(["indexeddb", "done", true]);
    assert_eq!(ends, json!([each, each, 36]), "{:?}", tab.console());
    if is_over_api {
        assert_eq!(server.api().charges(), 2);
    }
}

#[test]
fn an_application_bundled_by_vite_pays() {
    let folder = vite_build();
    let server = Server::start();
    server.serve_folder("/app/", &folder.join("dist/vite-app"));
    pays(&server, &server.url("/app/app.html"));
}

/// Bundled once for both tests that need it.
pub(crate) fn vite_build() -> &'static Path {
    static FOLDER: OnceLock<&Path> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = installed();
        run(folder, "node", &["bundle.mjs", "vite"]);
        folder
    })
}

#[test]
fn an_application_bundled_by_webpack_pays() {
    let folder = installed();
    run(folder, "node", &["bundle.mjs", "webpack"]);
    let server = Server::start();
    server.serve_folder("/app/", &folder.join("dist/webpack"));
    let page = "<!doctype html><script type=module src=/app/app.js></script>";
    server.serve("/webpack.html", Reply::new(200, "text/html", page));
    pays(&server, &server.url("/webpack.html"));
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_application_in_the_dev_server_of_vite_pays() {
    let folder = installed();
    let started = Command::new("node")
        .args(["bundle.mjs", "vite-dev"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = started.expect("node starts");
    let printed = BufReader::new(child.stdout.take().expect("it is piped"));
    let _running = Running(child);
    let port = printed.lines().map_while(Result::ok).find_map(|line| {
        let port = line.strip_prefix("listening on ")?;
        port.trim().parse::<u16>().ok()
    });
    let port = port.expect("the dev server says its port");
    pays(
        &Server::start(),
        &format!("http://127.0.0.1:{port}/app.html"),
    );
}

#[test]
fn a_bare_html_file_needs_no_bundler() {
    let folder = installed();
    let server = Server::start();
    server.serve_folder("/node_modules/", &folder.join("node_modules"));
    let page = "<!doctype html><script type=module>\n\
        import { IdempotencyClient, IdempotencyError, newKey }\n\
          from '/node_modules/@idempotency-ledger/client/index.js';\n\
        import { IdempotencyClient as Served }\n\
          from '/node_modules/@idempotency-ledger/client/web.js';\n\
        window.app = { IdempotencyClient, IdempotencyError, newKey, Served };\n\
        </script>";
    server.serve("/bare.html", Reply::new(200, "text/html", page));
    pays(&server, &server.url("/bare.html"));
}

/// What the component shows, once `is` holds.
pub(crate) const STATE: &str = "for (let tries = 0; ; tries += 1) {\n\
      const state = { ...document.querySelector('#state')?.dataset };\n\
      if (IS) return state;\n\
      if (tries > 5_000) throw new Error(JSON.stringify(state));\n\
      await new Promise((resolve) => requestAnimationFrame(resolve));\n\
    }";

/// After an acknowledgement, until a press is meant anew.
fn a_second_passes(tab: &Tab<'_>) {
    tab.run("await import('/pages/records.js'); await client.pending(); await sleepFor(1_000);");
}

#[test]
fn a_react_hook_under_strict_mode_sends_once_and_resumes_on_mount() {
    let folder = vite_build();
    let server = Server::start();
    server.serve_folder("/app/", &folder.join("dist/vite-react"));
    let browser = Browser::start();
    let tab = browser.first_tab();
    let state = |is: &str| tab.run(&STATE.replace("IS", is));
    let page = server.url("/app/react.html");
    tab.load(&page);
    assert_eq!(state("state.status === 'idle'")["receipt"], "");
    assert_eq!(tab.run("return effects;"), 2, "effects do run twice here");
    server.api().next([Plan::pay().held("bank")]);
    tab.click("#pay", 3);
    server.api().wait_for(1);
    state("state.status === 'pending'");
    server.api().open("bank");
    assert_eq!(state("state.status === 'success'")["receipt"], "1");
    assert_eq!(server.api().requests().len(), 1);
    // The receipt is on the screen: the next click is meant.
    tab.click("#acknowledge", 1);
    a_second_passes(&tab);
    tab.click("#pay", 1);
    assert_eq!(state("state.receipt === '2'")["status"], "success");
    // An attempt of an earlier page life is resumed by the mount, once.
    tab.click("#acknowledge", 1);
    a_second_passes(&tab);
    server.api().next([Plan::hang()]);
    tab.click("#pay", 1);
    server.api().wait_for(3);
    tab.load(&page);
    assert_eq!(state("state.status === 'success'")["receipt"], "3");
    let requests = server.api().requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[2].key, requests[3].key);
    assert_eq!(requests[2].request.body, requests[3].request.body);
}

#[test]
fn a_react_hook_buys_what_was_shown_at_the_click() {
    let folder = vite_build();
    let server = Server::start();
    server.serve_folder("/app/", &folder.join("dist/vite-react"));
    let browser = Browser::start();
    let tab = browser.first_tab();
    tab.load(&server.url("/app/react.html"));
    tab.run(&STATE.replace("IS", "state.status === 'idle' && window.client"));
    tab.run("window.claims = []; client.on('claimed', (event) => claims.push(event.operation));");
    tab.click("#pay-and-next", 1);
    let seen = server.api().wait_for(1);
    assert!(seen[0].request.text().contains("order-1"), "{seen:?}");
    assert_eq!(tab.run("return claims;"), json!(["pay:order-1"]));
}

#[test]
fn a_react_hook_shows_what_is_unknown_and_follows_its_operation() {
    let folder = vite_build();
    let server = Server::start();
    server.serve_folder("/app/", &folder.join("dist/vite-react"));
    let browser = Browser::start();
    let tab = browser.first_tab();
    let state = |is: &str| tab.run(&STATE.replace("IS", is));
    tab.load(&server.url("/app/react.html"));
    state("state.status === 'idle'");
    server
        .api()
        .next([Plan::lose_answer(), Plan::lose_answer()]);
    tab.click("#pay", 1);
    let unknown = state("state.status === 'error' && state.pending");
    assert_eq!(unknown["code"], "unknown");
    assert_eq!(unknown["pending"], server.api().keys()[0].as_str());
    // Another order has a state of its own; back on the first one, it goes on with the same key.
    tab.run("setOrder('order-2');");
    assert_eq!(state("state.status === 'idle'")["pending"], "");
    tab.run("setOrder('order-1');");
    assert_eq!(state("state.status === 'success'")["receipt"], "1");
    assert_eq!(server.api().keys().len(), 1);
    // A component that goes away while it pays takes nothing with it.
    tab.click("#acknowledge", 1);
    a_second_passes(&tab);
    server.api().next([Plan::pay().held("bank")]);
    tab.click("#pay", 1);
    server.api().wait_for(4);
    tab.run("setOpen(false);");
    server.api().open("bank");
    tab.run("while ((await client.pending()).length) await new Promise(requestAnimationFrame);");
    tab.run("setOpen(true);");
    assert_eq!(state("state.status === 'success'")["receipt"], "2");
    assert_eq!(server.api().charges(), 2);
}
