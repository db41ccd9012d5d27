//! shim
#[allow(missing_docs)]
pub async fn serve(_s: std::rc::Rc<super::server::Server>, _l: tokio::net::TcpListener, _b: String) {
    std::future::pending::<()>().await
}
