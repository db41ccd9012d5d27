//! Who may log in: the users of a configuration, and the decision about a CONNECT.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::account::AccountId;
use crate::auth::certificate::{Certificate, Name};
use crate::auth::nkey::{Kind, PublicKey};
use crate::auth::password::{is_bcrypt, plain_matches};
use crate::auth::permissions::Compiled;
use crate::config::{Auth, Config, Permissions, Secret, User};

/// Index of `$G` among the accounts: the one of whoever belongs nowhere else.
const GLOBAL: usize = 0;

/// What stands for a token where a user's name would.
const HIDDEN: &str = "[REDACTED]";

/// How somebody connects; `allowed_connection_types` of a user lists some of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// `STANDARD`: a client, with TLS or without.
    Standard,
    /// `WEBSOCKET`
    Websocket,
    /// `LEAFNODE`
    Leafnode,
    /// `LEAFNODE_WS`
    LeafnodeWs,
    /// `MQTT`
    Mqtt,
    /// `MQTT_WS`
    MqttWs,
    /// `IN_PROCESS`
    InProcess,
}

impl Connection {
    const ALL: [Self; 7] =
        [Self::Standard, Self::Websocket, Self::Leafnode, Self::LeafnodeWs, Self::Mqtt, Self::MqttWs, Self::InProcess];

    /// The name in a configuration, which takes it in any case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Websocket => "WEBSOCKET",
            Self::Leafnode => "LEAFNODE",
            Self::LeafnodeWs => "LEAFNODE_WS",
            Self::Mqtt => "MQTT",
            Self::MqttWs => "MQTT_WS",
            Self::InProcess => "IN_PROCESS",
        }
    }

    /// Reads such a name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|connection| connection.name().eq_ignore_ascii_case(name))
    }
}

/// The credentials of a CONNECT, as they came; empty is the same as absent.
///
/// It has no `Debug`: most of it is secret.
#[derive(Clone, Copy, Default)]
pub struct Offered<'a> {
    /// `user`
    pub user: &'a str,
    /// `pass`
    pub pass: &'a str,
    /// `auth_token`
    pub token: &'a str,
    /// `nkey`
    pub nkey: &'a str,
    /// `sig`
    pub sig: &'a str,
    /// Whether `account` or `new_account` is there: once a feature, now a violation.
    pub names_account: bool,
}

impl Offered<'_> {
    /// Without credentials as far as users with passwords are concerned; there an nkey does not count.
    fn is_anonymous(&self) -> bool {
        self.user.is_empty() && self.pass.is_empty() && self.token.is_empty()
    }

    /// What monitoring shows of somebody who need not have said it.
    fn shown_name(&self) -> &str {
        match (self.nkey, self.user, self.token) {
            (nkey, _, _) if !nkey.is_empty() => nkey,
            (_, user, _) if !user.is_empty() => user,
            (_, _, token) if !token.is_empty() => HIDDEN,
            _ => "",
        }
    }
}

/// Somebody who is logged in.
#[derive(Debug)]
pub struct Identity {
    /// `authorized_user` of /connz: a user's name, a public key, `[REDACTED]` for a token. Where
    /// nobody must log in it is what the client called itself, and empty if it did not.
    pub name: String,
    /// Index into `Config::accounts`; without a meaning where there is a credential.
    pub account: usize,
    /// What it may do; `None` is everything.
    pub permissions: Option<Rc<Compiled>>,
    /// How it may connect; empty for any way.
    pub connections: Vec<Connection>,
    /// What its JWT says of it, in operator mode.
    pub credential: Option<Box<Credential>>,
    proof: Proof,
}

/// What is kept of a user's JWT, to judge it again when its account changes.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The account.
    pub account: AccountId,
    /// The signing key that made the user, if it was not the account itself.
    pub signer: Option<Box<str>>,
    /// Seconds since 1970.
    pub issued_at: i64,
    /// Seconds since 1970; 0 is never.
    pub expires: i64,
    /// It did not sign.
    pub is_bearer: bool,
    /// It has the permissions of those who have none.
    pub by_default: bool,
    /// Bytes of a message.
    pub max_payload: Option<usize>,
    /// Subscriptions of the connection.
    pub max_subscriptions: Option<u32>,
    /// `name` of the claims.
    pub name: Box<str>,
    /// Labels.
    pub tags: Vec<Box<str>>,
}

impl Identity {
    /// A user that showed its JWT: `key` is its public key.
    pub fn by_token(
        key: &str,
        permissions: Option<Rc<Compiled>>,
        connections: Vec<Connection>,
        credential: Credential,
    ) -> Self {
        Self {
            name: key.to_owned(),
            account: GLOBAL,
            permissions,
            connections,
            credential: Some(Box::new(credential)),
            proof: Proof::Signature,
        }
    }

    /// The same with other permissions.
    pub fn with_permissions(&self, permissions: Option<Rc<Compiled>>) -> Self {
        Self {
            name: self.name.clone(),
            account: self.account,
            permissions,
            connections: self.connections.clone(),
            credential: self.credential.clone(),
            proof: self.proof.clone(),
        }
    }

    /// How the log calls it: `user:u`, `nkey:U…`, `jwt:U…`, `token`; nothing for somebody without a name.
    pub fn label(&self) -> Option<String> {
        let sort = match (&self.proof, &self.credential) {
            (Proof::Token(_), _) => return Some("token".to_owned()),
            (_, Some(_)) => "jwt",
            (Proof::Signature, None) => "nkey",
            _ => "user",
        };
        (!self.name.is_empty()).then(|| format!("{sort}:{}", self.name))
    }

    fn secret(&self) -> Option<&Secret> {
        match &self.proof {
            Proof::Password(secret) | Proof::Token(secret) => Some(secret),
            Proof::Nothing | Proof::NoAuthUser | Proof::Signature => None,
        }
    }

    fn may_connect(&self, connection: Connection) -> bool {
        self.connections.is_empty() || self.connections.contains(&connection)
    }
}

/// What made somebody who it is: what must still hold after a reload.
#[derive(Clone, Debug, PartialEq)]
enum Proof {
    /// Nothing: nobody must log in.
    Nothing,
    /// It is the `no_auth_user`.
    NoAuthUser,
    /// It knew the password.
    Password(Secret),
    /// It signed the nonce.
    Signature,
    /// It knew the token.
    Token(Secret),
}

/// What becomes of a CONNECT.
#[derive(Debug)]
pub enum Decision {
    /// It is in.
    Granted(Rc<Identity>),
    /// `Authorization Violation`; the reason is for the log and never a secret.
    Denied(&'static str),
    /// Let [`bcrypt_matches`](crate::auth::password::bcrypt_matches) decide, on another thread.
    CheckPassword {
        /// The configured hash.
        hash: Secret,
        /// What was offered.
        password: Secret,
        /// Who it is if they match; nobody, if only the time must be the same as for somebody.
        identity: Option<Rc<Identity>>,
    },
}

/// The users of a configuration.
#[derive(Debug)]
pub struct Directory {
    users: Arc<Vec<User>>,
    /// Places among the users, by name.
    by_name: Box<[u32]>,
    /// Users who have logged in, by place: of a hundred thousand most never do.
    known: RefCell<BTreeMap<u32, Rc<Identity>>>,
    /// The one whom nobody has to be, if it has a password.
    anonymous: Option<Rc<Identity>>,
    nkeys: BTreeMap<String, (PublicKey, Member)>,
    token: Option<Member>,
    no_auth_user: Option<String>,
    /// Where a password is hashed: a hash that is nobody's and takes as long as any other.
    decoy: Option<Secret>,
}

/// A user: as one who proved it, and as one who need not.
#[derive(Debug)]
struct Member {
    proven: Rc<Identity>,
    /// Only for the `no_auth_user`.
    anonymous: Option<Rc<Identity>>,
}

impl Directory {
    /// Gathers the users of `config`.
    ///
    /// # Errors
    /// A text for the operator, when a key is none or not of a user, a user is there twice, or
    /// something names what does not exist. The configuration's reader finds most of it earlier,
    /// with a place.
    pub fn build(config: &Config) -> Result<Self, String> {
        Self::of(config, &config.auth)
    }

    /// Gathers those who may link up as leaf nodes, if that is said apart from who may log in.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn of_leafnodes(config: &Config) -> Result<Option<Self>, String> {
        let auth = config.leafnodes.auth.as_ref().filter(|auth| auth.required());
        auth.map(|auth| Self::of(config, auth)).transpose()
    }

    /// Gathers those who may log in with MQTT, if that is said apart from who may log in.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn of_mqtt(config: &Config) -> Result<Option<Self>, String> {
        let auth = config.mqtt.as_ref().and_then(|mqtt| mqtt.login.auth(&config.auth));
        auth.map(|auth| Self::of(config, &auth)).transpose()
    }

    /// Gathers those who may log in by WebSocket, if that is said apart from who may log in.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn of_websocket(config: &Config) -> Result<Option<Self>, String> {
        let auth = config.websocket.as_ref().and_then(|websocket| websocket.login.auth(&config.auth));
        auth.map(|auth| Self::of(config, &auth)).transpose()
    }

    fn of(config: &Config, auth: &Auth) -> Result<Self, String> {
        let builder = Builder { accounts: config.accounts.len(), no_auth_user: auth.no_auth_user.as_deref() };

        let users = auth.users.clone();
        for user in &*users {
            builder.check(&user.name, user.account, &user.connection_types)?;
        }
        let name = |at: &u32| users[*at as usize].name.as_str();
        let mut by_name: Box<[u32]> = (0..users.len() as u32).collect();
        by_name.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        if let Some(pair) = by_name.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err(format!("duplicate user {:?}", name(&pair[0])));
        }

        let mut nkeys = BTreeMap::new();
        for user in &auth.nkeys {
            let key = user_key(&user.nkey)?;
            let member = builder.member(
                &user.nkey,
                user.account,
                user.permissions.as_deref(),
                &user.connection_types,
                Proof::Signature,
            )?;
            if nkeys.insert(user.nkey.clone(), (key, member)).is_some() {
                return Err(format!("duplicate nkey {:?}", user.nkey));
            }
        }

        if let Some(name) = &auth.no_auth_user
            && !users.iter().any(|user| user.name == *name)
            && !nkeys.contains_key(name)
        {
            return Err(format!("no_auth_user {name:?} is not among the users"));
        }
        let nobody = users.iter().find(|user| Some(&user.name) == auth.no_auth_user.as_ref());
        let anonymous = nobody.map(|user| Rc::new(identity_of(user, Proof::NoAuthUser)));
        let token = match &auth.token {
            Some(token) => Some(builder.member(HIDDEN, GLOBAL, None, &[], Proof::Token(token.clone()))?),
            None => None,
        };
        let decoy = decoy(auth.users.iter().map(|user| &user.password));
        let (known, no_auth_user) = (RefCell::default(), auth.no_auth_user.clone());
        Ok(Self { users, by_name, known, anonymous, nkeys, token, no_auth_user, decoy })
    }

    /// The place of a user.
    fn find(&self, name: &str) -> Option<u32> {
        let found = self.by_name.binary_search_by(|at| self.users[*at as usize].name.as_str().cmp(name));
        found.ok().map(|at| self.by_name[at])
    }

    /// A user who has proved it.
    fn proven(&self, at: u32) -> Rc<Identity> {
        let mut known = self.known.borrow_mut();
        let make = || {
            let user = &self.users[at as usize];
            Rc::new(identity_of(user, Proof::Password(user.password.clone())))
        };
        known.entry(at).or_insert_with(make).clone()
    }

    /// Whether nobody must say who it is: there are no users and there is no token.
    pub fn is_open(&self) -> bool {
        self.users.is_empty() && self.nkeys.is_empty() && self.token.is_none()
    }

    /// Decides about a CONNECT that came by `connection`, on a connection whose INFO had `nonce`.
    ///
    /// The order is nats-server's: users with keys, users with passwords, the token. A name that is
    /// not there ends it; so does a wrong password. `no_auth_user` is for those who offer no user,
    /// password or token (and no key, if there are users with keys). Unlike there, its password may
    /// be a bcrypt hash.
    pub fn decide(&self, offered: &Offered<'_>, connection: Connection, nonce: &str) -> Decision {
        if offered.names_account {
            return Decision::Denied("CONNECT names an account");
        }
        if self.is_open() {
            return Decision::Granted(self.anybody(offered.shown_name()));
        }
        if !self.nkeys.is_empty()
            && let Some(decision) = self.decide_key(offered, connection, nonce)
        {
            return decision;
        }
        if !self.users.is_empty()
            && let Some(decision) = self.decide_user(offered, connection)
        {
            return decision;
        }
        match &self.token {
            Some(token) => token
                .proven
                .secret()
                .map_or(Decision::Denied("no token"), |secret| compare(secret, offered.token, || token.proven.clone())),
            None => Decision::Denied("no credentials that the server knows of"),
        }
    }

    /// The user whose name is in a certificate: an alternative name, then the subject by its parts, in their order or
    /// any other, then its text.
    pub fn named_by(&self, certificate: &Certificate, connection: Connection) -> Option<String> {
        let user = |name: &str| self.find(name).map(|at| &self.users[at as usize]);
        let allowed = |name: &str| user(name).is_some_and(|user| may_connect(user, connection));
        if let Some(name) = certificate.alternative_names().find(|name| allowed(name)) {
            return Some(name.to_owned());
        }
        if let Some(subject) = certificate.name() {
            let parsed = self.by_name.iter().map(|at| &self.users[*at as usize]);
            let parsed = parsed.filter(|user| may_connect(user, connection)).map(|user| &user.name);
            let parsed: Vec<(&String, Name)> = parsed.filter_map(|text| Some((text, Name::parse(text)?))).collect();
            let exact = parsed.iter().find(|(_, name)| name.equals(&subject));
            if let Some((name, _)) = exact.or_else(|| parsed.iter().find(|(_, name)| name.has_parts_of(&subject))) {
                return Some((*name).clone());
            }
        }
        certificate.subject_texts().into_iter().find(|text| allowed(text))
    }

    /// Who somebody is after a reload: the same user, with new permissions and maybe in another account. `None` when
    /// it must go, because the user, its password or key or its way to connect changed.
    ///
    /// A password counts as changed when its text did, even if it is a new hash of the same one.
    pub fn still_valid(&self, identity: &Identity, connection: Connection) -> Option<Rc<Identity>> {
        let now = self.successor(identity)?;
        let same = now.proof == identity.proof || now.proof == Proof::Nothing;
        (same && now.may_connect(connection)).then_some(now)
    }

    fn successor(&self, identity: &Identity) -> Option<Rc<Identity>> {
        if self.is_open() {
            return Some(self.anybody(&identity.name));
        }
        match identity.proof {
            Proof::Nothing => None,
            Proof::NoAuthUser => {
                if let Some((_, member)) = self.nkeys.get(&identity.name) {
                    return member.anonymous.clone();
                }
                self.anonymous.clone().filter(|anonymous| anonymous.name == identity.name)
            }
            Proof::Password(_) => Some(self.proven(self.find(&identity.name)?)),
            Proof::Signature => Some(self.nkeys.get(&identity.name)?.1.proven.clone()),
            Proof::Token(_) => Some(self.token.as_ref()?.proven.clone()),
        }
    }

    fn anybody(&self, name: &str) -> Rc<Identity> {
        Rc::new(Identity {
            name: name.to_owned(),
            account: GLOBAL,
            permissions: None,
            connections: Vec::new(),
            credential: None,
            proof: Proof::Nothing,
        })
    }

    /// Users with keys. `None` leaves it to the others.
    fn decide_key(&self, offered: &Offered<'_>, connection: Connection, nonce: &str) -> Option<Decision> {
        let nobody = offered.is_anonymous() && offered.nkey.is_empty();
        let name = if nobody { self.no_auth_user.as_deref()? } else { offered.nkey };
        let Some((key, member)) = self.nkeys.get(name) else {
            return (!offered.nkey.is_empty()).then_some(Decision::Denied("unknown nkey"));
        };
        if !member.proven.may_connect(connection) {
            return Some(Decision::Denied("connection type not allowed"));
        }
        if let Some(anonymous) = &member.anonymous {
            // Whoever says so may be the one that everybody is.
            return Some(Decision::Granted(anonymous.clone()));
        }
        if offered.sig.is_empty() {
            return Some(Decision::Denied("signature missing"));
        }
        if !key.verify(nonce.as_bytes(), offered.sig) {
            return Some(Decision::Denied("signature not verified"));
        }
        Some(Decision::Granted(member.proven.clone()))
    }

    /// Users with passwords. `None` leaves it to the token.
    fn decide_user(&self, offered: &Offered<'_>, connection: Connection) -> Option<Decision> {
        if offered.is_anonymous() {
            let anonymous = self.anonymous.clone()?;
            return Some(match anonymous.may_connect(connection) {
                true => Decision::Granted(anonymous),
                false => Decision::Denied("connection type not allowed"),
            });
        }
        if offered.user.is_empty() {
            return None;
        }
        let Some(at) = self.find(offered.user) else {
            return Some(self.deny_slowly("unknown user", offered.pass));
        };
        let user = &self.users[at as usize];
        if !may_connect(user, connection) {
            return Some(self.deny_slowly("connection type not allowed", offered.pass));
        }
        Some(match compare(&user.password, offered.pass, || self.proven(at)) {
            Decision::Denied(why) => self.deny_slowly(why, offered.pass),
            decision => decision,
        })
    }

    /// Refuses in the time that a user with a hashed password takes, so that nobody learns which names there are.
    /// (With hashes of several costs the cheaper ones still answer sooner.)
    fn deny_slowly(&self, why: &'static str, password: &str) -> Decision {
        match &self.decoy {
            None => Decision::Denied(why),
            Some(decoy) => {
                Decision::CheckPassword { hash: decoy.clone(), password: Secret::new(password), identity: None }
            }
        }
    }
}

/// Decides by a password or token; `identity` says whose it is.
fn compare(secret: &Secret, offered: &str, identity: impl FnOnce() -> Rc<Identity>) -> Decision {
    if is_bcrypt(secret.expose()) {
        let (hash, password) = (secret.clone(), Secret::new(offered));
        return Decision::CheckPassword { hash, password, identity: Some(identity()) };
    }
    match plain_matches(secret.expose(), offered) {
        true => Decision::Granted(identity()),
        false => Decision::Denied("wrong password or token"),
    }
}

/// A hash as expensive as the most expensive of `passwords`; `None` if none of them is a hash.
fn decoy<'a>(passwords: impl Iterator<Item = &'a Secret>) -> Option<Secret> {
    let hashes = passwords.map(Secret::expose).filter(|password| is_bcrypt(password));
    // The two digits of the cost.
    let cost = hashes.filter_map(|hash| hash.get(4..6)).max()?;
    Some(Secret::new(format!("$2b${cost}${}", "abcdefghijklmnopqrstuusPAkIApvNSrrxdx0BTXtj7R2NfqZq36")))
}

/// A user of the configuration, whose ways to connect were checked.
fn identity_of(user: &User, proof: Proof) -> Identity {
    Identity {
        name: user.name.clone(),
        account: user.account,
        permissions: user.permissions.as_ref().map(|permissions| Rc::new(Compiled::new(permissions))),
        connections: user.connection_types.iter().filter_map(|name| Connection::parse(name)).collect(),
        credential: None,
        proof,
    }
}

fn may_connect(user: &User, connection: Connection) -> bool {
    let named = |name: &String| Connection::parse(name) == Some(connection);
    user.connection_types.is_empty() || user.connection_types.iter().any(named)
}

fn user_key(text: &str) -> Result<PublicKey, String> {
    let key = PublicKey::parse(text).map_err(|error| format!("nkey {text:?}: {error}"))?;
    match key.kind() {
        Kind::User => Ok(key),
        _ => Err(format!("nkey {text:?} is not the key of a user")),
    }
}

/// What all users of a configuration have in common.
struct Builder<'a> {
    /// How many there are.
    accounts: usize,
    no_auth_user: Option<&'a str>,
}

impl Builder<'_> {
    fn check(&self, name: &str, account: usize, connection_types: &[String]) -> Result<(), String> {
        if account >= self.accounts {
            return Err(format!("user {name:?} has no account"));
        }
        match connection_types.iter().find(|text| Connection::parse(text).is_none()) {
            Some(text) => Err(format!("unknown connection type {text:?}")),
            None => Ok(()),
        }
    }

    fn member(
        &self,
        name: &str,
        account: usize,
        permissions: Option<&Permissions>,
        connection_types: &[String],
        proof: Proof,
    ) -> Result<Member, String> {
        self.check(name, account, connection_types)?;
        let connections: Vec<Connection> = connection_types.iter().filter_map(|name| Connection::parse(name)).collect();
        let permissions = permissions.map(|permissions| Rc::new(Compiled::new(permissions)));
        let identity = |proof| {
            Rc::new(Identity {
                name: name.to_owned(),
                account,
                permissions: permissions.clone(),
                connections: connections.clone(),
                credential: None,
                proof,
            })
        };
        let anonymous = (self.no_auth_user == Some(name)).then(|| identity(Proof::NoAuthUser));
        Ok(Member { proven: identity(proof), anonymous })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Account, Auth, NkeyUser, Rules, User};

    const KEY: &str = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";
    const NONCE: &str = "WmG1voBxSK6Lo68";
    const SIG: &str = "doX1xwNKoDKinOi5IIDwxVrM3s70h8VNPKSjtUD1xpK8Z36dj_lsw4SkfF27CD1h5VncWoeCL9wHShQkSCmUDA";
    const HASH: &str = "$2a$04$abcdefghijklmnopqrstuusPAkIApvNSrrxdx0BTXtj7R2NfqZq36";

    fn config(auth: Auth, accounts: &[&str]) -> Config {
        let account = |name: &&str| Account { name: (*name).to_owned(), ..Account::default() };
        Config { auth, accounts: accounts.iter().map(account).collect(), ..Config::default() }
    }

    fn user(name: &str, password: &str, account: usize) -> User {
        User {
            name: name.into(),
            password: Secret::new(password),
            account,
            permissions: None,
            connection_types: vec![],
        }
    }

    fn nkey(account: usize) -> NkeyUser {
        NkeyUser { nkey: KEY.into(), account, permissions: None, connection_types: vec![] }
    }

    fn directory(auth: Auth) -> Directory {
        Directory::build(&config(auth, &["$G", "A"])).unwrap()
    }

    /// S1 of the capture.
    fn s1() -> Auth {
        Auth {
            users: vec![user("alice", "secret", 0), user("bob", HASH, 1)].into(),
            nkeys: vec![nkey(1)],
            ..Auth::default()
        }
    }

    fn login<'a>(user: &'a str, pass: &'a str) -> Offered<'a> {
        Offered { user, pass, ..Offered::default() }
    }

    fn signed<'a>(nkey: &'a str, sig: &'a str) -> Offered<'a> {
        Offered { nkey, sig, ..Offered::default() }
    }

    fn ask(directory: &Directory, offered: &Offered<'_>) -> Decision {
        directory.decide(offered, Connection::Standard, NONCE)
    }

    fn granted(directory: &Directory, offered: &Offered<'_>) -> Rc<Identity> {
        match ask(directory, offered) {
            Decision::Granted(identity) => identity,
            other => panic!("{other:?}"),
        }
    }

    fn denied(directory: &Directory, offered: &Offered<'_>) -> bool {
        matches!(ask(directory, offered), Decision::Denied(_) | Decision::CheckPassword { identity: None, .. })
    }

    #[test]
    fn captured_logins() {
        let s1 = directory(s1());
        assert_eq!(granted(&s1, &login("alice", "secret")).name, "alice");
        for wrong in [login("alice", "x"), login("carol", "secret"), login("", "secret"), Offered::default()] {
            assert!(denied(&s1, &wrong));
        }
        let by_key = granted(&s1, &signed(KEY, SIG));
        assert_eq!((by_key.name.as_str(), by_key.account), (KEY, 1));
        assert!(denied(&s1, &signed(KEY, "")));
        assert!(denied(&s1, &signed(KEY, &SIG.replace("doX", "doY"))));
        assert!(denied(&s1, &signed("UNKNOWN", SIG)));
        assert!(denied(&s1, &Offered { user: "alice", pass: "secret", ..signed("UNKNOWN", "") }), "the key goes first");
        assert!(matches!(s1.decide(&signed(KEY, SIG), Connection::Standard, "another"), Decision::Denied(_)));
    }

    #[test]
    fn bcrypt_is_left_to_the_shell_and_shows_no_secret() {
        let s1 = directory(s1());
        let decision = ask(&s1, &login("bob", "foo"));
        let shown = format!("{decision:?}{s1:?}");
        assert!(!shown.contains("$2a$") && !shown.contains("\"foo\"") && !shown.contains("\"secret\""), "{shown}");
        let Decision::CheckPassword { hash, password, identity } = decision else { panic!("{shown}") };
        assert_eq!((hash.expose(), password.expose()), (HASH, "foo"));
        let identity = identity.unwrap();
        assert_eq!((identity.name.as_str(), identity.account), ("bob", 1));
    }

    /// Whoever is refused waits as long as one whose hash is compared.
    #[test]
    fn unknown_names_take_as_long_as_known_ones() {
        let s1 = directory(s1());
        let costs = |offered: &Offered<'_>| match ask(&s1, offered) {
            Decision::CheckPassword { hash, password, .. } => {
                (hash.expose()[3..7].to_owned(), password.expose().to_owned())
            }
            other => panic!("{other:?}"),
        };
        for name in ["bob", "alice", "carol"] {
            assert_eq!(costs(&login(name, "x")), ("$04$".to_owned(), "x".to_owned()), "{name}");
        }
        assert_eq!(granted(&s1, &login("alice", "secret")).name, "alice", "who knows it need not wait");
        let dearer = HASH.replace("$04$", "$05$");
        let users = vec![user("bob", HASH, 1), user("eve", &dearer, 1)];
        let both = directory(Auth { users: users.into(), ..Auth::default() });
        let Decision::CheckPassword { hash, identity: None, .. } = ask(&both, &login("x", "")) else {
            panic!("no decoy")
        };
        assert!(bcrypt::verify("x", hash.expose()).is_ok(), "a broken hash would take no time");
        assert!(hash.expose().starts_with("$2b$05$") && is_bcrypt(hash.expose()) && hash.expose().len() == HASH.len());
        let plain = directory(Auth { users: vec![user("a", "a", 0)].into(), ..Auth::default() });
        assert!(matches!(ask(&plain, &login("x", "a")), Decision::Denied("unknown user")));
    }

    #[test]
    fn tokens() {
        let s2 = directory(Auth { token: Some(Secret::new("t0k3n")), ..Auth::default() });
        let offered = |token| Offered { token, ..Offered::default() };
        let identity = granted(&s2, &offered("t0k3n"));
        assert_eq!((identity.name.as_str(), identity.account), ("[REDACTED]", 0));
        for wrong in [offered("nope"), offered(""), login("t0k3n", ""), login("", "t0k3n")] {
            assert!(denied(&s2, &wrong));
        }
        let hashed = directory(Auth { token: Some(Secret::new(HASH)), ..Auth::default() });
        assert!(matches!(ask(&hashed, &offered("foo")), Decision::CheckPassword { .. }));
        let both = directory(Auth { token: Some(Secret::new("t")), ..s1() });
        assert_eq!(granted(&both, &offered("t")).name, "[REDACTED]");
        assert!(denied(&both, &Offered { token: "t", ..login("alice", "x") }));
    }

    /// Against nats-server 2.15.1, but for the bcrypt hash, which it refuses.
    #[test]
    fn no_auth_user() {
        let anon = |password: &str| Auth {
            users: vec![user("anon", password, 1), user("b", "b", 0)].into(),
            no_auth_user: Some("anon".into()),
            ..Auth::default()
        };
        let s3 = directory(anon(""));
        let identity = granted(&s3, &Offered::default());
        assert_eq!((identity.name.as_str(), identity.account), ("anon", 1));
        assert_eq!(granted(&s3, &signed(KEY, "x")).name, "anon", "without users with keys a key is nothing");
        assert_eq!(granted(&s3, &login("b", "b")).name, "b");
        for wrong in [login("", "q"), login("b", "x"), Offered { token: "t", ..Offered::default() }] {
            assert!(denied(&s3, &wrong));
        }
        assert_eq!(granted(&directory(anon(HASH)), &Offered::default()).name, "anon");

        let keyed = directory(Auth { nkeys: vec![nkey(1)], no_auth_user: Some(KEY.into()), ..Auth::default() });
        assert_eq!(granted(&keyed, &Offered::default()).name, KEY);
        assert_eq!(granted(&keyed, &signed(KEY, "")).name, KEY);
        assert!(denied(&keyed, &login("x", "")));
    }

    #[test]
    fn without_users_everybody_is_welcome() {
        let open = directory(Auth::default());
        for (offered, name) in [
            (Offered::default(), ""),
            (login("q", "w"), "q"),
            (Offered { token: "t", ..Offered::default() }, "[REDACTED]"),
            (Offered { user: "u", ..signed("q", "") }, "q"),
        ] {
            let identity = granted(&open, &offered);
            assert_eq!((identity.name.as_str(), identity.account), (name, 0));
        }
        let naming = Offered { names_account: true, ..Offered::default() };
        assert!(denied(&open, &naming), "E21");
        assert!(denied(&directory(s1()), &Offered { names_account: true, ..login("alice", "secret") }));
    }

    #[test]
    fn connection_types() {
        let limited = User { connection_types: vec!["websocket".into(), "LEAFNODE".into()], ..user("a", "a", 0) };
        let directory = directory(Auth { users: vec![limited].into(), ..Auth::default() });
        assert!(denied(&directory, &login("a", "a")));
        let by_leaf = directory.decide(&login("a", "a"), Connection::Leafnode, NONCE);
        let Decision::Granted(identity) = by_leaf else { panic!("{by_leaf:?}") };
        assert!(directory.still_valid(&identity, Connection::Leafnode).is_some());
        assert!(directory.still_valid(&identity, Connection::Mqtt).is_none());
    }

    #[test]
    fn wrong_configurations() {
        let build = |auth| Directory::build(&config(auth, &["$G", "A"])).err();
        let error = |auth| build(auth).unwrap();
        let key = |text: &str| Auth { nkeys: vec![NkeyUser { nkey: text.into(), ..nkey(0) }], ..Auth::default() };
        assert!(error(key(&KEY.replace("CB5", "CB6"))).contains("checksum"));
        assert!(error(key(&PublicKey::new(Kind::Account, [1; 32]).encode())).contains("user"));
        assert!(error(Auth { users: vec![user("a", "", 9)].into(), ..Auth::default() }).contains("account"));
        assert!(
            error(Auth { users: vec![user("a", "", 0), user("a", "", 1)].into(), ..Auth::default() }).contains("\"a\"")
        );
        assert!(error(Auth { no_auth_user: Some("x".into()), ..s1() }).contains("\"x\""));
        let odd = User { connection_types: vec!["PIGEON".into()], ..user("a", "a", 0) };
        assert!(error(Auth { users: vec![odd].into(), ..Auth::default() }).contains("PIGEON"));
        assert_eq!(build(s1()), None);
    }

    #[test]
    fn reload_keeps_who_did_not_change() {
        let before = directory(s1());
        let alice = granted(&before, &login("alice", "secret"));
        let still = |auth: Auth, accounts: &[&str]| {
            Directory::build(&config(auth, accounts)).unwrap().still_valid(&alice, Connection::Standard)
        };
        let with = |user: User| Auth { users: vec![user].into(), ..Auth::default() };

        let stricter = Permissions { publish: Rules { allow: Some(vec![]), deny: vec![] }, ..Permissions::default() };
        let changed = User { permissions: Some(stricter.into()), ..user("alice", "secret", 0) };
        assert!(still(with(changed), &["$G"]).unwrap().permissions.is_some());
        assert!(still(with(user("alice", "other", 0)), &["$G"]).is_none());
        assert!(still(with(user("alicia", "secret", 0)), &["$G"]).is_none());
        assert_eq!(still(with(user("alice", "secret", 1)), &["$G", "A"]).unwrap().account, 1);
        assert_eq!(still(Auth::default(), &["$G"]).unwrap().name, "alice");
    }

    #[test]
    fn reload_of_the_others() {
        let again = |before: Auth, offered: Offered<'_>, after: Auth| {
            let identity = granted(&directory(before), &offered);
            directory(after).still_valid(&identity, Connection::Standard).is_some()
        };
        let token = |text: &str| Auth { token: Some(Secret::new(text)), ..Auth::default() };
        let offered = Offered { token: "t", ..Offered::default() };
        assert!(again(token("t"), offered, token("t")));
        assert!(!again(token("t"), offered, token("u")));
        assert!(again(s1(), signed(KEY, SIG), s1()));
        assert!(!again(s1(), signed(KEY, SIG), token("t")));
        assert!(!again(Auth::default(), login("alice", "secret"), s1()), "it proved nothing");
        let anon = Auth { no_auth_user: Some("alice".into()), ..s1() };
        assert!(again(anon.clone(), Offered::default(), anon.clone()));
        assert!(!again(anon.clone(), Offered::default(), s1()), "it never knew the password");
        assert!(again(anon, login("alice", "secret"), s1()));
    }
}
