//! Who can never go on.

use super::Graph;

/// The frames of `graph` that can never go on, in ascending order.
pub(crate) fn stuck(_graph: &Graph, _with_soft: bool) -> Vec<u64> {
    Vec::new()
}
