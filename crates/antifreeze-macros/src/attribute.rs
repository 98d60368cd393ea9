//! The helper attributes: which there are, where each may stand, and what it says.
//!
//! Whoever reads them also removes them, because the compiler knows none of them.

use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta};

use crate::diagnostics::Mistakes;
use crate::name;

/// What stands behind the attribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// A function of an `#[expose]` block.
    Served,
    /// A function of a `#[proxy]` trait.
    Called,
    /// A parameter of a function that is served.
    ServedParameter,
    /// A parameter of a function of a proxy.
    CalledParameter,
}

/// The helper attributes of one function or parameter.
#[derive(Debug, Default)]
pub(crate) struct Helpers {
    pub(crate) oneway: Option<Attribute>,
    pub(crate) attr: Option<Access>,
    pub(crate) quick: Option<Attribute>,
    pub(crate) callback: Option<Attribute>,
    pub(crate) private: Option<Attribute>,
    pub(crate) unlocked: Option<Attribute>,
    pub(crate) idempotent: Option<Attribute>,
    pub(crate) rename: Option<LitStr>,
    pub(crate) default: Option<DefaultValue>,
    pub(crate) args: Option<Attribute>,
    pub(crate) kwargs: Option<Attribute>,
    /// The first of them that makes no sense on a function that is private.
    pub(crate) serving: Option<Attribute>,
}

/// Which side of a remote attribute a function is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// What a missing argument becomes.
#[derive(Clone, Debug)]
pub(crate) enum DefaultValue {
    /// The default of its type.
    OfType,
    /// This.
    Expr(Box<Expr>),
}

impl Helpers {
    /// Removes the helper attributes from `attributes` and reads them.
    pub(crate) fn take(
        attributes: &mut Vec<Attribute>,
        place: Place,
        mistakes: &mut Mistakes,
    ) -> Self {
        let mut helpers = Self::default();
        attributes.retain(|attribute| {
            let Some(word) = word(attribute) else {
                return true;
            };
            match misplaced(&word, place) {
                Some(advice) => mistakes.note(attribute, advice),
                None => helpers.read(&word, attribute, mistakes),
            }
            false
        });
        helpers
    }

    fn read(&mut self, word: &str, attribute: &Attribute, mistakes: &mut Mistakes) {
        if word != "private" {
            self.serving.get_or_insert_with(|| attribute.clone());
        }
        let before = match word {
            "attr" => match access(attribute) {
                Ok(access) => self.attr.replace(access).is_some(),
                Err(error) => return mistakes.note_error(error),
            },
            "rename" => match new_name(attribute) {
                Ok(name) => self.rename.replace(name).is_some(),
                Err(error) => return mistakes.note_error(error),
            },
            "lock"
                if attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| list.tokens.to_string() == "none") =>
            {
                self.unlocked.replace(attribute.clone()).is_some()
            }
            "lock" => return mistakes.note(&attribute.meta, OTHER_LOCK),
            "default" => match default_value(attribute) {
                Ok(value) => self.default.replace(value).is_some(),
                Err(error) => return mistakes.note_error(error),
            },
            _ => {
                if !matches!(attribute.meta, Meta::Path(_)) {
                    mistakes.note(
                        &attribute.meta,
                        format!("write `#[{word}]`, it takes nothing"),
                    );
                }
                let flag = match word {
                    "oneway" => &mut self.oneway,
                    "quick" => &mut self.quick,
                    "callback" => &mut self.callback,
                    "private" => &mut self.private,
                    "idempotent" => &mut self.idempotent,
                    "args" => &mut self.args,
                    _ => &mut self.kwargs,
                };
                flag.replace(attribute.clone()).is_some()
            }
        };
        if before {
            mistakes.note(
                attribute,
                format!("`#[{word}]` stands here twice: remove one"),
            );
        }
    }
}

/// The name of a helper attribute; none for an attribute of somebody else.
fn word(attribute: &Attribute) -> Option<String> {
    const WORDS: &[&str] = &[
        "oneway",
        "attr",
        "quick",
        "callback",
        "private",
        "idempotent",
        "rename",
        "default",
        "args",
        "kwargs",
        "lock",
    ];
    let word = attribute.path().get_ident()?.to_string();
    WORDS.contains(&word.as_str()).then_some(word)
}

/// What to do about a `#[lock]` that says something else.
const OTHER_LOCK: &str = "the receiver chooses the lock: `&self` methods run together, `&mut self` \
                          methods alone, and Rust forbids one beside the other. There is only \
                          `#[lock(none)]`, for a `&self` method that lets no writer come first";

/// What to do about an attribute that cannot stand where it stands.
fn misplaced(word: &str, place: Place) -> Option<&'static str> {
    let on_function = matches!(place, Place::Served | Place::Called);
    match (word, place) {
        ("lock", Place::Called) => Some(
            "this says how a method is served: write it in the `#[expose]` block, the proxy need \
             not know",
        ),
        ("idempotent", Place::Served) => Some(
            "whether a call may be sent again is for the caller to say: write `#[idempotent]` in \
             the `#[proxy]` trait",
        ),
        ("quick" | "callback", Place::Called) => Some(
            "this says how a method is served: write it in the `#[expose]` block, the proxy need \
             not know",
        ),
        ("private", Place::Called) => {
            Some("a proxy has no private methods: leave the method out of the trait")
        }
        ("default", Place::CalledParameter) => Some(
            "the default belongs to the object: write it in the `#[expose]` block, or take an \
             `Option` here",
        ),
        ("args" | "kwargs" | "default", _) if on_function => {
            Some("this belongs to a parameter: write it before the parameter's name")
        }
        (
            "oneway" | "attr" | "quick" | "callback" | "private" | "idempotent" | "lock",
            Place::ServedParameter | Place::CalledParameter,
        ) => Some("this belongs to a function: write it before the `fn`"),
        ("rename", Place::CalledParameter) => {
            Some("a proxy passes arguments by position, so their names do not matter: remove this")
        }
        _ => None,
    }
}

fn access(attribute: &Attribute) -> syn::Result<Access> {
    match &attribute.meta {
        Meta::Path(_) => return Ok(Access::Read),
        Meta::List(list) if list.tokens.to_string() == "set" => return Ok(Access::Write),
        _ => {}
    }
    let message = "write `#[attr]` on the function that reads and `#[attr(set)]` on the one that \
                   writes";
    Err(syn::Error::new_spanned(&attribute.meta, message))
}

fn new_name(attribute: &Attribute) -> syn::Result<LitStr> {
    if let Meta::NameValue(pair) = &attribute.meta
        && let Expr::Lit(ExprLit {
            lit: Lit::Str(name),
            ..
        }) = &pair.value
    {
        name::check_writable(&name.value())
            .map_err(|message| syn::Error::new_spanned(name, message))?;
        return Ok(name.clone());
    }
    Err(syn::Error::new_spanned(
        &attribute.meta,
        "write `#[rename = \"name\"]`",
    ))
}

fn default_value(attribute: &Attribute) -> syn::Result<DefaultValue> {
    match &attribute.meta {
        Meta::Path(_) => Ok(DefaultValue::OfType),
        Meta::NameValue(pair) => Ok(DefaultValue::Expr(Box::new(pair.value.clone()))),
        Meta::List(_) => Err(syn::Error::new_spanned(
            &attribute.meta,
            "write `#[default]` or `#[default = value]`",
        )),
    }
}
