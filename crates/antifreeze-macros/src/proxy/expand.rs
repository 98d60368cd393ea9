//! From the model to the code: a struct around a `Proxy`, with one short method for each.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Visibility};

use super::parse::{Action, Described, Method, Parameter, Role};
use crate::types;

pub(crate) fn expand(described: &Described) -> TokenStream {
    let Described {
        attributes,
        visibility,
        subject,
        proxy,
        asynchronous,
        methods,
    } = described;
    let kind = Kind::of(*asynchronous);
    let Kind {
        carrier,
        keyword,
        wait,
    } = &kind;
    let docs = docs_unless_written(attributes, || {
        format!("A proxy of a remote `{subject}`. Its clones share one session.")
    });
    let cfgs: Vec<_> = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .collect();
    let methods = methods
        .iter()
        .map(|method| self::method(method, &kind, visibility));
    quote! {
        #(#attributes)*
        #docs
        #[derive(
            ::core::clone::Clone,
            ::core::fmt::Debug,
            ::core::cmp::PartialEq,
            ::core::cmp::Eq,
            ::core::hash::Hash,
        )]
        #visibility struct #proxy {
            proxy: #carrier,
        }

        #(#cfgs)*
        #[allow(dead_code, clippy::missing_errors_doc)]
        impl #proxy {
            /// Connects to the object.
            ///
            /// # Errors
            ///
            /// The URI is wrong, nobody answers there, or there is no such object.
            #visibility #keyword fn connect(
                uri: impl ::antifreeze::IntoUri,
            ) -> ::core::result::Result<Self, ::antifreeze::Error> {
                ::core::result::Result::map(#carrier::connect(uri) #wait, Self::new)
            }

            /// Calls the object through this proxy.
            #visibility fn new(proxy: #carrier) -> Self {
                Self { proxy }
            }

            /// The proxy that carries the calls, for its settings and for what the trait leaves out.
            #visibility fn as_proxy(&self) -> &#carrier {
                &self.proxy
            }

            #(#methods)*
        }

        #(#cfgs)*
        #[automatically_derived]
        impl ::antifreeze::__private::serde::Serialize for #proxy {
            fn serialize<S: ::antifreeze::__private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                ::antifreeze::__private::serde::Serialize::serialize(&self.proxy, serializer)
            }
        }

        #(#cfgs)*
        #[automatically_derived]
        impl<'de> ::antifreeze::__private::serde::Deserialize<'de> for #proxy {
            fn deserialize<D: ::antifreeze::__private::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                ::core::result::Result::map(
                    ::antifreeze::__private::serde::Deserialize::deserialize(deserializer),
                    Self::new,
                )
            }
        }
    }
}

/// How its calls are waited for.
struct Kind {
    /// The proxy that carries them.
    carrier: TokenStream,
    keyword: Option<TokenStream>,
    wait: Option<TokenStream>,
}

impl Kind {
    fn of(asynchronous: bool) -> Self {
        Self {
            carrier: if asynchronous {
                quote!(::antifreeze::tokio::Proxy)
            } else {
                quote!(::antifreeze::Proxy)
            },
            keyword: asynchronous.then(|| quote!(async)),
            wait: asynchronous.then(|| quote!(.await)),
        }
    }
}

fn method(method: &Method, kind: &Kind, visibility: &Visibility) -> TokenStream {
    let Method {
        attributes,
        ident,
        name,
        generics,
        lifetime,
        parameters,
        ..
    } = method;
    let docs = docs_unless_written(attributes, || match method.action {
        Action::Call => format!("Calls the remote method `{name}`."),
        Action::Oneway => format!("Calls the remote method `{name}` and does not wait for it."),
        Action::Read => format!("Reads the remote attribute `{name}`."),
        Action::Write => format!("Writes the remote attribute `{name}`."),
    });
    let (bounds, _, conditions) = generics.split_for_impl();
    let declared = parameters.iter().map(
        |Parameter {
             attributes,
             ident,
             ty,
             ..
         }| { quote!(#(#attributes)* #ident: #ty) },
    );
    let returns = match &method.returns {
        Some(ty) => quote!(#ty),
        None => quote!(()),
    };
    let body = body(method, &returns);
    let Kind { keyword, wait, .. } = kind;
    quote! {
        #(#attributes)*
        #docs
        #visibility #keyword fn #ident #bounds(
            &#lifetime self,
            #(#declared,)*
        ) -> ::core::result::Result<#returns, ::antifreeze::Error> #conditions {
            #body #wait
        }
    }
}

fn body(method: &Method, returns: &TokenStream) -> TokenStream {
    let Method {
        ident,
        name,
        parameters,
        ..
    } = method;
    let session = if method.idempotent {
        quote!(self.proxy.idempotent())
    } else {
        quote!(self.proxy)
    };
    let of_role = |role| {
        parameters
            .iter()
            .filter(move |parameter| parameter.role == role)
    };
    if let Some(Parameter { ident, ty, .. }) = of_role(Role::Blob).next() {
        let borrow = types::referent(ty).is_none().then(|| quote!(&));
        return quote!(#session.call_blob::<#returns>(#name, #borrow #ident));
    }
    let positional = of_role(Role::Positional).map(argument);
    let arguments = match of_role(Role::All).next() {
        Some(all) => argument(all),
        // If one cannot be encoded, the compiler points at the function.
        None => quote_spanned!(ident.span()=> (#(#positional,)*)),
    };
    let keywords = of_role(Role::Keywords).next().map(argument);
    let items = method.returns.as_ref();
    if let Some(Some(item)) = items.and_then(|ty| types::argument_of(ty, "Items")) {
        return match (method.action, keywords) {
            (Action::Read, _) => quote!(#session.stream_attr::<#item>(#name)),
            (_, None) => quote!(#session.stream::<#item>(#name, #arguments)),
            (_, Some(keywords)) => {
                quote!(#session.stream_kw::<#item>(#name, #arguments, #keywords))
            }
        };
    }
    match (method.action, keywords) {
        (Action::Call, None) => quote!(#session.call::<#returns>(#name, #arguments)),
        (Action::Call, Some(keywords)) => {
            quote!(#session.call_kw::<#returns>(#name, #arguments, #keywords))
        }
        (Action::Oneway, None) => quote!(#session.oneway(#name, #arguments)),
        (Action::Oneway, Some(keywords)) => {
            quote!(#session.oneway_kw(#name, #arguments, #keywords))
        }
        (Action::Read, _) => quote!(#session.attr::<#returns>(#name)),
        (Action::Write, _) => {
            let value = parameters.iter().map(argument);
            quote!(#session.set_attr(#name, #(#value),*))
        }
    }
}

/// The expression that is encoded. Bytes have to be told from a list of small numbers.
fn argument(parameter: &Parameter) -> TokenStream {
    let Parameter { ident, ty, .. } = parameter;
    let optional = types::argument_of(ty, "Option").flatten();
    // If it cannot be encoded, the compiler points at its type.
    let at = ident.span().located_at(ty.span());
    if types::is_bytes(ty) {
        quote!(::antifreeze::Bytes::copy_from_slice(#ident))
    } else if optional.is_some_and(types::is_bytes) {
        quote!(::core::option::Option::map(#ident, ::antifreeze::Bytes::copy_from_slice))
    } else {
        let mut ident = ident.clone();
        ident.set_span(at);
        quote_spanned!(at=> #ident)
    }
}

fn docs_unless_written(
    attributes: &[Attribute],
    docs: impl FnOnce() -> String,
) -> Option<TokenStream> {
    let written = attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("doc"));
    (!written).then(|| {
        let docs = format!(" {}", docs());
        quote!(#[doc = #docs])
    })
}
