//! The texts that the command line prints.

/// The line that `-v` prints. `program` is the name of the binary.
pub fn version(program: &str) -> String {
    format!("{program}: v{} (nats-server 2.15.1 protocol)", env!("CARGO_PKG_VERSION"))
}

/// What `-h` prints. `program` is the name of the binary.
pub fn help(program: &str) -> String {
    format!("Usage: {program} [options]\n{HELP}")
}

/// What `--help_tls` prints.
pub fn tls_help() -> &'static str {
    TLS_HELP
}

const HELP: &str = "
Server:
    -a, --addr, --net <host>          listen on this address only (default: 127.0.0.1,
                                      or every address once clients must log in)
    -p, --port <port>                 listen for clients here (default: 4222; -1: any free port)
    -n, --name, --server_name <name>  name of the server (default: its id)
    -c, --config <file>               read this configuration file
    -t                                check the configuration file and exit
    -m, --http_port <port>            serve monitoring over HTTP here (-1: any free port)
    -P, --pid <file>                  write the process id to this file
        --ports_file_dir <dir>        write the open ports to <program>_<pid>.ports in this directory
        --client_advertise <addr>     tell clients to connect to this host[:port]
    -sd, --store_dir <dir>            keep data in this directory (default: petiole-data)
    -sl, --signal <cmd>[=<pid>]       tell a running server to stop, quit, term, reopen, reload or ldm;
                                      <pid> is a number, a pattern with * or a file that holds one

Logging:
    -l, --log <file>                  log to this file (default: standard error)
        --log_size_limit <bytes>      begin a new log file at this size (default: never)
        --log_format <format>         text, or json for one object a line (default: text)
    -T, --logtime                     put the time before each line (default: true)
        --logtime_utc                 log times in UTC
    -D, --debug                       log what helps to find faults
    -V, --trace                       log the protocol
    -VV                               log the protocol, the system account's too
    -DV, -DVV                         -D together with -V or -VV
        --max_traced_msg_len <bytes>  cut traced messages at this length (default: never)

Authorization:
        --user <name>                 clients must log in with this name
        --pass <password>             and this password
        --auth <token>                clients must show this token

TLS:
        --tls                         encrypt connections
        --tlscert <file>              certificate of the server
        --tlskey <file>               private key of the certificate
        --tlsverify                   clients must show a certificate
        --tlscacert <file>            authority that signs clients' certificates

Looking after a durable log, while no server has it:
    store ls|info|cat|verify|repair <dir>   more: store help

Asking the running server whether it does its work:
    health [--deep] [-c <file>]             more: health help

Checking and writing a signed update of an appliance:
    update <bundle> --key <file> …          more: update help

Common:
    -h, --help                        print this
        --help_tls                    print what a tls block may hold
    -v, --version                     print the version
";

const TLS_HELP: &str = "\
TLS is configured in a tls block of the configuration file, for example:

    tls {
        cert_file: \"/etc/petiole/server-cert.pem\"
        key_file:  \"/etc/petiole/server-key.pem\"
        ca_file:   \"/etc/petiole/ca.pem\"
        verify:    true
        timeout:   \"2s\"
    }

Other options of the block, with what they may be:

    certs                  [ { cert_file, key_file }, … ] in place of one pair
    min_version            \"1.2\" or \"1.3\"
    handshake_first        true, false, \"auto\", or how long to wait for the client: \"50ms\"
    connection_rate_limit  handshakes a second
    cipher_suites          TLS_AES_128_GCM_SHA256
                           TLS_AES_256_GCM_SHA384
                           TLS_CHACHA20_POLY1305_SHA256
                           TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
                           TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
                           TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
                           TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                           TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                           TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    curve_preferences      X25519, CurveP256, CurveP384
";
