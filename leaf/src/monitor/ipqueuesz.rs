//! `/ipqueuesz`: queues between the parts of a server. All is done in one turn here, so there are none.

use super::Response;

pub(super) fn page() -> Response {
    Response::json(b"{}".to_vec())
}
