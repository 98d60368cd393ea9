//! What the compiler says to code that `#[synchronized]` refuses.
//!
//! The cases lie in `tests/compile`; its README explains the numbers.

#![cfg(feature = "macros")]

#[test]
fn what_is_refused_and_how() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile/[1-8]*.rs");
    cases.pass("tests/compile/9*.rs");
}
