//! What the compiler says to code that the macros refuse.
//!
//! The cases lie in `crates/antifreeze/tests/compile`; its README explains the numbers.

#[test]
fn what_is_refused_and_how() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("../antifreeze/tests/compile/[1-8]*.rs");
    cases.pass("../antifreeze/tests/compile/9*.rs");
}
