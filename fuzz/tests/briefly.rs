//! Each target, for a moment: `cargo xtask fuzz` runs them for longer.

use antifreeze_fuzz::{Fuzzer, TARGETS};

#[test]
fn no_target_finds_anything_soon() {
    for target in TARGETS {
        let mut fuzzer = Fuzzer::new(target, 0);
        let seeds = fuzzer.run_seeds();
        let result = seeds.and_then(|()| (0..5_000).try_for_each(|_| fuzzer.step()));
        let input = result.err().map(|input| input.escape_ascii().to_string());
        assert_eq!(input, None, "{}", target.name);
    }
}
