//! What calls carry besides plain values: objects, blobs, annotations; and the sockets that carry them.

#[path = "../common/mod.rs"]
mod common;

mod annotations;
mod blobs;
mod objects;
mod sockets;

use antifreeze::Serializer;

/// Does something with each serializer, and says with which.
fn by_each(check: impl Fn(Serializer)) {
    for serializer in Serializer::ALL {
        eprintln!("by {serializer}");
        check(serializer);
    }
}
