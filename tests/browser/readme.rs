//! Every example of the client's README, as it is written there, in the browser or in Node.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::consumers::{STATE, installed, run, vite_build};
use crate::harness::browser::{Browser, Tab};
use crate::harness::http::Reply;
use crate::harness::plan::Plan;
use crate::harness::server::Server;
use crate::harness::site;

/// The examples by words that only one of them contains; each has its test below.
const EXAMPLES: [&str; 10] = [
    "receiptOf(",
    "okOrThrow(response)",
    "error.code === \"rejected\"",
    "guardForm(client, document",
    "htmx.process(",
    "<script type=\"module\">",
    "client.resume(",
    "function PayButton(",
    "\"use server\"",
    "new ManualClock()",
];

/// What a person types into a shell is not run here.
const LANGUAGES: [&str; 3] = ["js", "html", "jsx"];

/// The examples in the order of the text.
fn examples() -> Vec<String> {
    let text = fs::read_to_string(site::readme()).expect("the README is there");
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if LANGUAGES.contains(&language) {
            found.push(block.join("\n"));
        }
    }
    found
}

/// The example with these words.
#[track_caller]
fn example(words: &str) -> String {
    assert!(EXAMPLES.contains(&words), "{words} is not in the list");
    let mut all = examples();
    all.retain(|text| text.contains(words));
    assert_eq!(all.len(), 1, "one example has {words:?}");
    all.remove(0)
}

#[test]
fn every_example_has_a_test() {
    for text in examples() {
        let tests = EXAMPLES.iter().filter(|words| text.contains(**words));
        assert_eq!(tests.count(), 1, "one test runs this example:\n{text}");
    }
    for words in EXAMPLES {
        example(words);
    }
}

/// What an application has besides: its imports by name, and the words that an example leaves to
/// it. `client` and `send` are those of the first example.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>README</title>\n\
    <script type=importmap>{\"imports\":\n\
    {\"@idempotency-ledger/client\":\"/pkg/index.js\"}}</script>\n\
    <button id=pay>Pay</button>\n\
    <form id=checkout><input name=amount value=25><input name=csrf_token value=x>\n\
    <button id=order>Order</button></form><div id=result></div>\n\
    <script type=module src=/pages/shop.js></script>\n\
    <script>\n\
    window.session = { userId: decodeURIComponent(location.search) };\n\
    window.shown = []; window.show = (what) => shown.push(what);\n\
    window.showError = (error) => shown.push(String(error));\n\
    window.receiptOf = ({ receipt }) =>\n\
      Object.assign(document.createElement('output'), { textContent: `receipt ${receipt}` });\n\
    </script>";

/// A server with the page and an example on it, and a browser to visit them with.
struct Application {
    browser: Browser,
    server: Server,
}

impl Application {
    fn with(words: &str) -> Self {
        site::pkg();
        let server = Server::start();
        server.serve("/application", Reply::new(200, "text/html", PAGE));
        let example = Reply::new(200, "text/javascript", example(words));
        server.serve("/example.js", example);
        Self {
            browser: Browser::start(),
            server,
        }
    }

    /// The page of a person who is signed in. The button is the example's alone.
    fn page(&self, person: &str) -> Tab<'_> {
        let tab = self.browser.first_tab();
        tab.load(&self.server.url(&format!("/application?{person}")));
        tab.run(
            "await opened; client.close();\n\
             window.client = await openClient({ principal: () => session.userId });\n\
             const button = document.querySelector('#pay');\n\
             button.replaceWith(button.cloneNode(true));",
        );
        tab
    }
}

const RUN: &str = "await import('/example.js');";

#[test]
fn a_double_click_on_the_first_example_pays_once_at_every_human_gap() {
    let application = Application::with("receiptOf(");
    let api = application.server.api();
    api.otherwise(Plan::pay().after_ms(10));
    for (number, gap) in [60, 120, 250, 450].into_iter().enumerate() {
        let tab = application.page(&gap.to_string());
        tab.run(RUN);
        tab.click_twice("#pay", gap);
        tab.run("await until(async () => document.querySelector('output'));");
        assert_eq!(
            tab.run("return document.querySelector('#pay');"),
            json!(null)
        );
        tab.run("await until(async () => (await records()).every((one) => one.acknowledgedAt));");
        let receipts = tab.run("return document.querySelectorAll('output').length;");
        assert_eq!(
            (receipts, api.charges()),
            (json!(1), number + 1),
            "{gap} ms apart"
        );
        assert_eq!(api.requests().len(), number + 1, "{gap} ms apart");
    }
    let request = &api.requests()[0].request;
    assert_eq!(request.text(), "{\"amount\":25}");
    assert_eq!(api.keys()[0].len(), 36);
}

#[test]
fn the_example_of_a_send_that_reads_the_answer_shows_it_and_throws_a_refusal() {
    let application = Application::with("okOrThrow(response)");
    let api = application.server.api();
    let tab = application.page("ada");
    tab.run(RUN);
    assert_eq!(tab.run("return shown[0].receipt;"), 1);
    api.next([Plan::refuse(402, "{}")]);
    let tab = application.page("bob");
    let refused = tab.try_run(RUN, json!(null)).expect_err("it is thrown");
    assert_eq!(refused.0["code"], "rejected", "{refused:?}");
    assert_eq!((api.requests().len(), api.charges()), (2, 1));
}

#[test]
fn the_example_of_errors_tells_them_apart() {
    let application = Application::with("error.code === \"rejected\"");
    let cases = [
        (
            "ada",
            Plan::refuse(402, "{\"error\":\"declined\"}"),
            "declined",
        ),
        ("bob", Plan::refuse(401, "{}"), "We do not know yet"),
        ("eve", Plan::problem(409, "interrupted"), "Please ask us: "),
        ("dan", Plan::pay(), ""),
    ];
    for (person, plan, words) in cases {
        application.server.api().next([plan]);
        let tab = application.page(person);
        tab.run(RUN);
        let shown = tab.run("return JSON.stringify(shown);");
        let shown = shown.as_str().expect("a text");
        assert!(shown.contains(words), "{person}: {shown}");
        assert_eq!(shown == "[]", words.is_empty(), "{person}: {shown}");
    }
}

#[test]
fn the_examples_of_fetch_and_of_a_form_pay_once_each() {
    let application = Application::with("guardForm(client, document");
    let go_on = Reply::new(
        200,
        "application/json",
        "{\"receiptUrl\":\"/pages/blank.html\"}",
    );
    application.server.serve("/checkout", go_on);
    let tab = application.page("ada");
    tab.run(RUN);
    assert_eq!(tab.run("return shown[0].receipt;"), 1);
    tab.run(
        "window.sent = []; const own = window.fetch;\n\
         window.fetch = (input, init) => { sessionStorage.sent = `${sessionStorage.sent ?? ''}${\n\
           input}`; return own(input, init); };",
    );
    // The second press may find the next page, so nothing waits for it here.
    tab.run(
        "const press = () => document.querySelector('#order').click();\n\
         press(); setTimeout(press, 120);",
    );
    let arrived = "return location.pathname.endsWith('blank.html') && sessionStorage.sent;";
    let sent = (0..1_000).find_map(|_| {
        let sent = tab.survives(arrived).unwrap_or_default();
        sent.is_string().then_some(sent)
    });
    assert_eq!(sent, Some(json!("/checkout")));
    assert_eq!(application.server.api().requests().len(), 1);
}

#[test]
fn the_example_of_a_page_after_its_reload_goes_on_with_what_was_sent() {
    let application = Application::with("client.resume(");
    let api = application.server.api();
    let tab = application.page("ada");
    api.next([Plan::hang()]);
    tab.start(
        "paying",
        "return client.submit('pay:order-17', { amount: 25 }, send);",
    );
    api.wait_for(1);
    let tab = application.page("ada");
    tab.run(RUN);
    assert_eq!(tab.run("return shown[0].receipt;"), 1);
    assert_eq!(
        tab.run("return (await records())[0].acknowledgedAt > 0;"),
        true
    );
    assert_eq!((api.keys().len(), api.charges()), (1, 1));
}

#[test]
fn the_example_without_a_bundler_loads() {
    let server = Server::start();
    server.serve_folder("/node_modules/", &installed().join("node_modules"));
    let page = format!(
        "<!doctype html><script>window.faults = [];\n\
         addEventListener('error', ({{ message }}) => faults.push(message), true);</script>\n\
         {}\n<script type=module>window.isOver = true;</script>",
        example("<script type=\"module\">")
    );
    server.serve("/bare.html", Reply::new(200, "text/html", page));
    let browser = Browser::start();
    let tab = browser.first_tab();
    tab.load(&server.url("/bare.html"));
    let loaded = tab.run(
        "const loaded = performance.getEntriesByType('resource').map(({ name }) => name);\n\
         return { faults, isOver, loaded };",
    );
    assert_eq!(
        (&loaded["faults"], &loaded["isOver"]),
        (&json!([]), &json!(true))
    );
    assert!(
        loaded["loaded"].to_string().contains("/client/index.js"),
        "{loaded}"
    );
}

/// The words that the example of React leaves to an application.
const REACT_WORDS: &str = "import { createRoot } from \"react-dom/client\";\n\
    import { useEffect } from \"react\";\n\
    import { IdempotencyClient, okOrThrow } from \"@idempotency-ledger/client\";\n\
    globalThis.client = IdempotencyClient.open();\n\
    globalThis.send = async ({ fetch }) =>\n\
      okOrThrow(await fetch(\"/api/pay\", { method: \"POST\" })).json();\n\
    globalThis.Receipt = ({ receipt, onSeen }) => {\n\
      useEffect(() => void onSeen(), []);\n\
      return <output id=\"state\" data-receipt={receipt.receipt}>{receipt.receipt}</output>;\n\
    };\n\
    const { PayButton } = await import(\"./readme.example.jsx\");\n\
    createRoot(document.querySelector(\"#root\")).render(<PayButton order={{ id: 17 }} />);\n";

/// The words that the example of Next.js leaves to an application. The server action is a request.
const NEXT_WORDS: &str = "import { createRoot } from \"react-dom/client\";\n\
    import { IdempotencyClient } from \"@idempotency-ledger/client\";\n\
    import { useIdempotentSubmit } from \"@idempotency-ledger/client/react\";\n\
    const client = IdempotencyClient.lazy();\n\
    const pay = (key) =>\n\
      fetch(\"/api/pay\", { method: \"POST\", headers: { \"Idempotency-Key\": key } })\n\
        .then((response) => response.json());\n\
    function Pay({ order }) {\n\
    CALL\n\
      const press = () => submit({ amount: 25 }).then(({ value }) => (window.receipt = value));\n\
      return <button onClick={press}>Pay</button>;\n\
    }\n\
    createRoot(document.querySelector(\"#root\")).render(<Pay order={{ id: 17 }} />);\n";

/// Puts the examples that others build and run into the folder of the consumers.
pub(crate) fn write_consumers(folder: &Path) {
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).expect("target can be written");
    };
    let react = example("function PayButton(");
    write(
        "readme.example.jsx",
        &format!("{react}\nexport {{ PayButton }};\n"),
    );
    write("readme.jsx", REACT_WORDS);
    let page = fs::read_to_string(folder.join("react.html")).expect("it is there");
    write("readme.html", &page.replace("react.jsx", "readme.jsx"));
    write("readme.mjs", &example("new ManualClock()"));
    // The hook's call, in a component with a button; the directive and the import are Next's.
    let next = example("\"use server\"");
    let (_, call) = next.split_once("\n\n").expect("imports come first");
    write("next.example.jsx", &NEXT_WORDS.replace("CALL", call));
    write("next.html", &page.replace("react.jsx", "next.example.jsx"));
}

#[test]
fn the_example_of_react_pays_once_for_a_double_click_at_every_human_gap() {
    let folder = vite_build();
    let browser = Browser::start();
    for gap in [60, 120, 250, 450] {
        // An origin of its own, and with it an empty database.
        let server = Server::start();
        server.serve_folder("/app/", &folder.join("dist/vite-readme"));
        server.api().otherwise(Plan::pay().after_ms(10));
        let tab = browser.first_tab();
        tab.load(&server.url("/app/readme.html"));
        tab.run(
            "while (!document.querySelector('button')) await new Promise(requestAnimationFrame);",
        );
        tab.click_twice("button", gap);
        let state: Value = tab.run(&STATE.replace("IS", "state.receipt === '1'"));
        assert_eq!(state["receipt"], "1");
        assert_eq!(
            tab.run("return document.querySelector('button');"),
            json!(null)
        );
        assert_eq!(server.api().requests().len(), 1, "{gap} ms apart");
    }
}

#[test]
fn the_example_of_a_server_action_pays_once_for_a_double_click() {
    let folder = vite_build();
    let server = Server::start();
    server.serve_folder("/app/", &folder.join("dist/vite-next"));
    server.api().otherwise(Plan::pay().after_ms(10));
    let browser = Browser::start();
    let tab = browser.first_tab();
    tab.load(&server.url("/app/next.html"));
    tab.run("while (!document.querySelector('button')) await new Promise(requestAnimationFrame);");
    tab.click_twice("button", 120);
    tab.run("while (!window.receipt) await new Promise(requestAnimationFrame);");
    assert_eq!(server.api().requests().len(), 1);
}

#[test]
fn the_example_of_a_form_of_htmx_shows_what_the_server_answered() {
    let application = Application::with("htmx.process(");
    let answer = Reply::new(200, "text/html", "<b>paid</b>");
    application.server.serve("/checkout", answer);
    let tab = application.page("ada");
    tab.run("window.htmx = { process: (part) => shown.push(part.id) };");
    tab.run(RUN);
    tab.run(
        "const press = () => document.querySelector('#order').click();\n\
         press(); setTimeout(press, 120);\n\
         while (!document.querySelector('#result b')) await new Promise(requestAnimationFrame);",
    );
    assert_eq!(tab.run("return shown;"), json!(["result"]));
}

#[test]
fn the_example_of_an_applications_own_tests_does_what_it_says() {
    run(installed(), "node", &["readme.mjs"]);
}
