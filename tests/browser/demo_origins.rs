//! A page of another site, open while the demo runs.

use serde_json::json;

use crate::demo::Demo;
use crate::harness::http::Reply;
use crate::harness::server::Server;

/// Each way in which a page can send something elsewhere; what it can read of the answers.
const ATTACK: &str = "const bank = args;\n\
    const told = [];\n\
    const ask = (path, init) => fetch(bank + path, init).then(\n\
    async (r) => told.push(r.type === 'opaque' ? 'opaque' : await r.text()), () => {});\n\
    const pay = JSON.stringify({ from: 'guarded', to: 'shop', amount: 2500 });\n\
    const json = { 'Content-Type': 'application/json' };\n\
    const crash = { ...json, 'Idempotency-Key': '\"a\"', 'Demo-Fault': 'crash-after-effect' };\n\
    for (const path of ['', 'api/accounts', 'api/effects', 'metrics']) await ask(path);\n\
    await ask('api/transfers', { method: 'POST', headers: json, body: pay });\n\
    await ask('api/transfers', { method: 'POST', headers: crash, body: pay });\n\
    await ask('api/transfers', { method: 'POST', mode: 'no-cors', body: pay });\n\
    await ask('webhooks/shop', { method: 'POST', mode: 'no-cors', body: pay });\n\
    navigator.sendBeacon(bank + 'api/transfers', new Blob([pay], { type: 'text/plain' }));\n\
    return told;";

#[test]
fn a_page_of_another_site_reads_nothing_and_moves_no_money() {
    let demo = Demo::open_served();
    let page = demo.tab();
    let accounts = "return (await (await fetch('api/accounts')).text());";
    let before = page.run(accounts);
    let elsewhere = Server::start();
    let blank = Reply::new(200, "text/html; charset=utf-8", "<!doctype html><body>");
    elsewhere.serve("/evil", blank);
    let stranger = demo.blank_tab_of_its_own();
    stranger.load(&elsewhere.url("/evil"));
    let told = stranger.run_with(ATTACK, json!(demo.url()));
    let readable = told.as_array().expect("a list").iter();
    let readable: Vec<_> = readable.filter(|told| *told != "opaque").collect();
    assert!(readable.is_empty(), "{readable:?}");
    assert_eq!(page.run(accounts), before);
    // It is the same server as before, and works.
    page.order_with("lose-response");
    page.pay_guarded();
}
