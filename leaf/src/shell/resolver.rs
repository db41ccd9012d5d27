//! Where the JWTs of accounts are kept: files of a directory, or a web server.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tracing::{info, warn};

use super::http::io::Stream;
use super::server::Server;
use crate::auth::jwt::token::TOKEN_BYTES_MAX;
use crate::auth::nkey::PublicKey;
use crate::config::{Config, Resolver, ResolverDir};
use crate::node::{StoreAnswer, StoreOp};

/// How long an account may take to come from a web server.
const FETCH_WITHIN: Duration = Duration::from_millis(1900);
const EXTENSION: &str = "jwt";

/// Accounts and their JWTs.
pub type Files = Vec<(Box<str>, String)>;

/// Makes sure of the resolver before a port is bound: the directory is there and its files are read, or the web
/// server answers.
///
/// # Errors
/// What is missing.
pub async fn open(config: &Config) -> Result<Files, String> {
    let resolver = config.operator.as_ref().and_then(|operator| operator.resolver.as_ref());
    match resolver {
        None | Some(Resolver::Memory) => Ok(Files::new()),
        Some(Resolver::Url(url)) => fetch(url).await.map(|_| Files::new()),
        Some(Resolver::Full(dir) | Resolver::Cache(dir)) => {
            let files = read_all(dir)?;
            let amount = if matches!(resolver, Some(Resolver::Full(_))) { "all" } else { "some" };
            info!("Managing {amount} jwt in exclusive directory {}", dir.dir.display());
            Ok(files)
        }
    }
}

/// The directory's files, if there is one, for a reload.
///
/// # Errors
/// Why they cannot be read.
pub fn reread(config: &Config) -> Result<Option<Files>, String> {
    match config.operator.as_ref().and_then(|operator| operator.resolver.as_ref()) {
        Some(Resolver::Full(dir) | Resolver::Cache(dir)) => read_all(dir).map(Some),
        _ => Ok(None),
    }
}

/// All accounts of the directory, which is made if it is not there.
fn read_all(dir: &ResolverDir) -> Result<Files, String> {
    let failed = |error: io::Error| format!("Cannot use the resolver directory {}: {error}", dir.dir.display());
    fs::create_dir_all(&dir.dir).map_err(failed)?;
    let mut files = Files::new();
    for entry in fs::read_dir(&dir.dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(key) = key_of(&path) else { continue };
        match fs::read_to_string(&path) {
            Ok(text) => files.push((key, text)),
            Err(error) => warn!("{} is left out: {error}", path.display()),
        }
    }
    files.sort();
    Ok(files)
}

/// The account whose file this is.
fn key_of(path: &Path) -> Option<Box<str>> {
    let is_jwt = path.extension().is_some_and(|extension| extension == EXTENSION);
    let key = path.file_stem()?.to_str()?;
    (is_jwt && PublicKey::parse(key).is_ok()).then(|| key.into())
}

/// The tasks that serve a node's resolver.
pub struct Worker {
    dir: PathBuf,
    orders: UnboundedReceiver<(u64, StoreOp)>,
}

impl Worker {
    /// Works on the directory of `config`, if there is one, as `orders` say.
    pub fn new(config: &Config, orders: UnboundedReceiver<(u64, StoreOp)>) -> Option<Self> {
        match config.operator.as_ref()?.resolver.as_ref()? {
            Resolver::Full(dir) | Resolver::Cache(dir) => Some(Self { dir: dir.dir.clone(), orders }),
            _ => None,
        }
    }

    /// One order after the other, so that the last word about a file is the last.
    pub async fn run(mut self, server: Rc<Server>) {
        while let Some((ticket, op)) = self.orders.recv().await {
            let dir = self.dir.clone();
            let Ok(answer) = tokio::task::spawn_blocking(move || carry_out(&dir, op)).await else { return };
            server.with_node(|node, now| node.store_answered(now, ticket, answer));
        }
    }
}

fn carry_out(dir: &Path, op: StoreOp) -> StoreAnswer {
    // Only keys are names of files, whatever is asked for.
    let path = |key: &str| match PublicKey::parse(key) {
        Ok(_) => Ok(dir.join(key).with_extension(EXTENSION)),
        Err(error) => Err(io::Error::other(error)),
    };
    let text = |error: io::Error| error.to_string();
    match op {
        StoreOp::Load(key) => StoreAnswer::Text(path(&key).and_then(fs::read_to_string).map_err(text)),
        StoreOp::Save(key, jwt) => StoreAnswer::Done(path(&key).and_then(|path| save(&path, &jwt)).map_err(text)),
        StoreOp::Delete { key, keep } => {
            StoreAnswer::Done(path(&key).and_then(|path| delete(&path, keep)).map_err(text))
        }
        StoreOp::LoadAll(keys) => {
            let read = |key: Box<str>| Some((path(&key).and_then(fs::read_to_string).ok()?, key));
            StoreAnswer::All(keys.into_iter().filter_map(read).map(|(text, key)| (key, text)).collect())
        }
    }
}

/// Whole or not at all, whenever the power fails.
fn save(path: &Path, jwt: &str) -> io::Result<()> {
    let new = path.with_extension("jwt.new");
    let mut file = File::create(&new)?;
    file.write_all(jwt.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn delete(path: &Path, keep: bool) -> io::Result<()> {
    let gone = if keep { fs::rename(path, path.with_extension("jwt.deleted")) } else { fs::remove_file(path) };
    match gone {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What a web server has at `url`.
///
/// # Errors
/// Why it could not be had.
pub async fn fetch(url: &str) -> Result<String, String> {
    let failed = |why: String| format!("could not fetch <{url:?}>: {why}");
    match tokio::time::timeout(FETCH_WITHIN, get(url)).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed("no answer in time".to_owned())),
    }
}

async fn get(url: &str) -> Result<String, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let uri: hyper::Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| text(&error))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("https is not supported yet".to_owned()),
        scheme => return Err(format!("unsupported protocol scheme {:?}", scheme.unwrap_or_default())),
    }
    let host = uri.host().ok_or("there is no host")?;
    let address = (host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(Stream(stream)).await.map_err(|error| text(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = hyper::Request::get(path).header("Host", authority).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| text(&error))?;
    let driver = spawn_local(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        if response.status() != hyper::StatusCode::OK {
            return Err(response.status().to_string());
        }
        let body = Limited::new(response.into_body(), TOKEN_BYTES_MAX).collect().await.map_err(|error| text(&error))?;
        String::from_utf8(body.to_bytes().to_vec()).map_err(|error| text(&error))
    };
    let answer = answer.await;
    driver.abort();
    answer
}
