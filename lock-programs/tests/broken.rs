//! Detectors that are broken on purpose are found out by random programs.

#![cfg(feature = "faults")]

use std::process::Command;

#[test]
fn random_programs_show_that_the_detector_is_broken() {
    // The others show only in moments that are too short to be met by chance.
    for name in [
        "or-as-and",
        "soft-reported",
        "own-task-fails",
        "stop-at-running",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lock-programs"))
            .args(["--count", "2000", "--at-once", "16", "--enough", "1"])
            .args(["--broken", name])
            .output()
            .expect("the program starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(told.starts_with("program "), "{name}: {told}");
    }
}
