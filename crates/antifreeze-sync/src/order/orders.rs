//! All that was seen of the order of locks.

use std::panic::Location;
use std::sync::atomic::AtomicU32;

use super::class::{ClassKey, Classes};
use super::held::{Held, Seen, Take};
use super::{Edge, Warning};
use crate::report::Mode;

pub(super) struct Orders {
    classes: Classes,
}

impl Orders {
    pub(super) const fn new() -> Self {
        Self {
            classes: Classes::new(),
        }
    }
    pub(super) fn set_one_at_a_time(&self, _strict: bool) {}
    pub(super) fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }
    pub(super) fn forget(&self, _name: &str) -> usize {
        0
    }
    pub(super) fn reset(&self) {}
    pub(super) fn edges(&self) -> Vec<Edge> {
        Vec::new()
    }
    pub(super) fn text(&self) -> String {
        String::new()
    }
    pub(super) fn class(&self, seat: &AtomicU32, key: &ClassKey<'_>, sub: u32) -> u32 {
        self.classes.number(seat, key, sub)
    }
    pub(super) fn acquired(&self, _: &mut Held, _: &mut Seen, _: Take) -> Vec<Warning> {
        Vec::new()
    }
    pub(super) fn released(&self, _: &mut Held, _: u64, _: Mode) {}
    pub(super) fn waiting(
        &self,
        _: &mut Held,
        _: &mut Seen,
        _: &'static str,
        _: &'static Location<'static>,
    ) -> Vec<Warning> {
        Vec::new()
    }
    pub(super) fn recursive_read(
        &self,
        _: &mut Held,
        _: u64,
        _: &'static Location<'static>,
    ) -> Vec<Warning> {
        Vec::new()
    }
}
