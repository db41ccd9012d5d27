//! The paths there are.

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the path says it")]
pub enum Endpoint {
    Index,
    Varz,
    Connz,
    Routez,
    Gatewayz,
    Leafz,
    Subsz,
    Accountz,
    Accstatz,
    Jsz,
    Healthz,
    Ipqueuesz,
    Raftz,
    Outboxz,
    Metrics,
}

/// All of them with their paths, in the order of the index page and of the enum.
const ALL: [(Endpoint, &str); 15] = [
    (Endpoint::Index, "/"),
    (Endpoint::Varz, "/varz"),
    (Endpoint::Connz, "/connz"),
    (Endpoint::Routez, "/routez"),
    (Endpoint::Gatewayz, "/gatewayz"),
    (Endpoint::Leafz, "/leafz"),
    (Endpoint::Subsz, "/subsz"),
    (Endpoint::Accountz, "/accountz"),
    (Endpoint::Accstatz, "/accstatz"),
    (Endpoint::Jsz, "/jsz"),
    (Endpoint::Healthz, "/healthz"),
    (Endpoint::Ipqueuesz, "/ipqueuesz"),
    (Endpoint::Raftz, "/raftz"),
    (Endpoint::Outboxz, "/outboxz"),
    (Endpoint::Metrics, "/metrics"),
];

impl Endpoint {
    /// What `path` leads to.
    pub fn of(path: &str) -> Option<Self> {
        if path == "/subscriptionsz" {
            return Some(Self::Subsz);
        }
        ALL.iter().find(|(_, known)| *known == path).map(|(endpoint, _)| *endpoint)
    }

    /// Its path.
    pub fn path(self) -> &'static str {
        ALL[self as usize].1
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(|(endpoint, _)| *endpoint)
    }
}

/// Requests for each endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestCounts([u64; ALL.len()]);

impl RequestCounts {
    /// Counts a request for `path`, if that leads anywhere.
    pub fn count(&mut self, path: &str) {
        if let Some(endpoint) = Endpoint::of(path) {
            self.0[endpoint as usize] += 1;
        }
    }

    /// The endpoints that were asked for, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ALL.iter().zip(self.0).map(|((_, path), count)| (*path, count)).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_enum() {
        for (at, (endpoint, path)) in ALL.iter().enumerate() {
            assert_eq!(*endpoint as usize, at);
            assert_eq!((endpoint.path(), Endpoint::of(path)), (*path, Some(*endpoint)));
        }
        assert_eq!(Endpoint::of("/subscriptionsz"), Some(Endpoint::Subsz));
        assert_eq!((Endpoint::of("/varz/"), Endpoint::of(""), Endpoint::of("/VARZ")), (None, None, None));
    }

    #[test]
    fn counts_only_what_there_is() {
        let mut counts = RequestCounts::default();
        for path in ["/subsz", "/subscriptionsz", "/", "/nope"] {
            counts.count(path);
        }
        assert_eq!(counts.iter().collect::<Vec<_>>(), [("/", 1), ("/subsz", 2)]);
    }
}
