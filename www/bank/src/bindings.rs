//! The door between the worker's JavaScript and the bank: text in, text out.

use wasm_bindgen::prelude::*;

use crate::bank::Bank;
use crate::request::Request;
use crate::step::{Step, Turn};
use crate::worker_clock::WorkerClock;

/// The bank, as the worker holds it.
#[wasm_bindgen(js_name = Bank)]
#[derive(Debug)]
pub struct BankHandle(Bank);

#[wasm_bindgen(js_class = Bank)]
impl BankHandle {
    /// Opens a bank on an image, or a new one.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn open(image: Option<Vec<u8>>) -> Result<BankHandle, JsValue> {
        let bank = Bank::open(image, WorkerClock::new());
        bank.map(Self).map_err(|error| JsValue::from_str(&error.0))
    }

    /// The bytes to keep.
    pub fn image(&self) -> Vec<u8> {
        self.0.image()
    }

    /// Takes a request in; the first step as JSON.
    pub fn start(&mut self, request: &str) -> String {
        match serde_json::from_str::<Request>(request) {
            Ok(request) => text(&self.0.start(request)),
            // The worker writes it, so this is a mistake in the worker: nobody gets an answer.
            Err(_) => text(&Turn {
                number: 0,
                step: Step::Silence,
            }),
        }
    }

    /// Goes on with a request; its next step as JSON.
    #[wasm_bindgen(js_name = goOn)]
    pub fn go_on(&mut self, number: u32) -> String {
        text(&self.0.go_on(number))
    }
}

fn text(turn: &Turn) -> String {
    serde_json::to_string(turn).unwrap_or_default()
}
