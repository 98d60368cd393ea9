//! `#[expose]`: an impl block whose functions other programs may call.
//!
//! [`parse`] turns the block into a model and notes every mistake; [`expand`] turns the model into
//! the static class description that the library serves from. The block itself is emitted in any
//! case, so that one mistake does not make the whole type disappear.

mod expand;
mod parse;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Item;

use crate::diagnostics::Mistakes;

/// What the macro emits, apart from its mistakes.
pub(crate) fn expose(arguments: TokenStream, item: TokenStream) -> (TokenStream, Mistakes) {
    let mut mistakes = Mistakes::default();
    let local = arguments.to_string() == "local";
    if !local && !arguments.is_empty() {
        let message = "write `#[expose]`, or `#[expose(local)]` for objects that stay on one thread; \
                       all else is said by attributes on the functions";
        mistakes.note(arguments, message);
    }
    let item = match syn::parse2::<Item>(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            mistakes.note_error(error);
            return (item, mistakes);
        }
    };
    let Item::Impl(mut block) = item else {
        let message = "`#[expose]` stands on an impl block: `#[expose] impl Account { .. }`";
        mistakes.note(&item, message);
        return (item.into_token_stream(), mistakes);
    };
    let exposed = parse::parse(&mut block, &mut mistakes);
    let mut output = block.into_token_stream();
    if let Some(exposed) = exposed {
        output.extend(expand::expand(&exposed, local));
    }
    (output, mistakes)
}
