//! `/raftz`: groups that keep copies of the same log; there are none.

use super::Response;

pub(super) fn page() -> Response {
    Response::text(404, "No Raft nodes registered")
}
