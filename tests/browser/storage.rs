//! Storage that is missing, full, slow, broken or taken away: a stated mode or a clear refusal,
//! and never a second store that would not see the key.

use serde_json::json;

use crate::harness::browser::{Tab, Thrown};
use crate::harness::plan::Plan;
use crate::shop::{Shop, code, refusal};

const NO_INDEXED_DB: &str =
    "Object.defineProperty(window, 'indexedDB', { value: undefined, configurable: true });";
const FORBIDDEN_INDEXED_DB: &str =
    "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };";
const NO_LOCKS: &str =
    "Object.defineProperty(navigator, 'locks', { value: undefined, configurable: true });";
const NO_LOCAL_STORAGE: &str = "Object.defineProperty(window, 'localStorage', {\n\
    get() { throw new DOMException('no', 'SecurityError'); }, configurable: true });";

/// A tab whose pages find the browser changed in these ways.
pub(crate) fn changed<'b>(shop: &'b Shop, changes: &[&str]) -> Tab<'b> {
    let tab = shop.blank_tab();
    for change in changes {
        tab.before_load(change);
    }
    tab
}

/// What every mode has to keep: one key for one intent, over clicks and a lost answer.
fn pays_once(shop: &Shop, tab: &Tab<'_>) {
    shop.api().next([Plan::lose_answer()]);
    let results = tab.run("return await Promise.all([1, 2, 3].map(() => pay('order-1')));");
    for result in results.as_array().expect("three") {
        assert_eq!(result["value"]["receipt"], 1, "{results}");
    }
    let joined = tab.run("return (await pay('order-1')).status;");
    assert_eq!(joined, "joined");
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}

#[test]
fn the_mode_says_which_store_is_used() {
    let cases: [(&[&str], &str); 5] = [
        (&[], "indexeddb"),
        (&[NO_LOCKS], "indexeddb"),
        (&[NO_INDEXED_DB], "localstorage"),
        (&[FORBIDDEN_INDEXED_DB], "localstorage"),
        (&[NO_INDEXED_DB, NO_LOCKS], "memory"),
    ];
    for (changes, mode) in cases {
        let shop = Shop::open();
        let tab = changed(&shop, changes);
        shop.visit(&tab, &json!({}));
        assert_eq!(tab.run("return client.mode;"), mode, "{changes:?}");
        pays_once(&shop, &tab);
    }
}

#[test]
fn without_any_storage_the_memory_of_the_page_still_guards_it() {
    let shop = Shop::open();
    let tab = changed(&shop, &[NO_INDEXED_DB, NO_LOCAL_STORAGE]);
    shop.visit(&tab, &json!({}));
    assert_eq!(tab.run("return client.mode;"), "memory");
    pays_once(&shop, &tab);
    let second =
        tab.run("window.client = await openClient(); return (await pay('order-1')).status;");
    assert_eq!(second, "joined", "another client of the same page");
}

#[test]
fn local_storage_keeps_the_key_over_a_reload_and_between_tabs() {
    let shop = Shop::open();
    let first = changed(&shop, &[NO_INDEXED_DB]);
    shop.visit(&first, &json!({}));
    shop.api().next([Plan::lose_answer().held("bank")]);
    first.start("paying", "return pay('order-1', { amount: 25 });");
    shop.api().wait_for(1);
    first.reload();
    shop.api().open("bank");
    let resumed = first.run("await opened; return await resume('order-1');");
    assert_eq!(resumed["value"]["receipt"], 1);
    let requests = shop.api().requests();
    assert_eq!(requests[0].request.body, requests[1].request.body);
    let second = shop.another_tab_changed(&[NO_INDEXED_DB]);
    assert_eq!(
        second.run("return (await pay('order-1', { amount: 25 })).status;"),
        "joined"
    );
    assert_eq!(shop.api().keys().len(), 1);
}

#[test]
fn without_locks_two_tabs_still_make_one_key() {
    let shop = Shop::open();
    let first = changed(&shop, &[NO_LOCKS]);
    shop.visit(&first, &json!({}));
    let second = shop.another_tab_changed(&[NO_LOCKS]);
    shop.api().otherwise(Plan::pay().after_ms(30));
    for tab in [&first, &second] {
        tab.start(
            "rounds",
            "const keys = [];\n\
             for (let round = 0; round < 20; round += 1) {\n\
               await meet(2, `round-${round}`);\n\
               keys.push((await pay(`order-${round}`)).key);\n\
             }\n\
             return keys;",
        );
    }
    let keys = [&first, &second].map(|tab| tab.finish("rounds").expect("every round ends"));
    assert_eq!(keys[0], keys[1]);
    assert_eq!(shop.api().keys().len(), 20);
    assert_eq!(shop.api().charges(), 20);
}

#[test]
fn without_locks_a_lease_ends_a_claim_whose_page_crashed() {
    let shop = Shop::open();
    let options = json!({"leaseMs": 3_600_000});
    let (tab, other) = (changed(&shop, &[NO_LOCKS]), shop.new_tab());
    shop.visit(&tab, &options);
    other.before_load(NO_LOCKS);
    shop.visit(&other, &options);
    shop.api().next([Plan::hang()]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    tab.crash();
    let busy = "return await pay('order-1', undefined, { ifBusy: 'refuse' });";
    assert_eq!(code(other.try_run(busy, json!(null))), "in-progress");
    let paid = other.run("await sleepFor(3_600_000); return await pay('order-1');");
    assert_eq!(paid["value"]["receipt"], 1);
    assert_eq!(shop.api().keys().len(), 1);
}

#[test]
fn without_locks_a_page_does_not_wait_for_its_own_earlier_life() {
    let shop = Shop::open();
    // So long that a wait for it would outlast the call.
    let options = json!({"leaseMs": 3_600_000});
    let (tab, other) = (changed(&shop, &[NO_LOCKS]), shop.new_tab());
    shop.visit(&tab, &options);
    shop.api().next([Plan::hang(), Plan::hang()]);
    let once = "return pay('order-1', 1, { ifBusy: 'refuse', retry: { deadlineMs: 30_000 } });";
    for lives in 1..=2 {
        tab.start("paying", once);
        shop.api().wait_for(lives);
        tab.reload();
        tab.run("await opened;");
    }
    assert_eq!(tab.run(once)["value"]["receipt"], 1);
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
    // Nor does another page wait for one that was closed.
    other.before_load(NO_LOCKS);
    shop.visit(&other, &options);
    shop.api().next([Plan::hang()]);
    tab.start("paying", "return pay('order-2', 1);");
    shop.api().wait_for(4);
    tab.load(&shop.server.url("/pages/blank.html"));
    tab.close();
    let paid = other.run("return pay('order-2', 1, { ifBusy: 'refuse' });");
    assert_eq!(paid["value"]["receipt"], 2);
    assert_eq!(shop.api().keys().len(), 2);
}

/// Opening fails with `storage`, within its time, and there is no other store.
fn refuses_to_open(shop: &Shop, tab: &Tab<'_>) {
    tab.load(&shop.page(&json!({"openTimeoutMs": 700})));
    assert_eq!(code(tab.try_run("await opened;", json!(null))), "storage");
    let elsewhere = tab.run("return Object.keys(localStorage).length;");
    assert_eq!(elsewhere, 0, "no second store");
    assert_eq!(shop.api().requests().len(), 0);
}

#[test]
fn an_open_that_hangs_is_storage_and_nothing_is_sent() {
    let shop = Shop::open();
    let hang = "const open = IDBFactory.prototype.open;\n\
        IDBFactory.prototype.open = function (name, ...rest) {\n\
          return window.works ? open.call(this, name, ...rest) : new EventTarget();\n\
        };";
    let tab = changed(&shop, &[hang]);
    refuses_to_open(&shop, &tab);
    let later = tab.run(
        "window.works = true; window.client = await openClient();\n\
                         return (await pay('order-1')).status;",
    );
    assert_eq!(later, "done", "it works once storage does");
}

#[test]
fn an_open_that_fails_with_an_io_error_is_storage_and_no_second_store() {
    let shop = Shop::open();
    let fail = "const open = IDBFactory.prototype.open;\n\
        IDBFactory.prototype.open = function (...all) {\n\
          const request = open.apply(this, all);\n\
          const failing = new EventTarget();\n\
          request.onsuccess = request.onupgradeneeded = null;\n\
          Object.defineProperty(failing, 'error', {\n\
            value: new DOMException('Internal error', 'UnknownError') });\n\
          setTimeout(() => failing.onerror?.({ target: failing, preventDefault() {} }), 5);\n\
          return failing;\n\
        };";
    let tab = changed(&shop, &[fail]);
    refuses_to_open(&shop, &tab);
}

#[test]
fn an_upgrade_that_is_blocked_by_an_old_tab_is_storage() {
    let shop = Shop::open();
    // Somebody else's page holds the database and lets nobody upgrade it.
    let stubborn = shop.blank_tab();
    stubborn.load(&shop.server.url("/pages/blank.html"));
    stubborn.run(
        "window.held = await new Promise((resolve, reject) => {\n\
           const request = indexedDB.open('idempotency', 1);\n\
           request.onupgradeneeded = () => {\n\
             request.result.createObjectStore('theirs');\n\
           };\n\
           request.onsuccess = () => resolve(request.result);\n\
           request.onerror = () => reject(request.error);\n\
         });\n\
         // And an upgrade waits behind it, and everybody else behind that.\n\
         window.upgrade = indexedDB.open('idempotency', 2);",
    );
    let tab = shop.new_tab();
    refuses_to_open(&shop, &tab);
}

#[test]
fn a_database_of_somebody_else_is_refused_and_left_alone() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/blank.html"));
    let theirs = "const request = indexedDB.open('idempotency', 3);\n\
        const opened = await new Promise((resolve, reject) => {\n\
          request.onupgradeneeded = () => request.result.createObjectStore('theirs');\n\
          request.onsuccess = () => resolve(request.result);\n\
          request.onerror = () => reject(request.error);\n\
        });\n\
        const state = [opened.version, ...opened.objectStoreNames];\n\
        opened.close();\n\
        return state;";
    assert_eq!(tab.run(theirs), json!([3, "theirs"]));
    refuses_to_open(&shop, &tab);
    tab.load(&shop.server.url("/pages/blank.html"));
    assert_eq!(tab.run(theirs), json!([3, "theirs"]));
}

#[test]
fn an_old_tab_works_on_when_a_newer_package_raises_the_version() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run("await pay('order-1');");
    let newer = shop.new_tab();
    newer.load(&shop.server.url("/pages/blank.html"));
    newer.run(
        "await new Promise((resolve, reject) => {\n\
           const request = indexedDB.open('idempotency', 7);\n\
           request.onsuccess = () => { request.result.close(); resolve(); };\n\
           request.onerror = () => reject(request.error);\n\
           request.onblocked = () => reject(new Error('the old tab blocks it'));\n\
         });",
    );
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "joined");
    assert_eq!(tab.run("return (await pay('order-2')).status;"), "done");
}

#[test]
fn a_record_of_a_newer_package_is_refused_and_left_alone() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    let once = "return await pay('order-1', 1, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(once, json!(null))), "unknown");
    tab.run("await rewrite((record) => ({ ...record, v: 2, news: 'x' }));");
    let before = tab.run("return await records();");
    assert_eq!(code(tab.try_run(once, json!(null))), "storage");
    assert_eq!(tab.run("return await records();"), before);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn a_full_disk_is_storage_and_nothing_is_sent() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/blank.html"));
    let origin = shop.server.url("");
    let full = json!({"origin": origin, "quotaSize": 1});
    tab.cdp("Storage.overrideQuotaForOrigin", full)
        .expect("the quota can be set");
    tab.load(&shop.page(&json!({})));
    let refused = tab.try_run("await opened; return await pay('order-1');", json!(null));
    assert_eq!(code(refused), "storage");
    assert_eq!(shop.api().requests().len(), 0);
    tab.cdp("Storage.overrideQuotaForOrigin", json!({"origin": origin}))
        .expect("and reset");
    tab.reload();
    assert_eq!(
        tab.run("await opened; return (await pay('order-1')).status;"),
        "done"
    );
}

/// Makes a method of object stores throw, or fail its request's transaction.
const BROKEN_PUT: &str = "const put = IDBObjectStore.prototype.put;\n\
    IDBObjectStore.prototype.put = function (...all) {\n\
      if (window.broken === 'throws') throw new DOMException('full', 'QuotaExceededError');\n\
      const request = put.apply(this, all);\n\
      if (window.broken === 'aborts') this.transaction.abort();\n\
      return request;\n\
    };";

#[test]
fn persisting_that_fails_sends_nothing() {
    let shop = Shop::open();
    let tab = changed(&shop, &[BROKEN_PUT]);
    shop.visit(&tab, &json!({}));
    for broken in ["throws", "aborts"] {
        let refused = tab.try_run(
            "window.broken = args; return await pay('order-1');",
            json!(broken),
        );
        assert_eq!(code(refused), "storage", "{broken}");
    }
    assert_eq!(shop.api().requests().len(), 0);
    assert_eq!(
        tab.run("return await records();"),
        json!([]),
        "nothing half written"
    );
    tab.run("window.broken = undefined;");
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "done");
}

#[test]
fn an_outcome_that_cannot_be_stored_is_still_a_success() {
    let shop = Shop::open();
    let tab = changed(&shop, &[BROKEN_PUT]);
    shop.visit(&tab, &json!({}));
    let paid = tab.run(
        "return await read(await client.submit('pay:order-1', 1, async (attempt) => {\n\
           const answer = await send(attempt);\n\
           window.broken = 'throws';\n\
           return answer;\n\
         }));",
    );
    assert_eq!(
        (&paid["status"], &paid["value"]["receipt"]),
        (&json!("done"), &json!(1))
    );
    let again = tab.run("window.broken = undefined; return await pay('order-1', 1);");
    assert_eq!(
        again["key"], paid["key"],
        "the key is still there, and no other is made"
    );
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn a_transaction_that_hangs_is_storage_and_nothing_is_sent() {
    let shop = Shop::open();
    let freeze = "const begin = IDBDatabase.prototype.transaction;\n\
        IDBDatabase.prototype.transaction = function (...all) {\n\
          const transaction = begin.apply(this, all);\n\
          if (window.frozen) {\n\
            // As Safari does: no request of it ever ends.\n\
            const store = transaction.objectStore([all[0]].flat()[0]);\n\
            const again = () => { store.count().onsuccess = again; };\n\
            again();\n\
            transaction.objectStore = () => new Proxy(store, {\n\
              get: (target, name) => typeof target[name] === 'function'\n\
                ? () => new EventTarget() : target[name] });\n\
          }\n\
          return transaction;\n\
        };";
    let tab = changed(&shop, &[freeze]);
    shop.visit(&tab, &json!({"openTimeoutMs": 700}));
    let refused = tab.try_run(
        "window.frozen = true; return await pay('order-1');",
        json!(null),
    );
    assert_eq!(code(refused), "storage");
    assert_eq!(shop.api().requests().len(), 0);
    assert_eq!(
        tab.run("window.frozen = false; return (await pay('order-1')).status;"),
        "done"
    );
}

#[test]
fn storage_cleared_under_a_living_page_is_key_lost() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api()
        .next([Plan::problem(503, "busy").held("bank"), Plan::pay()]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    tab.run("await forgetEverything();");
    shop.api().open("bank");
    assert_eq!(code(tab.finish("paying")), "key-lost");
    assert_eq!(
        shop.api().requests().len(),
        1,
        "no second attempt without its key"
    );
}

#[test]
fn storage_cleared_by_the_browser_under_a_waiting_tab_is_key_lost() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    shop.api().next([Plan::lose_answer().held("bank")]);
    first.start(
        "paying",
        "return pay('order-1', 1, { retry: { maxAttempts: 1 } });",
    );
    shop.api().wait_for(1);
    second.start("paying", "return pay('order-1', 1);");
    second.run("await until(async () => (await navigator.locks.query()).pending.length === 1);");
    let cleared = json!({"origin": shop.server.url(""), "storageTypes": "indexeddb"});
    first
        .cdp("Storage.clearDataForOrigin", cleared)
        .expect("storage can be cleared");
    shop.api().open("bank");
    let outcome = code(first.finish("paying"));
    assert!(
        ["key-lost", "unknown"].contains(&outcome.as_str()),
        "{outcome}"
    );
    assert_eq!(code(second.finish("paying")), "key-lost");
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn an_answer_that_comes_after_storage_was_cleared_is_still_given() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    tab.run("await forgetEverything();");
    shop.api().open("bank");
    let paid = tab
        .finish("paying")
        .expect("what happened is not turned into an error");
    assert_eq!(paid["value"]["receipt"], 1);
}

#[test]
fn abandoning_under_a_waiting_caller_is_abandoned_and_never_a_new_key() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api()
        .next([Plan::problem(503, "busy").header("Retry-After", "1")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    tab.run("await until(() => events.some((event) => event.name === 'retry'));");
    // An attempt runs, so the client itself refuses; a person in the developer tools does not.
    let key = shop.api().keys()[0].clone();
    let given_up = tab.run_with(
        "return await client.abandon('pay:order-1', args);",
        json!(key),
    );
    assert_eq!(given_up, false);
    tab.run(
        "await rewrite((record) => ({ ...record, state: 'abandoned', settledAt: Date.now(),\n\
           expiresAt: Date.now() + 3_600_000, dueAt: Date.now() + 3_600_000 }));",
    );
    assert_eq!(code(tab.finish("paying")), "abandoned");
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn storage_cleared_behind_a_success_is_key_lost_while_an_equal_submit_would_join() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay()]);
    for status in ["done", "joined"] {
        assert_eq!(tab.run("return await pay('order-1');")["status"], status);
    }
    tab.run("await forgetEverything();");
    let lost = tab.try_run("return await pay('order-1');", json!(null));
    assert_eq!(code(lost), "key-lost");
    // Nothing is open, so there is nothing to go on with.
    assert_eq!(tab.run("return await resume('order-1');"), json!(null));
    assert_eq!(shop.api().requests().len(), 1);
    // The receipt was seen, and another payment is meant.
    let key = shop.api().keys()[0].clone();
    let script = "return await client.acknowledge('pay:order-1', args);";
    assert_eq!(tab.run_with(script, json!(key)), true);
    shop.api().next([Plan::pay()]);
    assert_eq!(tab.run("return await pay('order-1');")["status"], "done");
}

#[test]
fn storage_cleared_between_two_calls_of_a_living_page_is_key_lost_until_that_is_settled() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    let once = "return await pay('order-1', 1, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(once, json!(null))), "unknown");
    tab.run("await forgetEverything();");
    for call in [once, once, "return await resume('order-1');"] {
        let Thrown(lost) = tab.try_run(call, json!(null)).expect_err("it is refused");
        assert_eq!(refusal(&lost), "key-lost");
        assert_eq!(lost["intent"]["key"], shop.api().keys()[0].as_str());
    }
    assert_eq!(shop.api().requests().len(), 1);
    // A person has looked it up on the server.
    let key = shop.api().keys()[0].clone();
    let script = "return await client.abandon('pay:order-1', args);";
    assert_eq!(tab.run_with(script, json!(key)), true);
    assert_eq!(tab.run(once)["status"], "done");
}

#[test]
fn a_sweep_leaves_what_a_newer_package_wrote() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run(
        "await pay('order-1');\n\
         await rewrite((record) => ({ ...record, v: 2, expiresAt: 1, dueAt: 1 }));",
    );
    tab.reload();
    tab.run("await opened; await pay('order-2');");
    let versions = tab.run("return (await records()).map((record) => record.v).sort();");
    assert_eq!(versions, json!([1, 2]));
}

#[test]
fn a_limit_beyond_what_timers_know_is_no_limit_of_nothing() {
    let shop = Shop::open();
    let tab = shop.tab_with(&json!({"openTimeoutMs": 3_000_000_000_u64}));
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "done");
}
