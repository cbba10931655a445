//! Objects over HTTP, by addresses that the server signed.

use std::io::{self, Read, Write};
use std::time::Duration;

use jb_artifacts::exchange::{PART_BYTES, PARTS_MAX, Place, Said, Upload};
use ureq::Agent;
use ureq::config::Config;
use ureq::http::StatusCode;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// How long a connection may take, and a store may leave one that is open without a byte.
const SILENCE: Duration = Duration::from_secs(30);
/// A part may take this long.
const PART: Duration = Duration::from_secs(10 * 60);
/// How often something is tried again while nothing goes on.
const ATTEMPTS: u32 = 9;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// What is read of a store's own words.
const WORDS_BYTES_MAX: u64 = 4096;

pub(crate) struct Client(Agent);

/// Why a request did not succeed.
enum Failure {
    /// Trying again may help.
    Passing(io::Error),
    Missing,
    Final(io::Error),
}

impl Failure {
    fn into_io(self) -> io::Error {
        match self {
            Self::Passing(error) | Self::Final(error) => error,
            Self::Missing => io::Error::new(io::ErrorKind::NotFound, "the object is not there"),
        }
    }
}

impl Client {
    /// `trust` is certificates in PEM form, in place of those of public authorities.
    pub(crate) fn new(trust: Option<&str>) -> io::Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = trust {
            let mut certificates: Vec<Certificate<'static>> = Vec::new();
            for item in parse_pem(pem.as_bytes()) {
                if let PemItem::Certificate(certificate) = item.map_err(ureq::Error::into_io)? {
                    certificates.push(certificate);
                }
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let config = Config::builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            // Where steps may go is not where archives go.
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(PART))
            .timeout_send_body(Some(PART))
            .timeout_per_read(Some(SILENCE))
            .build();
        Ok(Self(config.new_agent()))
    }

    /// The object at an address; `None` when there is none.
    pub(crate) fn get<'a>(&'a self, url: &'a str) -> io::Result<Option<Download<'a>>> {
        match patiently(|| self.request(url, 0, None)) {
            Ok(begun) => {
                let Begun { length, tag, body } = begun;
                Ok(Some(Download { client: self, url, at: 0, length, tag, body, failures: 0 }))
            }
            Err(Failure::Missing) => Ok(None),
            Err(failure) => Err(failure.into_io()),
        }
    }

    fn request(&self, url: &str, from: u64, tag: Option<&str>) -> Result<Begun, Failure> {
        let mut request = self.0.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        if let Some(tag) = tag {
            // What is written anew meanwhile is another object.
            request = request.header("If-Match", tag);
        }
        let answer = judge(request.call())?;
        let header = |name| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (length, tag) = (header("content-length"), header("etag"));
        let length = length.and_then(|length| length.parse::<u64>().ok());
        if from > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
            let text = "the store does not go on where a download broke off";
            return Err(Failure::Final(io::Error::other(text)));
        }
        let length = length.map(|length| from + length);
        Ok(Begun { length, tag, body: Box::new(answer.into_body().into_reader()) })
    }

    /// Writes an object or a part; returns what the store calls it.
    fn put(&self, url: &str, bytes: &[u8]) -> io::Result<String> {
        let put = patiently(|| {
            let answer = judge(self.0.put(url).content_type(KIND).send(bytes))?;
            let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
            Ok(tag.unwrap_or_default().to_owned())
        });
        put.map_err(Failure::into_io)
    }
}

const KIND: &str = "application/octet-stream";

struct Begun {
    length: Option<u64>,
    tag: Option<String>,
    body: Box<dyn Read>,
}

fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(Failure::Passing(_)) => std::thread::sleep(pause),
            result => return result,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    attempt()
}

type Answer = ureq::http::Response<ureq::Body>;

fn judge(answer: Result<Answer, ureq::Error>) -> Result<Answer, Failure> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(ureq::Error::Tls(why)) => return Err(Failure::Final(io::Error::other(why))),
        // Addresses are secrets: errors of this crate do not repeat them.
        Err(error) => return Err(Failure::Passing(error.into_io())),
    };
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(Failure::Missing);
    }
    let mut words = Vec::new();
    // Only for the message.
    let _ = answer.into_body().into_reader().take(WORDS_BYTES_MAX).read_to_end(&mut words);
    let words = String::from_utf8_lossy(&words).into_owned();
    let code = words.split("<Code>").nth(1).and_then(|rest| rest.split('<').next());
    let error = io::Error::other(format!(
        "the object store answered with status {}{}",
        status.as_u16(),
        code.map(|code| format!(" ({code})")).unwrap_or_default()
    ));
    let passing = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    Err(if passing { Failure::Passing(error) } else { Failure::Final(error) })
}

/// An object that is read to its end, over as many connections as that takes.
pub(crate) struct Download<'a> {
    client: &'a Client,
    url: &'a str,
    at: u64,
    length: Option<u64>,
    tag: Option<String>,
    body: Box<dyn Read>,
    /// Since the last byte.
    failures: u32,
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let error = match self.body.read(buffer) {
                Ok(0) if !buffer.is_empty() && self.length.is_some_and(|all| self.at < all) => {
                    io::ErrorKind::UnexpectedEof.into()
                }
                Ok(n) => {
                    self.at += n as u64;
                    self.failures = 0;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.failures += 1;
            if self.failures >= ATTEMPTS || self.tag.is_none() {
                return Err(error);
            }
            let (client, url, at) = (self.client, self.url, self.at);
            let again = patiently(|| client.request(url, at, self.tag.as_deref()));
            self.body = again.map_err(Failure::into_io)?.body;
        }
    }
}

/// Writes a volume's archive to the store: in one go when it is small, else in parts.
pub(crate) struct Writing<'a> {
    client: &'a Client,
    volume: &'a str,
    /// Asks the server where a part goes.
    ask: &'a mut dyn FnMut(&Said) -> io::Result<Place>,
    buffer: Vec<u8>,
    upload: Option<Upload>,
}

impl<'a> Writing<'a> {
    pub(crate) fn new(
        client: &'a Client,
        volume: &'a str,
        ask: &'a mut dyn FnMut(&Said) -> io::Result<Place>,
    ) -> Self {
        Self { client, volume, ask, buffer: Vec::with_capacity(PART_BYTES), upload: None }
    }

    fn place(&mut self, part: u16) -> io::Result<Place> {
        let upload = self.upload.as_ref().map(|upload| upload.id.clone());
        (self.ask)(&Said::Want { volume: self.volume.to_owned(), part, upload })
    }

    fn send_part(&mut self) -> io::Result<()> {
        let done = self.upload.as_ref().map_or(0, |upload| upload.tags.len());
        let part = u16::try_from(done + 1).unwrap_or(u16::MAX);
        if part > PARTS_MAX {
            let gib = (PART_BYTES * usize::from(PARTS_MAX)) >> 30;
            let text = format!("it is larger than the {gib} GiB that an object may have");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let place = self.place(part)?;
        let tag = self.client.put(&place.url, &self.buffer)?;
        self.buffer.clear();
        let begin = || Upload { id: place.upload.unwrap_or_default(), tags: Vec::new() };
        self.upload.get_or_insert_with(begin).tags.push(tag);
        Ok(())
    }

    /// Sends what is left; returns what makes the object whole.
    pub(crate) fn finish(mut self) -> io::Result<Said> {
        if self.upload.is_some() {
            if !self.buffer.is_empty() {
                self.send_part()?;
            }
        } else {
            let place = self.place(0)?;
            self.client.put(&place.url, &self.buffer)?;
        }
        Ok(Said::Stored { volume: self.volume.to_owned(), upload: self.upload })
    }
}

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == PART_BYTES {
            self.send_part()?;
        }
        let taken = bytes.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Parts are sent when they are full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
