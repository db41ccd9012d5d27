//! Exports and imports: what accounts give to each other, checked and ready to use.
//!
//! ```text
//!   stream   exporter: remote ----> importer: local     messages
//!   service  exporter: remote <---- importer: local     requests; answers go back
//! ```
//! An import needs an export that covers it and lets the importer in, and must not lead back to where
//! it began. The rules and the texts are nats-server's (`server/accounts.go`).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use super::AccountId;
use super::rename::{Rename, Renaming};
use crate::config::{self, Approval, Export, Flow, Import, Latency, ResponseKind};
use crate::subject;

/// Accounts that a chain of imports may lead through.
const CHAIN_ACCOUNTS_MAX: usize = 1024;

/// What an account takes from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// Messages of others.
    pub streams: Vec<Rc<StreamImport>>,
    /// Services of others.
    pub services: Vec<Rc<ServiceImport>>,
}

/// Messages of another account.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamImport {
    /// Whose they are.
    pub exporter: AccountId,
    /// What they are called here, as a pattern.
    pub local: Box<[u8]>,
    /// From there to here.
    pub to_local: Rename,
    /// From here to there.
    pub to_remote: Rename,
    /// Traces of messages go on here.
    pub allow_trace: bool,
}

/// A service of another account.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceImport {
    /// Who asks.
    pub importer: AccountId,
    /// Who answers.
    pub exporter: AccountId,
    /// What it is called here, as a pattern.
    pub local: Box<[u8]>,
    /// From here to there.
    pub to_remote: Rename,
    /// The service is told who asks.
    pub share: bool,
    /// What the exporter says of it.
    pub service: Rc<Service>,
}

/// What an exporter says of a service.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// How many answers there are to a request.
    pub response: ResponseKind,
    /// How long an answer, or the next one, may take.
    pub threshold: Duration,
    /// Samples of how long it takes.
    pub latency: Option<Latency>,
    /// Traces of messages go on there.
    pub allow_trace: bool,
}

/// What is known of an account when imports are put together.
#[derive(Clone, Copy)]
pub struct Party<'a> {
    /// Its id.
    pub id: AccountId,
    /// Its name: in operator mode the public key.
    pub name: &'a str,
    /// What it gives.
    pub exports: &'a [Export],
}

/// Why an import is not made, in nats-server's words.
type Fault = String;

/// Imports of all accounts so far, to find cycles.
#[derive(Default)]
pub struct Web {
    edges: HashMap<AccountId, Vec<Edge>>,
}

struct Edge {
    flow: Flow,
    local: Box<[u8]>,
    exporter: AccountId,
    remote: Box<[u8]>,
}

impl Web {
    /// Adds the imports of an account; `find` knows the others, and `is_active` judges activation tokens.
    /// Gives those that can be made, and what is wrong with the others.
    pub fn add<'a>(
        &mut self,
        importer: &Party<'_>,
        imports: &[Import],
        find: impl Fn(&str) -> Option<Party<'a>>,
        is_active: impl Fn(&Export, &Import) -> bool,
    ) -> (Imports, Vec<Fault>) {
        let mut made = Imports::default();
        let mut faults = Vec::new();
        let mut streams = HashSet::new();
        for import in imports {
            let (what, account) = (name(import.flow), &import.account);
            let Some(exporter) = find(account) else {
                faults.push(format!("\"{account}\" account not defined for {what} import"));
                continue;
            };
            let again = import.flow == Flow::Stream && !streams.insert((account, &import.subject));
            let result = match again {
                true => Err("stream import already exists".to_owned()),
                false => self.make(importer, &exporter, import, &is_active, &mut made),
            };
            if let Err(why) = result {
                faults.push(format!("Error adding {what} import \"{}\": {why}", import.subject));
            }
        }
        (made, faults)
    }

    /// Forgets the imports of an account.
    pub fn remove(&mut self, importer: AccountId) {
        self.edges.remove(&importer);
    }

    fn make(
        &mut self,
        importer: &Party<'_>,
        exporter: &Party<'_>,
        import: &Import,
        is_active: impl Fn(&Export, &Import) -> bool,
        made: &mut Imports,
    ) -> Result<(), Fault> {
        let what = name(import.flow);
        let export = authorize(importer.name, exporter.exports, import, is_active)
            .ok_or_else(|| format!("{what} import not authorized"))?;
        let renaming = rename(import)?;
        let edge = Edge {
            flow: import.flow,
            local: renaming.pattern.clone(),
            exporter: exporter.id,
            remote: import.subject.as_bytes().into(),
        };
        if importer.id != exporter.id && self.leads_to(importer.id, &edge) {
            return Err("import forms a cycle".to_owned());
        }
        self.edges.entry(importer.id).or_default().push(edge);
        match import.flow {
            Flow::Stream => made.streams.push(Rc::new(StreamImport {
                exporter: exporter.id,
                local: renaming.pattern,
                to_local: renaming.there,
                to_remote: renaming.back,
                allow_trace: import.allow_trace,
            })),
            Flow::Service => made.services.push(Rc::new(ServiceImport {
                importer: importer.id,
                exporter: exporter.id,
                local: renaming.pattern,
                to_remote: renaming.back,
                share: import.share,
                service: Rc::new(Service {
                    response: export.response.kind,
                    threshold: export.response.threshold,
                    // Of several answers none is the one to measure.
                    latency: export.latency.clone().filter(|_| export.response.kind == ResponseKind::Singleton),
                    allow_trace: export.allow_trace,
                }),
            })),
        }
        Ok(())
    }

    /// Whether what `first` takes comes, by further imports, from `home` itself.
    fn leads_to(&self, home: AccountId, first: &Edge) -> bool {
        let mut seen = HashSet::from([first.exporter]);
        let mut ahead = vec![first];
        while let Some(edge) = ahead.pop() {
            let further = self.edges.get(&edge.exporter).into_iter().flatten();
            for next in further.filter(|next| next.flow == first.flow && subject::overlaps(&next.local, &edge.remote)) {
                if next.exporter == home {
                    return subject::overlaps(&next.remote, &first.local);
                }
                if seen.len() < CHAIN_ACCOUNTS_MAX && seen.insert(next.exporter) {
                    ahead.push(next);
                }
            }
        }
        false
    }
}

fn name(flow: Flow) -> &'static str {
    match flow {
        Flow::Stream => "stream",
        Flow::Service => "service",
    }
}

fn rename(import: &Import) -> Result<Renaming, Fault> {
    let (what, remote, local) = (name(import.flow), &import.subject, &import.local);
    let prefix = local.strip_suffix(remote.as_str()).unwrap_or_default();
    if import.flow == Flow::Stream && subject::has_wildcard(prefix.trim_end_matches('.').as_bytes()) {
        return Err("stream import prefix can not contain wildcard tokens".to_owned());
    }
    Renaming::new(remote, local).map_err(|why| {
        let (from, to) = match import.flow {
            Flow::Stream => (remote, local),
            Flow::Service => (local, remote),
        };
        format!("failed to create mapping transform for {what} import subject from \"{from}\" to \"{to}\": {why}")
    })
}

/// The export that covers the import: the one of that very subject, else the first. `None` if there is none, or if it
/// does not let the importer in.
fn authorize<'a>(
    importer: &str,
    exports: &'a [Export],
    import: &Import,
    is_active: impl Fn(&Export, &Import) -> bool,
) -> Option<&'a Export> {
    let same_flow = || exports.iter().filter(|export| export.flow == import.flow);
    let exact = same_flow().find(|export| export.subject == import.subject);
    let covers = |export: &&Export| subject::covers(export.subject.as_bytes(), import.subject.as_bytes());
    let export = exact.or_else(|| same_flow().find(covers))?;
    let welcome = match &export.to {
        Approval::Public => true,
        Approval::Accounts(names) => names.iter().any(|name| name == importer),
        Approval::Position(position) => import.subject.split('.').nth(position - 1) == Some(importer),
        Approval::Token => is_active(export, import),
    };
    welcome.then_some(export)
}

/// What is wrong with the exports and imports of a configuration.
pub fn faults(accounts: &[config::Account]) -> Vec<Fault> {
    let places: HashMap<&str, usize> = accounts.iter().enumerate().map(|(at, one)| (one.name.as_str(), at)).collect();
    let party =
        |at: usize| Party { id: AccountId(at as u32), name: &accounts[at].name, exports: &accounts[at].exports };
    let mut all: Vec<Fault> = Vec::new();
    for account in accounts {
        for export in &account.exports {
            all.extend(faults_of(export, |name| places.contains_key(name)));
        }
    }
    let mut web = Web::default();
    for (at, account) in accounts.iter().enumerate() {
        let find = |name: &str| places.get(name).map(|at| party(*at));
        all.extend(web.add(&party(at), &account.imports, find, |_, _| false).1);
    }
    all
}

fn faults_of(export: &Export, is_account: impl Fn(&str) -> bool) -> Vec<Fault> {
    let (what, text) = (name(export.flow), &export.subject);
    let mut faults = Vec::new();
    match &export.to {
        Approval::Accounts(names) => {
            let unknown = names.iter().filter(|name| !is_account(name));
            faults.extend(unknown.map(|name| format!("\"{name}\" account not defined for {what} export")));
        }
        Approval::Position(position) if text.split('.').nth(position - 1) != Some("*") => {
            faults.push(format!("Error adding {what} export \"{text}\": sublist: invalid subject"));
        }
        _ => {}
    }
    if let Some(latency) = &export.latency {
        let why = match export.response.kind {
            ResponseKind::Singleton if subject::is_valid_literal(latency.subject.as_bytes()) => return faults,
            ResponseKind::Singleton => "invalid publish subject",
            _ => "bad service response type",
        };
        let to = &latency.subject;
        faults.push(format!("Error adding service latency sampling for \"{text}\" on subject \"{to}\": {why}"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Response;

    fn export(flow: Flow, subject: &str, to: Approval) -> Export {
        let subject = subject.to_owned();
        Export { flow, subject, to, response: Response::default(), latency: None, allow_trace: false }
    }

    fn import(flow: Flow, account: &str, subject: &str, local: &str) -> Import {
        let [account, subject, local] = [account, subject, local].map(str::to_owned);
        Import { flow, account, subject, local, share: false, allow_trace: false, activation: None }
    }

    fn account(name: &str, exports: Vec<Export>, imports: Vec<Import>) -> config::Account {
        config::Account { name: name.to_owned(), exports, imports, ..config::Account::default() }
    }

    /// What nats-server 2.15.1 says of the same imports.
    #[test]
    fn who_may_import_what() {
        use Flow::{Service, Stream};
        let only = |name: &str| Approval::Accounts(vec![name.to_owned()]);
        for (export, import, fault) in [
            (export(Stream, "s.>", Approval::Public), import(Stream, "A", "s.>", "s.>"), None),
            (export(Stream, "s.>", Approval::Public), import(Stream, "A", "s.x.*", "y.$1"), None),
            (
                export(Stream, "s.*", Approval::Public),
                import(Stream, "A", "s.>", "s.>"),
                Some("stream import not authorized"),
            ),
            (
                export(Service, "s", Approval::Public),
                import(Stream, "A", "s", "s"),
                Some("stream import not authorized"),
            ),
            (export(Service, "s", only("C")), import(Service, "A", "s", "s"), Some("service import not authorized")),
            (export(Service, "s", only("B")), import(Service, "A", "s", "s"), None),
            (export(Service, "s.*", Approval::Position(2)), import(Service, "A", "s.B", "s"), None),
            (export(Service, "s.*", Approval::Position(2)), import(Service, "A", "s.C", "s"), Some("not authorized")),
            (export(Service, "s.*", Approval::Position(2)), import(Service, "A", "s.*", "s.*"), Some("not authorized")),
            (
                export(Service, "s.*", Approval::Position(3)),
                import(Service, "A", "s.B", "s"),
                Some("sublist: invalid subject"),
            ),
            (
                export(Service, "s", only("Z")),
                import(Service, "Z", "s", "s"),
                Some("\"Z\" account not defined for service"),
            ),
            (
                export(Stream, "s.>", Approval::Public),
                import(Stream, "A", "s.>", "x.*.s.>"),
                Some("prefix can not contain"),
            ),
            (
                export(Service, "s.*", Approval::Public),
                import(Service, "A", "s.*", "y"),
                Some(
                    "transform for service import subject from \"y\" to \"s.*\": invalid mapping destination: not using",
                ),
            ),
        ] {
            let faults = faults(&[account("A", vec![export], vec![]), account("B", vec![], vec![import])]);
            match fault {
                None => assert!(faults.is_empty(), "{faults:?}"),
                Some(text) => assert!(faults.iter().any(|fault| fault.contains(text)), "{text}: {faults:?}"),
            }
        }
    }

    /// As captured from nats-server: the import that closes the circle is refused.
    #[test]
    fn circles_are_refused() {
        for flow in [Flow::Stream, Flow::Service] {
            let ring = |names: &[&str], subjects: &[(&str, &str)]| {
                let count = names.len();
                let accounts: Vec<_> = (0..count)
                    .map(|at| {
                        let (remote, local) = subjects[at];
                        let exports = vec![export(flow, ">", Approval::Public)];
                        account(names[at], exports, vec![import(flow, names[(at + 1) % count], remote, local)])
                    })
                    .collect();
                faults(&accounts)
            };
            let cycle =
                |faults: Vec<String>| faults.iter().filter(|fault| fault.ends_with("import forms a cycle")).count();
            assert_eq!(cycle(ring(&["A", "B"], &[("s.>", "s.>"), ("s.>", "s.>")])), 1);
            assert_eq!(cycle(ring(&["A", "B", "C"], &[("s", "s"), ("s", "s"), ("s", "s")])), 1);
            assert_eq!(cycle(ring(&["A", "B"], &[("x", "s"), ("s", "x")])), 1);
            assert_eq!(cycle(ring(&["A", "B"], &[("x", "s"), ("a", "q")])), 0);
            assert_eq!(cycle(ring(&["A"], &[("s", "t")])), 0);
        }
    }
}
