//! Writes that fail after they were asked for, as a browser reports them: late, by an event.

use serde_json::json;

use crate::harness::plan::Plan;
use crate::shop::{Shop, code};
use crate::storage::changed;

/// A put whose request fails after it was made, while `fails` says so of its record; and a
/// `commit` that notes whether it came before the puts had succeeded.
const LATE_PUT: &str = "const put = IDBObjectStore.prototype.put;\n\
    const commit = IDBTransaction.prototype.commit;\n\
    const open = new WeakMap();\n\
    window.early = 0; window.commits = 0; window.shown = []; window.fails = () => false;\n\
    window.onerror = (message) => shown.push(message);\n\
    IDBObjectStore.prototype.put = function (record, key) {\n\
      const { transaction } = this;\n\
      const request = put.call(this, record, key);\n\
      const last = window.fails(record) ? this.add(record, key) : request;\n\
      open.set(transaction, (open.get(transaction) ?? 0) + 1);\n\
      const ended = () => open.set(transaction, open.get(transaction) - 1);\n\
      last.addEventListener('success', ended);\n\
      last.addEventListener('error', (event) => {\n\
        transaction.db.addEventListener('error', (same) => {\n\
          if (!same.defaultPrevented) shown.push('it reaches the window in Firefox');\n\
        }, { once: true });\n\
      });\n\
      return request;\n\
    };\n\
    IDBTransaction.prototype.commit = function () {\n\
      commits += 1;\n\
      if (open.get(this)) early += 1;\n\
      return commit.call(this);\n\
    };";

#[test]
fn no_transaction_is_committed_before_its_puts_have_succeeded() {
    let shop = Shop::open();
    let tab = changed(&shop, &[LATE_PUT]);
    shop.visit(&tab, &json!({}));
    shop.api().next([Plan::lose_answer()]);
    tab.run(
        "const { key } = await pay('order-1');\n\
         await client.acknowledge('pay:order-1', key);",
    );
    let commits = tab.run("return { early, isCalled: commits > 0 };");
    assert_eq!(commits, json!({"early": 0, "isCalled": true}));
}

#[test]
fn a_put_that_fails_late_is_storage_and_never_reaches_the_window() {
    let shop = Shop::open();
    let tab = changed(&shop, &[LATE_PUT]);
    shop.visit(&tab, &json!({}));
    tab.run("window.fails = () => true;");
    assert_eq!(
        code(tab.try_run("return await pay('order-1');", json!(null))),
        "storage"
    );
    assert_eq!(shop.api().requests().len(), 0);
    assert_eq!(tab.run("return [await records(), shown];"), json!([[], []]));
    tab.run("window.fails = () => false;");
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "done");
}

#[test]
fn a_payload_that_cannot_be_kept_is_sent_under_a_key_that_is() {
    let shop = Shop::open();
    let tab = changed(&shop, &[LATE_PUT]);
    shop.visit(&tab, &json!({}));
    shop.api().next([Plan::hang()]);
    tab.run("window.fails = ({ payload }) => payload !== undefined;");
    tab.start("paying", "return pay('order-1', { amount: 25 });");
    let key = shop.api().wait_for(1)[0].key.clone();
    let stored = tab.run("return (await records()).map(({ key, payload }) => [key, payload]);");
    assert_eq!(stored, json!([[key, null]]));
    assert_eq!(tab.run("return shown;"), json!([]));
    tab.reload();
    tab.run("await opened;");
    assert_eq!(
        code(tab.try_run("return await resume('order-1');", json!(null))),
        "payload-needed"
    );
    tab.run("return await pay('order-1', { amount: 25 });");
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}
