//! `#[derive(Class)]`: a struct that travels as an object of a Python class.
//!
//! What serde derives for a twin of the struct does the work. The twin has the same fields with the
//! same attributes, and a name in `__class__`, which is checked before it reads an entry.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Expr, ExprLit, Fields, Lit, LitStr, Meta, parse_quote};

use crate::diagnostics::Mistakes;

/// What the macro emits, apart from its mistakes.
pub(crate) fn class(item: TokenStream) -> (TokenStream, Mistakes) {
    let mut mistakes = Mistakes::default();
    let output = match syn::parse2::<DeriveInput>(item) {
        Ok(input) => parse(&input, &mut mistakes).map(|class| expand(&class)),
        Err(error) => {
            mistakes.note_error(error);
            None
        }
    };
    (output.unwrap_or_default(), mistakes)
}

/// A struct and its class, understood.
struct Class<'a> {
    input: &'a DeriveInput,
    fields: &'a Fields,
    name: LitStr,
}

fn parse<'a>(input: &'a DeriveInput, mistakes: &mut Mistakes) -> Option<Class<'a>> {
    let name = class_name(input, mistakes);
    if !input.generics.params.is_empty() {
        let message = "a Python class has no parameters: derive `Class` for a struct without any";
        mistakes.note(&input.generics, message);
        return None;
    }
    let fields = match &input.data {
        Data::Struct(data) if matches!(data.fields, Fields::Named(_)) => &data.fields,
        _ => {
            let message = "an object of a Python class has attributes: derive `Class` for a struct \
                           whose fields have names";
            mistakes.note(&input.ident, message);
            return None;
        }
    };
    let name = name?;
    Some(Class {
        input,
        fields,
        name,
    })
}

/// Finds the name in `#[class = ".."]`.
fn class_name(input: &DeriveInput, mistakes: &mut Mistakes) -> Option<LitStr> {
    let is_class = |attribute: &&Attribute| attribute.path().is_ident("class");
    let Some(attribute) = input.attrs.iter().find(is_class) else {
        let message = "what is the class called in Python? Add `#[class = \"module.Class\"]`";
        mistakes.note(&input.ident, message);
        return None;
    };
    if let Meta::NameValue(pair) = &attribute.meta
        && let Expr::Lit(ExprLit {
            lit: Lit::Str(name),
            ..
        }) = &pair.value
        && !name.value().is_empty()
    {
        return Some(name.clone());
    }
    mistakes.note(attribute, "write the name as `#[class = \"module.Class\"]`");
    None
}

fn expand(class: &Class<'_>) -> TokenStream {
    let Class {
        input,
        fields,
        name,
    } = class;
    let ident = &input.ident;
    let target = ident.to_string();
    let twin = format_ident!("__{}Dict", ident);
    let of_serde = |attributes: &[Attribute]| {
        let mut kept = attributes.to_vec();
        kept.retain(|attribute| attribute.path().is_ident("serde"));
        kept
    };
    let attributes = of_serde(&input.attrs);
    let fields = fields.iter().map(|field| {
        let mut field = field.clone();
        field.attrs = of_serde(&field.attrs);
        field.vis = parse_quote!();
        field
    });
    quote! {
        #[automatically_derived]
        impl ::antifreeze::Class for #ident {
            const CLASS: &'static str = #name;
        }

        const _: () = {
            #[derive(
                ::antifreeze::__private::serde::Serialize,
                ::antifreeze::__private::serde::Deserialize,
            )]
            #[serde(
                crate = "::antifreeze::__private::serde",
                remote = #target,
                tag = "__class__",
                rename = #name,
            )]
            #(#attributes)*
            #[allow(dead_code)]
            struct #twin {
                #(#fields,)*
            }

            #[automatically_derived]
            impl ::antifreeze::__private::serde::Serialize for #ident {
                fn serialize<S: ::antifreeze::__private::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    #twin::serialize(self, serializer)
                }
            }

            #[automatically_derived]
            impl<'de> ::antifreeze::__private::serde::Deserialize<'de> for #ident {
                fn deserialize<D: ::antifreeze::__private::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    #twin::deserialize(::antifreeze::__private::ClassDict::new::<Self>(deserializer))
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::class;

    /// Checks that an item has one mistake, whose message contains the words, and emits nothing.
    #[track_caller]
    fn refused(item: &str, words: &str) {
        let (output, mistakes) = class(item.parse().unwrap());
        let messages = mistakes.messages();
        let found = matches!(&messages[..], [message] if message.contains(words));
        assert!(found, "{item}\n{messages:#?}");
        assert!(output.is_empty());
    }

    #[test]
    fn a_struct_with_attributes_of_serde() {
        let item = "
            /// An order.
            #[class = \"shop.Order\"]
            #[serde(rename_all = \"camelCase\")]
            #[derive(Debug)]
            pub(crate) struct Order {
                /// Which.
                pub id: u64,
                #[serde(default)]
                r#type: String,
            }
        ";
        let (output, mistakes) = class(item.parse().unwrap());
        assert_eq!(mistakes.messages(), Vec::<String>::new());
        let shown = prettyplease::unparse(&syn::parse2(output).unwrap());
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(shown);
        });
    }

    #[test]
    fn what_cannot_be_a_class_is_told() {
        refused(
            "struct Order { id: u64 }",
            "Add `#[class = \"module.Class\"]`",
        );
        refused("#[class] struct Order { id: u64 }", "write the name as");
        refused("#[class = 5] struct Order { id: u64 }", "write the name as");
        refused(
            "#[class = \"\"] struct Order { id: u64 }",
            "write the name as",
        );
        refused(
            "#[class(\"a.B\")] struct Order { id: u64 }",
            "write the name as",
        );
        refused("#[class = \"a.B\"] struct Order(u64);", "fields have names");
        refused("#[class = \"a.B\"] struct Order;", "fields have names");
        refused("#[class = \"a.B\"] enum Order { A }", "fields have names");
        refused(
            "#[class = \"a.B\"] union Order { a: u8 }",
            "fields have names",
        );
        refused(
            "#[class = \"a.B\"] struct Order<T> { a: T }",
            "has no parameters",
        );
    }
}
