//! Scripts of acquisitions, and what is said about them.
