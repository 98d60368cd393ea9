//! What proxies promise when their peer is slow, silent, or gone; both kinds of them.

mod blocking;
mod cancelling;
mod in_flight;
mod peer;
mod played;

mod threads {
    use antifreeze::{Proxy, ProxyBuilder};

    include!("scenarios.rs");
}

mod tasks {
    use super::blocking::{Proxy, ProxyBuilder};

    include!("scenarios.rs");
}
