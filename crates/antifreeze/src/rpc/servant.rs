//! An object without its type: from the name of a member to its code.

use std::sync::Arc;

use antifreeze_serial::{CallHead, Exception};
use bytes::Bytes;

use super::arguments::{ArgumentError, Arguments};
use super::class::{Expose, ExposeLocal, Member, MemberKind, is_private};
use super::exception::ATTRIBUTE_ERROR;
use super::invocation::{Invocation, Job, Progress, Step, Subject, Target};
use super::local::Local;
use super::object::Cell;
use crate::blob::SerializedBlob;

/// An object, without its type.
pub(crate) trait Servant: Send + Sync {
    /// Runs what `operation` names; `make` is called once the member is known.
    fn invoke(
        self: Arc<Self>,
        operation: Operation<'_>,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
    ) -> Step;
}

/// What a peer asks of an object.
pub(crate) enum Operation<'a> {
    /// Run a method, as a payload says.
    Call(&'a CallHead<'a>, &'a Bytes),
    /// Run a method, with a blob as its only argument.
    Blob(&'a str, SerializedBlob),
    /// Read an attribute.
    Get(&'a str, Arguments<'a>),
    /// Write an attribute.
    Set(&'a str, Arguments<'a>),
}

impl<T: Expose> Servant for Cell<T> {
    fn invoke(
        self: Arc<Self>,
        operation: Operation<'_>,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
    ) -> Step {
        Target::Shared(&self).invoke(operation, make, id)
    }
}

impl<T: ExposeLocal> Servant for Local<T> {
    fn invoke(
        self: Arc<Self>,
        operation: Operation<'_>,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
    ) -> Step {
        Target::Local(&self).invoke(operation, make, id)
    }
}

impl<T: ExposeLocal> Target<'_, T> {
    fn invoke(
        self,
        operation: Operation<'_>,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
    ) -> Step {
        let writes = matches!(operation, Operation::Set(..));
        match operation {
            Operation::Call(head, document) => self.call(&head.method, make, id, |member| {
                Arguments::new(member, document, &head.args, &head.kwargs)
            }),
            Operation::Blob(name, blob) => self.call(name, make, id, |member| {
                Ok(Arguments::of_blob(member, blob))
            }),
            Operation::Get(name, arguments) | Operation::Set(name, arguments) => {
                let found = T::class()
                    .member(name)
                    .filter(|m| m.kind == MemberKind::Attribute);
                let access = found.and_then(|m| if writes { m.set } else { m.call });
                let (Some(member), Some(access)) = (found, access) else {
                    return refuse(format!(
                        "attempt to access unexposed or unknown remote attribute '{name}'"
                    ));
                };
                let job = make(subject(member, id));
                access(Invocation {
                    target: self,
                    arguments,
                    job,
                })
            }
        }
    }

    /// Calls the method of this name; `arguments` makes the arguments, given the name again.
    fn call<'a>(
        self,
        name: &str,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
        arguments: impl FnOnce(&'static str) -> Result<Arguments<'a>, ArgumentError>,
    ) -> Step {
        let class = T::class();
        if is_private(name) {
            return refuse(format!("attempt to access private attribute '{name}'"));
        }
        let unexposed = || format!("attempt to access unexposed attribute '{name}'");
        let Some(member) = class.member(name) else {
            return refuse(match class.unexposed.contains(&name) {
                true => unexposed(),
                false => format!("'{}' object has no attribute '{name}'", class.name),
            });
        };
        let (MemberKind::Method, Some(call)) = (member.kind, member.call) else {
            return refuse(unexposed());
        };
        let mut job = make(subject(member, id));
        if member.quick {
            // It is over before another worker could take the connection.
            job.started = None;
        }
        match arguments(member.name) {
            Ok(arguments) => call(Invocation {
                target: self,
                arguments,
                job,
            }),
            Err(error) => Step::done(job.raise(error.into())),
        }
    }
}

fn subject<T: ExposeLocal>(member: &Member<T>, object: &Arc<str>) -> Subject {
    Subject {
        object: Arc::clone(object),
        class: T::class().name,
        member: member.name,
        quick: member.quick,
        callback: member.callback,
    }
}

fn refuse(text: String) -> Step {
    Step(Progress::Missing(Exception::new(ATTRIBUTE_ERROR, text)))
}
