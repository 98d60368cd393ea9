//! The rules of deadlock detection, explored state by state.
#![forbid(unsafe_code)]

pub mod config;
pub mod configs;
pub mod detector;
pub mod explore;
pub mod frames;
pub mod state;
pub mod step;
pub mod symmetry;
pub mod truth;
