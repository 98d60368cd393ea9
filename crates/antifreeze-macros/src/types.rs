//! What can be told from the text of a type, without knowing what its names mean.

use syn::visit_mut::{self, VisitMut};
use syn::{GenericArgument, Lifetime, PathArguments, PathSegment, ReturnType, Type};
use syn::{TypeImplTrait, TypeParamBound, TypeReference, TypeTraitObject};

/// The type without the invisible groups that `macro_rules!` puts around `$t:ty`.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        _ => ty,
    }
}

/// The last word of a path, as `Result` of `std::io::Result<u8>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match plain(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// The first type in the angle brackets of a type whose last word is `word`.
///
/// None if the type is another one; an inner none if the brackets hold no type.
pub(crate) fn argument_of<'t>(ty: &'t Type, word: &str) -> Option<Option<&'t Type>> {
    let segment = last_segment(ty).filter(|segment| segment.ident == word)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Some(None);
    };
    Some(arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }))
}

/// Whether the type is written `()`.
pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(plain(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// The `T` of `&T`.
pub(crate) fn referent(ty: &Type) -> Option<&TypeReference> {
    match plain(ty) {
        Type::Reference(reference) => Some(reference),
        _ => None,
    }
}

/// Whether the type is written `[u8]`, which goes over the wire as bytes and not as a list.
pub(crate) fn is_byte_slice(ty: &Type) -> bool {
    let Type::Slice(slice) = plain(ty) else {
        return false;
    };
    matches!(plain(&slice.elem), Type::Path(path) if path.path.is_ident("u8"))
}

/// Whether the type is written `&[u8]`.
pub(crate) fn is_bytes(ty: &Type) -> bool {
    referent(ty).is_some_and(|reference| is_byte_slice(&reference.elem))
}

/// Whether the type is written `SerializedBlob`, or a reference to one.
pub(crate) fn is_blob(ty: &Type) -> bool {
    let owned = referent(ty).map_or(ty, |reference| &reference.elem);
    last_segment(owned).is_some_and(|segment| segment.ident == "SerializedBlob")
}

/// The written type that a function returns; none for nothing or `()`.
pub(crate) fn returned(output: &ReturnType) -> Option<&Type> {
    match output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(&**ty).filter(|ty| !is_unit(ty)),
    }
}

/// Whether the type is an `impl Trait` whose trait's name ends so.
pub(crate) fn is_impl_of(ty: &Type, trait_suffix: &str) -> bool {
    let Type::ImplTrait(TypeImplTrait { bounds, .. }) = plain(ty) else {
        return false;
    };
    bounds.iter().any(|bound| match bound {
        TypeParamBound::Trait(bound) => {
            let last = bound.path.segments.last();
            last.is_some_and(|segment| segment.ident.to_string().ends_with(trait_suffix))
        }
        _ => false,
    })
}

/// Parts of a type that matter when values of it come over a wire.
#[derive(Debug, Default)]
pub(crate) struct Anatomy {
    /// The first reference in it.
    pub(crate) reference: Option<TypeReference>,
    /// The first `impl Trait` or `dyn Trait`.
    pub(crate) opaque: Option<Type>,
    /// The first lifetime that is not `'static`.
    pub(crate) lifetime: Option<Lifetime>,
}

impl Anatomy {
    pub(crate) fn of(ty: &Type) -> Self {
        let mut anatomy = Self::default();
        anatomy.visit_type_mut(&mut ty.clone());
        anatomy
    }
}

impl VisitMut for Anatomy {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        self.reference.get_or_insert_with(|| reference.clone());
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_type_impl_trait_mut(&mut self, opaque: &mut TypeImplTrait) {
        self.opaque.get_or_insert_with(|| opaque.clone().into());
    }

    fn visit_type_trait_object_mut(&mut self, opaque: &mut TypeTraitObject) {
        self.opaque.get_or_insert_with(|| opaque.clone().into());
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            self.lifetime.get_or_insert_with(|| lifetime.clone());
        }
    }
}

/// The type with all its lifetimes left to the compiler, for use outside of the function that
/// declares them.
pub(crate) fn without_lifetimes(ty: &Type) -> Type {
    struct Erase;
    impl VisitMut for Erase {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                *lifetime = Lifetime::new("'_", lifetime.span());
            }
        }
    }
    let mut ty = ty.clone();
    Erase.visit_type_mut(&mut ty);
    ty
}
