//! From the model to the code: a static description of the class.
//!
//! Everything generated has the hygiene of the macro ([`Span::mixed_site`]), so that no name in
//! here can meet one of the user's. What may fail for a reason the user can mend (a type that
//! cannot be decoded, a result that cannot be encoded) keeps the place of the user's text.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Ident, Lit, Type, parse_quote};

use super::parse::{Exposed, Function, Items, Kind, Member, Receiver, Shape};
use crate::attribute::DefaultValue;
use crate::parameter::{Parameter, Passing, Source};
use crate::{name, types};

/// The class, for objects that stay on one thread if `local`.
pub(crate) fn expand(exposed: &Exposed, local: bool) -> TokenStream {
    let Exposed {
        ty,
        class,
        cfgs,
        members,
        unexposed,
        ..
    } = exposed;
    let mut generics = exposed.generics.clone();
    for parameter in exposed.generics.type_params() {
        let parameter = &parameter.ident;
        let bound = if local {
            parse_quote!(#parameter: 'static)
        } else {
            // The object is shared by threads, and so is whatever it is made of.
            parse_quote!(#parameter: ::core::marker::Send + ::core::marker::Sync + 'static)
        };
        generics.make_where_clause().predicates.push(bound);
    }
    let (parameters, _, conditions) = generics.split_for_impl();
    let locked = members
        .iter()
        .flat_map(Member::functions)
        .any(|function| function.receiver == Receiver::Exclusive);
    let members = members.iter().map(|one| member(one, local));
    let shared = (!local).then(|| {
        quote_spanned! {Span::mixed_site()=>
            #(#cfgs)*
            #[automatically_derived]
            #[allow(deprecated)]
            impl #parameters ::antifreeze::Expose for #ty #conditions {}
        }
    });
    quote_spanned! {Span::mixed_site()=>
        #shared

        #(#cfgs)*
        #[automatically_derived]
        #[allow(deprecated)]
        impl #parameters ::antifreeze::ExposeLocal for #ty #conditions {
            fn class() -> &'static ::antifreeze::__private::Class<Self> {
                const {
                    &::antifreeze::__private::Class {
                        name: #class,
                        locked: #locked,
                        members: &[#(#members),*],
                        unexposed: &[#(#unexposed),*],
                    }
                }
            }
        }
    }
}

fn member(member: &Member, local: bool) -> TokenStream {
    let Member { name, cfgs, kind } = member;
    let oneway = member.functions().any(|function| function.oneway);
    // An attribute keeps the promise only if both of its functions do.
    let quick = member.functions().all(|function| function.quick);
    let callback = member.functions().any(|function| function.callback);
    let (kind, call, set) = match kind {
        Kind::Method(function) => ("Method", Some(function), None),
        Kind::Attribute { read, write } => ("Attribute", read.as_ref(), write.as_ref()),
    };
    let kind = Ident::new(kind, Span::mixed_site());
    let call = optional(call.map(|function| handler(function, false, local)));
    let set = optional(set.map(|function| handler(function, true, local)));
    quote_spanned! {Span::mixed_site()=>
        #(#cfgs)*
        ::antifreeze::__private::Member {
            name: #name,
            kind: ::antifreeze::__private::MemberKind::#kind,
            oneway: #oneway,
            quick: #quick,
            callback: #callback,
            call: #call,
            set: #set,
        }
    }
}

fn optional(tokens: Option<TokenStream>) -> TokenStream {
    match tokens {
        Some(tokens) => quote!(::core::option::Option::Some(#tokens)),
        None => quote!(::core::option::Option::None),
    }
}

/// The closure that decodes the arguments and calls the function.
fn handler(function: &Function, writes: bool, local: bool) -> TokenStream {
    let variables: Vec<_> = function.parameters.iter().map(variable).collect();
    let decoded = function
        .parameters
        .iter()
        .map(|parameter| decode(parameter, writes));
    let body = body(function);
    let how = match function.receiver {
        Receiver::Shared if function.unlocked && !local => "read_past",
        Receiver::Shared => "read",
        Receiver::Exclusive => "write",
        Receiver::None => "free",
    };
    let on = if local { "_local" } else { "" };
    let asynchronous = if function.is_async { "_async" } else { "" };
    let enter = format_ident!("{how}{on}{asynchronous}", span = Span::mixed_site());
    let object = object(function);
    quote_spanned! {Span::mixed_site()=>
        |invocation| invocation.#enter(
            |arguments| {
                #(let #variables = #decoded;)*
                arguments.finish()?;
                ::core::result::Result::Ok((#(#variables,)*))
            },
            |#object (#(#variables,)*), out| #body,
        )
    }
}

/// The variable that holds the argument: told from the other variables here by its name, and from
/// those of the user's own code, such as the default of another parameter, by its hygiene.
fn variable(parameter: &Parameter) -> Ident {
    let span = Span::mixed_site().located_at(parameter.ident.span());
    format_ident!("argument_{}", name::of(&parameter.ident), span = span)
}

fn decode(parameter: &Parameter, writes: bool) -> TokenStream {
    let name = &parameter.name;
    let ty = decoded_type(&parameter.passing);
    let here = Span::mixed_site();
    match &parameter.source {
        Source::Required => quote_spanned!(here=> arguments.required::<#ty>(#name)?),
        // The value that an attribute is set to is always there.
        Source::Optional if writes => quote_spanned!(here=> arguments.required::<#ty>(#name)?),
        Source::Optional => quote_spanned! {here=>
            arguments.or_else::<#ty>(#name, || ::core::option::Option::None)?
        },
        Source::Default(DefaultValue::OfType) => {
            let default = quote_spanned! {place_of(parameter.passing.ty())=>
                || ::core::default::Default::default()
            };
            quote_spanned!(here=> arguments.or_else::<#ty>(#name, #default)?)
        }
        Source::Default(DefaultValue::Expr(value)) => {
            let value = default(&parameter.passing, value);
            quote_spanned!(here=> arguments.or_else::<#ty>(#name, || #value)?)
        }
        Source::Rest(item) => quote_spanned!(here=> arguments.rest::<#item>()?),
        Source::Keywords => quote_spanned!(here=> arguments.keywords::<#ty>()?),
    }
}

fn decoded_type(passing: &Passing) -> TokenStream {
    match passing {
        Passing::Value(ty) => quote!(#ty),
        Passing::Borrow(ty) => owner(ty),
        Passing::BorrowOption(ty) => {
            let owner = owner(ty);
            quote!(::core::option::Option<#owner>)
        }
    }
}

/// The hygiene of the macro at the place of a type that the user wrote.
fn place_of(ty: &Type) -> Span {
    Span::mixed_site().located_at(ty.span())
}

/// What owns a value of a type that is borrowed.
fn owner(ty: &Type) -> TokenStream {
    if types::is_byte_slice(ty) {
        quote!(::antifreeze::Bytes)
    } else {
        quote_spanned!(place_of(ty)=> <#ty as ::std::borrow::ToOwned>::Owned)
    }
}

/// The function that makes the owner of a borrowed value.
fn to_owner(ty: &Type) -> TokenStream {
    if types::is_byte_slice(ty) {
        quote!(::antifreeze::Bytes::copy_from_slice)
    } else {
        quote!(<#ty as ::std::borrow::ToOwned>::to_owned)
    }
}

/// The default that the user wrote, of the type that is decoded.
fn default(passing: &Passing, value: &Expr) -> TokenStream {
    match passing {
        // So that a `String` may be defaulted with a plain text.
        Passing::Value(_)
            if matches!(
                value,
                Expr::Lit(ExprLit {
                    lit: Lit::Str(_),
                    ..
                })
            ) =>
        {
            quote!(::core::convert::Into::into(#value))
        }
        Passing::Value(_) => quote!(#value),
        Passing::Borrow(ty) => {
            let to_owner = to_owner(ty);
            quote!(#to_owner(#value))
        }
        Passing::BorrowOption(ty) => {
            let to_owner = to_owner(ty);
            quote!(::core::option::Option::map(#value, #to_owner))
        }
    }
}

/// The object, as it is passed to a function that has a `self`.
fn object(function: &Function) -> Option<TokenStream> {
    (function.receiver != Receiver::None).then(|| quote_spanned!(Span::mixed_site()=> this,))
}

/// Calls the function and encodes what it returns.
fn body(function: &Function) -> TokenStream {
    let here = Span::mixed_site();
    let Function {
        ident,
        parameters,
        returns,
        is_async,
        ..
    } = function;
    let object = object(function);
    let passed = parameters.iter().map(pass);
    // If the result cannot be encoded, the compiler points at the return type.
    let at = here.located_at(returns.span);
    let mut call = quote_spanned!(at=> Self::#ident(#object #(#passed),*));
    if *is_async {
        call = quote_spanned!(at=> #call.await);
    }
    let encoded = match returns.shape {
        Shape::Nothing => quote_spanned! {here=> {
            #call;
            out.value(())
        }},
        Shape::Value => quote_spanned!(here=> out.value(#call)),
        Shape::Bytes => quote_spanned! {here=>
            out.value(::antifreeze::Bytes::copy_from_slice(#call))
        },
        Shape::Result => quote_spanned!(here=> out.result(#call)),
        Shape::ResultOfBytes => quote_spanned! {here=>
            out.result(::core::result::Result::map(
                #call,
                ::antifreeze::Bytes::copy_from_slice,
            ))
        },
        Shape::Items { of, in_result } => {
            // If the items cannot be served, the compiler points at the return type.
            let make = match of {
                Items::ItemStream => None,
                Items::Iterator => Some(quote_spanned!(at=> ::antifreeze::ItemStream::new)),
                Items::Stream => Some(quote_spanned!(at=> ::antifreeze::ItemStream::from_stream)),
            };
            let stream = match (&make, in_result) {
                (None, _) => call,
                (Some(make), false) => quote_spanned!(at=> #make(#call)),
                (Some(make), true) => {
                    quote_spanned!(at=> ::core::result::Result::map(#call, #make))
                }
            };
            if in_result {
                quote_spanned!(at=> out.stream_result(#stream))
            } else {
                quote_spanned!(at=> out.stream(#stream))
            }
        }
    };
    if !is_async {
        return encoded;
    }
    // If the future cannot be sent to another thread, the compiler points at the function's name.
    let at = here.located_at(ident.span());
    quote_spanned!(at=> ::std::boxed::Box::pin(async move { #encoded }))
}

fn pass(parameter: &Parameter) -> TokenStream {
    let variable = variable(parameter);
    match &parameter.passing {
        Passing::Value(_) => quote!(#variable),
        Passing::Borrow(ty) => quote!(::core::borrow::Borrow::<#ty>::borrow(&#variable)),
        Passing::BorrowOption(ty) => quote! {
            ::core::option::Option::map(
                ::core::option::Option::as_ref(&#variable),
                ::core::borrow::Borrow::<#ty>::borrow,
            )
        },
    }
}
