//! The impure part: sockets, TLS, files, signals, the clock and randomness live here and nowhere else.

pub mod http;
pub mod server;
pub mod tls;
/// shim
#[allow(missing_docs)]
pub fn demo() {
    let port: u16 = std::env::args().skip_while(|a| a != "-p").nth(1).and_then(|p| p.parse().ok()).unwrap_or(4222);
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("rt");
    let local = tokio::task::LocalSet::new();
    use crate::config::*;
    let config = Config { file: None, digest: String::new(), server_name: String::new(), tags: vec![], metadata: Default::default(), host: None, port: None, client_advertise: None, monitor: None,
      limits: Limits { max_connections: 65536, max_subscriptions: 0, max_subscription_tokens: 0, max_control_line: 4096, max_payload: Some(1048576), max_pending: 64<<20, max_closed_clients: 10000, ping_interval: std::time::Duration::from_secs(120), ping_max: 2, write_deadline: std::time::Duration::from_secs(10), no_fast_producer_stall: false, no_headers: false, no_interest_cache: false },
      log: Log { debug: false, trace: false, trace_verbose: false, trace_headers: false, max_traced_msg_len: 0, time: true, utc: false, file: None, size_limit: 0, max_num: 0, json: false },
      pid_file: None, ports_file_dir: None, store_dir: "x".into(), lame_duck_duration: std::time::Duration::from_secs(120), lame_duck_grace_period: std::time::Duration::from_secs(10), tls: None, allow_non_tls: false, auth: Auth::default(),
      accounts: vec![Account { name: "$G".into(), mappings: vec![], limits: AccountLimits::default() }], system_account: None, warnings: vec![] };
    let node = crate::node::Node::new(config, crate::node::Identity { server_id: "NX".into(), epoch: 0, host: "127.0.0.1".into(), port, program: "petiole-leaf" }, 42).expect("node");
    local.block_on(&rt, async move {
        let s = server::Server::new(node, std::time::Instant::now(), None);
        let l = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("bind");
        tokio::task::spawn_local(s.clone().keep_time());
        loop { let (c, r) = l.accept().await.expect("accept"); tokio::task::spawn_local(s.clone().serve(c, r)); }
    });
}
