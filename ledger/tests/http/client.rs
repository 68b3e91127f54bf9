//! A small HTTP/1.1 client over a socket, so that what is compared is what was sent.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that says nothing for so long has hung, which ends the test instead of keeping it.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A request to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    head: Vec<u8>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Whole(Vec<u8>),
    Chunked(Vec<u8>),
}

impl Call {
    pub(crate) fn of(method: &str, path: &str) -> Self {
        Self::at("localhost", method, path)
    }

    /// To a server that is called by this name.
    pub(crate) fn at(host: &str, method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        Self {
            head: head.into_bytes(),
            body: Body::None,
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::of("GET", path)
    }

    pub(crate) fn post(path: &str) -> Self {
        Self::of("POST", path)
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.extend_from_slice(name.as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_ref());
        self.head.extend_from_slice(b"\r\n");
        self
    }

    /// With the key as the draft has it, in quotes.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", format!("\"{key}\""))
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(body.into());
        self.header("content-type", content_type)
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.body("application/json", body)
    }

    /// Sends the body in chunks, so that its length is not known beforehand.
    pub(crate) fn chunked(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Chunked(body.into());
        self
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        match &self.body {
            Body::None => bytes.extend_from_slice(b"\r\n"),
            Body::Whole(body) => {
                let length = format!("content-length: {}\r\n\r\n", body.len());
                bytes.extend_from_slice(length.as_bytes());
                bytes.extend_from_slice(body);
            }
            Body::Chunked(body) => {
                bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for chunk in body.chunks(1_000) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
        }
        bytes
    }

    /// Sends it, and does not wait for the answer.
    pub(crate) fn open(&self, addr: SocketAddr) -> Open {
        Open::with(addr, &self.bytes()).unwrap()
    }

    pub(crate) fn try_send(&self, addr: SocketAddr) -> io::Result<Answer> {
        Open::with(addr, &self.bytes())?.answer()
    }

    /// The same without holding a thread.
    pub(crate) async fn send_async(&self, addr: SocketAddr) -> io::Result<Answer> {
        let exchange = async {
            let mut stream = tokio::net::TcpStream::connect(addr).await?;
            stream.write_all(&self.bytes()).await?;
            let mut read = Vec::new();
            let ended = stream.read_to_end(&mut read).await;
            let torn = || ended.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
            Answer::parse(&read).ok_or_else(torn)
        };
        let silent = |_| Err(io::ErrorKind::TimedOut.into());
        let answered = tokio::time::timeout(SILENCE_MAX, exchange).await;
        answered.unwrap_or_else(silent)
    }

    #[track_caller]
    pub(crate) fn send(&self, addr: SocketAddr) -> Answer {
        match self.try_send(addr) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer to {:?}: {error}", self.start()),
        }
    }

    fn start(&self) -> String {
        let line = self.head.split(|byte| *byte == b'\r').next();
        String::from_utf8_lossy(line.unwrap_or_default()).into_owned()
    }
}

/// A connection whose request was sent. Dropping it disconnects.
#[derive(Debug)]
pub(crate) struct Open {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Open {
    pub(crate) fn with(addr: SocketAddr, bytes: &[u8]) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        // A server may refuse before it has read everything.
        let _ = stream.write_all(bytes);
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// Waits for the whole answer.
    pub(crate) fn answer(mut self) -> io::Result<Answer> {
        let ended = self.stream.read_to_end(&mut self.read);
        match Answer::parse(&self.read) {
            Some(answer) => Ok(answer),
            None => Err(ended
                .err()
                .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Waits for the end, and returns every byte.
    pub(crate) fn raw(mut self) -> Vec<u8> {
        self.stream.read_to_end(&mut self.read).unwrap();
        self.read
    }

    /// Reads until the text has come, whether or not the answer goes on.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 4_096];
        while !contains(&self.read, text.as_bytes()) {
            let count = self.stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "it ended without {text:?}");
            self.read.extend_from_slice(&buffer[..count]);
        }
    }

    /// Goes away without a word.
    pub(crate) fn disconnect(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

pub(crate) fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

/// An answer, whole.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {body:?}", self.status, self.headers)
    }
}

impl Answer {
    /// What was read, or `None` where it is no whole answer.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .map(|line| line.split_once(": ").or_else(|| line.split_once(':')))
            .map(|pair| pair.map(|(name, value)| (name.to_lowercase(), value.to_owned())))
            .collect::<Option<Vec<_>>>()?;
        let mut answer = Self {
            status,
            headers,
            body: Vec::new(),
        };
        let rest = &bytes[end + 4..];
        answer.body = if answer.header("transfer-encoding") == Some("chunked") {
            unchunked(rest)?
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().ok()?;
            // The answer to HEAD tells a length and has no body.
            match rest.get(..length) {
                Some(body) => body.to_vec(),
                None if rest.is_empty() => Vec::new(),
                None => return None,
            }
        } else {
            rest.to_vec()
        };
        Some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice: {self:?}");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {self:?}"),
        }
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }

    /// Its code, if it is a problem document with all its members.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        let content_type = self.header("content-type");
        assert_eq!(content_type, Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["type"], "about:blank", "{self:?}");
        assert_eq!(document["status"], self.status, "{self:?}");
        for member in ["title", "detail"] {
            let text = document[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member} is missing: {self:?}");
        }
        document["code"].as_str().unwrap().to_owned()
    }

    /// Asserts that it is this problem, and whether it says when to come again.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        let found = (self.status, self.problem());
        assert_eq!(found, (status, code.to_owned()), "{self:?}");
        let retry_after = self.header("retry-after");
        assert_eq!(retry_after.is_some(), code == "in-progress", "{self:?}");
        assert!(!self.is_replay(), "{self:?}");
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
