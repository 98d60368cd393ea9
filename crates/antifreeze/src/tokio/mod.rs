//! The event loop: tasks of tokio over the same state machines that threads drive.
