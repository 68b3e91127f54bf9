//! A GraphQL mutation whose key comes as an argument, or in the header that all requests share.
//!
//! An argument is part of the schema, so clients see that the mutation wants one; a header suits
//! clients whose requests have one mutation. An answer with errors is a 200 in GraphQL: what is
//! stored is the mutation's own result, not the response around it.

use async_graphql::{
    Context, EmptySubscription, Error, ErrorExtensions, Object, Request, Response, Schema,
    SimpleObject,
};
use idempotency_ledger::redb::{self, ReadableTable, TableDefinition};
use idempotency_ledger::{
    Fingerprint, Key, Ledger, Namespace, Policy, Refusal, RunError, StoredValue,
};
use serde::{Deserialize, Serialize};

const TRANSFERS: Namespace = Namespace::new("graphql/transfer").policy(Policy::PAYMENTS);
const BALANCES: TableDefinition<'_, &str, i64> = TableDefinition::new("balances");

/// The key in the header `Idempotency-Key` of the HTTP request, where there is one.
struct HeaderKey(Option<String>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject)]
struct Transfer {
    to: String,
    amount: i64,
    balance: i64,
}
impl StoredValue for Transfer {
    const SCHEMA: &str = "transfer/1";
}

struct Query;

#[Object]
impl Query {
    #[expect(clippy::unused_async, reason = "resolvers are")]
    async fn balance(&self, context: &Context<'_>, of: String) -> Result<i64, Error> {
        let txn = context.data::<Ledger>()?.read()?;
        let table = txn.open_table(BALANCES)?;
        Ok(table.get(of.as_str())?.map_or(0, |balance| balance.value()))
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn transfer(
        &self,
        context: &Context<'_>,
        to: String,
        amount: i64,
        idempotency_key: Option<String>,
    ) -> Result<Transfer, Error> {
        let in_header = context.data::<HeaderKey>()?.0.clone();
        let key = idempotency_key.or(in_header);
        let key =
            key.ok_or_else(|| refused("missing-key", "give idempotencyKey, or the header"))?;
        let key = Key::new(key).map_err(|error| refused("invalid-key", &error.to_string()))?;
        let asked = Fingerprint::of(["transfer", &to, &amount.to_string()]);
        let request = context.data::<Ledger>()?.operation(TRANSFERS, &key, asked);
        let moved = request.transact_async(move |_, txn| -> Result<_, redb::Error> {
            let mut balances = txn.open_table(BALANCES)?;
            let old = balances.get(to.as_str())?.map_or(0, |old| old.value());
            let balance = old + amount;
            let _ = balances.insert(to.as_str(), balance)?;
            Ok(Transfer {
                to,
                amount,
                balance,
            })
        });
        Ok(moved.await.map_err(|error| error_of(&error))?.into_inner())
    }
}

/// What a client can tell apart, under the codes of the HTTP middleware.
fn error_of(error: &RunError<redb::Error, Transfer>) -> Error {
    let code = match error {
        RunError::Refused(Refusal::InProgress { .. }) => "in-progress",
        RunError::Refused(Refusal::Mismatch) => "mismatch",
        RunError::Refused(Refusal::Stale { .. }) => "stale-key",
        RunError::Refused(Refusal::Quota { .. }) => "quota",
        RunError::Interrupted(_) => "interrupted",
        _ => "storage",
    };
    refused(code, &error.to_string())
}

fn refused(code: &str, detail: &str) -> Error {
    Error::new(detail).extend_with(|_, extensions| extensions.set("code", code))
}

type Shop = Schema<Query, Mutation, EmptySubscription>;

/// What an HTTP handler does: the header goes along with the document.
async fn serve(shop: &Shop, header: Option<&str>, document: &str) -> Response {
    let request = Request::new(document).data(HeaderKey(header.map(str::to_owned)));
    shop.execute(request).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("shop.redb")?
    let shop = Schema::build(Query, Mutation, EmptySubscription)
        .data(ledger)
        .finish();
    let pay = r#"mutation { transfer(to: "ann", amount: 25, idempotencyKey: "t-1") { balance } }"#;
    let first = serve(&shop, None, pay).await;
    let retry = serve(&shop, None, pay).await;
    println!("{}", first.data);
    assert!(
        first.is_ok() && first.data == retry.data,
        "the same answer: {retry:?}"
    );

    let by_header = r#"mutation { transfer(to: "ann", amount: 25) { balance } }"#;
    for _ in 0..2 {
        let paid = serve(&shop, Some("t-2"), by_header).await;
        assert_eq!(paid.data.to_string(), "{transfer: {balance: 50}}");
    }
    // The same key for another transfer, and none at all.
    let other = serve(&shop, Some("t-1"), by_header.replace("25", "99").as_str()).await;
    let missing = serve(&shop, None, by_header).await;
    for (answer, code) in [(other, "mismatch"), (missing, "missing-key")] {
        let extensions = answer.errors[0].extensions.as_ref().expect("a code");
        println!("{code}: {}", answer.errors[0].message);
        assert_eq!(
            extensions.get("code").map(ToString::to_string),
            Some(format!("\"{code}\""))
        );
    }
    let balance = serve(&shop, None, r#"{ balance(of: "ann") }"#).await;
    assert_eq!(
        balance.data.to_string(),
        "{balance: 50}",
        "two transfers, each once"
    );
    Ok(())
}
