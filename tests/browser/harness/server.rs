//! The server of one test: its pages, the package, and the payment API, on one origin of its own.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::api::Api;
use super::http::{Reply, Request};
use super::meeting::Meetings;
use super::plan::Arrives;
use super::site;

/// Everything that the connections share.
#[derive(Debug)]
struct Shared {
    api: Api,
    meetings: Meetings,
    /// Bodies that a test made, and headers that it wants on a path.
    made: Mutex<HashMap<String, Reply>>,
    headers: Mutex<HashMap<String, Vec<(String, String)>>>,
    folders: Mutex<Vec<(String, PathBuf)>>,
    is_over: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

/// Serves on a port of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            api: Api::new(),
            meetings: Meetings::default(),
            made: Mutex::default(),
            headers: Mutex::default(),
            folders: Mutex::new(site::folders()),
            is_over: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let for_thread = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, &for_thread));
        Self {
            shared,
            port,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn api(&self) -> &Api {
        &self.shared.api
    }

    /// `localhost` and not the number: the browser trusts both, and people use the name.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    /// Serves this body under a path.
    pub(crate) fn serve(&self, path: &str, reply: Reply) {
        let mut made = self
            .shared
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        made.insert(path.to_owned(), reply);
    }

    /// Serves a folder under a prefix such as `/dist/`.
    pub(crate) fn serve_folder(&self, prefix: &str, folder: &Path) {
        let folders = &self.shared.folders;
        let mut folders = folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.push((prefix.to_owned(), folder.to_owned()));
    }

    /// Sends a header with whatever is served under this path.
    pub(crate) fn add_header(&self, path: &str, name: &str, value: &str) {
        let headers = &self.shared.headers;
        let mut headers = headers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_path = headers.entry(path.to_owned()).or_default();
        of_path.push((name.to_owned(), value.to_owned()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.api.end();
        self.shared.meetings.end();
        let connections = &self.shared.connections;
        for stream in &*connections.lock().unwrap_or_else(PoisonError::into_inner) {
            // A connection that has ended already cannot be shut down.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The thread waits in `accept`: one more connection shows it that all is over.
        let woken = TcpStream::connect(("127.0.0.1", self.port));
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(copy) = stream.try_clone() {
            let connections = &shared.connections;
            connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(copy);
        }
        let shared = Arc::clone(shared);
        // A browser that goes away in the middle ends its connection, and that is all.
        thread::spawn(move || drop(converse(stream, &shared)));
    }
}

fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    // Small answers in two packets would otherwise wait for each other.
    stream.set_nodelay(true)?;
    let mut writing = stream.try_clone()?;
    let mut reading = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reading)? {
        let is_api = request.path.starts_with("/api/");
        let (reply, arrives) = if is_api {
            shared.api.answer(&request)
        } else {
            (shared.page(&request), Arrives::Whole)
        };
        match arrives {
            Arrives::Whole => reply.write(&mut writing)?,
            Arrives::Half => {
                reply.write_half(&mut writing)?;
                return writing.shutdown(Shutdown::Both);
            }
            Arrives::Nothing | Arrives::Never => return writing.shutdown(Shutdown::Both),
        }
    }
    Ok(())
}

impl Shared {
    fn page(&self, request: &Request) -> Reply {
        let mut reply = self.body(request);
        let headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = headers.get(&request.path) {
            reply.headers.extend(more.iter().cloned());
        }
        reply
    }

    fn body(&self, request: &Request) -> Reply {
        if let Some(meeting) = request.path.strip_prefix("/meeting/") {
            self.meetings.arrive(meeting);
            return Reply::new(200, "text/plain", "").with("Cache-Control", "no-store");
        }
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reply) = made.get(&request.path) {
            return reply.clone();
        }
        drop(made);
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        site::file(&folders, &request.path)
    }
}
