//! Characters by their names, as in `'\N{EN DASH}'`.

/// Finds a character by its name or an alias of that, in letters of either case, as Python does.
pub(super) fn character(name: &str) -> Option<char> {
    let letters = |name: &str| -> String {
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        letters.map(|letter| letter.to_ascii_uppercase()).collect()
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-');
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) || !name.bytes().all(known) {
        return None;
    }
    let character = unicode_names2::character(name)?;
    // That has found it also without its blanks and hyphens, which Python wants; of aliases, which
    // have other letters, that cannot be told.
    let full = unicode_names2::name(character).map(|full| full.to_string());
    let exact =
        full.is_none_or(|full| full.eq_ignore_ascii_case(name) || letters(&full) != letters(name));
    exact.then_some(character)
}
