//! `POST /api/transfers`: the effect is in the ledger's file, so it and its answer are one commit.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use idempotency_ledger::WriteTxn;
use idempotency_ledger::http::{HttpAnswer, Keyed, TransactError};
use serde::Deserialize;
use serde_json::json;

use crate::bank::{Bank, BankError, Transfer};
use crate::faults::Fault;
use crate::principal::Principal;
use crate::problems::{answer, problem, unreadable};
use crate::server::App;

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    from: String,
    to: String,
    /// In cents.
    amount: i64,
}

/// Why a transaction was rolled back.
pub(crate) enum RolledBack {
    Storage(String),
    DemoFault,
}

pub(crate) async fn create(
    State(app): State<App>,
    Principal(principal): Principal,
    fault: Fault,
    Extension(keyed): Extension<Keyed>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let asked = match asked {
        Ok(Json(asked)) => asked,
        Err(rejection) => return unreadable(&rejection),
    };
    if asked.amount <= 0 || asked.from == asked.to {
        return problem(
            400,
            "invalid-request",
            "the amount is not above zero, or nothing moves",
        );
    }
    fault.pause().await;
    let transfer = Transfer {
        id: 0,
        at: 0,
        from: asked.from,
        to: asked.to,
        amount: asked.amount,
        key: keyed.key().map(|key| key.as_str().to_owned()),
        principal,
    };
    let bank = app.bank.clone();
    let fails = fault.fails_before_the_effect();
    let done = keyed.transact(move |txn| {
        if fails {
            return Err(RolledBack::DemoFault);
        }
        moved(&bank, txn, transfer)
    });
    let response = respond(done.await);
    fault.crash_behind(&response);
    response
}

/// A refusal of the bank is an answer, too: it is stored, and a retry gets it.
fn moved(bank: &Bank, txn: &WriteTxn<'_>, asked: Transfer) -> Result<HttpAnswer, RolledBack> {
    let (from, to) = (asked.from.clone(), asked.to.clone());
    let (transfer, balances) = match bank.transfer(txn, asked) {
        Ok(moved) => moved,
        Err(error) => return refusal(error),
    };
    let moved = json!({
        "id": transfer.id,
        "from": transfer.from,
        "to": transfer.to,
        "amount": transfer.amount,
        "balances": { from: balances[0], to: balances[1] },
    });
    HttpAnswer::json(201, &moved).map_err(|error| RolledBack::Storage(error.to_string()))
}

/// What a refusal of the bank is as an answer. It has changed nothing.
pub(crate) fn refusal(error: BankError) -> Result<HttpAnswer, RolledBack> {
    match error {
        BankError::NoAccount(id) => Ok(answer(
            404,
            "no-account",
            &format!("there is no account {id:?}"),
        )),
        BankError::NoFunds { balance } => {
            let detail = format!("there are {balance} cents in the account");
            Ok(answer(402, "insufficient-funds", &detail))
        }
        BankError::Conflict { current } => {
            let conflict = answer(412, "version-conflict", "somebody changed it meanwhile");
            Ok(match current {
                Some(version) => conflict.header("etag", &format!("\"{version}\"")),
                None => conflict,
            })
        }
        BankError::Storage(why) => Err(RolledBack::Storage(why)),
    }
}

pub(crate) fn respond(
    done: Result<http::Response<bytes::Bytes>, TransactError<RolledBack>>,
) -> Response {
    match done {
        Ok(response) => response.map(axum::body::Body::from),
        Err(TransactError::Problem(problem)) => problem.into_response().map(axum::body::Body::from),
        Err(TransactError::Handler(RolledBack::DemoFault)) => {
            problem(500, "demo-fault", "it failed before anything was moved")
        }
        Err(TransactError::Handler(RolledBack::Storage(why))) => problem(503, "storage", &why),
    }
}

pub(crate) async fn list(State(app): State<App>, Principal(principal): Principal) -> Response {
    match app.bank.transfers(&principal) {
        Ok(transfers) => {
            let lines = transfers.into_iter().map(|transfer| {
                json!({
                    "id": transfer.id,
                    "from": transfer.from,
                    "to": transfer.to,
                    "amount": transfer.amount,
                    "key": transfer.key,
                    "at": transfer.at,
                })
            });
            Json(lines.collect::<Vec<_>>()).into_response()
        }
        Err(error) => failed(&error),
    }
}

pub(crate) fn failed(error: &BankError) -> Response {
    problem(503, "storage", &format!("{error:?}"))
}
